//! The engine against a model of one queue, under random operations.
//!
//! The model knows only what a client may rely on: nothing is lost or invented, nothing of a transaction is seen before
//! its commit, a message is delivered twice only with `redelivered`, first deliveries come in the order of publishing,
//! and prefetch is never exceeded.

use std::collections::{BTreeMap, BTreeSet};

use amq_protocol::protocol::{basic, tx};
use amq_protocol::types::AMQPValue;
use proptest::prelude::*;

use super::tests::{Bench, CONSUMER, consume_from, deliveries};
use super::*;
use crate::message::MESSAGE_OVERHEAD_BYTES;

#[derive(Clone, Debug)]
enum Operation {
    Publish,
    Consume(u8, bool),
    Cancel(u8),
    /// With `keep`, committed if it is in a transaction, and otherwise rolled back.
    Settle {
        pick: prop::sample::Index,
        multiple: bool,
        how: u8,
        keep: bool,
    },
    /// Publishes in the open transaction of a third connection.
    Hold,
    EndTransaction {
        commit: bool,
    },
    Recover,
    Qos(u16, bool),
    Drain,
    Reconnect,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        8 => Just(Operation::Publish),
        2 => (0u8..3, prop::bool::weighted(0.2)).prop_map(|(tag, no_ack)| Operation::Consume(tag, no_ack)),
        1 => (0u8..3).prop_map(Operation::Cancel),
        6 => (any::<prop::sample::Index>(), any::<bool>(), 0u8..3, any::<bool>())
            .prop_map(|(pick, multiple, how, keep)| Operation::Settle { pick, multiple, how, keep }),
        3 => Just(Operation::Hold),
        1 => any::<bool>().prop_map(|commit| Operation::EndTransaction { commit }),
        1 => Just(Operation::Recover),
        2 => (0u16..4, any::<bool>()).prop_map(|(count, global)| Operation::Qos(count, global)),
        3 => Just(Operation::Drain),
        1 => Just(Operation::Reconnect),
    ];
    prop::collection::vec(operation, 1..120)
}

/// Who publishes in transactions.
const HOLDER: ChannelKey = ChannelKey { connection: ConnectionId(3), number: 1 };

#[derive(Default)]
struct Model {
    /// Whether the consumers' channel is in transaction mode.
    transactional: bool,
    /// How many bodies there are.
    bodies: u8,
    /// In the order of acceptance.
    published: Vec<u8>,
    /// In a transaction that is open.
    held: Vec<u8>,
    /// Prefetch of the next consumer, and over the channel.
    prefetch: (u16, u16),
    /// By tag: prefetch and whether deliveries need no settlement.
    consumers: BTreeMap<String, (u16, bool)>,
    /// By delivery tag: consumer tag and body.
    unsettled: BTreeMap<u64, (String, u8)>,
    delivered: BTreeSet<u8>,
    settled: BTreeSet<u8>,
    undrained: usize,
}

impl Model {
    fn next_body(&mut self) -> u8 {
        self.bodies += 1;
        self.bodies
    }

