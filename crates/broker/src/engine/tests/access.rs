//! What a user without a permission is told, for each operation that needs one.

use amq_protocol::types::AMQPValue;

use super::*;
use crate::permission::Permissions;

const ADA: ChannelKey = ChannelKey { connection: ConnectionId(7), number: 1 };

fn arguments(name: &str, value: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    arguments
}

fn queue_class(method: queue::AMQPMethod) -> AMQPClass {
    AMQPClass::Queue(method)
}

fn declare_queue(name: &str, passive: bool, arguments: FieldTable) -> AMQPClass {
    queue_class(queue::AMQPMethod::Declare(queue::Declare { queue: name.into(), passive, arguments, ..no_flags() }))
}

fn declare_exchange(name: &str, arguments: FieldTable) -> AMQPClass {
    AMQPClass::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
        exchange: name.into(),
        kind: "fanout".into(),
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments,
    }))
}

fn bind_queue(queue: &str, exchange: &str) -> AMQPClass {
    let (queue, exchange, routing_key) = (queue.into(), exchange.into(), "".into());
    let bind = queue::Bind { queue, exchange, routing_key, nowait: false, arguments: FieldTable::default() };
    queue_class(queue::AMQPMethod::Bind(bind))
}

fn unbind_queue(queue: &str, exchange: &str) -> AMQPClass {
    let (queue, exchange, routing_key) = (queue.into(), exchange.into(), "".into());
    let unbind = queue::Unbind { queue, exchange, routing_key, arguments: FieldTable::default() };
    queue_class(queue::AMQPMethod::Unbind(unbind))
}

fn bind_exchange(destination: &str, source: &str) -> AMQPClass {
    let (destination, source, routing_key) = (destination.into(), source.into(), "".into());
    let bind = exchange::Bind { destination, source, routing_key, nowait: false, arguments: FieldTable::default() };
    AMQPClass::Exchange(exchange::AMQPMethod::Bind(bind))
}

impl Bench {
    /// Two queues and two exchanges of each kind of name, and a user with these permissions.
    fn with_user(configure: &str, write: &str, read: &str) -> Self {
        let mut bench = Self::new(Limits::default());
        for name in ["mine", "other"] {
            bench.declare(name);
            bench.method(PUBLISHER, declare_exchange(name, FieldTable::default()));
        }
        let permissions = Arc::new(Permissions::new(configure, write, read).unwrap());
        bench.connect_as(ADA, Client { user: "ada".to_owned(), permissions, ..Self::client() });
        bench
    }
}

#[test]
fn each_operation_needs_its_permission() {
    let nothing = FieldTable::default;
    let get = basic::Get { queue: "other".into(), no_ack: true };
    let purge = queue::Purge { queue: "other".into(), nowait: false };
    let delete = queue::Delete { queue: "other".into(), if_unused: false, if_empty: false, nowait: false };
    let delete_exchange = exchange::Delete { exchange: "other".into(), if_unused: false, nowait: false };
    let cases = [
        ("configure access to queue 'other'", declare_queue("other", false, nothing())),
        ("configure access to queue 'new'", declare_queue("new", false, nothing())),
        ("configure access to queue 'other'", queue_class(queue::AMQPMethod::Delete(delete))),
        ("configure access to exchange 'new'", declare_exchange("new", nothing())),
        ("configure access to exchange 'other'", AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete_exchange))),
        ("write access to queue 'other'", bind_queue("other", "mine")),
        ("read access to exchange 'other'", bind_queue("mine", "other")),
        ("read access to exchange 'other'", unbind_queue("mine", "other")),
        ("write access to exchange 'other'", bind_exchange("other", "mine")),
        ("read access to exchange 'other'", bind_exchange("mine", "other")),
        ("read access to queue 'other'", queue_class(queue::AMQPMethod::Purge(purge))),
        ("read access to queue 'other'", AMQPClass::Basic(basic::AMQPMethod::Get(get))),
        (
            "read access to queue 'other'",
            AMQPClass::Basic(basic::AMQPMethod::Consume(consume_from("other", "c", true))),
        ),
        (
            "write access to exchange 'other'",
            declare_queue("mine.too", false, arguments("x-dead-letter-exchange", "other")),
        ),
        ("write access to exchange 'other'", declare_exchange("mine.too", arguments("alternate-exchange", "other"))),
    ];
    for (what, method) in cases {
        let mut bench = Bench::with_user("^mine", "^mine", "^mine");
        let text = format!("ACCESS_REFUSED - {what} in vhost '/' refused for user 'ada'");
        assert_eq!(refusal(&bench.method(ADA, method)), (403, text.as_str()));
    }
    let mut bench = Bench::with_user(".*", ".*", "");
    let refused = bench.method(ADA, declare_queue("new", false, arguments("x-dead-letter-exchange", "mine")));
    let text = "ACCESS_REFUSED - read access to queue 'new' in vhost '/' refused for user 'ada'";
    assert_eq!(refusal(&refused), (403, text));
}

#[test]
fn publishing_needs_write_on_the_exchange_whichever_was_used_before() {
    let mut bench = Bench::with_user("", "^(mine|amq\\.default)$", "");
    for exchange in ["mine", "", "", "mine"] {
        let published = bench.publish_with(ADA, exchange, "q", &[0, 0], 1);
        assert!(closes(&published).is_empty(), "{exchange}: {published:?}");
    }
    let text = "ACCESS_REFUSED - write access to exchange 'other' in vhost '/' refused for user 'ada'";
    assert_eq!(refusal(&bench.publish_with(ADA, "other", "q", &[0, 0], 1)), (403, text));
    let mut bench = Bench::with_user("", "^mine$", "");
    let text = "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'ada'";
    assert_eq!(refusal(&bench.publish_with(ADA, "", "q", &[0, 0], 1)), (403, text));
}

#[test]
fn who_may_do_nothing_may_still_look() {
    let mut bench = Bench::with_user("", "", "");
    for name in ["mine", "amq.rabbitmq.reply-to"] {
        assert!(closes(&bench.method(ADA, declare_queue(name, true, FieldTable::default()))).is_empty());
    }
}
