//! Quorum queues: how often a message came back.

use super::*;

fn counted(effects: &[Effect]) -> Option<Option<AMQPValue>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { outbound: Outbound::Deliver { message, .. }, .. } => {
            Some(headers(message).inner().get("x-delivery-count").cloned())
        }
        _ => None,
    })
}

#[test]
fn returns_are_counted_and_bounded() {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare("dead");
    let arguments = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(2)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ];
    bench.declare_with("q", &arguments);
    bench.consume(CONSUMER, "c", false);
    assert_eq!(counted(&bench.send("q", Properties::default(), b"m")), Some(None));
    assert_eq!(counted(&bench.nack(1, false, true)), Some(Some(number(1))));
    assert_eq!(counted(&bench.nack(2, false, true)), Some(Some(number(2))));
    assert_eq!(counted(&bench.nack(3, false, true)), None);
    let dead = bench.take_all("dead");
    assert_eq!(dead[0].1.inner().get("x-last-death-reason"), Some(&text("delivery_limit")));
    assert_eq!((dead.len(), bench.depth("q"), bench.engine.held_bytes()), (1, Some((0, 0)), 0));
}

#[test]
fn a_classic_queue_does_not_count() {
    let mut bench = Bench::new(Limits::default());
    bench.consume(CONSUMER, "c", false);
    bench.send("q", Properties::default(), b"m");
    for tag in 1..50 {
        assert_eq!(counted(&bench.nack(tag, false, true)), Some(None));
    }
}
