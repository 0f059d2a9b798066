//! The broker over real sockets: with lapin, as its users will, and with raw bytes, as its attackers may.
//!
//! Waits are on conditions, each under one deadline; nothing asserts how long something took.

mod harness;
mod messages;
mod raw;
mod refusals;
