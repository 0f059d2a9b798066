//! Why a stream did not begin, or a message did not leave. It does not know what follows from it.

use std::{io, time::Duration};

use crosstalk_contract::{RunId, frame::FrameError, units::shown};
use crosstalk_host::{config::ConfigError, peers::PeerError};

/// What can go wrong in streaming.
#[derive(Debug, thiserror::Error)]
pub enum StreamingError {
    /// An option is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node was not given a UDP socket.
    #[error("this node has no UDP socket to receive streams on")]
    NoSocket,
    /// A node that a stream needs has no address for it.
    #[error("{node} has no UDP address in this node's topology")]
    NoAddress {
        /// The node.
        node: String,
    },
    /// The receiver did not open a session in time (ST1).
    #[error("the receiver was not there: nobody opened a session within {}{}", shown(*waited), because(reason.as_deref()))]
    NotThere {
        /// How long it was waited for.
        waited: Duration,
        /// What became of the last invitation, when that says more.
        reason: Option<String>,
    },
    /// Another node is needed and cannot be asked.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Too many streams.
    #[error("{max} streams are under way, the most that streaming.sessions_max allows; try again soon")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// Two runs have the same name.
    #[error("a session for run {0} is there already")]
    Twice(RunId),
    /// The system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The message does not fit a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The WebSocket is not open any more.
    #[error("the session is over: {0}")]
    Gone(String),
    /// The WebSocket cannot be opened.
    #[error("cannot open a WebSocket to the streamer: {0}")]
    Open(String),
    /// The node was told to stop.
    #[error("the node is stopping")]
    Stopping,
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}
