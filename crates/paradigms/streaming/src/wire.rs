//! What streamer and receiver tell each other over HTTP around a stream. The stream itself is frames of the
//! contract, one in each datagram or WebSocket message. It does no input or output.

use crosstalk_contract::RunId;
use serde::{Deserialize, Serialize};

/// The paradigm's name in runs, reports and metrics.
pub const PARADIGM: &str = "streaming";
/// Path at the receiver: a streamer POSTs an [`Invitation`]; 204 when a session is open.
pub const INVITATIONS: &str = "/streaming/invitations";
/// Path at the receiver: the streamer POSTs an [`Ending`], and is answered with [`Ended`].
pub const ENDINGS: &str = "/streaming/endings";
/// Path at the streamer: the receiver POSTs a [`UdpSession`]; 204 when datagrams will come.
pub const SESSIONS: &str = "/streaming/sessions";
/// Path at the streamer: the receiver opens a WebSocket here, with the run's id in its place.
pub const WEBSOCKET_SESSION: &str = "/streaming/sessions/{run}";
/// Longest body of any of these, in bytes.
pub const BODY_MAX: usize = 4096;

/// What a stream goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One frame in each datagram.
    Udp,
    /// One frame in each binary message.
    Websocket,
}

impl Transport {
    /// The words that name them, the default first.
    pub const WORDS: &[&str] = &["udp", "websocket"];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Websocket => "websocket",
        }
    }

    /// The one that a word names; the default for any other.
    #[must_use]
    pub fn named(word: Option<&str>) -> Self {
        if word == Some(Self::Websocket.word()) { Self::Websocket } else { Self::Udp }
    }
}

/// "Open a session with me: I am going to stream."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The run.
    pub run: RunId,
    /// How.
    pub transport: Transport,
    /// How many messages, at most.
    pub messages: u64,
}

/// "I listen for datagrams of this run there."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpSession {
    /// The run.
    pub run: RunId,
    /// `host:port`, as it stands in the topology.
    pub address: String,
}

/// "That was all."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// The run.
    pub run: RunId,
    /// How many messages were sent; they are numbered from 1.
    pub sent: u64,
}

/// "This is what I got."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Distinct messages that arrived.
    pub received: u64,
    /// Datagrams that arrived, but found the receiver's buffer full.
    pub dropped: u64,
}

/// Which of the numbers 1 to `sent` are not in `received`, as text such as `17-19, 25`; `None` when none is.
/// `received` is in rising order. Only the first `ranges_max` ranges are listed.
#[must_use]
pub fn missing(received: impl Iterator<Item = u64>, sent: u64, ranges_max: usize) -> Option<String> {
    let mut ranges: Vec<String> = Vec::new();
    let (mut next, mut more) = (1, 0u64);
    for seq in received.filter(|seq| *seq <= sent).chain([sent.saturating_add(1)]) {
        if seq > next {
            let through = seq - 1;
            match ranges.len() {
                len if len >= ranges_max => more += seq - next,
                _ if through == next => ranges.push(next.to_string()),
                _ => ranges.push(format!("{next}-{through}")),
            }
        }
        next = next.max(seq.saturating_add(1));
    }
    if more > 0 {
        ranges.push(format!("and {more} more"));
    }
    (!ranges.is_empty()).then(|| ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_missing_is_told_in_ranges() {
        let missing = |received: &[u64], sent| missing(received.iter().copied(), sent, 3);
        assert_eq!(missing(&[1, 2, 3], 3), None);
        assert_eq!(missing(&[], 0), None);
        assert_eq!(missing(&[], 3).as_deref(), Some("1-3"));
        assert_eq!(missing(&[1, 3, 6, 7], 8).as_deref(), Some("2, 4-5, 8"));
        assert_eq!(missing(&[2, 4, 6, 9], 20).as_deref(), Some("1, 3, 5, and 13 more"));
        assert_eq!(missing(&[1, 2, 9], 2), None, "numbers beyond what was sent are nobody's loss");
    }

    proptest! {
        #[test]
        fn what_is_told_to_be_missing_is_what_is_missing(received in prop::collection::btree_set(1..60u64, 0..60), sent in 0..60u64) {
            let told = missing(received.iter().copied(), sent, usize::MAX).unwrap_or_default();
            let mut seqs = Vec::new();
            for range in told.split(", ").filter(|range| !range.is_empty()) {
                let (from, through) = range.split_once('-').unwrap_or((range, range));
                seqs.extend(from.parse::<u64>().unwrap()..=through.parse().unwrap());
            }
            prop_assert_eq!(seqs, (1..=sent).filter(|seq| !received.contains(seq)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn words_name_transports() {
        for transport in [Transport::Udp, Transport::Websocket] {
            assert_eq!(Transport::named(Some(transport.word())), transport);
            assert!(Transport::WORDS.contains(&transport.word()));
        }
        assert_eq!(Transport::named(None).word(), Transport::WORDS[0]);
    }
}
