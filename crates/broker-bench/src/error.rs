//! Everything that can go wrong with a measurement, with what to do about it. Does not know who shows it.

use std::io;
use std::path::PathBuf;

use crate::ledger::Account;
use crate::wire::WireError;

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nobody listens there.
    #[error("cannot connect to {address}: {source}; is the broker running, and is this its AMQP address?")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// An established connection failed.
    #[error("the connection to the broker failed while {what}: {source}; see the broker's log")]
    Io {
        /// What the client was doing.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The broker hung up.
    #[error("the broker hung up while {0}; wrong credentials or virtual host, or it died: see its log")]
    HungUp(&'static str),
    /// Bytes that are not AMQP 0-9-1.
    #[error("the broker sent {0}")]
    Wire(#[from] WireError),
    /// A channel or connection closed by the broker.
    #[error("the broker closed the {what}: {code} {text}")]
    Closed {
        /// Channel or connection.
        what: &'static str,
        /// The reply code.
        code: u16,
        /// The reply text.
        text: String,
    },
    /// Nothing comes any more.
    #[error("nothing came for {seconds} s while {what}{blocked}")]
    Stalled {
        /// How long was waited.
        seconds: u64,
        /// What for.
        what: &'static str,
        /// Whether the broker has said that it blocks publishers.
        blocked: String,
    },
    /// A message that the broker refused.
    #[error("the broker refused message {0} (basic.nack): it is out of memory or disk, or the queue is full")]
    Refused(u64),
    /// A confirm for what was never sent, or was confirmed before.
    #[error("the broker confirmed message {0}, which is not unconfirmed")]
    StrayConfirm(u64),
    /// A consumer that ended.
    #[error("the broker cancelled a consumer: its queue was deleted while it was measured")]
    Cancelled,
    /// Messages lost, duplicated or out of order.
    #[error("the messages do not add up: {0}")]
    Account(Account),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A thread of the client ended with a panic: a defect of this program.
    #[error("the load client's {0} panicked; please report it")]
    Panicked(&'static str),
    /// lapin refuses or fails.
    #[error("lapin: {0}")]
    Lapin(#[from] lapin::Error),
    /// A broker's address that is not one.
    #[error("`{0}` is no AMQP address; it should look like amqp://guest:guest@localhost:5672/%2f")]
    Address(String),
    /// A program that is to be started is not there or fails.
    #[error("cannot run `{command}`: {problem}; {remedy}")]
    Program {
        /// What was run.
        command: String,
        /// What happened.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A broker that was started is not ready.
    #[error("{name} ended at once or was not ready within {seconds} s ({last}); the end of its log:\n{log}")]
    NotReady {
        /// The broker.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// Why the last attempt to connect failed.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// A file that cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A row that needs the broker's process.
    #[error("{0}; give the process with --broker NAME=URL,pid=N")]
    NoProcess(&'static str),
    /// A row that needs more file descriptors than may be open.
    #[error("{needed} connections need as many file descriptors, and {allowed} are allowed; raise `ulimit -n`")]
    Descriptors {
        /// What the row needs.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
}

impl BenchError {
    /// For `map_err` on a socket.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
