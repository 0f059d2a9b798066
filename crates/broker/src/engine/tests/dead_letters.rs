//! Messages that queues give up, and what is said about them.

use super::*;

/// Arguments of a queue whose dead letters go to the queue `to`.
fn arguments(to: &str, more: &[(&'static str, AMQPValue)]) -> Vec<(&'static str, AMQPValue)> {
    [&[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(to))], more].concat()
}

fn with_dead() -> Bench {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare("dead");
    bench.declare_with("q", &arguments("dead", &[]));
    bench.consume(CONSUMER, "c", false);
    bench
}

/// The deaths in `x-death`: queue, reason and count.
fn deaths(headers: &FieldTable) -> Vec<(String, String, i64)> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return Vec::new() };
    let said = |death: &FieldTable, key: &str| match death.inner().get(key) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{key} is {other:?}"),
    };
    let read = deaths.as_slice().iter().map(|death| match death {
        AMQPValue::FieldTable(death) => match death.inner().get("count") {
            Some(AMQPValue::LongLongInt(count)) => (said(death, "queue"), said(death, "reason"), *count),
            other => panic!("count is {other:?}"),
        },
        other => panic!("{other:?}"),
    });
    read.collect()
}

fn death(queue: &str, reason: &str, count: i64) -> (String, String, i64) {
    (queue.to_owned(), reason.to_owned(), count)
}

#[test]
fn a_rejected_message_says_where_it_died_and_keeps_the_rest() {
    let mut bench = with_dead();
    bench.at(12_345);
    let properties = Properties { expiration: Some("60000"), priority: Some(3), persistent: true };
    bench.send("q", properties, b"body");
    bench.nack(1, false, false);
    assert_eq!(bench.depth("q"), Some((0, 0)));
    let effects = bench.get("dead");
    let [Effect::Send { outbound: Outbound::GetOk { message, .. }, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&*message.exchange, &*message.routing_key, message.content.body()), ("", "dead", &b"body"[..]));
    // Headers, delivery mode 2, priority 3, and no expiration any more.
    let raw = message.content.properties();
    assert_eq!((&raw[..2], &raw[raw.len() - 2..]), (&[0x38, 0][..], &[2, 3][..]));
    let headers = headers(message);
    let expected = table(&[
        ("original-expiration", text("60000")),
        ("count", number(1)),
        ("reason", text("rejected")),
        ("queue", text("q")),
        ("time", AMQPValue::Timestamp(12)),
        ("exchange", text("")),
        ("routing-keys", AMQPValue::FieldArray(vec![text("q")].into())),
    ]);
    let deaths = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(expected)].into());
    assert_eq!(headers.inner().get("x-death"), Some(&deaths));
    for (name, value) in [("reason", "rejected"), ("queue", "q"), ("exchange", "")] {
        for when in ["first", "last"] {
            assert_eq!(headers.inner().get(format!("x-{when}-death-{name}").as_str()), Some(&text(value)));
        }
    }
    drop(effects);
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn each_reason_is_told() {
    let mut bench = Bench::new(Limits::default());
    bench.declare("dead");
    bench.declare_with("old", &arguments("dead", &[("x-message-ttl", number(10))]));
    bench.declare_with("long", &arguments("dead", &[("x-max-length", number(0))]));
    bench.send("old", Properties::default(), b"a");
    bench.send("long", Properties::default(), b"b");
    bench.at(10);
    let told: Vec<_> = bench.take_all("dead").iter().flat_map(|(_, headers)| deaths(headers)).collect();
    assert_eq!(told, [death("long", "maxlen", 1), death("old", "expired", 1)]);
}

#[test]
fn a_message_that_goes_round_because_it_is_rejected_is_counted() {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare_with("q", &arguments("wait", &[]));
    bench.declare_with("wait", &arguments("q", &[("x-message-ttl", number(10))]));
    bench.consume(CONSUMER, "c", false);
    bench.send("q", Properties::default(), b"again");
    for turn in 1..4 {
        bench.nack(turn, false, false);
        assert_eq!(bench.depth("wait"), Some((1, 0)));
        let effects = bench.at(turn * 10);
        let [Effect::Send { outbound: Outbound::Deliver { message, .. }, .. }] = &effects[..] else { panic!() };
        let count = i64::try_from(turn).unwrap();
        assert_eq!(deaths(&headers(message)), [death("wait", "expired", count), death("q", "rejected", count)]);
        assert_eq!(headers(message).inner().get("x-first-death-queue"), Some(&text("q")));
        assert_eq!(headers(message).inner().get("x-last-death-queue"), Some(&text("wait")));
    }
}

#[test]
fn what_a_client_says_of_deaths_does_not_count() {
    let mut bench = with_dead();
    bench.send("q", Properties::default(), b"m");
    for tag in [1, 3] {
        bench.nack(tag, false, false);
        let mut letters = bench.get("dead");
        let Some(Effect::Send { outbound: Outbound::GetOk { message, .. }, .. }) = letters.pop() else { panic!() };
        assert_eq!(deaths(&headers(&message)), [death("q", "rejected", 1)], "the first of this message");
        // A client that takes it from there and sends it on, with all its headers.
        bench.publish_with(PUBLISHER, "", "q", message.content.properties(), b'm');
    }
}

#[test]
fn a_message_that_goes_round_by_itself_is_dropped() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("a", &arguments("b", &[("x-message-ttl", number(10))]));
    bench.declare_with("b", &arguments("a", &[("x-message-ttl", number(10))]));
    bench.declare_with("self", &arguments("self", &[("x-max-length", number(0))]));
    bench.send("a", Properties::default(), b"round");
    bench.send("self", Properties::default(), b"round");
    bench.at(10);
    assert_eq!((bench.depth("a"), bench.depth("b")), (Some((0, 0)), Some((1, 0))));
    bench.at(20);
    assert_eq!((bench.depth("a"), bench.depth("b"), bench.depth("self")), (Some((0, 0)), Some((0, 0)), Some((0, 0))));
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn without_an_exchange_or_a_queue_to_go_to_it_ends() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("lost", &[("x-dead-letter-exchange", text("missing")), ("x-max-length", number(0))]);
    bench.declare_with("nowhere", &arguments("missing", &[("x-max-length", number(0))]));
    bench.send("lost", Properties::default(), b"a");
    bench.send("nowhere", Properties::default(), b"a");
    assert_eq!((bench.depth("lost"), bench.depth("nowhere")), (Some((0, 0)), Some((0, 0))));
    assert_eq!(bench.engine.held_bytes(), 0);
}

/// Queues that one message falls through.
const CHAIN: usize = 400;

#[test]
fn a_long_chain_of_full_queues_is_no_danger() {
    let mut bench = Bench::new(Limits::default());
    let overflow = ("x-overflow", text("reject-publish-dlx"));
    for at in 0..CHAIN {
        let more = [("x-max-length", number(0)), overflow.clone()];
        bench.declare_with(&at.to_string(), &arguments(&(at + 1).to_string(), &more[..1 + at % 2]));
    }
    bench.declare(&CHAIN.to_string());
    bench.send("0", Properties::default(), b"down");
    while bench.engine.next_deadline().is_some() {
        bench.at(1);
    }
    let taken = bench.take_all(&CHAIN.to_string());
    assert_eq!((taken.len(), deaths(&taken[0].1).len()), (1, CHAIN));
}
