//! The optional arguments of `queue.declare` (`x-…`): checked once, and kept as what they mean.
//!
//! Names, bounds and texts are RabbitMQ's, because clients match on them. Does not know what a queue does with them.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use super::argument_text::type_name;
use super::expiration::check_wait;
use super::headers::{integer, text};
use crate::exception::Exception;
use crate::identity::Timestamp;

/// How often a quorum queue delivers a message again unless told otherwise (`x-delivery-limit`), as in RabbitMQ 4.
const DELIVERY_LIMIT: u16 = 20;

/// What to do with a message for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Make room: the first messages go.
    #[default]
    DropHead,
    /// Refuse the new one.
    RejectPublish,
    /// Refuse it towards its publisher, and dead-letter it.
    RejectPublishDlx,
}

/// Where a queue's dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadLetterTo {
    /// `x-dead-letter-exchange`; may be the default exchange.
    pub(super) exchange: Arc<str>,
    /// `x-dead-letter-routing-key`; the message's own without one.
    pub(super) routing_key: Option<Arc<str>>,
}

/// What a queue was asked to do, beyond its flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueArguments {
    /// `x-message-ttl`, in milliseconds.
    pub(super) message_ttl: Option<u64>,
    /// `x-expires`: how long it may be unused, in milliseconds.
    pub(super) expires: Option<u64>,
    /// `x-max-length`, in messages that wait.
    pub(super) max_length: Option<usize>,
    /// `x-max-length-bytes`, in octets of bodies of messages that wait.
    pub(super) max_length_bytes: Option<usize>,
    /// `x-overflow`.
    pub(super) overflow: Overflow,
    /// `x-dead-letter-exchange`.
    pub(super) dead_letter: Option<DeadLetterTo>,
    /// `x-max-priority`; 0 without it.
    pub(super) max_priority: u8,
    /// `x-single-active-consumer`.
    pub(super) single_active_consumer: bool,
    /// `x-queue-type` is `quorum`: deliveries are counted.
    pub(super) quorum: bool,
    /// After how many returns a message is a dead letter; only for a quorum queue, where it is 20 by default.
    pub(super) delivery_limit: Option<u16>,
}

impl QueueArguments {
    /// The type of queue, as `x-queue-type` names it.
    pub(super) fn queue_type(&self) -> &'static str {
        if self.quorum { "quorum" } else { "classic" }
    }

    /// When a message expires in this queue that was accepted at `published_at` and has this expiry of its own.
    pub(super) fn expires_at(&self, published_at: Timestamp, own: Timestamp) -> Timestamp {
        self.message_ttl.map_or(own, |ttl| own.min(published_at.after(ttl)))
    }

    /// Whether so many messages and octets of bodies are too many.
    pub(super) fn is_too_much(&self, messages: usize, octets: usize) -> bool {
        self.max_length.is_some_and(|max| messages > max) || self.max_length_bytes.is_some_and(|max| octets > max)
    }
}

/// A queue that is being declared, for the checks and the texts of the exceptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    pub(super) name: &'a str,
    pub(super) vhost: &'a str,
    pub(super) durable: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    /// Whether the broker made the name up.
    pub(super) server_named: bool,
}

/// The types of queue, in the texts of exceptions.
const CLASSIC: &str = "rabbit_classic_queue";
const QUORUM: &str = "rabbit_quorum_queue";

/// The argument that says of which type a queue is.
const QUEUE_TYPE: &str = "x-queue-type";

/// The arguments that are known, and whether a classic queue and a quorum queue may have them, as measured with RabbitMQ
/// 4. All others mean nothing and are not compared when a queue is declared again.
const KNOWN: [(&str, bool, bool); 22] = [
    (QUEUE_TYPE, true, true),
    ("x-dead-letter-exchange", true, true),
    ("x-dead-letter-routing-key", true, true),
    ("x-dead-letter-strategy", false, true),
    ("x-delivery-limit", false, true),
    ("x-expires", true, true),
    ("x-initial-cluster-size", false, false),
    ("x-max-age", false, false),
    ("x-max-in-memory-bytes", false, true),
    ("x-max-in-memory-length", false, true),
    ("x-max-length", true, true),
    ("x-max-length-bytes", true, true),
    ("x-max-priority", true, false),
    ("x-message-ttl", true, true),
    ("x-overflow", true, true),
    ("x-queue-leader-locator", true, true),
    ("x-queue-master-locator", true, false),
    ("x-queue-mode", true, false),
    ("x-queue-version", true, false),
    ("x-quorum-initial-group-size", false, true),
    ("x-single-active-consumer", true, true),
    ("x-stream-max-segment-size-bytes", false, false),
];

