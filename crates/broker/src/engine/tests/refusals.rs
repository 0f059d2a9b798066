//! What RabbitMQ refuses, and what it lets pass, where a client could expect either.

use amq_protocol::protocol::access;

use super::*;

fn unbind_queue(queue: &str, exchange: &str) -> AMQPClass {
    let (queue, exchange, routing_key) = (queue.into(), exchange.into(), "".into());
    let unbind = queue::Unbind { queue, exchange, routing_key, arguments: FieldTable::default() };
    AMQPClass::Queue(queue::AMQPMethod::Unbind(unbind))
}

fn unbind_exchange(destination: &str, source: &str) -> AMQPClass {
    let (destination, source, routing_key) = (destination.into(), source.into(), "".into());
    let arguments = FieldTable::default();
    let unbind = exchange::Unbind { destination, source, routing_key, nowait: false, arguments };
    AMQPClass::Exchange(exchange::AMQPMethod::Unbind(unbind))
}

fn declare_exchange(name: &str, passive: bool) -> AMQPClass {
    AMQPClass::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
        exchange: name.into(),
        kind: "direct".into(),
        passive,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

#[test]
fn what_is_not_there_is_not_bound() {
    let mut bench = Bench::new(Limits::default());
    for (queue, exchange) in [("q", "missing"), ("missing", "amq.direct"), ("missing", "missing"), ("q", "amq.direct")]
    {
        let answered = bench.method(PUBLISHER, unbind_queue(queue, exchange));
        assert_eq!(*answer(&answered), AMQPClass::Queue(queue::AMQPMethod::UnbindOk(queue::UnbindOk {})));
    }
    for (to, from) in [("amq.fanout", "missing"), ("missing", "amq.fanout"), ("missing", "missing")] {
        let answered = bench.method(PUBLISHER, unbind_exchange(to, from));
        assert_eq!(*answer(&answered), AMQPClass::Exchange(exchange::AMQPMethod::UnbindOk(exchange::UnbindOk {})));
    }
}

#[test]
fn the_default_exchange_and_the_predeclared_ones_are_not_for_clients_to_change() {
    let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
    for method in [declare_exchange("", true), declare_exchange("", false), unbind_queue("q", "")] {
        assert_eq!(refusal(&Bench::new(Limits::default()).method(PUBLISHER, method)), (403, default));
    }
    let delete = exchange::Delete { exchange: "amq.direct".into(), if_unused: false, nowait: false };
    let delete = AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete));
    let text = "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed";
    assert_eq!(refusal(&Bench::new(Limits::default()).method(PUBLISHER, delete)), (403, text));
    let mut bench = Bench::new(Limits::default());
    assert!(closes(&bench.method(PUBLISHER, declare_exchange("amq.direct", false))).is_empty(), "as it is");
    let text = "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'";
    assert_eq!(refusal(&bench.method(PUBLISHER, declare_exchange("amq.new", false))), (403, text));
}

#[test]
fn a_passive_declaration_without_a_name_finds_nothing() {
    let mut bench = Bench::new(Limits::default());
    let declare = queue::Declare { queue: "".into(), passive: true, ..no_flags() };
    let refused = bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    assert_eq!(refusal(&refused), (404, "NOT_FOUND - no queue '' in vhost '/'"));
}

#[test]
fn a_refused_publish_is_not_confirmed_though_those_before_it_are() {
    let mut bench = Bench::new(Limits::default());
    bench.method(PUBLISHER, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: true })));
    for (exchange, routing_key) in [("", "q"), ("missing", "q"), ("", "q")] {
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        let publish = basic::Publish { exchange, routing_key, mandatory: false, immediate: false };
        bench.engine.handle(Command::Publish { channel: PUBLISHER, publish, content: Content::new(&[0, 0], &[1]) });
    }
    let effects: Vec<_> = bench.engine.finish_batch().collect();
    let [Effect::Send { outbound: Outbound::Confirm { delivery_tag: 1, ack: true, .. }, .. }, close] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(closes(std::slice::from_ref(close)), [404]);
    assert_eq!(bench.engine.snapshot().queues[0].ready, 1, "nothing is taken on a channel that closes");
}

