//! What can go wrong between a node and a broker, in words for people. It never holds a URL, as that has a
//! password in it.

use std::time::Duration;

use crosstalk_contract::{text::TextError, units::format_duration};
use lapin::ErrorKind;

/// Why a broker cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// No broker of that name.
    #[error("no broker {name:?} in this node's topology; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What could have been.
        known: String,
    },
    /// No broker at all.
    #[error("this node's topology names no broker")]
    NoBroker,
    /// There is no connection to it.
    #[error("broker {broker} is not there: {reason}")]
    NotThere {
        /// The broker.
        broker: String,
        /// Why the last attempt failed.
        reason: String,
    },
    /// It is there, but does not do what was asked.
    #[error("broker {broker} cannot {action}: {reason}")]
    Refused {
        /// The broker.
        broker: String,
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A message that does not say who it is.
    #[error("not a message of a run: {}", foreign(.0))]
    Foreign(#[from] TextError),
}

/// Which header is wrong. One that is there but no text is as good as missing.
fn foreign(TextError { name, expected, got }: &TextError) -> String {
    match got {
        Some(got) => format!("header {name}: expected {expected}, got {got:?}"),
        None => format!("header {name} is missing, or is no text; expected {expected}"),
    }
}

/// The reason behind an error of the AMQP client, in one line.
pub(crate) fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => "the connection was lost".into(),
        _ => error.to_string(),
    }
}

/// The reason when nothing happened for as long as `within`.
pub(crate) fn too_late(within: Duration) -> String {
    format!("no answer within {}", format_duration(within))
}
