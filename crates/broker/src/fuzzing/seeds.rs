//! Where fuzzing starts: valid traffic with frames of every kind and every method a client may send, and files that the
//! store wrote.
//!
//! Always the same octets, so that the corpus can be compared with what is made here. Knows no files.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue, tx};
use amq_protocol::types::{AMQPValue, FieldTable};
use bytes::BytesMut;

use crate::frame::{
    Content, FRAME_END, FRAME_HEADER_BYTES, encode_body, encode_content_header, encode_heartbeat, encode_method,
};
use crate::identity::{QueueId, Timestamp};
use crate::message::{Message, Resident};
use crate::store::arbitrary;
use crate::store::{StoredBinding, StoredDestination, StoredExchange, StoredQueue, TopologyChange};

/// A target, the name of a seed for it, and its octets.
type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, stream) in streams() {
        seeds.push(("frames", name.to_owned(), [&[6, 0, 40, 255], &stream[..]].concat()));
        seeds.push(("connection", name.to_owned(), [&[1], &stream[..]].concat()));
    }
    for (number, method) in every_method().into_iter().enumerate() {
        seeds.push(("methods", format!("method-{number:02}"), payload(&method)));
    }
    seeds.push(("methods", "content".to_owned(), content_header()));
    for (name, orderly) in [("crashed", false), ("closed", true)] {
        let archive = arbitrary::example(&message(), topology(), orderly).unwrap();
        seeds.push(("segments", format!("{name}-sealed"), [&[1], &archive[..]].concat()));
        seeds.push(("segments", name.to_owned(), [&[0], &archive[..]].concat()));
    }
    seeds.push((
        "permissions",
        "usual".to_owned(),
        b"^(mine|ours)\\..*\n.*\n^amq\\.default$\nmine.q\n\namq.default".to_vec(),
    ));
    seeds
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

/// Every type of value.
fn values() -> FieldTable {
    let inner = table(&[("capability", AMQPValue::Boolean(true)), ("count", AMQPValue::LongLongInt(-3))]);
    let elements = vec![AMQPValue::FieldTable(inner.clone()), AMQPValue::Void, AMQPValue::ShortInt(-2)];
    table(&[
        ("array", AMQPValue::FieldArray(elements.into())),
        ("binary", AMQPValue::ByteArray(vec![0, 255].into())),
        ("decimal", AMQPValue::DecimalValue(amq_protocol::types::DecimalValue { scale: 2, value: 314 })),
        ("double", AMQPValue::Double(0.5)),
        ("float", AMQPValue::Float(0.25)),
        ("octets", AMQPValue::ShortShortUInt(7)),
        ("signed", AMQPValue::ShortShortInt(-7)),
        ("table", AMQPValue::FieldTable(inner)),
        ("text", AMQPValue::LongString("text".into())),
        ("time", AMQPValue::Timestamp(1_700_000_000)),
        ("unsigned", AMQPValue::LongUInt(9)),
        ("word", AMQPValue::ShortUInt(8)),
        ("x-match", AMQPValue::LongString("any".into())),
        ("number", AMQPValue::LongInt(5)),
    ])
}

fn queue_arguments() -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    table(&[
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("other")),
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-max-length-bytes", AMQPValue::LongInt(100)),
        ("x-max-priority", AMQPValue::LongInt(3)),
        ("x-message-ttl", AMQPValue::LongInt(0)),
        ("x-overflow", text("drop-head")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
    ])
}

fn declare(name: &str, durable: bool, arguments: FieldTable) -> AMQPClass {
    let (passive, exclusive, auto_delete, nowait) = (false, !durable, false, false);
    let declare = queue::Declare { queue: name.into(), passive, durable, exclusive, auto_delete, nowait, arguments };
    AMQPClass::Queue(queue::AMQPMethod::Declare(declare))
}

fn declare_exchange(name: &str, kind: &str) -> AMQPClass {
    let (passive, durable, auto_delete, internal, nowait) = (false, true, true, false, false);
    let (exchange, kind) = (name.into(), kind.into());
    let arguments = table(&[("alternate-exchange", AMQPValue::LongString("amq.fanout".into()))]);
    let declare = exchange::Declare { exchange, kind, passive, durable, auto_delete, internal, nowait, arguments };
    AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare))
}

fn bind(source: &str, arguments: FieldTable) -> AMQPClass {
    let (queue, exchange, routing_key) = ("q".into(), source.into(), "a.*.#".into());
    AMQPClass::Queue(queue::AMQPMethod::Bind(queue::Bind { queue, exchange, routing_key, nowait: false, arguments }))
}

