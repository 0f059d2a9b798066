//! What a run amounted to. Built by `measure` from records alone; printed, compared and stored by others.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::RunId;

/// How a sender and whoever it sends to are coupled in time, as observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The sender was held until the other side had done its part, every time.
    Synchronous,
    /// At least once the sender was free before the other side had done its part.
    Asynchronous,
    /// Synchronous at one level, asynchronous at the other.
    Both,
    /// Not enough evidence: nothing was delivered.
    Unknown,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Synchronous => "synchronous",
            Self::Asynchronous => "asynchronous",
            Self::Both => "both",
            Self::Unknown => "unknown",
        })
    }
}

/// Whether a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Messages are being sent.
    Sending,
    /// All are sent; the receiver is asked what arrived.
    Settling,
    /// The accounts are closed.
    Complete,
    /// It ended before it could send what it should; `errors` says why.
    Failed,
}

impl RunState {
    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// Where all messages went. With several receivers, `delivered`, `waiting`, `lost` and `unknown` count copies
/// due: one for each message and receiver, `expected` in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages that the run was asked to send.
    pub intended: u64,
    /// Messages handed to the transport.
    pub sent: u64,
    /// Of these, accepted without an error, as far as the sender can tell.
    pub accepted: u64,
    /// Of these, ended in an error at the sender. The receiver may have got them all the same.
    pub failed: u64,
    /// Receivers that each should get every message.
    pub receivers: u64,
    /// `sent` × `receivers`.
    pub expected: u64,
    /// Finished by a receiver, as the receiver's own records say.
    pub delivered: u64,
    /// Extra copies that arrived.
    pub duplicated: u64,
    /// Arrived after a message with a higher number.
    pub reordered: u64,
    /// Still kept for the receiver by an intermediary, as the intermediary says.
    pub waiting: u64,
    /// Neither delivered nor kept anywhere.
    pub lost: u64,
    /// Of the lost, those that arrived but were never finished.
    pub unfinished: u64,
    /// The receiver could not be asked.
    pub unknown: u64,
    /// Bytes of payload sent.
    pub bytes: u64,
}

/// A distribution of times in milliseconds; all zero when `count` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Half of the values are at most this.
    pub p50_ms: f64,
    /// 90 % of the values are at most this.
    pub p90_ms: f64,
    /// 99 % of the values are at most this.
    pub p99_ms: f64,
    /// The largest value.
    pub max_ms: f64,
}

/// How long the sender was held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// From sending until free to go on, per message (or per attempt, for polling).
    pub hop: Latency,
    /// Of that, time which the sender spent until the final receiver had finished: the whole of it when the
    /// sender was freed after the receiver finished, else zero.
    pub end_to_end: Latency,
    /// Messages for which the sender was held until the final receiver had finished.
    pub held_end_to_end: u64,
}

/// The observed modes, with the counts that show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Sender to its direct neighbour.
    pub hop: Mode,
    /// Sender to final receiver.
    pub end_to_end: Mode,
    /// Both levels in one word.
    pub summary: Mode,
    /// Exchanges on the hop that were seen.
    pub hop_exchanges: u64,
    /// Of these, the ones in which the sender was freed only by the neighbour's answer.
    pub hop_answered: u64,
    /// Messages whose delivery and freeing are both known.
    pub compared: u64,
    /// Of these, the ones in which the sender was free before the receiver had finished.
    pub freed_before_processed: u64,
}

/// An error and how often it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// What went wrong.
    pub error: String,
    /// How many messages it hit.
    pub count: u64,
}

/// One run, accounted for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// The paradigm, such as `queue`.
    pub paradigm: String,
    /// What it ran over, such as `rabbitmq` or `udp`; empty when there is only one way.
    pub over: String,
    /// The node that sent the messages.
    pub sender: String,
    /// The node that should get them.
    pub receiver: String,
    /// Whether the accounts are closed.
    pub state: RunState,
    /// The load in words, such as `5 messages of 64 B, 1 in flight`.
    pub load: String,
    /// Where all messages went.
    pub messages: Totals,
    /// Numbers of undelivered messages as inclusive ranges, per receiver, the first [`MISSING_MAX`].
    pub missing: Vec<Missing>,
    /// How long the sender was held.
    pub waits: Waits,
    /// From the intended send time until the receiver had finished.
    pub latency: Latency,
    /// Synchronous, asynchronous, or both.
    pub observed: Observed,
    /// From the first message's intended time until the last one was freed, in milliseconds.
    pub sending_ms: f64,
    /// From the first message's intended time until the last one was processed, in milliseconds.
    pub total_ms: f64,
    /// What went wrong at the sender.
    pub errors: Vec<ErrorCount>,
    /// Figures of the paradigm's own, such as the attempts of a poller.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Most ranges of missing numbers that a report lists.
pub const MISSING_MAX: usize = 1000;

/// An inclusive range of messages that one receiver did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Who did not get them.
    pub receiver: String,
    /// First number.
    pub from: u64,
    /// Last number.
    pub through: u64,
}
