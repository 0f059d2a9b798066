//! Which consumer gets a message: priorities, a single active one, an exclusive one.

use amq_protocol::types::AMQPValue;

use super::*;

fn argument(name: &str, value: AMQPValue) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(name.into(), value);
    arguments
}

fn tags(effects: &[Effect]) -> Vec<String> {
    deliveries(effects).into_iter().map(|(tag, ..)| tag).collect()
}

impl Bench {
    fn consume_with_priority(&mut self, channel: ChannelKey, queue: &str, tag: &str, priority: i32) -> Vec<Effect> {
        let arguments = argument("x-priority", AMQPValue::LongInt(priority));
        let consume = basic::Consume { arguments, ..consume_from(queue, tag, false) };
        self.basic(channel, basic::AMQPMethod::Consume(consume))
    }

    fn consume_exclusively(&mut self, channel: ChannelKey, queue: &str, tag: &str) -> Vec<Effect> {
        let consume = basic::Consume { exclusive: true, ..consume_from(queue, tag, true) };
        self.basic(channel, basic::AMQPMethod::Consume(consume))
    }

    fn cancel(&mut self, channel: ChannelKey, tag: &str) -> Vec<Effect> {
        let cancel = basic::Cancel { consumer_tag: tag.into(), nowait: false };
        self.basic(channel, basic::AMQPMethod::Cancel(cancel))
    }

    fn declare_single_active(&mut self) {
        let arguments = argument("x-single-active-consumer", AMQPValue::Boolean(true));
        let declare = queue::Declare { queue: "s".into(), arguments, ..no_flags() };
        self.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    }
}

#[test]
fn a_higher_priority_comes_first_as_long_as_it_can_take() {
    let mut bench = Bench::new(Limits::default());
    bench.qos(CONSUMER, 2, false);
    for (tag, priority) in [("low", -1), ("high", 10), ("middle", 0), ("high too", 10)] {
        bench.consume_with_priority(CONSUMER, "q", tag, priority);
    }
    let given: Vec<_> = (0..9).flat_map(|body| tags(&bench.publish("", "q", body))).collect();
    assert_eq!(given, ["high", "high too", "high", "high too", "middle", "middle", "low", "low"]);
    // Makes room for all of them at once: the one message that waits goes to the first.
    assert_eq!(tags(&bench.ack(8, true)), ["high"]);
}

#[test]
fn a_priority_is_an_integer() {
    let mut bench = Bench::new(Limits::default());
    let arguments = argument("x-priority", AMQPValue::LongString("high".into()));
    let consume = basic::Consume { arguments, ..consume_from("q", "c", true) };
    let refused = bench.basic(CONSUMER, basic::AMQPMethod::Consume(consume));
    let text = "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got \
                longstr\"";
    assert_eq!(refusal(&refused), (406, text));
}

#[test]
fn a_single_active_consumer_is_followed_by_priority_and_then_by_age() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_single_active();
    bench.qos(CONSUMER, 1, false);
    for (tag, priority) in [("first", 0), ("old", 1), ("young", 1), ("last", 0)] {
        bench.consume_with_priority(CONSUMER, "s", tag, priority);
    }
    let given: Vec<_> = (0..3).flat_map(|body| tags(&bench.publish("", "s", body))).collect();
    assert_eq!(given, ["first"], "nobody else, though the active one is busy and others have a higher priority");
    let mut next = |tag| {
        let effects = bench.cancel(CONSUMER, tag);
        assert!(matches!(&effects[0], Effect::Send { outbound: Outbound::Method { .. }, .. }), "cancel-ok comes first");
        tags(&effects)
    };
    assert_eq!(next("first"), ["old"]);
    assert_eq!(next("young"), Vec::<String>::new());
    assert_eq!(next("old"), ["last"]);
}

#[test]
fn another_channel_takes_over_when_the_active_consumer_s_ends() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_single_active();
    bench.consume_with_priority(CONSUMER, "s", "a", 0);
    bench.consume_with_priority(CONSUMER, "s", "b", 0);
    bench.consume_with_priority(PUBLISHER, "s", "other", 0);
    bench.publish("", "s", 1);
    let effects = bench.run(Command::Disconnect { connection: CONSUMER.connection });
    assert_eq!(deliveries(&effects), [("other".to_owned(), 1, true, vec![1])]);
    bench.connect(CONSUMER);
    bench.consume_with_priority(CONSUMER, "s", "a", 0);
    assert_eq!(tags(&bench.publish("", "s", 2)), ["other"]);
    // Also while there is nothing to deliver.
    bench.cancel(PUBLISHER, "other");
    bench.consume_with_priority(PUBLISHER, "s", "higher", 5);
    assert_eq!(tags(&bench.publish("", "s", 3)), ["a"]);
}

#[test]
fn an_exclusive_consumer_is_the_only_one() {
    let mut bench = Bench::new(Limits::default());
    let in_use = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
    bench.consume_exclusively(CONSUMER, "q", "only");
    assert_eq!(refusal(&bench.consume(PUBLISHER, "other", true)), (403, in_use));
    assert_eq!(tags(&bench.publish_with(CONSUMER, "", "q", &[0, 0], 1)), ["only"]);
    bench.cancel(CONSUMER, "only");
    let third = ChannelKey { connection: ConnectionId(3), number: 1 };
    bench.connect(third);
    bench.consume(third, "shared", true);
    assert_eq!(refusal(&bench.consume_exclusively(CONSUMER, "q", "only")), (403, in_use));
    assert_eq!(tags(&bench.publish_with(third, "", "q", &[0, 0], 2)), ["shared"]);
}

#[test]
fn a_queue_with_a_single_active_consumer_has_no_exclusive_one() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_single_active();
    let refused = bench.consume_exclusively(CONSUMER, "s", "c");
    assert_eq!(refusal(&refused), (403, "ACCESS_REFUSED - queue 's' in vhost '/' in exclusive use"));
}