fn bind_exchange() -> AMQPClass {
    let (destination, source, routing_key, nowait, arguments) =
        ("amq.fanout".into(), "topics".into(), "#".into(), true, FieldTable::default());
    let bind = exchange::Bind { destination, source, routing_key, nowait, arguments };
    AMQPClass::Exchange(exchange::AMQPMethod::Bind(bind))
}

fn publish(exchange: &str, key: &str) -> AMQPClass {
    let publish =
        basic::Publish { exchange: exchange.into(), routing_key: key.into(), mandatory: true, immediate: false };
    AMQPClass::Basic(basic::AMQPMethod::Publish(publish))
}

fn consume(tag: &str, arguments: FieldTable) -> AMQPClass {
    let (no_local, no_ack, exclusive, nowait) = (false, false, false, false);
    let (queue, consumer_tag) = ("q".into(), tag.into());
    let consume = basic::Consume { queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments };
    AMQPClass::Basic(basic::AMQPMethod::Consume(consume))
}

fn of_basic(method: basic::AMQPMethod) -> AMQPClass {
    AMQPClass::Basic(method)
}

/// What concerns the topology.
fn topology_methods() -> Vec<AMQPClass> {
    let (queue, exchange, routing_key) = ("q".into(), "topics".into(), "a.*.#".into());
    let unbind = queue::Unbind { queue, exchange, routing_key, arguments: FieldTable::default() };
    let delete_exchange = exchange::Delete { exchange: "headers".into(), if_unused: false, nowait: false };
    let delete = queue::Delete { queue: "q".into(), if_unused: false, if_empty: false, nowait: false };
    vec![
        declare("q", true, queue_arguments()),
        declare("other", false, FieldTable::default()),
        declare_exchange("topics", "topic"),
        declare_exchange("headers", "headers"),
        bind("topics", FieldTable::default()),
        bind("headers", values()),
        bind_exchange(),
        AMQPClass::Queue(queue::AMQPMethod::Unbind(unbind)),
        AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete_exchange)),
        AMQPClass::Queue(queue::AMQPMethod::Purge(queue::Purge { queue: "q".into(), nowait: false })),
        AMQPClass::Queue(queue::AMQPMethod::Delete(delete)),
    ]
}

/// What concerns messages, without those that a content follows.
fn message_methods() -> Vec<AMQPClass> {
    use basic::AMQPMethod as Basic;
    vec![
        of_basic(Basic::Qos(basic::Qos { prefetch_count: 2, global: true })),
        consume("c", table(&[("x-priority", AMQPValue::LongInt(3))])),
        of_basic(Basic::Get(basic::Get { queue: "q".into(), no_ack: false })),
        of_basic(Basic::Ack(basic::Ack { delivery_tag: 1, multiple: false })),
        of_basic(Basic::Nack(basic::Nack { delivery_tag: 0, multiple: true, requeue: true })),
        of_basic(Basic::Reject(basic::Reject { delivery_tag: 2, requeue: false })),
        of_basic(Basic::Recover(basic::Recover { requeue: true })),
        of_basic(Basic::Cancel(basic::Cancel { consumer_tag: "c".into(), nowait: false })),
        AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})),
        AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})),
        AMQPClass::Tx(tx::AMQPMethod::Rollback(tx::Rollback {})),
        AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: false })),
    ]
}

fn of_channel(method: channel::AMQPMethod) -> AMQPClass {
    AMQPClass::Channel(method)
}

fn open() -> AMQPClass {
    of_channel(channel::AMQPMethod::Open(channel::Open {}))
}

fn close() -> AMQPClass {
    let close = channel::Close { reply_code: 200, reply_text: "bye".into(), class_id: 0, method_id: 0 };
    of_channel(channel::AMQPMethod::Close(close))
}

fn close_connection() -> AMQPClass {
    let close = connection::Close { reply_code: 200, reply_text: "bye".into(), class_id: 0, method_id: 0 };
    AMQPClass::Connection(connection::AMQPMethod::Close(close))
}

fn every_method() -> Vec<AMQPClass> {
    let start_ok = connection::StartOk {
        client_properties: values(),
        mechanism: "AMQPLAIN".into(),
        response: "\x05LOGINS\x00\x00\x00\x05guest".into(),
        locale: "en_US".into(),
    };
    let tune_ok = connection::TuneOk { channel_max: 1, frame_max: 4096, heartbeat: 5 };
    let flow = channel::Flow { active: true };
    let mut methods = vec![
        AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok)),
        AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)),
        AMQPClass::Connection(connection::AMQPMethod::Open(connection::Open { virtual_host: "/".into() })),
        close_connection(),
        open(),
        close(),
        of_channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})),
        of_channel(channel::AMQPMethod::Flow(flow)),
        publish("topics", "a.b"),
    ];
    methods.append(&mut topology_methods());
    methods.append(&mut message_methods());
    methods
}