/// The arguments that make a difference when a queue is declared again, with the type said even where it was not.
pub(super) fn compared(arguments: &FieldTable) -> FieldTable {
    let mut compared = FieldTable::default();
    compared.insert(QUEUE_TYPE.into(), AMQPValue::LongString("classic".into()));
    for (name, value) in arguments.inner() {
        if KNOWN.iter().any(|(known, ..)| *known == name.as_str()) {
            compared.insert(name.clone(), value.clone());
        }
    }
    compared
}

impl Declared<'_> {
    /// Reads the arguments. Unknown ones are left alone.
    ///
    /// # Errors
    /// [`Exception::InvalidArgument`], [`Exception::WrongArgumentType`], [`Exception::ArgumentOfOtherType`],
    /// [`Exception::InvalidProperty`] or [`Exception::ServerNamedOfType`].
    pub(super) fn read(&self, arguments: &FieldTable) -> Result<QueueArguments, Exception> {
        const EXCHANGE: &str = "x-dead-letter-exchange";
        if let Some(value) = arguments.inner().get(EXCHANGE).filter(|value| text(value).is_none()) {
            let (found, name, vhost) = (type_name(value), self.name.into(), self.vhost.into());
            return Err(Exception::WrongArgumentType { found, arg: EXCHANGE, kind: "queue", name, vhost });
        }
        let invalid = |(arg, reason): (&'static str, String)| Exception::InvalidArgument {
            arg: arg.into(),
            kind: "queue",
            name: self.name.into(),
            vhost: self.vhost.into(),
            reason: reason.into(),
        };
        let values = Values { arguments };
        let unsupported = |other: &str| format!("\"unsupported queue type '{other}'\"");
        let queue_type = values.choice(QUEUE_TYPE, &["classic", "quorum"], unsupported).map_err(invalid)?;
        let quorum = queue_type == Some(1);
        self.check_type(arguments, quorum)?;
        let read = values.read(quorum).map_err(invalid)?;
        if quorum {
            self.check_quorum()?;
        }
        Ok(read)
    }

    /// Refuses arguments that queues of this type do not have.
    fn check_type(&self, arguments: &FieldTable, quorum: bool) -> Result<(), Exception> {
        let refused =
            |(_, classic_has, quorum_has): &&(_, bool, bool)| !if quorum { *quorum_has } else { *classic_has };
        match KNOWN.iter().filter(refused).find(|(arg, ..)| arguments.inner().contains_key(*arg)) {
            None => Ok(()),
            Some((arg, ..)) => {
                let (name, vhost) = (self.name.into(), self.vhost.into());
                let queue_type = if quorum { QUORUM } else { CLASSIC };
                Err(Exception::ArgumentOfOtherType { arg, name, vhost, queue_type })
            }
        }
    }

    fn check_quorum(&self) -> Result<(), Exception> {
        if self.server_named {
            return Err(Exception::ServerNamedOfType(QUORUM));
        }
        let refused =
            [(self.auto_delete, "auto-delete"), (self.exclusive, "exclusive-owner"), (!self.durable, "non-durable")];
        match refused.into_iter().find(|(refused, _)| *refused) {
            None => Ok(()),
            Some((_, property)) => {
                Err(Exception::InvalidProperty { property, name: self.name.into(), vhost: self.vhost.into() })
            }
        }
    }
}

/// Access to the arguments. Errors are an argument's name and what is wrong with it, as RabbitMQ prints it.
#[derive(Clone, Copy)]
struct Values<'a> {
    arguments: &'a FieldTable,
}

