//! What the mailbox and those who ask it agree on. It does no input or output.

use bytes::{Bytes, BytesMut};
use crosstalk_contract::{
    Message, RunId,
    frame::{self, FrameError},
};
use serde::Serialize;

/// The paradigm's name in runs, reports and metrics.
pub const PARADIGM: &str = "polling";
/// Path of the mailbox: GET asks it, POST deposits a run of messages.
pub const MAILBOX: &str = "/mailbox";
/// Header of an answer: the offset to use as the next `after`.
pub const LAST: &str = "crosstalk-last";
/// Header of an answer that was held open: for how many milliseconds.
pub const HELD: &str = "crosstalk-held";
/// Header of an answer that could not bring all there was: asking again at once brings more.
pub const MORE: &str = "crosstalk-more";
/// Header of an answer to a poll for one run: [`Deposit`] in a word; not there when the mailbox knows nothing of
/// that run.
pub const DEPOSIT: &str = "crosstalk-deposit";

/// Whether more messages of a run can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deposit {
    /// Messages are still being deposited, or there are more behind this answer.
    Open,
    /// This answer holds the last message, or there was none left.
    Over,
}

impl Deposit {
    /// As the header has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Over => "over",
        }
    }

    /// Reads the header.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Open, Self::Over].into_iter().find(|deposit| deposit.word() == word)
    }
}

/// An answer in the form for people.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The offset to use as the next `after`.
    pub last: u64,
    /// Whether more of the run that was asked for can come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposit: Option<Deposit>,
    /// The messages, oldest first.
    pub messages: Vec<Listed>,
}

/// One message in the form for people.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its number in the mailbox, over all runs.
    pub offset: u64,
    /// Its run.
    pub run: RunId,
    /// Its number in the run.
    pub seq: u64,
    /// How many messages the run has.
    pub of: u64,
    /// Who deposited it.
    pub sender: String,
    /// What it carries.
    #[serde(flatten)]
    pub payload: Shown,
}

/// A payload in JSON, which has no form for bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It is UTF-8.
    Payload(String),
    /// It is not: two hexadecimal digits for each byte.
    PayloadHex(String),
}

impl Shown {
    fn of(payload: &[u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => Self::Payload(text.to_owned()),
            Err(_) => Self::PayloadHex(payload.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

impl Listed {
    /// One message of an answer.
    #[must_use]
    pub fn new(offset: u64, message: &Message) -> Self {
        let id = &message.identity;
        let payload = Shown::of(&message.payload);
        Self { offset, run: id.run, seq: id.seq, of: id.of, sender: id.sender.clone(), payload }
    }
}

/// The body of an answer in the form for programs: one frame after the other.
///
/// # Errors
/// When a message is out of the frame's bounds.
pub fn encode<'a>(messages: impl Iterator<Item = &'a Message>) -> Result<Bytes, FrameError> {
    let mut body = BytesMut::new();
    for message in messages {
        frame::encode(message, &mut body)?;
    }
    Ok(body.freeze())
}

/// Reads such a body.
///
/// # Errors
/// When it holds anything else than whole frames.
pub fn decode(mut body: Bytes) -> Result<Vec<Message>, FrameError> {
    let mut messages = Vec::new();
    while let Some(message) = frame::decode(&mut body)? {
        messages.push(message);
    }
    if body.is_empty() { Ok(messages) } else { Err(FrameError::NotExactlyOne(body.len())) }
}

/// So many messages in words, for the log.
pub(crate) fn counted(messages: u64) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

#[cfg(test)]
mod tests {
    use crosstalk_contract::Identity;

    use super::*;

    fn message(seq: u64, payload: &'static [u8]) -> Message {
        let run = RunId::from_low_bits(7);
        let identity = Identity { run, sender: "producer".into(), seq, of: 2, intended_ns: 1, sent_ns: 2 };
        Message { identity, payload: Bytes::from_static(payload) }
    }

    #[test]
    fn an_answer_comes_out_as_it_went_in_and_a_cut_one_is_refused() {
        let messages = [message(1, b"one"), message(2, b"\xff")];
        let body = encode(messages.iter()).unwrap();
        assert_eq!(decode(body.clone()).unwrap(), messages);
        assert!(decode(body.slice(..body.len() - 1)).is_err());
        assert!(decode(Bytes::from_static(b"<html>")).is_err());
    }

    #[test]
    fn people_see_text_as_text_and_other_bytes_as_digits() {
        let listed = |payload| serde_json::to_value(Listed::new(9, &message(1, payload))).unwrap();
        assert_eq!(listed("grün".as_bytes())["payload"], "grün");
        assert_eq!(listed(b"\x00\xff")["payload_hex"], "00ff");
        assert_eq!(listed(b"")["offset"], 9);
    }

    #[test]
    fn one_message_is_not_many() {
        assert_eq!([0, 1, 2].map(counted), ["0 messages", "1 message", "2 messages"]);
    }

    #[test]
    fn the_words_of_a_deposit_are_read_back() {
        for deposit in [Deposit::Open, Deposit::Over] {
            assert_eq!(Deposit::from_word(deposit.word()), Some(deposit));
        }
        assert_eq!(Deposit::from_word("perhaps"), None);
    }
}
