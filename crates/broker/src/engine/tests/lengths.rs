//! Queues that hold only so much.

use super::*;

fn left(bench: &mut Bench, queue: &str) -> Vec<Vec<u8>> {
    bench.take_all(queue).into_iter().map(|(body, _)| body).collect()
}

#[test]
fn the_first_messages_make_room() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("short", &[("x-max-length", number(2))]);
    bench.declare_with("small", &[("x-max-length-bytes", number(5))]);
    bench.confirms();
    for body in [&b"a"[..], b"bb", b"ccc"] {
        assert!(confirmed(&bench.send("short", Properties::default(), body)).iter().all(|(_, ack)| *ack));
        bench.send("small", Properties::default(), body);
    }
    assert_eq!(left(&mut bench, "short"), [&b"bb"[..], b"ccc"]);
    assert_eq!(left(&mut bench, "small"), [&b"bb"[..], b"ccc"]);
    bench.send("small", Properties::default(), b"too large for it");
    assert_eq!((bench.depth("small"), bench.engine.held_bytes()), (Some((0, 0)), 0));
}

#[test]
fn what_a_consumer_has_does_not_count_until_it_comes_back() {
    let mut bench = Bench::new(Limits::default());
    bench.delete("q");
    bench.declare_with("q", &[("x-max-length", number(1))]);
    bench.qos(CONSUMER, 2, false);
    bench.consume(CONSUMER, "c", false);
    for body in [b"a", b"b", b"c"] {
        bench.send("q", Properties::default(), body);
    }
    assert_eq!(bench.depth("q"), Some((1, 2)));
    let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: true };
    bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel));
    bench.nack(0, true, true);
    assert_eq!(left(&mut bench, "q"), [b"c"]);
}

#[test]
fn a_message_that_expires_later_makes_room_now() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("none", &[("x-max-length", number(0))]);
    bench.send("none", Properties { expiration: Some("1000"), ..Properties::default() }, b"a");
    assert_eq!(bench.depth("none"), Some((0, 0)));
}

#[test]
fn a_full_queue_refuses() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("full", &[("x-max-length", number(1)), ("x-overflow", text("reject-publish"))]);
    bench.confirms();
    assert_eq!(confirmed(&bench.send("full", Properties::default(), b"a")), [(1, true)]);
    assert_eq!(confirmed(&bench.send("full", Properties::default(), b"b")), [(2, false)]);
    assert_eq!(left(&mut bench, "full"), [b"a"]);
    assert_eq!(confirmed(&bench.send("full", Properties::default(), b"c")), [(3, true)]);
}

#[test]
fn what_a_full_queue_refuses_may_become_a_dead_letter() {
    let mut bench = Bench::new(Limits::default());
    let arguments = [
        ("x-max-length", number(1)),
        ("x-overflow", text("reject-publish-dlx")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("q")),
    ];
    bench.declare_with("full", &arguments);
    bench.confirms();
    bench.send("full", Properties::default(), b"a");
    assert_eq!(confirmed(&bench.send("full", Properties::default(), b"b")), [(2, false)]);
    assert_eq!((left(&mut bench, "full"), left(&mut bench, "q")), (vec![b"a".to_vec()], vec![b"b".to_vec()]));
    assert_eq!(bench.engine.held_bytes(), 0);
}
