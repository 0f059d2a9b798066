//! Direct reply-to: who may ask, where answers go, and what becomes of those nobody waits for.

use super::super::reply_to::REPLY_QUEUE;
use super::*;
use crate::frame::PropertyView;

/// A property list with this `reply-to` alone.
fn reply_to(address: &str) -> Vec<u8> {
    [&[0x02, 0, address.len() as u8], address.as_bytes()].concat()
}

fn returned(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Send { outbound: Outbound::Return { .. }, .. }))
}

impl Bench {
    fn await_replies(&mut self, channel: ChannelKey, tag: &str, no_ack: bool) -> Vec<Effect> {
        let consume = consume_from(REPLY_QUEUE, tag, no_ack);
        self.basic(channel, basic::AMQPMethod::Consume(consume))
    }

    /// Sends a request into `q` and returns the address in it.
    fn ask(&mut self, channel: ChannelKey) -> String {
        assert!(self.publish_with(channel, "", "q", &reply_to(REPLY_QUEUE), 1).is_empty());
        let get = basic::AMQPMethod::Get(basic::Get { queue: "q".into(), no_ack: true });
        let got = self.basic(PUBLISHER, get);
        let [Effect::Send { outbound: Outbound::GetOk { message, .. }, .. }] = &got[..] else { panic!("{got:?}") };
        let view = PropertyView::parse(message.content.properties()).unwrap();
        assert_eq!(message.content.body(), [1]);
        String::from_utf8(view.reply_to.unwrap().to_vec()).unwrap()
    }

    fn declare_passively(&mut self, name: &str) -> Vec<Effect> {
        let declare = queue::Declare { queue: name.into(), passive: true, ..no_flags() };
        self.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))
    }
}

#[test]
fn an_answer_goes_to_the_channel_that_asked() {
    let mut bench = Bench::new(Limits::default());
    bench.await_replies(CONSUMER, "answers", true);
    let address = bench.ask(CONSUMER);
    assert!(address.starts_with("amq.rabbitmq.reply-to.") && address.len() == REPLY_QUEUE.len() + 33, "{address}");
    for body in [7, 8] {
        let delivered = bench.publish("", &address, body);
        let tag = u64::from(body) - 6;
        assert_eq!(deliveries(&delivered), [("answers".to_owned(), tag, false, vec![body])]);
        let message = messages(&delivered)[0];
        assert_eq!((&*message.exchange, &*message.routing_key), ("", &*address));
    }
    let ok = bench.declare_passively(&address);
    let ok = ok.iter().any(|e| {
        matches!(e, Effect::Send { outbound: Outbound::Method { method, .. }, .. }
        if matches!(&**method, AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) if ok.consumer_count == 1))
    });
    assert!(ok);
    assert_eq!(closes(&bench.declare_passively("amq.rabbitmq.reply-to.other")), [404]);
}

#[test]
fn an_answer_that_nobody_waits_for_is_returned() {
    let mut bench = Bench::new(Limits::default());
    bench.await_replies(CONSUMER, "c", true);
    let first = bench.ask(CONSUMER);
    let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: false };
    let cancelled = bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel));
    let expected = basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag: "c".into() });
    assert_eq!(*answer(&cancelled), AMQPClass::Basic(expected));
    assert!(returned(&bench.publish("", &first, 1)));
    bench.await_replies(CONSUMER, "c", true);
    let second = bench.ask(CONSUMER);
    assert_ne!(first, second);
    assert!(returned(&bench.publish("", &first, 1)) && !returned(&bench.publish("", &second, 1)));
    bench.run(Command::Disconnect { connection: CONSUMER.connection });
    assert!(returned(&bench.publish("", &second, 1)));
    assert!(returned(&bench.publish("", "amq.rabbitmq.reply-to.", 1)));
}

#[test]
fn answers_do_not_pile_up_before_a_client_that_does_not_read() {
    let cost = MESSAGE_OVERHEAD_BYTES + 3;
    let mut bench = Bench::new(Limits { delivery_bytes: cost, reply_bytes: 2 * cost, ..Limits::default() });
    bench.await_replies(CONSUMER, "c", true);
    let address = bench.ask(CONSUMER);
    let outcomes: Vec<_> = (0..5).map(|body| returned(&bench.publish("", &address, body))).collect();
    assert_eq!(outcomes, [false, false, false, false, true]);
    bench.run(Command::Drained { connection: CONSUMER.connection, bytes: 4 * cost });
    assert!(!returned(&bench.publish("", &address, 6)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = Bench::new(Limits::default()).await_replies(CONSUMER, "c", false);
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"));
    let mut bench = Bench::new(Limits::default());
    bench.await_replies(CONSUMER, "c", true);
    let refused = bench.await_replies(CONSUMER, "other", true);
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - reply consumer already set"));
    let refused = bench.publish_with(PUBLISHER, "", "q", &reply_to(REPLY_QUEUE), 1);
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - fast reply consumer does not exist"));
    let mut bench = Bench::new(Limits::default());
    bench.await_replies(CONSUMER, "c", true);
    assert_eq!(closes(&bench.consume(CONSUMER, "c", true)), [530], "the tag is taken");
}

#[test]
fn any_other_reply_to_stays_as_it_is() {
    let mut bench = Bench::new(Limits::default());
    bench.consume(CONSUMER, "c", true);
    for address in ["", "mine", "amq.rabbitmq.reply-to.x"] {
        let delivered = bench.publish_with(PUBLISHER, "", "q", &reply_to(address), 1);
        assert_eq!(messages(&delivered)[0].content.properties(), reply_to(address));
    }
}