#[test]
fn consumer_tags_are_used_once_at_a_time_and_cancelling_an_unknown_one_is_fine() {
    let mut bench = Bench::new(Limits::default());
    let mut cancel = |tag: &str| {
        let cancel = basic::Cancel { consumer_tag: tag.into(), nowait: false };
        let cancelled = bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel));
        let ok = basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag: tag.into() });
        assert_eq!(*answer(&cancelled), AMQPClass::Basic(ok));
    };
    cancel("nobody");
    bench.consume(CONSUMER, "c", true);
    let [Effect::Send { outbound: Outbound::Close { exception, .. }, .. }, ..] =
        &bench.consume(CONSUMER, "c", true)[..]
    else {
        panic!("not closed")
    };
    assert_eq!(exception.to_string(), "NOT_ALLOWED - attempt to reuse consumer tag 'c'");
    bench.connect(CONSUMER);
    bench.consume(CONSUMER, "c", true);
    let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: true };
    assert!(bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel)).is_empty());
    assert!(closes(&bench.consume(CONSUMER, "c", true)).is_empty());
}

#[test]
fn recover_async_is_recover_without_an_answer() {
    let mut bench = Bench::new(Limits::default());
    bench.publish("", "q", 1);
    bench.consume(CONSUMER, "c", false);
    let recover = basic::AMQPMethod::RecoverAsync(basic::RecoverAsync { requeue: true });
    let recovered = bench.basic(CONSUMER, recover);
    assert_eq!((deliveries(&recovered), recovered.len()), (vec![("c".to_owned(), 2, true, vec![1])], 1));
    let recover = basic::AMQPMethod::RecoverAsync(basic::RecoverAsync { requeue: false });
    assert_eq!(closes(&bench.basic(CONSUMER, recover)), [540]);
}

#[test]
fn flow_can_be_asked_for_but_not_stopped() {
    let mut bench = Bench::new(Limits::default());
    let flow = |active| AMQPClass::Channel(channel::AMQPMethod::Flow(channel::Flow { active }));
    let on = bench.method(CONSUMER, flow(true));
    assert_eq!(*answer(&on), AMQPClass::Channel(channel::AMQPMethod::FlowOk(channel::FlowOk { active: true })));
    assert_eq!(closes(&bench.method(CONSUMER, flow(false))), [540]);
}

#[test]
fn old_clients_get_a_ticket() {
    let request = access::Request { realm: "/data".into(), active: true, ..access::Request::default() };
    let method = AMQPClass::Access(access::AMQPMethod::Request(request));
    let granted = Bench::new(Limits::default()).method(CONSUMER, method);
    assert_eq!(*answer(&granted), AMQPClass::Access(access::AMQPMethod::RequestOk(access::RequestOk {})));
}

#[test]
fn a_consumer_hears_its_own_connection_even_with_no_local() {
    let mut bench = Bench::new(Limits::default());
    let consume = basic::Consume { no_local: true, ..consume_from("q", "c", true) };
    bench.basic(PUBLISHER, basic::AMQPMethod::Consume(consume));
    assert_eq!(bodies(&bench.publish("", "q", 1)), [1]);
}

#[test]
fn prefetch_of_zero_is_no_limit_and_a_limit_holds_for_later_consumers_only() {
    let mut bench = Bench::new(Limits::default());
    bench.qos(CONSUMER, 0, false);
    bench.consume(CONSUMER, "unlimited", false);
    bench.qos(CONSUMER, 1, false);
    bench.consume(CONSUMER, "one", false);
    let given: Vec<_> = (0..6).flat_map(|body| deliveries(&bench.publish("", "q", body))).map(|d| d.0).collect();
    assert_eq!(given, ["unlimited", "one", "unlimited", "unlimited", "unlimited", "unlimited"]);
}
