//! The identity that every message carries, whatever the transport, and nothing about how it travels.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Longest name of a sender, in bytes: it travels in every datagram, so it must stay small.
pub const SENDER_NAME_MAX: usize = 32;

/// Names one run: one use of one paradigm, from its first message to its last.
///
/// 48 bits, written as 12 hexadecimal digits: short enough to type, and with the few hundred runs a node
/// remembers, two alike are not to be expected (about one in 10^9).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    /// Number of bits in use.
    pub const BITS: u32 = 48;

    /// Takes the low 48 bits of `value`, which should be random.
    #[must_use]
    pub const fn from_low_bits(value: u64) -> Self {
        Self(value & ((1 << Self::BITS) - 1))
    }

    /// The number, below 2^48.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a run's identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a run id of 12 hexadecimal digits such as 3f9c01ab77e2, got {0:?}")]
pub struct RunIdError(String);

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(value) if digits => Ok(Self(value)),
            _ => Err(RunIdError(text.chars().take(64).collect())),
        }
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who sent which message of which run, and when. All times are nanoseconds since the Unix epoch by the
/// sender's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The run it belongs to.
    pub run: RunId,
    /// The node that sent it, at most [`SENDER_NAME_MAX`] bytes.
    pub sender: String,
    /// Its number within the run, counted from 1.
    pub seq: u64,
    /// How many messages the run has, so that a receiver knows what is missing at the end; 0 when unknown.
    pub of: u64,
    /// When it was due to be sent (open loop: the schedule; closed loop: when its turn came).
    pub intended_ns: u64,
    /// When it was really sent.
    pub sent_ns: u64,
}

/// A message: who it is, and bytes that nobody on the way looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who it is.
    pub identity: Identity,
    /// What it carries.
    pub payload: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_survive_their_text_form() {
        for value in [0, 1, 0x3f9c_01ab_77e2, (1 << 48) - 1] {
            let run = RunId::from_low_bits(value);
            assert_eq!(run.to_string().parse(), Ok(run));
        }
    }

    #[test]
    fn other_texts_are_no_run_ids() {
        for text in ["", "12", "3f9c01ab77e2a", "3f9c01ab77g2", "+f9c01ab77e2", "3f9c01ab77e é"] {
            assert!(text.parse::<RunId>().is_err(), "{text:?}");
        }
    }
}
