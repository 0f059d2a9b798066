//! Messages with a priority.

use super::*;

fn priority(priority: u8) -> Properties<'static> {
    Properties { priority: Some(priority), ..Properties::default() }
}

fn prioritized() -> Bench {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare_with("q", &[("x-max-priority", number(5))]);
    bench
}

#[test]
fn the_highest_priority_comes_first_and_too_high_counts_as_the_highest() {
    let mut bench = prioritized();
    for (level, body) in [(1, b"a"), (5, b"b"), (200, b"c"), (0, b"d"), (1, b"e")] {
        bench.send("q", priority(level), body);
    }
    bench.send("q", Properties::default(), b"f");
    let order: Vec<u8> = bench.take_all("q").into_iter().map(|(body, _)| body[0]).collect();
    assert_eq!(order, b"bcaedf");
}

#[test]
fn a_requeued_message_returns_to_its_place_in_its_level() {
    let mut bench = prioritized();
    for (level, body) in [(1, b"a"), (2, b"b"), (2, b"c")] {
        bench.send("q", priority(level), body);
    }
    bench.qos(CONSUMER, 1, false);
    assert_eq!(bodies(&bench.consume(CONSUMER, "c", false)), b"b");
    bench.send("q", priority(3), b"d");
    assert_eq!(bodies(&bench.nack(1, false, true)), b"d");
    assert_eq!((bodies(&bench.ack(2, false)), bodies(&bench.ack(3, false))), (b"b".to_vec(), b"c".to_vec()));
}

#[test]
fn a_message_expires_only_when_no_higher_priority_is_before_it() {
    let mut bench = prioritized();
    bench.send("q", priority(2), b"stays");
    bench.send("q", Properties { expiration: Some("5"), ..Properties::default() }, b"goes");
    bench.at(5);
    assert_eq!(bench.depth("q"), Some((2, 0)));
    bench.get("q");
    assert_eq!(bench.depth("q"), Some((0, 0)));
}
