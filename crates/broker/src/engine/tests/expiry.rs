//! Messages and queues that expire.

use super::disk::Disk;
use super::*;

fn ttl(milliseconds: &str) -> Properties<'_> {
    Properties { expiration: Some(milliseconds), ..Properties::default() }
}

#[test]
fn the_smaller_of_the_two_limits_counts() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("ttl", &[("x-message-ttl", number(100))]);
    bench.send("ttl", ttl("50"), b"short");
    bench.send("ttl", ttl("500"), b"long");
    assert_eq!(bench.engine.next_deadline(), Some(Timestamp(50)));
    bench.at(49);
    assert_eq!(bench.depth("ttl"), Some((2, 0)));
    bench.at(50);
    assert_eq!((bench.depth("ttl"), bench.engine.next_deadline()), (Some((1, 0)), Some(Timestamp(100))));
    bench.at(100);
    assert_eq!((bench.depth("ttl"), bench.engine.next_deadline()), (Some((0, 0)), None));
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn a_message_behind_one_that_stays_expires_when_it_is_the_first() {
    let mut bench = Bench::new(Limits::default());
    bench.send("q", Properties::default(), b"stays");
    bench.send("q", ttl("10"), b"goes");
    bench.send("q", Properties::default(), b"last");
    bench.at(20);
    assert_eq!(bench.depth("q"), Some((3, 0)));
    assert_eq!(bench.take_all("q").into_iter().map(|(body, _)| body).collect::<Vec<_>>(), [&b"stays"[..], b"last"]);
}

#[test]
fn an_expired_message_is_not_delivered_although_nobody_looked_yet() {
    let mut bench = Bench::new(Limits::default());
    bench.send("q", Properties::default(), b"first");
    bench.send("q", ttl("10"), b"goes");
    bench.at(20);
    let delivered = deliveries(&bench.consume(CONSUMER, "c", true));
    assert_eq!(delivered.into_iter().map(|(.., body)| body).collect::<Vec<_>>(), [b"first"]);
    assert_eq!(bench.depth("q"), Some((0, 0)));
}

#[test]
fn no_time_at_all_means_now_or_never() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("now", &[("x-message-ttl", number(0))]);
    bench.send("now", Properties::default(), b"nobody");
    bench.send("q", ttl("0"), b"nobody");
    assert_eq!((bench.depth("now"), bench.depth("q")), (Some((0, 0)), Some((0, 0))));
    bench.consume(CONSUMER, "c", false);
    assert_eq!(deliveries(&bench.send("q", ttl("0"), b"taken")).len(), 1);
    bench.at(1000);
    assert_eq!(bench.depth("q"), Some((0, 1)), "what was delivered in time stays with its consumer");
    bench.nack(1, false, true);
    assert_eq!(bench.depth("q"), Some((0, 0)), "and expires when it comes back");
}

#[test]
fn an_expiration_that_is_no_number_is_refused() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(closes(&bench.send("q", ttl("1h"), b"")), [406]);
}

#[test]
fn an_unused_queue_ends() {
    let mut bench = Bench::new(Limits::default());
    let arguments = [("x-expires", number(100))];
    bench.declare_with("short", &arguments);
    bench.send("short", Properties::default(), b"x");
    bench.at(60);
    bench.declare_with("short", &arguments);
    bench.at(120);
    bench.get("short");
    bench.at(219);
    assert_eq!(bench.depth("short"), Some((0, 0)));
    bench.at(220);
    assert_eq!((bench.depth("short"), bench.engine.next_deadline()), (None, None));
}

#[test]
fn a_queue_with_a_consumer_is_not_unused() {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare_with("q", &[("x-expires", number(100))]);
    bench.consume(CONSUMER, "c", true);
    bench.at(1000);
    let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: true };
    bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel));
    bench.at(1099);
    assert!(bench.depth("q").is_some());
    bench.at(1100);
    assert_eq!(bench.depth("q"), None);
}

#[test]
fn a_restart_starts_the_wait_of_a_queue_again_and_not_that_of_a_message() {
    let (mut bench, mut disk) = (Bench::stored(Limits::default()), Disk::default());
    bench.at(10_000);
    for (queue, argument) in [("unused", "x-expires"), ("old", "x-message-ttl")] {
        let effects = bench.declare_with(queue, &[(argument, number(100))]);
        disk.serve(&mut bench, effects);
    }
    let effects = bench.send("old", Properties { persistent: true, ..Properties::default() }, b"m");
    disk.serve(&mut bench, effects);
    bench.engine = Engine::new(Limits::default(), &["/".to_owned()], 1, true);
    bench.engine.restore(disk.recovered());
    bench.at(10_099);
    assert_eq!((bench.depth("unused"), bench.depth("old")), (Some((0, 0)), Some((1, 0))));
    bench.at(10_100);
    assert_eq!((bench.depth("unused"), bench.depth("old")), (Some((0, 0)), Some((0, 0))));
    bench.at(10_199);
    assert_eq!((bench.depth("unused"), bench.engine.next_deadline()), (None, None));
}