fn frame(out: &mut BytesMut, method: &AMQPClass) {
    encode_method(out, 1, method);
}

fn payload(method: &AMQPClass) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(&mut out, method);
    out[FRAME_HEADER_BYTES..out.len() - 1].to_vec()
}

/// All properties there are, and a body of four octets.
fn content_header() -> Vec<u8> {
    let mut out = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    out.extend_from_slice(&properties());
    out
}

fn properties() -> Vec<u8> {
    let headers = payload(&bind(
        "headers",
        table(&[("CC", AMQPValue::FieldArray(vec![AMQPValue::LongString("other".into())].into()))]),
    ));
    // What stands in front of the table in `queue.bind`: ids, reserved, three short strings and an octet of bits.
    let headers = &headers[4 + 2 + 2 + 8 + 6 + 1..];
    let short = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut out = vec![0xFF, 0xFC];
    out.extend([short("text/plain"), short("gzip"), headers.to_vec(), vec![2, 1]].concat());
    out.extend([short("id"), short("other"), short("1000"), short("m-1")].concat());
    out.extend(1_700_000_000u64.to_be_bytes());
    out.extend([short("type"), short("guest"), short("app"), short("")].concat());
    out
}

fn message() -> Arc<Message> {
    Arc::new(Message {
        exchange: "topics".into(),
        routing_key: "a.b".into(),
        content: Content::new(&properties(), &[b'x'; 300]),
        published_at: Timestamp(1_700_000_000_000),
        expires_at: Some(Timestamp(1_700_000_001_000)),
        priority: 1,
        persistent: true,
        dead_letter: false,
        resident: Resident::default(),
    })
}

fn put_content(out: &mut BytesMut, exchange: &str, key: &str, body: &[u8]) {
    frame(out, &publish(exchange, key));
    encode_content_header(out, 1, &properties(), body.len());
    if !body.is_empty() {
        encode_body(out, 1, body);
    }
}

/// What a client may send after the handshake.
fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let mut topology = BytesMut::new();
    frame(&mut topology, &open());
    topology_methods().iter().for_each(|method| frame(&mut topology, method));
    frame(&mut topology, &close());
    encode_heartbeat(&mut topology);
    encode_method(&mut topology, 0, &close_connection());

    let mut messages = BytesMut::new();
    for method in [open(), declare("q", true, queue_arguments()), declare("other", false, FieldTable::default())] {
        frame(&mut messages, &method);
    }
    let [methods @ .., commit, rollback, confirm] = &message_methods()[..] else { unreachable!() };
    for method in methods {
        put_content(&mut messages, "", "q", b"a body");
        frame(&mut messages, method);
    }
    put_content(&mut messages, "amq.topic", "nowhere", b"");
    frame(&mut messages, commit);
    frame(&mut messages, rollback);

    let mut confirmed = BytesMut::new();
    for method in [open(), confirm.clone(), declare("q", false, FieldTable::default())] {
        frame(&mut confirmed, &method);
    }
    for key in ["q", "nowhere", "q"] {
        put_content(&mut confirmed, "", key, &[FRAME_END; 40]);
    }
    frame(&mut confirmed, &close());
    vec![("topology", topology.to_vec()), ("messages", messages.to_vec()), ("confirmed", confirmed.to_vec())]
}

fn topology() -> Vec<TopologyChange> {
    let queue = |id: u64| StoredQueue {
        id: QueueId(id),
        vhost: "/".into(),
        name: format!("q{id}").into(),
        auto_delete: false,
        arguments: queue_arguments(),
    };
    let exchange = StoredExchange {
        vhost: "/".into(),
        name: "topics".into(),
        kind: "topic".into(),
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
    };
    let binding = StoredBinding {
        vhost: "/".into(),
        source: "topics".into(),
        destination: StoredDestination::Queue(QueueId(1)),
        key: "a.#".into(),
        arguments: values(),
    };
    vec![
        TopologyChange::QueueDeclared(queue(1)),
        TopologyChange::QueueDeclared(queue(2)),
        TopologyChange::ExchangeDeclared(exchange),
        TopologyChange::Bound(binding),
        TopologyChange::QueueDeclared(queue(3)),
        TopologyChange::QueueDeleted(QueueId(3)),
    ]
}