    fn observe(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            if let Effect::Send { outbound, .. } = effect
                && outbound.is_delivery()
            {
                self.undrained += outbound.cost();
            }
        }
        for (consumer, tag, redelivered, body) in deliveries(effects) {
            let body = body[0];
            let position = |body| self.published.iter().position(|other| *other == body);
            prop_assert!(position(body).is_some(), "invented");
            prop_assert!(!self.settled.contains(&body), "delivered after it was settled");
            prop_assert!(self.unsettled.values().all(|(_, other)| *other != body), "delivered to two at once");
            prop_assert_eq!(redelivered, !self.delivered.insert(body));
            if !redelivered {
                let later = self.delivered.iter().filter(|other| position(**other) > position(body));
                prop_assert_eq!(later.count(), 0, "out of order");
            }
            self.check_priority(&consumer)?;
            let (_, no_ack) = self.consumers[&consumer];
            if no_ack {
                self.settled.insert(body);
            } else {
                self.unsettled.insert(tag, (consumer, body));
            }
        }
        Ok(())
    }

    /// Lowering a limit takes nothing back, so only limits that just allowed a delivery are checked.
    /// A consumer gets a message only if none of a higher priority could have taken it.
    fn check_priority(&self, consumer: &str) -> Result<(), TestCaseError> {
        let taken = |tag: &str| self.unsettled.values().filter(|(other, _)| other == tag).count();
        for (tag, (limit, no_ack)) in self.consumers.iter().filter(|(tag, _)| priority(tag) > priority(consumer)) {
            let channel_full = self.prefetch.1 > 0 && self.unsettled.len() >= usize::from(self.prefetch.1);
            let full = channel_full || *limit > 0 && taken(tag) >= usize::from(*limit);
            prop_assert!(full && !no_ack, "{} came before {}", consumer, tag);
        }
        Ok(())
    }

    fn check_prefetch(&self, before: &BTreeMap<u64, (String, u8)>) -> Result<(), TestCaseError> {
        let new: Vec<_> = self.unsettled.iter().filter(|(tag, _)| !before.contains_key(tag)).collect();
        if !new.is_empty() && self.prefetch.1 > 0 {
            prop_assert!(self.unsettled.len() <= usize::from(self.prefetch.1), "channel prefetch exceeded");
        }
        for (_, (consumer, _)) in new {
            let (limit, _) = self.consumers[consumer];
            let count = self.unsettled.values().filter(|(other, _)| other == consumer).count();
            prop_assert!(limit == 0 || count <= usize::from(limit), "consumer prefetch exceeded");
        }
        Ok(())
    }
}

/// `c0` gives way to all others.
fn priority(tag: &str) -> i32 {
    i32::from(tag != "c0")
}

fn apply(bench: &mut Bench, model: &mut Model, operation: Operation) -> Vec<Effect> {
    match operation {
        Operation::Publish => {
            let body = model.next_body();
            model.published.push(body);
            bench.publish("", "q", body)
        }
        Operation::Hold => {
            let body = model.next_body();
            model.held.push(body);
            let held = bench.publish_with(HOLDER, "", "q", &[0, 0], body);
            assert!(held.is_empty(), "before the commit: {held:?}");
            held
        }
        Operation::EndTransaction { commit } => {
            let held = std::mem::take(&mut model.held);
            if commit {
                model.published.extend(held);
                return bench.tx(HOLDER, tx::AMQPMethod::Commit(tx::Commit {}));
            }
            bench.tx(HOLDER, tx::AMQPMethod::Rollback(tx::Rollback {}))
        }
        Operation::Consume(tag, no_ack) => {
            let tag = format!("c{tag}");
            if model.consumers.contains_key(&tag) {
                return Vec::new();
            }
            model.consumers.insert(tag.clone(), (model.prefetch.0, no_ack));
            // A tag that is used again has no part in what its predecessor was given.
            for (owner, _) in model.unsettled.values_mut().filter(|(owner, _)| *owner == tag) {
                owner.push_str(" (gone)");
            }
            let mut consume = consume_from("q", &tag, no_ack);
            consume.arguments.insert("x-priority".into(), AMQPValue::LongInt(priority(&tag)));
            bench.basic(CONSUMER, basic::AMQPMethod::Consume(consume))
        }
        Operation::Cancel(tag) => {
            let consumer_tag = format!("c{tag}");
            model.consumers.remove(&consumer_tag);
            let cancel = basic::Cancel { consumer_tag: consumer_tag.as_str().into(), nowait: true };
            bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel))
        }
        Operation::Settle { pick, multiple, how, keep } => {
            settle(bench, model, pick, multiple, (how, keep || !model.transactional))
        }
        Operation::Recover => {
            model.unsettled.clear();
            bench.basic(CONSUMER, basic::AMQPMethod::Recover(basic::Recover { requeue: true }))
        }
        Operation::Qos(count, global) => {
            *(if global { &mut model.prefetch.1 } else { &mut model.prefetch.0 }) = count;
            bench.qos(CONSUMER, count, global)
        }
        Operation::Drain => {
            let bytes = std::mem::take(&mut model.undrained);
            bench.run(Command::Drained { connection: CONSUMER.connection, bytes })
        }
        Operation::Reconnect => {
            model.unsettled.clear();
            model.consumers.clear();
            (model.prefetch, model.undrained) = ((0, 0), 0);
            let effects = bench.run(Command::Disconnect { connection: CONSUMER.connection });
            connect_consumer(bench, model);
            effects
        }
    }
}

