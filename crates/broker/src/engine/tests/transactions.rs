//! Transactions: all at the commit, nothing without it.

use amq_protocol::protocol::tx;

use super::*;
use crate::store::Operation;

impl Bench {
    pub(in super::super) fn tx(&mut self, channel: ChannelKey, method: tx::AMQPMethod) -> Vec<Effect> {
        self.method(channel, AMQPClass::Tx(method))
    }

    fn select(&mut self, channel: ChannelKey) {
        let selected = self.tx(channel, tx::AMQPMethod::Select(tx::Select {}));
        assert_eq!(*answer(&selected), AMQPClass::Tx(tx::AMQPMethod::SelectOk(tx::SelectOk {})));
    }

    fn commit(&mut self, channel: ChannelKey) -> Vec<Effect> {
        let mut committed = self.tx(channel, tx::AMQPMethod::Commit(tx::Commit {}));
        let last = committed.pop().unwrap();
        assert_eq!(*answer(&[last]), AMQPClass::Tx(tx::AMQPMethod::CommitOk(tx::CommitOk {})));
        committed
    }

    fn roll_back(&mut self, channel: ChannelKey) {
        let answered = self.tx(channel, tx::AMQPMethod::Rollback(tx::Rollback {}));
        assert_eq!(*answer(&answered), AMQPClass::Tx(tx::AMQPMethod::RollbackOk(tx::RollbackOk {})));
    }

    /// Messages in the queue `q`: ready and unacknowledged.
    fn counts(&self) -> (usize, usize) {
        let queue = &self.engine.snapshot().queues[0];
        (queue.ready, queue.unacknowledged)
    }
}

#[test]
fn publishes_take_effect_at_the_commit_in_their_order() {
    let mut bench = Bench::new(Limits::default());
    bench.select(PUBLISHER);
    bench.consume(CONSUMER, "c", true);
    for (key, body) in [("q", 1), ("nowhere", 2), ("q", 3)] {
        assert!(bench.publish("", key, body).is_empty());
    }
    let committed = bench.commit(PUBLISHER);
    assert_eq!(bodies(&committed), [1, 3]);
    let returned = committed.iter().any(|e| matches!(e, Effect::Send { outbound: Outbound::Return { .. }, .. }));
    assert!(returned, "{committed:?}");
    drop(committed);
    assert!(bench.commit(PUBLISHER).is_empty(), "the next transaction begins empty");
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn a_rollback_drops_publishes_and_takes_settlements_back() {
    let mut bench = Bench::new(Limits::default());
    bench.publish("", "q", 1);
    bench.publish("", "q", 2);
    bench.select(CONSUMER);
    bench.qos(CONSUMER, 2, false);
    bench.consume(CONSUMER, "c", false);
    assert!(bench.publish_with(CONSUMER, "", "q", &[0, 0], 9).is_empty());
    assert!(bench.ack(1, false).is_empty() && bench.nack(2, false, true).is_empty());
    bench.roll_back(CONSUMER);
    assert_eq!(bench.counts(), (0, 2));
    // The same tags are good again.
    assert!(bench.ack(2, true).is_empty());
    bench.commit(CONSUMER);
    assert_eq!((bench.counts(), bench.engine.held_bytes()), ((0, 0), 0));
}

#[test]
fn settlements_take_effect_at_the_commit() {
    let mut bench = Bench::new(Limits::default());
    (1..=4).for_each(|body| drop(bench.publish("", "q", body)));
    bench.select(CONSUMER);
    bench.qos(CONSUMER, 3, true);
    assert_eq!(bodies(&bench.consume(CONSUMER, "c", false)), [1, 2, 3]);
    for effects in [bench.ack(1, false), bench.nack(2, false, true), bench.nack(3, false, false)] {
        assert!(effects.is_empty(), "{effects:?}");
    }
    assert_eq!(bench.counts(), (1, 3));
    // The acknowledgement makes room for the next message before the other comes back.
    let delivered = deliveries(&bench.commit(CONSUMER));
    assert_eq!(delivered, [("c".to_owned(), 4, false, vec![4]), ("c".to_owned(), 5, true, vec![2])]);
    assert_eq!(bench.counts(), (0, 2));
}

#[test]
fn a_tag_is_settled_once_even_before_the_commit() {
    let mut bench = Bench::new(Limits::default());
    bench.publish("", "q", 1);
    bench.select(CONSUMER);
    bench.consume(CONSUMER, "c", false);
    assert!(bench.ack(1, false).is_empty());
    assert_eq!(refusal(&bench.ack(1, false)), (406, "PRECONDITION_FAILED - unknown delivery tag 1"));
    assert_eq!(bench.counts(), (1, 0), "what a channel had not committed is not settled when it ends");
}

#[test]
fn recover_leaves_alone_what_the_transaction_has_settled() {
    let mut bench = Bench::new(Limits::default());
    (1..=2).for_each(|body| drop(bench.publish("", "q", body)));
    bench.select(CONSUMER);
    bench.qos(CONSUMER, 2, true);
    bench.consume(CONSUMER, "c", false);
    bench.ack(1, false);
    let recovered = bench.basic(CONSUMER, basic::AMQPMethod::Recover(basic::Recover { requeue: true }));
    assert_eq!(deliveries(&recovered), [("c".to_owned(), 3, true, vec![2])]);
    bench.commit(CONSUMER);
    assert_eq!(bench.counts(), (0, 1));
}

#[test]
fn a_queue_that_goes_before_the_commit_takes_its_messages_along() {
    let mut bench = Bench::new(Limits::default());
    bench.select(PUBLISHER);
    bench.publish("", "q", 1);
    let delete = queue::Delete { queue: "q".into(), if_unused: false, if_empty: false, nowait: true };
    bench.method(CONSUMER, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)));
    bench.declare("q");
    assert!(bench.commit(PUBLISHER).iter().all(|e| !matches!(e, Effect::Commit { .. })));
    assert_eq!((bench.counts(), bench.engine.held_bytes()), ((0, 0), 0));
}

