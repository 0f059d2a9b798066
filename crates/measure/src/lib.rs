//! Time, pace and accounts: everything between "send these messages" and "this is what became of them".
//!
//! | module | what it does |
//! | --- | --- |
//! | [`clock`] | wall-clock nanoseconds that never run backwards within a process |
//! | [`load`] | how many messages, and in open or closed loop |
//! | [`drive`] | starts each message when it is due and notes what happened to it |
//! | [`histogram`] | distributions of times |
//! | [`account`] | joins the records of both ends into a report |
//!
//! It knows no transport and no paradigm: how a message travels is a closure, what became of it is records.

pub mod account;
pub mod clock;
pub mod drive;
pub mod histogram;
pub mod load;

pub use account::{Evidence, report};
pub use clock::Clock;
pub use drive::{Drive, Exchange, SentLedger};
pub use load::{Load, Pace};
