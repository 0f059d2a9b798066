//! What each end noted about one message. Times are nanoseconds since the Unix epoch by the clock of the
//! node that noted them. Records hold no payload and no judgement: `measure` draws the conclusions.

use serde::{Deserialize, Serialize};

use crate::identity::RunId;

/// What the sender noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRecord {
    /// The message's number, from 1.
    pub seq: u64,
    /// When it was due.
    pub intended_ns: u64,
    /// When the sender began to send it.
    pub sent_ns: u64,
    /// When the sender was free to go on.
    pub freed_ns: u64,
    /// When the direct neighbour's answer to it (response, confirm) arrived; `None` when nothing answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_ns: Option<u64>,
    /// Why it was not accepted; `None` when it was, as far as the sender can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Bytes of payload.
    pub bytes: u64,
}

/// What a receiver noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRecord {
    /// The message's number, from 1.
    pub seq: u64,
    /// When its first copy arrived.
    pub received_ns: u64,
    /// When the receiver had finished working on it; `None` while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_ns: Option<u64>,
    /// How many copies arrived, at least 1.
    pub copies: u64,
    /// Its place in the order of arrival within the run, from 1.
    pub position: u64,
}

/// One exchange between neighbours that is not tied to one message, such as a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRecord {
    /// When it began.
    pub began_ns: u64,
    /// When its answer was there.
    pub answered_ns: u64,
    /// Messages that the answer brought.
    pub messages: u64,
    /// Bytes that the answer's body brought.
    pub bytes: u64,
}

/// What one receiver says about one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverReport {
    /// The receiver: the node's name, or one subscriber of it.
    pub receiver: String,
    /// Distinct messages that arrived.
    pub received: u64,
    /// Distinct messages that it has finished.
    pub processed: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Messages at work at this moment.
    pub in_progress: u64,
    /// One record for each message that arrived, by number; left out unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<ReceivedRecord>,
}

/// What a node's inbox says about one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxReport {
    /// The run.
    pub run: RunId,
    /// The paradigm that brought it; empty when nothing of it has arrived.
    pub paradigm: String,
    /// How many messages the run has, as its messages say; 0 when unknown.
    pub of: u64,
    /// Every receiver in this node that takes part in the paradigm, also those that got nothing.
    pub receivers: Vec<ReceiverReport>,
}

/// What happened to one message at both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTimeline {
    /// What the sender noted.
    #[serde(flatten)]
    pub sent: SentRecord,
    /// What each receiver noted; empty where it did not arrive.
    pub received: Vec<SeenBy>,
}

/// One receiver's record of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBy {
    /// The receiver.
    pub receiver: String,
    /// What it noted.
    #[serde(flatten)]
    pub record: ReceivedRecord,
}
