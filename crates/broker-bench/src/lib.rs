//! Measures AMQP 0-9-1 brokers against each other: the same load, the same machine, the same run.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`options`] | what a user may choose |
//! | [`rows`] | every measurement there is, by name |
//! | [`session`] | takes the rows, the brokers and the repetitions in turn |
//! | [`brokers`] | starts our broker and RabbitMQ, or takes what is there |
//! | [`stream`] | a measurement in steady state |
//! | [`growth`] | cost per message while a queue grows and shrinks |
//! | [`resting`] | memory with nothing to do, and with a full queue |
//! | [`syncs`] | what is synced to disk before a confirm |
//! | [`load`] | publishing and consuming, each message checked |
//! | [`connection`] | one blocking AMQP connection |
//! | [`wire`] | frames |
//! | [`ledger`] | whether every message came once and in order |
//! | [`process`] | CPU time and memory of a broker |
//! | [`report`] | tables, for people and for programs |
//!
//! It knows no broker's inside: all of them are spoken to over AMQP and looked at through `/proc`.

pub mod brokers;
pub mod connection;
pub mod error;
pub mod growth;
pub mod ledger;
pub mod load;
pub mod options;
pub mod process;
pub mod report;
pub mod resting;
pub mod rows;
pub mod session;
pub mod stream;
pub mod syncs;
pub mod wire;
