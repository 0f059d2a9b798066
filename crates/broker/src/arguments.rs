//! Optional arguments of queues, exchanges and bindings as JSON, for pages.
//!
//! A table becomes an object, an array an array, numbers, booleans and texts what JSON has for them, no value `null`, a
//! timestamp its seconds since 1970. What JSON has nothing for becomes a text: octets that are no UTF-8, and byte arrays
//! always, `0x` and hexadecimal digits; a decimal its digits, such as `12.50`, as a binary fraction would not be the same
//! number; a fraction that is no finite number `NaN`, `inf` or `-inf`.
//!
//! Recursive: the wire's tables are checked for their depth when they arrive. Does not know what an argument means.

use std::fmt::Write as _;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable};
use serde::{Serialize, Serializer};

/// The optional arguments with which something was declared or bound. Shared, so that a copy costs next to nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments(pub(crate) Arc<FieldTable>);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Table(&self.0).serialize(serializer)
    }
}

struct Table<'a>(&'a FieldTable);

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.inner().iter().map(|(key, value)| (key.as_str(), Value(value))))
    }
}

struct Value<'a>(&'a AMQPValue);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AMQPValue::Boolean(flag) => serializer.serialize_bool(*flag),
            AMQPValue::ShortShortInt(number) => serializer.serialize_i8(*number),
            AMQPValue::ShortShortUInt(number) => serializer.serialize_u8(*number),
            AMQPValue::ShortInt(number) => serializer.serialize_i16(*number),
            AMQPValue::ShortUInt(number) => serializer.serialize_u16(*number),
            AMQPValue::LongInt(number) => serializer.serialize_i32(*number),
            AMQPValue::LongUInt(number) => serializer.serialize_u32(*number),
            AMQPValue::LongLongInt(number) => serializer.serialize_i64(*number),
            AMQPValue::Timestamp(seconds) => serializer.serialize_u64(*seconds),
            AMQPValue::Float(number) if number.is_finite() => serializer.serialize_f32(*number),
            AMQPValue::Float(number) => serializer.collect_str(number),
            AMQPValue::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            AMQPValue::Double(number) => serializer.collect_str(number),
            AMQPValue::DecimalValue(number) => serializer.serialize_str(&decimal(*number)),
            AMQPValue::ShortString(text) => serializer.serialize_str(text.as_str()),
            AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.serialize_str(&hexadecimal(text.as_bytes())),
            },
            AMQPValue::ByteArray(octets) => serializer.serialize_str(&hexadecimal(octets.as_slice())),
            AMQPValue::FieldArray(values) => serializer.collect_seq(values.as_slice().iter().map(Value)),
            AMQPValue::FieldTable(table) => Table(table).serialize(serializer),
            AMQPValue::Void => serializer.serialize_unit(),
        }
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * octets.len());
    text.push_str("0x");
    for octet in octets {
        // Writing to a text cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// The value with its point `scale` digits from the right.
fn decimal(DecimalValue { scale, value }: DecimalValue) -> String {
    let fraction = usize::from(scale);
    let mut digits = format!("{value:0width$}", width = fraction + 1);
    if fraction > 0 {
        digits.insert(digits.len() - fraction, '.');
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::types::ByteArray;

    fn json(value: AMQPValue) -> String {
        serde_json::to_string(&Value(&value)).unwrap()
    }

    #[test]
    fn every_type_has_a_form_that_json_can_say() {
        let decimal = |scale, value| AMQPValue::DecimalValue(DecimalValue { scale, value });
        for (value, expected) in [
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::ShortShortInt(-1), "-1"),
            (AMQPValue::ShortShortUInt(255), "255"),
            (AMQPValue::ShortInt(-2), "-2"),
            (AMQPValue::ShortUInt(2), "2"),
            (AMQPValue::LongInt(-3), "-3"),
            (AMQPValue::LongUInt(u32::MAX), "4294967295"),
            (AMQPValue::LongLongInt(i64::MIN), "-9223372036854775808"),
            (AMQPValue::Timestamp(1_700_000_000), "1700000000"),
            (AMQPValue::Float(0.1), "0.1"),
            (AMQPValue::Double(-2.5), "-2.5"),
            (AMQPValue::Double(f64::NAN), "\"NaN\""),
            (AMQPValue::Float(f32::NEG_INFINITY), "\"-inf\""),
            (decimal(2, 1250), "\"12.50\""),
            (decimal(3, 5), "\"0.005\""),
            (decimal(0, 7), "\"7\""),
            (AMQPValue::LongString("größer \"x\"".into()), "\"größer \\\"x\\\"\""),
            (AMQPValue::LongString(vec![0xC3, 0x28].into()), "\"0xc328\""),
            (AMQPValue::ShortString("s".into()), "\"s\""),
            (AMQPValue::ByteArray(ByteArray::from(b"a\0".to_vec())), "\"0x6100\""),
            (AMQPValue::Void, "null"),
        ] {
            assert_eq!(json(value), expected);
        }
    }

    #[test]
    fn tables_and_arrays_nest() {
        let mut inner = FieldTable::default();
        inner.insert("b".into(), AMQPValue::Void);
        let array = vec![AMQPValue::LongInt(1), AMQPValue::FieldTable(inner)];
        let mut outer = FieldTable::default();
        outer.insert("a".into(), AMQPValue::FieldArray(array.into()));
        assert_eq!(serde_json::to_string(&Arguments(outer.into())).unwrap(), r#"{"a":[1,{"b":null}]}"#);
        assert_eq!(serde_json::to_string(&Arguments::default()).unwrap(), "{}");
    }
}
