//! More to do with a bench: queues with arguments, messages with properties, and time. Knows no test.

use super::*;

impl Bench {
    /// Declares a durable queue with these arguments.
    pub(super) fn declare_with(&mut self, name: &str, arguments: &[(&str, AMQPValue)]) -> Vec<Effect> {
        let arguments = table(arguments);
        let declare = queue::Declare { queue: name.into(), durable: true, arguments, ..no_flags() };
        self.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))
    }

    pub(super) fn delete(&mut self, name: &str) -> Vec<Effect> {
        let delete = queue::Delete { queue: name.into(), if_unused: false, if_empty: false, nowait: false };
        self.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)))
    }

    /// Publishes to a queue by its name.
    pub(super) fn send(&mut self, queue: &str, properties: Properties<'_>, body: &[u8]) -> Vec<Effect> {
        let (exchange, routing_key) = ("".into(), queue.into());
        let publish = basic::Publish { exchange, routing_key, mandatory: false, immediate: false };
        let content = Content::new(&properties.encoded(), body);
        self.run(Command::Publish { channel: PUBLISHER, publish, content })
    }

    pub(super) fn confirms(&mut self) {
        self.method(PUBLISHER, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: true })));
    }

    /// Lets the time pass until it is so late.
    pub(super) fn at(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.engine.advance(Timestamp(milliseconds));
        self.engine.finish_batch().collect()
    }

    /// Takes everything out of a queue with `basic.get`: bodies and headers.
    pub(super) fn take_all(&mut self, queue: &str) -> Vec<(Vec<u8>, FieldTable)> {
        let mut taken = Vec::new();
        loop {
            let effects = self.get(queue);
            let found = effects.iter().find_map(|effect| match effect {
                Effect::Send { outbound: Outbound::GetOk { message, .. }, .. } => Some(Arc::clone(message)),
                _ => None,
            });
            let Some(message) = found else { return taken };
            taken.push((message.content.body().to_vec(), headers(&message)));
        }
    }

    /// Gets one message, which needs no settlement.
    pub(super) fn get(&mut self, queue: &str) -> Vec<Effect> {
        let get = basic::Get { queue: queue.into(), no_ack: true };
        self.basic(CONSUMER, basic::AMQPMethod::Get(get))
    }

    /// Starts a consumer of any queue.
    pub(super) fn consume_from(&mut self, queue: &str, tag: &str) -> Vec<Effect> {
        let consume = basic::Consume {
            queue: queue.into(),
            consumer_tag: tag.into(),
            no_local: false,
            no_ack: false,
            exclusive: false,
            nowait: true,
            arguments: FieldTable::default(),
        };
        self.basic(CONSUMER, basic::AMQPMethod::Consume(consume))
    }

    /// How many messages are ready and unacknowledged in a queue; `None` if there is no such queue.
    pub(super) fn depth(&self, queue: &str) -> Option<(usize, usize)> {
        let snapshot = self.engine.snapshot();
        let found = snapshot.queues.iter().find(|found| found.name == queue)?;
        Some((found.ready, found.unacknowledged))
    }
}

/// Properties of a message that the broker acts upon.
#[derive(Clone, Copy, Default)]
pub(crate) struct Properties<'a> {
    pub(crate) persistent: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) expiration: Option<&'a str>,
}

impl Properties<'_> {
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let flags = 0x1000 | u16::from(self.priority.is_some()) << 11 | u16::from(self.expiration.is_some()) << 8;
        let mut octets = flags.to_be_bytes().to_vec();
        octets.push(if self.persistent { 2 } else { 1 });
        octets.extend(self.priority);
        if let Some(text) = self.expiration {
            octets.push(text.len() as u8);
            octets.extend_from_slice(text.as_bytes());
        }
        octets
    }
}

/// A message's headers.
pub(super) fn headers(message: &Message) -> FieldTable {
    headers_of(&message.content)
}

/// A content's headers.
pub(crate) fn headers_of(content: &Content) -> FieldTable {
    let encoded = crate::frame::peek_headers(content.properties());
    let parsed = encoded.map(|table| amq_protocol::types::parsing::parse_field_table(table).unwrap().1);
    parsed.unwrap_or_default()
}

pub(crate) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn number(number: i64) -> AMQPValue {
    AMQPValue::LongLongInt(number)
}

/// The confirms among the effects: tag and whether it is an ack.
pub(super) fn confirmed(effects: &[Effect]) -> Vec<(u64, bool)> {
    let confirms = effects.iter().filter_map(|effect| match effect {
        Effect::Send { outbound: Outbound::Confirm { delivery_tag, ack, .. }, .. } => Some((*delivery_tag, *ack)),
        _ => None,
    });
    confirms.collect()
}
