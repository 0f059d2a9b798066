//! The textual form of an identity, for transports that have named headers of their own (HTTP fields,
//! AMQP header tables). It knows the names and their order, not how a header is set.

use crate::identity::{Identity, RunId, SENDER_NAME_MAX};

/// Names of the headers, in the order in which [`fields`] gives them.
pub const NAMES: [&str; 6] =
    ["crosstalk-run", "crosstalk-sender", "crosstalk-seq", "crosstalk-of", "crosstalk-intended", "crosstalk-sent"];

/// A header that is missing or does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {name}: expected {expected}, got {got:?}")]
pub struct TextError {
    /// The header.
    pub name: &'static str,
    /// What it should have held.
    pub expected: &'static str,
    /// What it held; `None` when it was not there.
    pub got: Option<String>,
}

/// Names and values of all headers of `identity`.
#[must_use]
pub fn fields(identity: &Identity) -> [(&'static str, String); 6] {
    let Identity { run, sender, seq, of, intended_ns, sent_ns } = identity;
    let [run_name, sender_name, seq_name, of_name, intended_name, sent_name] = NAMES;
    [
        (run_name, run.to_string()),
        (sender_name, sender.clone()),
        (seq_name, seq.to_string()),
        (of_name, of.to_string()),
        (intended_name, intended_ns.to_string()),
        (sent_name, sent_ns.to_string()),
    ]
}

/// Reads an identity back; `get` finds the value of a header by its name.
///
/// # Errors
/// Names the first header that is missing or malformed.
pub fn parse<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Identity, TextError> {
    let fail = |name, expected| TextError { name, expected, got: get(name).map(|v| v.chars().take(64).collect()) };
    let [run_name, sender_name, seq_name, of_name, intended_name, sent_name] = NAMES;
    let number = |name, expected| get(name).and_then(|v| v.parse::<u64>().ok()).ok_or_else(|| fail(name, expected));
    let run: RunId = get(run_name)
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| fail(run_name, "a run id of 12 hexadecimal digits"))?;
    let sender = get(sender_name)
        .filter(|v| (1..=SENDER_NAME_MAX).contains(&v.len()))
        .ok_or_else(|| fail(sender_name, "a name of 1 to 32 bytes"))?;
    let seq = number(seq_name, "a message number from 1")?;
    if seq == 0 {
        return Err(fail(seq_name, "a message number from 1"));
    }
    Ok(Identity {
        run,
        sender: sender.to_owned(),
        seq,
        of: number(of_name, "the number of messages, 0 = unknown")?,
        intended_ns: number(intended_name, "nanoseconds since the Unix epoch")?,
        sent_ns: number(sent_name, "nanoseconds since the Unix epoch")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_headers_and_a_missing_one_is_named() {
        let identity = Identity {
            run: RunId::from_low_bits(7),
            sender: "producer".into(),
            seq: 3,
            of: 5,
            intended_ns: u64::MAX,
            sent_ns: 9,
        };
        let fields = fields(&identity);
        let get = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(parse(get), Ok(identity));
        let error = parse(|name| get(name).filter(|_| name != "crosstalk-seq")).unwrap_err();
        assert_eq!((error.name, error.got), ("crosstalk-seq", None));
    }
}