fn connect_consumer(bench: &mut Bench, model: &Model) {
    bench.connect(CONSUMER);
    if model.transactional {
        bench.tx(CONSUMER, tx::AMQPMethod::Select(tx::Select {}));
    }
}

fn settle(
    bench: &mut Bench,
    model: &mut Model,
    pick: prop::sample::Index,
    multiple: bool,
    (how, keep): (u8, bool),
) -> Vec<Effect> {
    let tags: Vec<u64> = model.unsettled.keys().copied().collect();
    if tags.is_empty() {
        return Vec::new();
    }
    let tag = *pick.get(&tags);
    let first = if multiple { 0 } else { tag };
    if keep {
        for (_, (_, body)) in model.unsettled.extract_if(first..=tag, |_, _| true) {
            if how != 2 {
                model.settled.insert(body);
            }
        }
    }
    let effects = match how {
        0 => bench.ack(tag, multiple),
        1 => bench.nack(tag, multiple, false),
        _ => bench.nack(tag, multiple, true),
    };
    if !model.transactional {
        return effects;
    }
    assert!(effects.is_empty(), "before the commit: {effects:?}");
    if keep {
        bench.tx(CONSUMER, tx::AMQPMethod::Commit(tx::Commit {}))
    } else {
        bench.tx(CONSUMER, tx::AMQPMethod::Rollback(tx::Rollback {}))
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_invented(operations in operations(), transactional in any::<bool>()) {
        // A backlog of three deliveries, so that congestion happens.
        let limits = Limits { delivery_bytes: 3 * (MESSAGE_OVERHEAD_BYTES + 3), ..Limits::default() };
        let (mut bench, mut model) = (Bench::new(limits), Model { transactional, ..Model::default() });
        bench.run(Command::Disconnect { connection: CONSUMER.connection });
        connect_consumer(&mut bench, &model);
        bench.connect(HOLDER);
        bench.tx(HOLDER, tx::AMQPMethod::Select(tx::Select {}));
        for operation in operations {
            let before = model.unsettled.clone();
            let effects = apply(&mut bench, &mut model, operation);
            let kept = before.into_iter().filter(|(tag, _)| model.unsettled.contains_key(tag)).collect();
            model.observe(&effects)?;
            model.check_prefetch(&kept)?;
            let queue = &bench.engine.snapshot().queues[0];
            prop_assert_eq!(queue.unacknowledged, model.unsettled.len());
            prop_assert_eq!(queue.ready + queue.unacknowledged + model.settled.len(), model.published.len());
        }
        // What a transaction still holds is dropped with it.
        bench.run(Command::Disconnect { connection: HOLDER.connection });
        // Whatever happened, a new consumer without limits gets all that is left.
        apply(&mut bench, &mut model, Operation::Reconnect);
        model.consumers.insert("last".to_owned(), (0, true));
        let mut effects = bench.consume(CONSUMER, "last", true);
        while !effects.is_empty() {
            model.observe(&effects)?;
            effects = apply(&mut bench, &mut model, Operation::Drain);
        }
        prop_assert_eq!(model.settled.len(), model.published.len(), "lost");
        drop(effects);
        prop_assert_eq!(bench.engine.held_bytes(), 0);
    }
}
