//! The headers exchange: a binding's arguments against a message's headers (section 3.1.3.4).
//!
//! Does not know the exchange or the message, only the two tables.

use amq_protocol::types::{AMQPValue, FieldTable};

use super::argument_text::{shown, type_name};

/// What a binding of a headers exchange asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeadersPattern {
    all: bool,
    wanted: Vec<(String, AMQPValue)>,
}

impl HeadersPattern {
    /// Reads a binding's arguments.
    ///
    /// # Errors
    /// What is wrong with `x-match`, in RabbitMQ's words, when it is none of `all`, `any`, `all-with-x` and `any-with-x`.
    pub(super) fn parse(arguments: &FieldTable) -> Result<Self, String> {
        let (all, with_x) = match arguments.inner().get("x-match") {
            None => (true, false),
            Some(value) => match text(value).as_deref() {
                Some("all") => (true, false),
                Some("any") => (false, false),
                Some("all-with-x") => (true, true),
                Some("any-with-x") => (false, true),
                Some(other) => {
                    let expected = "expected all, any, all-with-x, or any-with-x";
                    return Err(format!("Invalid x-match field value <<\"{other}\">>; {expected}"));
                }
                None => {
                    let (kind, value) = (type_name(value), shown(value));
                    return Err(format!("Invalid x-match field type {kind} (value {value}); expected longstr"));
                }
            },
        };
        let wanted = arguments
            .inner()
            .iter()
            .filter(|(key, _)| key.as_str() != "x-match" && (with_x || !key.as_str().starts_with("x-")))
            .map(|(key, value)| (key.to_string(), value.clone()))
            .collect();
        Ok(Self { all, wanted })
    }

    /// Whether a message with these headers is wanted. A wanted value of no type (void) asks for presence only.
    pub(super) fn matches(&self, headers: &FieldTable) -> bool {
        let mut hits = self.wanted.iter().map(|(key, wanted)| {
            headers.inner().get(key.as_str()).is_some_and(|value| *wanted == AMQPValue::Void || same(wanted, value))
        });
        if self.all { hits.all(|hit| hit) } else { hits.any(|hit| hit) }
    }
}

/// Equality across the encodings that clients of different languages choose for the same number or text.
pub(super) fn same(left: &AMQPValue, right: &AMQPValue) -> bool {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left == right,
        _ => match (text(left), text(right)) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
    }
}

/// The value as an integer, if it is one.
pub(super) fn integer(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    })
}

/// The value as text, if it is a string.
pub(super) fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    fn string(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn all_and_any() {
        let wanted = [("a", AMQPValue::LongInt(1)), ("b", string("x"))];
        let all = HeadersPattern::parse(&table(&wanted)).unwrap();
        let any = HeadersPattern::parse(&table(&[&wanted[..], &[("x-match", string("any"))]].concat())).unwrap();
        let both = table(&[("a", AMQPValue::ShortInt(1)), ("b", string("x")), ("c", AMQPValue::Void)]);
        let one = table(&[("a", AMQPValue::LongLongInt(1)), ("b", string("y"))]);
        assert!(all.matches(&both) && any.matches(&both));
        assert!(!all.matches(&one) && any.matches(&one));
        assert!(!all.matches(&table(&[])) && !any.matches(&table(&[])));
    }

    #[test]
    fn keys_with_x_count_only_when_asked() {
        let wanted = [("x-a", AMQPValue::Void), ("x-match", string("all"))];
        assert!(HeadersPattern::parse(&table(&wanted)).unwrap().matches(&table(&[])));
        let wanted = [("x-a", AMQPValue::Void), ("x-match", string("all-with-x"))];
        let pattern = HeadersPattern::parse(&table(&wanted)).unwrap();
        assert!(!pattern.matches(&table(&[])) && pattern.matches(&table(&[("x-a", AMQPValue::Boolean(true))])));
    }

    #[test]
    fn another_match_is_refused_in_the_words_of_rabbitmq() {
        let refused = |value| HeadersPattern::parse(&table(&[("x-match", value)])).unwrap_err();
        let text = "Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x";
        assert_eq!(refused(string("some")), text);
        let text = "Invalid x-match field type signedint (value 5); expected longstr";
        assert_eq!(refused(AMQPValue::LongInt(5)), text);
    }
}
