//! Values of optional arguments in RabbitMQ's words, for the texts of exceptions.
//!
//! Does not know what the arguments mean.

use amq_protocol::types::AMQPValue;

use super::headers::{integer, text};
use crate::frame;

/// An optional argument that was given only once, in RabbitMQ's words.
pub(super) fn said(value: Option<&AMQPValue>) -> String {
    let said = |value: &AMQPValue| format!("the value '{}' of type '{}'", shown(value), type_name(value));
    value.map_or_else(|| "none".to_owned(), said)
}

/// A value by itself.
pub(super) fn shown(value: &AMQPValue) -> String {
    match (integer(value), text(value), value) {
        (Some(number), ..) => number.to_string(),
        (None, Some(text), _) => text,
        (None, None, AMQPValue::Boolean(flag)) => flag.to_string(),
        (None, None, other) => format!("{other:?}"),
    }
}

/// A type of value, in RabbitMQ's words.
pub(super) fn type_name(value: &AMQPValue) -> &'static str {
    frame::type_name(u8::try_from(value.get_type().get_id()).unwrap_or_default())
}
