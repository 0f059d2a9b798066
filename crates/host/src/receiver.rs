//! The receiving end of every paradigm: how slow the receiver is, how much it does at once, and its inbox. It
//! does not know how a message came here.

mod behaviour;
mod endpoints;

use std::{sync::Arc, time::Duration};

use crosstalk_contract::{Message, units::shown};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use self::behaviour::Adjustable;
pub use self::{behaviour::Behaviour, endpoints::run_in_path};
use crate::{
    Host,
    config::{ConfigError, Size, Span},
    http::Role,
    inbox::{Arrival, Inbox, InboxError, InboxLimits},
};

/// How the receiver works until somebody says otherwise (`[receiver]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverOptions {
    work: Span,
    concurrency: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct InboxOptions {
    bytes_max: Size,
    runs_max: usize,
}

/// Why a node cannot receive.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Its options are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its inbox cannot be opened.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

/// The receiving end of one node; cheap to clone.
#[derive(Clone)]
pub struct Receiver {
    host: Host,
    inbox: Inbox,
    behaviour: Arc<Adjustable>,
}

/// A message that was finished.
#[derive(Debug, Clone, Copy)]
pub struct Handled {
    /// Which copy it was, from 1.
    pub copy: u64,
    /// How long it waited until its turn came.
    pub queued: Duration,
    /// How long it was worked on.
    pub worked: Duration,
}

impl Receiver {
    /// Opens the inbox below the node's data directory.
    ///
    /// # Errors
    /// When options are wrong or the inbox cannot be opened.
    pub fn open(host: &Host) -> Result<Self, ReceiverError> {
        let receiver: ReceiverOptions = host.config().section("receiver")?;
        let inbox: InboxOptions = host.config().section("inbox")?;
        let limits = InboxLimits { bytes_max: inbox.bytes_max.0, runs_max: inbox.runs_max };
        let inbox = Inbox::open(host.data().join("inbox"), limits, host.clock())?;
        let behaviour = Behaviour { work: receiver.work.0, concurrency: receiver.concurrency };
        Ok(Self { host: host.clone(), inbox, behaviour: Arc::new(Adjustable::new(behaviour)) })
    }

    /// The endpoints through which people see the inbox and adjust the behaviour.
    #[must_use]
    pub fn role(&self) -> Role {
        endpoints::role(self)
    }

    /// What arrived so far.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Notes that `receiver` (this node, or one subscriber of it) got `message`. From now on a kill of the
    /// process does not forget it.
    ///
    /// # Errors
    /// When it cannot be kept; the message must then not be acknowledged.
    pub fn arrived(&self, paradigm: &'static str, receiver: &str, message: &Message) -> Result<Arrived, InboxError> {
        let arrival = match self.inbox.received(paradigm, receiver, message) {
            Ok(arrival) => arrival,
            Err(error) => {
                self.host.metrics().messages(paradigm, "refused", 1);
                return Err(error);
            }
        };
        let event = if arrival.copy > 1 { "duplicated" } else { "received" };
        self.host.metrics().messages(paradigm, event, 1);
        let name = Name { paradigm, receiver: receiver.to_owned(), message: message.identity.clone() };
        Ok(Arrived { arrival, name, since_ns: self.host.clock().now_ns() })
    }

    /// Waits until fewer messages are at work than the behaviour allows. Who reads from a socket asks for a
    /// turn before reading on, so that a slow receiver slows its sender where the transport lets it.
    pub async fn turn(&self) -> Turn {
        self.behaviour.turn().await
    }

    /// Works on a message for as long as the behaviour says, and notes that it is finished.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub async fn work(&self, arrived: Arrived, turn: Turn) -> Result<Handled, InboxError> {
        let began_ns = self.host.clock().now_ns();
        self.behaviour.work().await;
        let Arrived { arrival, name, since_ns } = arrived;
        let copy = arrival.copy;
        arrival.finished()?;
        drop(turn);
        self.host.metrics().messages(name.paradigm, "processed", 1);
        let handled = Handled {
            copy,
            queued: Duration::from_nanos(began_ns.saturating_sub(since_ns)),
            worked: Duration::from_nanos(self.host.clock().now_ns().saturating_sub(began_ns)),
        };
        self.host.narrate(name.message.run, name.message.seq, || name.told(self.host.name(), &handled));
        Ok(handled)
    }

    /// Everything at once: notes the arrival, waits for a turn, works.
    ///
    /// # Errors
    /// When the message cannot be kept.
    pub async fn handle(
        &self,
        paradigm: &'static str,
        receiver: &str,
        message: &Message,
    ) -> Result<Handled, InboxError> {
        let arrived = self.arrived(paradigm, receiver, message)?;
        let turn = self.turn().await;
        self.work(arrived, turn).await
    }
}

/// A message that is kept but not finished.
pub struct Arrived {
    arrival: Arrival,
    name: Name,
    since_ns: u64,
}

/// Leave to work on one message.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

struct Name {
    paradigm: &'static str,
    receiver: String,
    message: crosstalk_contract::Identity,
}

impl Name {
    fn told(&self, node: &str, handled: &Handled) -> String {
        let Self { paradigm, receiver, message } = self;
        // The line begins with the node's name.
        let whose = if receiver == node { String::new() } else { format!("{receiver} ") };
        let again = if handled.copy > 1 { format!(", copy {}", handled.copy) } else { String::new() };
        format!(
            "{whose}got {paradigm} {}/{} of run {} from {}{again}: {} in line, {} at work",
            message.seq,
            message.of,
            message.run,
            message.sender,
            shown(handled.queued),
            shown(handled.worked),
        )
    }
}
