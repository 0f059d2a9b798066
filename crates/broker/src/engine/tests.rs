//! The engine's decisions, one behaviour each, without sockets or tasks.

mod access;
mod bench;
mod consumers;
mod dead_letters;
mod delivery_count;
mod disk;
mod expiry;
mod extra_keys;
mod lengths;
mod on_disk;
mod priorities;
mod refusals;
mod reply_to;
mod rules_model;
mod transactions;
mod turns;

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

use super::*;
use crate::frame::Content;
use crate::message::{MESSAGE_OVERHEAD_BYTES, Message, Resident};
pub(crate) use bench::{Properties, headers_of, number, table, text};
use bench::{confirmed, headers};

/// An engine, and what it did in the last batch.
pub(super) struct Bench {
    pub(super) engine: Engine,
}

pub(super) const PUBLISHER: ChannelKey = ChannelKey { connection: ConnectionId(1), number: 1 };
pub(super) const CONSUMER: ChannelKey = ChannelKey { connection: ConnectionId(2), number: 1 };

/// A transient message with this body.
pub(super) fn message(body: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        exchange: "".into(),
        routing_key: "q".into(),
        content: Content::new(&[0, 0], body),
        published_at: Timestamp(0),
        expires_at: None,
        priority: 0,
        persistent: false,
        dead_letter: false,
        resident: Resident::default(),
    })
}

/// A delivery: consumer tag, delivery tag, redelivered, body.
pub(super) type Delivered = (String, u64, bool, Vec<u8>);

impl Bench {
    /// Two connections with a channel each, and the queue `q`.
    pub(super) fn new(limits: Limits) -> Self {
        let mut bench = Self::connected(Engine::new(limits, &["/".to_owned()], 1, false));
        bench.declare("q");
        bench
    }

    /// The same without the queue, and with a store, which the caller plays.
    pub(super) fn stored(limits: Limits) -> Self {
        Self::connected(Engine::new(limits, &["/".to_owned()], 1, true))
    }

    fn connected(engine: Engine) -> Self {
        let mut bench = Self { engine };
        for key in [PUBLISHER, CONSUMER] {
            bench.connect(key);
        }
        bench
    }

    pub(super) fn connect(&mut self, key: ChannelKey) {
        self.connect_as(key, Self::client());
    }

    fn client() -> Client {
        Client { vhost: "/".to_owned(), channel_max: 10, consumer_cancel_notify: true, ..Client::default() }
    }

    fn connect_as(&mut self, key: ChannelKey, client: Client) {
        self.engine.handle(Command::Connect { connection: key.connection, client });
        self.method(key, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
    }

    pub(super) fn run(&mut self, command: Command) -> Vec<Effect> {
        self.engine.handle(command);
        self.engine.finish_batch().collect()
    }

    pub(super) fn method(&mut self, channel: ChannelKey, method: AMQPClass) -> Vec<Effect> {
        self.run(Command::Method { channel, method: Box::new(method) })
    }

    pub(super) fn basic(&mut self, channel: ChannelKey, method: basic::AMQPMethod) -> Vec<Effect> {
        self.method(channel, AMQPClass::Basic(method))
    }

    pub(super) fn declare(&mut self, name: &str) -> Vec<Effect> {
        let declare = queue::Declare { queue: name.into(), ..no_flags() };
        self.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))
    }

    pub(super) fn publish(&mut self, exchange: &str, key: &str, body: u8) -> Vec<Effect> {
        self.publish_with(PUBLISHER, exchange, key, &[0, 0], body)
    }

    /// Publishes a mandatory message with raw properties.
    pub(super) fn publish_with(
        &mut self,
        channel: ChannelKey,
        exchange: &str,
        key: &str,
        properties: &[u8],
        body: u8,
    ) -> Vec<Effect> {
        let (exchange, routing_key) = (exchange.into(), key.into());
        let publish = basic::Publish { exchange, routing_key, mandatory: true, immediate: false };
        self.run(Command::Publish { channel, publish, content: Content::new(properties, &[body]) })
    }

    pub(super) fn consume(&mut self, channel: ChannelKey, tag: &str, no_ack: bool) -> Vec<Effect> {
        self.basic(channel, basic::AMQPMethod::Consume(consume_from("q", tag, no_ack)))
    }

    pub(super) fn qos(&mut self, channel: ChannelKey, prefetch_count: u16, global: bool) -> Vec<Effect> {
        self.basic(channel, basic::AMQPMethod::Qos(basic::Qos { prefetch_count, global }))
    }

    pub(super) fn ack(&mut self, delivery_tag: u64, multiple: bool) -> Vec<Effect> {
        self.basic(CONSUMER, basic::AMQPMethod::Ack(basic::Ack { delivery_tag, multiple }))
    }

    pub(super) fn nack(&mut self, delivery_tag: u64, multiple: bool, requeue: bool) -> Vec<Effect> {
        self.basic(CONSUMER, basic::AMQPMethod::Nack(basic::Nack { delivery_tag, multiple, requeue }))
    }
}

