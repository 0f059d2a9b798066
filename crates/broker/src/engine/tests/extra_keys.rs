//! `CC`, `BCC` and `user-id`: what a message's properties have to do with where it goes and whether it is taken.

use super::*;

/// Properties with a table of these encoded headers.
fn headers(headers: &[&[u8]]) -> Vec<u8> {
    let body = headers.concat();
    [&[0x20, 0][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// An encoded header with an array of one long string of one octet.
fn one_key(header: &str, key: u8) -> Vec<u8> {
    [&[header.len() as u8], header.as_bytes(), b"A\x00\x00\x00\x06S\x00\x00\x00\x01", &[key]].concat()
}

#[test]
fn a_message_goes_to_all_its_keys_and_once_to_each_queue() {
    let mut bench = Bench::new(Limits::default());
    for name in ["a", "b"] {
        bench.declare(name);
        let (queue, exchange, routing_key) = (name.into(), "amq.direct".into(), name.into());
        let bind = queue::Bind { queue, exchange, routing_key, nowait: true, arguments: FieldTable::default() };
        bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Bind(bind)));
    }
    let (cc, bcc) = (one_key("CC", b'a'), one_key("BCC", b'b'));
    for (exchange, key) in [("", "q"), ("", "a"), ("amq.direct", "nowhere"), ("amq.direct", "b")] {
        assert!(messages(&bench.publish_with(PUBLISHER, exchange, key, &headers(&[&cc, &bcc]), 1)).is_empty());
    }
    let ready: Vec<_> = bench.engine.snapshot().queues.into_iter().map(|queue| (queue.name, queue.ready)).collect();
    assert_eq!(ready, [("q".to_owned(), 1), ("a".to_owned(), 4), ("b".to_owned(), 4)]);
}

#[test]
fn recipients_and_publishers_see_no_blind_copies() {
    let mut bench = Bench::new(Limits::default());
    bench.consume(CONSUMER, "c", true);
    let (cc, bcc) = (one_key("CC", b'x'), one_key("BCC", b'q'));
    let delivered = bench.publish_with(PUBLISHER, "", "nowhere", &headers(&[&cc, &bcc]), 1);
    assert_eq!(messages(&delivered).len(), 1, "{delivered:?}");
    assert_eq!(messages(&delivered)[0].content.properties(), headers(&[&cc]));
    assert_eq!(&*messages(&delivered)[0].routing_key, "nowhere");
    let returned = bench.publish_with(PUBLISHER, "", "nowhere", &headers(&[&one_key("BCC", b'x')]), 1);
    assert_eq!(messages(&returned)[0].content.properties(), headers(&[]));
}

#[test]
fn a_death_names_all_keys_but_the_blind_ones() {
    let mut bench = Bench::new(Limits::default());
    bench.declare("dead");
    let to_dead = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    bench.declare_with("none", &[&to_dead[..], &[("x-max-length", number(0))]].concat());
    let (cc, bcc) = (one_key("CC", b'x'), one_key("BCC", b'y'));
    bench.publish_with(PUBLISHER, "", "none", &headers(&[&cc, &bcc]), 1);
    let letters = bench.take_all("dead");
    let Some(AMQPValue::FieldArray(deaths)) = letters[0].1.inner().get("x-death") else { panic!("{letters:?}") };
    let [AMQPValue::FieldTable(death)] = deaths.as_slice() else { panic!("{deaths:?}") };
    let keys = AMQPValue::FieldArray(vec![text("none"), text("x")].into());
    assert_eq!(death.inner().get("routing-keys"), Some(&keys));
}

#[test]
fn a_header_of_another_type_closes_the_channel() {
    let mut bench = Bench::new(Limits::default());
    let refused = bench.publish_with(PUBLISHER, "", "q", &headers(&[b"\x02CCt\x01"]), 1);
    let text = "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",bool}";
    assert_eq!(refusal(&refused), (406, text));
    assert_eq!(bench.engine.snapshot().queues[0].ready, 0);
}

#[test]
fn a_user_id_must_be_the_one_who_logged_in() {
    let mut bench = Bench::new(Limits::default());
    let ada = ChannelKey { connection: ConnectionId(3), number: 1 };
    bench.connect_as(ada, Client { user: "ada".to_owned(), ..Bench::client() });
    let user_id = |name: &str| [&[0, 0x10, name.len() as u8], name.as_bytes()].concat();
    assert!(bench.publish_with(ada, "", "q", &user_id("ada"), 1).is_empty());
    let refused = bench.publish_with(ada, "", "q", &user_id("eve"), 2);
    let text = "PRECONDITION_FAILED - user_id property set to 'eve' but authenticated user was 'ada'";
    assert_eq!(refusal(&refused), (406, text));
    assert_eq!(bench.engine.snapshot().queues[0].ready, 1);
}

#[test]
fn a_dead_letter_goes_to_all_keys_unless_its_queue_names_one() {
    for (own_key, expected) in [(false, [1, 1, 0]), (true, [0, 0, 1])] {
        let mut bench = Bench::new(Limits::default());
        bench.delete("q");
        ["a", "dead", "named"].into_iter().for_each(|name| drop(bench.declare(name)));
        let mut arguments = vec![("x-dead-letter-exchange", text("amq.direct"))];
        if own_key {
            arguments.push(("x-dead-letter-routing-key", text("named")));
        }
        bench.declare_with("q", &arguments);
        for (queue, key) in [("a", "a"), ("dead", "q"), ("named", "named")] {
            let (queue, exchange, routing_key) = (queue.into(), "amq.direct".into(), key.into());
            let bind = queue::Bind { queue, exchange, routing_key, nowait: true, arguments: FieldTable::default() };
            bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Bind(bind)));
        }
        bench.consume(CONSUMER, "c", false);
        // Published to the default exchange, where `a` gets its copy at once.
        bench.publish_with(PUBLISHER, "", "q", &headers(&[&one_key("CC", b'a')]), 1);
        let ready = |bench: &Bench| -> Vec<usize> {
            let queues = bench.engine.snapshot().queues;
            ["a", "dead", "named"].map(|name| queues.iter().find(|queue| queue.name == name).unwrap().ready).to_vec()
        };
        let before = ready(&bench);
        bench.nack(1, false, false);
        let gained: Vec<_> = ready(&bench).iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(gained, expected);
    }
}