type Checked<T> = Result<T, (&'static str, String)>;

impl Values<'_> {
    fn read(&self, quorum: bool) -> Checked<QueueArguments> {
        self.choice("x-queue-mode", &["default", "lazy"], |other| format!("\"unsupported queue mode '{other}'\""))?;
        let overflow = self.choice("x-overflow", &["drop-head", "reject-publish", "reject-publish-dlx"], |_| {
            "invalid_overflow".to_owned()
        })?;
        let locators = ["client-local", "balanced", "random", "least-leaders"];
        self.choice("x-queue-leader-locator", &locators, |_| "invalid_queue_locator_arg".to_owned())?;
        self.choice("x-dead-letter-strategy", &["at-most-once", "at-least-once"], |_| {
            "invalid_dlx_strategy".to_owned()
        })?;
        self.positive("x-quorum-initial-group-size")?;
        if let Some(version) = self.number("x-queue-version")?.filter(|version| !matches!(version, 1 | 2)) {
            return Err(("x-queue-version", format!("\"unsupported queue version '{version}'\"")));
        }
        let max_priority = self.count("x-max-priority")?;
        Ok(QueueArguments {
            message_ttl: self.wait("x-message-ttl", self.count("x-message-ttl")?)?,
            expires: self.wait("x-expires", self.positive("x-expires")?)?,
            max_length: self.size("x-max-length")?,
            max_length_bytes: self.size("x-max-length-bytes")?,
            overflow: match overflow {
                None | Some(0) => Overflow::DropHead,
                Some(1) => Overflow::RejectPublish,
                Some(_) => Overflow::RejectPublishDlx,
            },
            dead_letter: self.dead_letter()?,
            max_priority: u8::try_from(max_priority.unwrap_or(0)).map_err(|_| {
                ("x-max-priority", format!("{{max_value_exceeded,{}}}", max_priority.unwrap_or_default()))
            })?,
            single_active_consumer: self.flag("x-single-active-consumer")?,
            quorum,
            // A negative limit is none, as in RabbitMQ 4.
            delivery_limit: match self.number("x-delivery-limit")? {
                _ if !quorum => None,
                None => Some(DELIVERY_LIMIT),
                Some(limit) if limit < 0 => None,
                Some(limit) => Some(u16::try_from(limit).unwrap_or(u16::MAX - 1)),
            },
        })
    }

    fn get(&self, arg: &'static str) -> Option<&AMQPValue> {
        self.arguments.inner().get(arg)
    }

    fn number(&self, arg: &'static str) -> Checked<Option<i64>> {
        let Some(value) = self.get(arg) else { return Ok(None) };
        let wrong = || (arg, format!("\"expected integer, got {}\"", type_name(value)));
        integer(value).map(Some).ok_or_else(wrong)
    }

    fn count(&self, arg: &'static str) -> Checked<Option<u64>> {
        let Some(number) = self.number(arg)? else { return Ok(None) };
        u64::try_from(number).map(Some).map_err(|_| (arg, format!("{{value_negative,{number}}}")))
    }

    fn size(&self, arg: &'static str) -> Checked<Option<usize>> {
        Ok(self.count(arg)?.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    fn positive(&self, arg: &'static str) -> Checked<Option<u64>> {
        match self.count(arg)? {
            Some(0) => Err((arg, "{value_zero,0}".to_owned())),
            count => Ok(count),
        }
    }

    fn wait(&self, arg: &'static str, milliseconds: Option<u64>) -> Checked<Option<u64>> {
        milliseconds.map(check_wait).transpose().map_err(|reason| (arg, reason))
    }

    fn string(&self, arg: &'static str) -> Checked<Option<String>> {
        let Some(value) = self.get(arg) else { return Ok(None) };
        text(value).map(Some).ok_or_else(|| (arg, format!("{{unacceptable_type,{}}}", type_name(value))))
    }

    fn flag(&self, arg: &'static str) -> Checked<bool> {
        match self.get(arg) {
            None => Ok(false),
            Some(AMQPValue::Boolean(flag)) => Ok(*flag),
            Some(value) => Err((arg, format!("{{unacceptable_type,{}}}", type_name(value)))),
        }
    }

    /// Which of the allowed texts it is.
    fn choice(&self, arg: &'static str, allowed: &[&str], wrong: impl Fn(&str) -> String) -> Checked<Option<usize>> {
        let Some(text) = self.string(arg)? else { return Ok(None) };
        allowed.iter().position(|known| *known == text).map(Some).ok_or_else(|| (arg, wrong(&text)))
    }

    fn dead_letter(&self) -> Checked<Option<DeadLetterTo>> {
        const ROUTING_KEY: &str = "x-dead-letter-routing-key";
        let exchange = self.string("x-dead-letter-exchange")?;
        let routing_key = self.string(ROUTING_KEY)?;
        match (exchange, routing_key) {
            (None, Some(_)) => Err((ROUTING_KEY, "routing_key_but_no_dlx_defined".to_owned())),
            (None, None) => Ok(None),
            (Some(exchange), key) => {
                Ok(Some(DeadLetterTo { exchange: exchange.into(), routing_key: key.map(Into::into) }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[(&str, AMQPValue)], durable: bool) -> Result<QueueArguments, String> {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let (exclusive, auto_delete, server_named) = (false, false, false);
        let declared = Declared { name: "q", vhost: "/", durable, exclusive, auto_delete, server_named };
        declared.read(&table).map_err(|exception| exception.reply_text())
    }

    fn string(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_rabbitmq() {
        let number = AMQPValue::LongInt;
        let wrong = [
            ("x-message-ttl", number(-1), "{value_negative,-1}"),
            ("x-message-ttl", string("60000"), "\"expected integer, got longstr\""),
            ("x-expires", number(0), "{value_zero,0}"),
            ("x-max-length", AMQPValue::Boolean(true), "\"expected integer, got bool\""),
            ("x-max-priority", number(256), "{max_value_exceeded,256}"),
            ("x-overflow", string("explode"), "invalid_overflow"),
            ("x-dead-letter-routing-key", string("k"), "routing_key_but_no_dlx_defined"),
            ("x-single-active-consumer", number(1), "{unacceptable_type,signedint}"),
            ("x-queue-type", string("stream"), "\"unsupported queue type 'stream'\""),
            ("x-queue-version", number(3), "\"unsupported queue version '3'\""),
            ("x-message-ttl", AMQPValue::LongLongInt(1 << 40), "{value_too_large,1099511627776}"),
            ("x-queue-mode", string("busy"), "\"unsupported queue mode 'busy'\""),
        ];
        for (arg, value, reason) in wrong {
            let text = format!("PRECONDITION_FAILED - invalid arg '{arg}' for queue 'q' in vhost '/': {reason}");
            assert_eq!(read(&[(arg, value)], true), Err(text));
        }
        let text = "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost \
                    '/'";
        assert_eq!(read(&[("x-dead-letter-exchange", number(7))], true), Err(text.to_owned()));
    }

    #[test]
    fn a_quorum_queue_is_durable_and_counts_deliveries() {
        let quorum = ("x-queue-type", string("quorum"));
        let read_quorum =
            |more: &[(&str, AMQPValue)], durable| read(&[std::slice::from_ref(&quorum), more].concat(), durable);
        assert_eq!(read_quorum(&[], true).unwrap().delivery_limit, Some(DELIVERY_LIMIT));
        let limit = |limit| read_quorum(&[("x-delivery-limit", AMQPValue::LongInt(limit))], true).unwrap();
        assert_eq!((limit(3).delivery_limit, limit(-1).delivery_limit), (Some(3), None));
        let text = "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'q' in vhost '/'";
        assert_eq!(read_quorum(&[], false), Err(text.to_owned()));
        let text = "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type \
                    rabbit_quorum_queue";
        assert_eq!(read_quorum(&[("x-max-priority", AMQPValue::LongInt(5))], true), Err(text.to_owned()));
        assert_eq!(read(&[], true).unwrap().delivery_limit, None);
        let text = "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type \
                    rabbit_classic_queue";
        assert_eq!(read(&[("x-delivery-limit", AMQPValue::LongInt(5))], true), Err(text.to_owned()));
    }

    #[test]
    fn what_is_not_acted_upon_is_tolerated() {
        let arguments = [
            ("x-queue-mode", string("lazy")),
            ("x-queue-version", AMQPValue::LongInt(2)),
            ("x-queue-leader-locator", string("balanced")),
            ("x-something-else", AMQPValue::Void),
        ];
        assert_eq!(read(&arguments, false), Ok(QueueArguments::default()));
    }
}