pub(crate) fn consume_from(queue: &str, tag: &str, no_ack: bool) -> basic::Consume {
    basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        no_local: false,
        no_ack,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    }
}

pub(super) fn no_flags() -> queue::Declare {
    queue::Declare {
        queue: "".into(),
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::default(),
    }
}

pub(super) fn deliveries(effects: &[Effect]) -> Vec<Delivered> {
    let delivered = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            outbound: Outbound::Deliver { consumer_tag, delivery_tag, redelivered, message, .. }, ..
        } => Some((consumer_tag.to_string(), *delivery_tag, *redelivered, message.content.body().to_vec())),
        _ => None,
    });
    delivered.collect()
}

fn bodies(effects: &[Effect]) -> Vec<u8> {
    deliveries(effects).into_iter().map(|(_, _, _, body)| body[0]).collect()
}

/// The messages that were returned or delivered.
fn messages(effects: &[Effect]) -> Vec<&Message> {
    let messages = effects.iter().filter_map(|effect| match effect {
        Effect::Send { outbound: Outbound::Deliver { message, .. } | Outbound::Return { message, .. }, .. } => {
            Some(&**message)
        }
        _ => None,
    });
    messages.collect()
}

/// The method that is the only effect.
fn answer(effects: &[Effect]) -> &AMQPClass {
    match effects {
        [Effect::Send { outbound: Outbound::Method { method, .. }, .. }] => method,
        other => panic!("not one method: {other:?}"),
    }
}

/// Code and text of the `channel.close` that is the only effect.
fn refusal(effects: &[Effect]) -> (u16, &str) {
    match answer(effects) {
        AMQPClass::Channel(channel::AMQPMethod::Close(close)) => (close.reply_code, close.reply_text.as_str()),
        other => panic!("not a close: {other:?}"),
    }
}

/// The codes of the closes among the effects, of channels and connections.
fn closes(effects: &[Effect]) -> Vec<u16> {
    let codes = effects.iter().filter_map(|effect| match effect {
        Effect::Send { outbound: Outbound::Close { exception, .. }, .. } => Some(exception.code()),
        Effect::Send { outbound: Outbound::Method { method, .. }, .. } => match &**method {
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => Some(close.reply_code),
            _ => None,
        },
        _ => None,
    });
    codes.collect()
}

#[test]
fn consumers_of_a_queue_take_turns() {
    let mut bench = Bench::new(Limits::default());
    for tag in ["a", "b", "c"] {
        bench.consume(CONSUMER, tag, true);
    }
    let turns: Vec<_> = (0..6).flat_map(|body| deliveries(&bench.publish("", "q", body))).map(|d| d.0).collect();
    assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_consumer_never_has_more_than_its_prefetch() {
    let mut bench = Bench::new(Limits::default());
    bench.qos(CONSUMER, 2, false);
    bench.consume(CONSUMER, "a", false);
    bench.consume(CONSUMER, "b", false);
    let given: usize = (0..6).map(|body| bodies(&bench.publish("", "q", body)).len()).sum();
    assert_eq!(given, 4);
    assert_eq!(bodies(&bench.ack(1, false)), [4]);
    assert_eq!(bodies(&bench.ack(5, true)), [5]);
}

#[test]
fn a_channel_never_has_more_than_its_prefetch() {
    let mut bench = Bench::new(Limits::default());
    bench.qos(CONSUMER, 3, true);
    bench.consume(CONSUMER, "a", false);
    bench.consume(CONSUMER, "b", false);
    let given: usize = (0..6).map(|body| bodies(&bench.publish("", "q", body)).len()).sum();
    assert_eq!(given, 3);
    assert_eq!(bodies(&bench.ack(2, true)), [3, 4]);
    assert_eq!(bodies(&bench.qos(CONSUMER, 0, true)), [5]);
}

#[test]
fn a_rejected_message_returns_to_the_front_as_redelivered() {
    let mut bench = Bench::new(Limits::default());
    bench.qos(CONSUMER, 1, false);
    bench.consume(CONSUMER, "a", false);
    for body in 0..3 {
        bench.publish("", "q", body);
    }
    assert_eq!(deliveries(&bench.nack(1, false, true)), [("a".to_owned(), 2, true, vec![0])]);
    assert_eq!(deliveries(&bench.nack(2, false, false)), [("a".to_owned(), 3, false, vec![1])]);
}

#[test]
fn a_backlog_holds_deliveries_back_until_half_of_it_has_left() {
    let cost = MESSAGE_OVERHEAD_BYTES + 3;
    let mut bench = Bench::new(Limits { delivery_bytes: 4 * cost, ..Limits::default() });
    bench.consume(CONSUMER, "a", true);
    let given: usize = (0..20).map(|body| bodies(&bench.publish("", "q", body)).len()).sum();
    assert_eq!(given, 5);
    let connection = CONSUMER.connection;
    assert!(bodies(&bench.run(Command::Drained { connection, bytes: 2 * cost })).is_empty());
    assert_eq!(bodies(&bench.run(Command::Drained { connection, bytes: cost })), [5, 6, 7]);
}

#[test]
fn a_batch_of_publishes_is_confirmed_at_once_and_after_its_returns() {
    let mut bench = Bench::new(Limits::default());
    bench.method(PUBLISHER, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: true })));
    for key in ["q", "nowhere", "q"] {
        let (exchange, routing_key) = ("".into(), key.into());
        let publish = basic::Publish { exchange, routing_key, mandatory: true, immediate: false };
        let content = Content::new(&[0, 0], &[1]);
        bench.engine.handle(Command::Publish { channel: PUBLISHER, publish, content });
    }
    let effects: Vec<_> = bench.engine.finish_batch().collect();
    let [Effect::Send { outbound: Outbound::Return { .. }, .. }, Effect::Send { outbound: confirm, .. }] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(matches!(confirm, Outbound::Confirm { delivery_tag: 3, multiple: true, .. }));
}

