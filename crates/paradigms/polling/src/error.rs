//! Why a run of the poller, or one message's deposit, failed. It does not know what follows from it.

use std::time::Duration;

use crosstalk_contract::{RunId, units::shown};
use crosstalk_host::{config::ConfigError, inbox::InboxError, peers::PeerError};

/// What can go wrong in polling.
#[derive(Debug, thiserror::Error)]
pub enum PollingError {
    /// An option is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The mailbox stayed full for as long as a sender waits.
    #[error("mailbox full: {}; nobody takes what is in it", in_vain(*waited))]
    Full {
        /// How long this message waited; zero when one before it had waited in vain.
        waited: Duration,
    },
    /// The producer did not take the order to deposit messages.
    #[error("the producer does not deposit the messages: {0}")]
    Deposit(#[source] PeerError),
    /// The producer stopped answering.
    #[error("the producer has been away for {}, longer than polling.away_max: {source}", shown(*waited))]
    Away {
        /// Since the first attempt that failed.
        waited: Duration,
        /// What the last attempt met.
        source: PeerError,
    },
    /// The producer cannot say what it deposited.
    #[error("the run is over, but the producer's records of it cannot be had: {0}")]
    Records(#[source] PeerError),
    /// The producer knows nothing of the run any more.
    #[error("the producer does not know run {0} any more, and its mailbox lives in its memory: it was restarted")]
    Forgotten(RunId),
    /// An answer of the producer's mailbox is none.
    #[error("the producer's answer cannot be read: {0}")]
    Answer(String),
    /// A message cannot be kept, so it must not be confirmed.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// The run took too long.
    #[error("the run took longer than polling.run_max, {}", shown(*.0))]
    TooLong(Duration),
    /// More attempts than are kept records of.
    #[error("{0} attempts, the most that one run makes; poll less often")]
    TooMany(usize),
    /// The node was told to stop.
    #[error("the node is stopping")]
    Stopping,
}

fn in_vain(waited: Duration) -> String {
    if waited.is_zero() {
        "an earlier message has waited for room in vain".to_owned()
    } else {
        format!("no room within {}", shown(waited))
    }
}