#[test]
fn transactions_and_confirms_exclude_each_other() {
    let select = |bench: &mut Bench| {
        bench.method(PUBLISHER, AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait: true })))
    };
    let mut bench = Bench::new(Limits::default());
    bench.select(PUBLISHER);
    bench.select(PUBLISHER);
    let refused = select(&mut bench);
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"));
    let mut bench = Bench::new(Limits::default());
    select(&mut bench);
    let refused = bench.tx(PUBLISHER, tx::AMQPMethod::Select(tx::Select {}));
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"));
    for method in [tx::AMQPMethod::Commit(tx::Commit {}), tx::AMQPMethod::Rollback(tx::Rollback {})] {
        let refused = Bench::new(Limits::default()).tx(CONSUMER, method);
        assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - channel is not transactional"));
    }
}

#[test]
fn a_publish_that_cannot_be_ends_the_transaction_at_once() {
    let mut bench = Bench::new(Limits::default());
    bench.select(PUBLISHER);
    bench.publish("", "q", 1);
    assert_eq!(closes(&bench.publish("missing", "q", 2)), [404]);
    assert_eq!((bench.counts(), bench.engine.held_bytes()), ((0, 0), 0));
}

#[test]
fn what_transactions_hold_is_bounded() {
    let held_bytes = 2 * 3 * (MESSAGE_OVERHEAD_BYTES + 3);
    let mut bench = Bench::new(Limits { held_bytes, ..Limits::default() });
    bench.select(PUBLISHER);
    (1..=3).for_each(|body| assert!(bench.publish("", "q", body).is_empty()));
    let refused = bench.publish("", "q", 4);
    let text = format!("PRECONDITION_FAILED - octets in all transactions limit of {} is reached", held_bytes / 2);
    assert_eq!(refusal(&refused), (406, text.as_str()));
    assert_eq!(bench.engine.held_bytes(), 0);
    bench.select(CONSUMER);
    assert!(bench.publish_with(CONSUMER, "", "q", &[0, 0], 1).is_empty(), "there is room again");
}

#[test]
fn a_transaction_is_one_commit_of_the_store_and_answered_after_it() {
    let mut bench = Bench { engine: Engine::new(Limits::default(), &["/".to_owned()], 1, true) };
    bench.connect(PUBLISHER);
    let declare = queue::Declare { queue: "d".into(), durable: true, ..no_flags() };
    bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    let persistent = [0x10, 0, 2];
    bench.publish_with(PUBLISHER, "", "d", &persistent, 1);
    bench.basic(PUBLISHER, basic::AMQPMethod::Get(basic::Get { queue: "d".into(), no_ack: false }));
    bench.select(PUBLISHER);
    let held = bench.publish_with(PUBLISHER, "", "d", &persistent, 2);
    assert!(held.is_empty(), "nothing is stored before the commit: {held:?}");
    bench.basic(PUBLISHER, basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 1, multiple: false }));
    bench.publish_with(PUBLISHER, "", "d", &persistent, 3);
    let committed = bench.tx(PUBLISHER, tx::AMQPMethod::Commit(tx::Commit {}));
    let [Effect::Send { outbound: Outbound::Method { .. }, after, .. }, Effect::Commit { commit, operations }] =
        &committed[..]
    else {
        panic!("{committed:?}")
    };
    assert_eq!(*after, Some(*commit));
    let kinds: Vec<_> = operations.iter().map(|operation| matches!(operation, Operation::Put { .. })).collect();
    assert_eq!(kinds, [true, true, false], "{operations:?}");
}

#[test]
fn a_queue_without_room_leaves_a_commit_incomplete_and_says_so() {
    let mut bench = Bench::new(Limits::default());
    bench.declare_with("full", &[("x-max-length", number(1)), ("x-overflow", text("reject-publish"))]);
    bench.select(PUBLISHER);
    (1..=2).for_each(|body| assert!(bench.publish("", "full", body).is_empty()));
    let refused = bench.tx(PUBLISHER, tx::AMQPMethod::Commit(tx::Commit {}));
    assert_eq!(refusal(&refused), (406, "PRECONDITION_FAILED - partial tx completion"));
    let ready = bench.engine.snapshot().queues.iter().find(|queue| queue.name == "full").map(|queue| queue.ready);
    assert_eq!(ready, Some(1));
}