#[test]
fn what_follows_a_channel_exception_is_ignored_until_close_ok() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(closes(&bench.publish("missing", "", 0)), [404]);
    assert!(bench.publish("", "q", 0).is_empty());
    assert!(bench.declare("other").is_empty());
    bench.method(PUBLISHER, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
    assert_eq!(closes(&bench.declare("other")), [504]);
}

#[test]
fn an_auto_delete_queue_takes_its_auto_delete_exchanges_with_it() {
    let mut bench = Bench::new(Limits::default());
    for (name, auto_delete) in [("first", true), ("second", true), ("stays", false)] {
        let declare = exchange::Declare {
            exchange: name.into(),
            kind: "fanout".into(),
            passive: false,
            durable: false,
            auto_delete,
            internal: false,
            nowait: true,
            arguments: FieldTable::default(),
        };
        bench.method(PUBLISHER, AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)));
    }
    let arguments = FieldTable::default;
    for (destination, source) in [("second", "first"), ("second", "stays")] {
        let (destination, source, routing_key) = (destination.into(), source.into(), "".into());
        let bind = exchange::Bind { destination, source, routing_key, nowait: true, arguments: arguments() };
        bench.method(PUBLISHER, AMQPClass::Exchange(exchange::AMQPMethod::Bind(bind)));
    }
    let (exchange, routing_key) = ("second".into(), "".into());
    let bind = queue::Bind { queue: "q".into(), exchange, routing_key, nowait: true, arguments: arguments() };
    bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Bind(bind)));
    bench.consume(CONSUMER, "a", true);
    assert_eq!(bodies(&bench.publish("first", "", 7)), [7]);
    let delete = queue::Delete { queue: "q".into(), if_unused: false, if_empty: false, nowait: true };
    let effects = bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)));
    assert!(matches!(&effects[..], [Effect::Send { outbound: Outbound::Method { method, .. }, .. }]
        if matches!(&**method, AMQPClass::Basic(basic::AMQPMethod::Cancel(_)))));
    let snapshot = bench.engine.snapshot();
    let own: Vec<_> = snapshot.exchanges.iter().filter(|e| !e.name.starts_with("amq.")).map(|e| &*e.name).collect();
    assert_eq!((own, snapshot.bindings.len(), snapshot.queues.len()), (vec!["stays"], 0, 0));
}

#[test]
fn the_memory_alarm_is_raised_and_taken_back() {
    let mut bench = Bench::new(Limits { held_bytes: 3 * MESSAGE_OVERHEAD_BYTES, ..Limits::default() });
    let alarms = |effects: Vec<Effect>| {
        let raised = effects.iter().filter_map(|e| if let Effect::HoldPublishers(on) = e { Some(*on) } else { None });
        raised.collect::<Vec<_>>()
    };
    let raised: Vec<_> = (0..4).flat_map(|body| alarms(bench.publish("", "q", body))).collect();
    assert_eq!(raised, [true]);
    let delivered = bench.consume(CONSUMER, "a", true);
    // Deliveries are in memory until they are written, here: dropped.
    assert_eq!((bodies(&delivered).len(), alarms(delivered)), (4, vec![]));
    assert!(bench.engine.next_deadline().is_some(), "looks again by itself");
    assert_eq!(alarms(bench.engine.finish_batch().collect()), [false]);
    assert_eq!(bench.engine.next_deadline(), None);
}
