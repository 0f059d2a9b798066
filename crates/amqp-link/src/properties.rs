//! A message's identity in the properties that travel with an AMQP message: the whole of it in the header table,
//! and as much as fits where other AMQP tools look for it. It does no input or output.

use crosstalk_contract::{Identity, text};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::LinkError;

/// AMQP's delivery mode for messages that outlive the broker's process.
const PERSISTENT: u8 = 2;

/// The properties of a persistent message.
#[must_use]
pub fn properties(identity: &Identity) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in text::fields(identity) {
        headers.insert(ShortString::from(name), AMQPValue::LongString(LongString::from(value)));
    }
    BasicProperties::default()
        .with_headers(headers)
        .with_message_id(ShortString::from(format!("{}-{}", identity.run, identity.seq)))
        .with_timestamp(identity.sent_ns / 1_000_000_000)
        .with_app_id(ShortString::from("crosstalk"))
        .with_content_type(ShortString::from("application/octet-stream"))
        .with_delivery_mode(PERSISTENT)
}

/// Reads the identity back from the header table.
///
/// # Errors
/// Names the header that is missing or wrong.
pub fn identity(properties: &BasicProperties) -> Result<Identity, LinkError> {
    let headers = properties.headers().as_ref();
    let get = |name: &str| match headers?.inner().get(name)? {
        AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok(),
        AMQPValue::ShortString(value) => Some(value.as_str()),
        _ => None,
    };
    Ok(text::parse(get)?)
}

#[cfg(test)]
mod tests {
    use crosstalk_contract::RunId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_identity_survives_its_properties(
            run: u64, sender in "[a-z0-9é-]{1,16}", seq in 1u64.., of: u64, intended_ns: u64, sent_ns: u64,
        ) {
            let message = Identity { run: RunId::from_low_bits(run), sender, seq, of, intended_ns, sent_ns };
            let properties = properties(&message);
            prop_assert_eq!(properties.delivery_mode(), &Some(2));
            prop_assert_eq!(identity(&properties).unwrap(), message);
        }

        #[test]
        fn foreign_headers_are_refused_and_never_panic(
            name in prop::sample::select(text::NAMES.to_vec()), value: Vec<u8>, number: i64, kind in 0..4,
        ) {
            let mut headers = FieldTable::default();
            headers.insert(name.into(), match kind {
                0 => AMQPValue::LongString(value.into()),
                1 => AMQPValue::LongLongInt(number),
                2 => AMQPValue::Void,
                _ => AMQPValue::FieldTable(FieldTable::default()),
            });
            prop_assert!(identity(&BasicProperties::default().with_headers(headers)).is_err());
        }
    }

    #[test]
    fn a_message_without_headers_is_foreign() {
        let error = identity(&BasicProperties::default()).unwrap_err().to_string();
        assert!(error.contains("header crosstalk-run is missing"), "{error}");
    }
}
