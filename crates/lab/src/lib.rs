//! The laboratory: speaks to a running cluster as a user would, over HTTP, and never imports a paradigm.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cluster`] | finds the nodes of a cluster from one address, and what they can do |
//! | [`tour`] | shows every paradigm once, tells what happened, and compares |
//! | [`story`] | one run as lines of text, from the records of both ends |
//! | [`table`] | all runs side by side |
//! | [`send`] | carries a file through the cluster |
//! | [`recv`] | fetches what a receiver got |
//!
//! It does not know which paradigms there are, nor how nodes are started.

pub mod cluster;
pub mod recv;
pub mod send;
pub mod story;
pub mod table;
pub mod tour;

/// Why the cluster could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Not a URL of a node.
    #[error("{0:?} is no address of a node; expected one such as http://127.0.0.1:4401")]
    Url(String),
    /// A node did not answer, or answered with an error.
    #[error(transparent)]
    Peer(#[from] crosstalk_host::peers::PeerError),
    /// Nobody starts what was asked for.
    #[error("no node of this cluster starts {asked:?}; known are {known}")]
    Paradigm {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// Not ready in time.
    #[error("the cluster is not ready after {after:?}: {missing}")]
    NotReady {
        /// How long was waited.
        after: std::time::Duration,
        /// Who is not, and why.
        missing: String,
    },
    /// A message over the bound.
    #[error(
        "message {number} is {size} B, at most {max} B are allowed; split the input with --chunk, such as --chunk 1KiB"
    )]
    MessageTooLarge {
        /// Which message, from 1.
        number: usize,
        /// How large it is.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// More messages than one run may have.
    #[error("the input has {0} messages, at most {1} fit one run; send it in parts, or with a larger --chunk")]
    TooManyMessages(usize, u64),
    /// No node has anything of the run.
    #[error("no node of this cluster knows run {0}; GET /inbox of the receivers lists what they have")]
    NoSuchRun(crosstalk_contract::RunId),
    /// The run has no such receiver.
    #[error("this run has no receiver {asked:?}; known are {known}")]
    NoSuchReceiver {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// Reading or writing failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl LabError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
