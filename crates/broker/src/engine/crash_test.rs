//! The engine with a store that is slow and forgets what was not committed, under random operations and crashes.
//!
//! The store here is a map; files are tested where they are written. What is tested is that the engine asks for the
//! right things: nothing confirmed is lost by a crash, nothing settled before an orderly end comes back, and a message
//! that left memory comes back whole and in its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amq_protocol::protocol::{basic, confirm, queue};
use proptest::prelude::*;

use super::tests::{Bench, CONSUMER, PUBLISHER, deliveries, no_flags};
use super::*;
use crate::frame::Content;
use crate::identity::MessageId;
use crate::message::{Message, Resident};
use crate::store::{Log, Operation, Recovered, RecoveredEntry, Report, TopologyChange};

/// A store in which a commit is done when the test says so.
#[derive(Default)]
struct SlowStore {
    held: BTreeMap<(u8, QueueId, MessageId), Arc<Message>>,
    topology: Vec<TopologyChange>,
    commits: VecDeque<(CommitId, Vec<Operation>)>,
    loads: VecDeque<(QueueId, Vec<(Log, MessageId)>)>,
    last_message: u64,
}

impl SlowStore {
    fn take(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Commit { .. } | Effect::Load { .. })) {
            match effect {
                Effect::Commit { commit, operations } => self.commits.push_back((commit, operations)),
                Effect::Load { queue, wanted } => self.loads.push_back((queue, wanted)),
                _ => {}
            }
        }
    }

    fn commit(&mut self) -> Option<Report> {
        let (commit, operations) = self.commits.pop_front()?;
        for operation in operations {
            match operation {
                Operation::Put { log, id, queues, message } => {
                    self.last_message = self.last_message.max(id.0);
                    for queue in queues {
                        assert!(self.held.insert((log as u8, queue, id), Arc::clone(&message)).is_none(), "put twice");
                    }
                }
                Operation::Remove { log, id, queue } => {
                    assert!(self.held.remove(&(log as u8, queue, id)).is_some(), "removed what was not there");
                }
                Operation::Topology(change) => self.topology.push(change),
            }
        }
        Some(Report::Committed(commit))
    }

    fn load(&mut self, resident: &Arc<AtomicUsize>) -> Option<Report> {
        let (queue, wanted) = self.loads.pop_front()?;
        let read = |(log, id): (Log, MessageId)| {
            let held = self.held.get(&(log as u8, queue, id));
            (id, held.map(|message| Arc::new(copy(message, resident))))
        };
        Some(Report::Loaded { queue, messages: wanted.into_iter().map(read).collect() })
    }

    /// What is there after the engine is gone.
    fn recover(&mut self, delivered: Option<&BTreeSet<MessageId>>) -> Recovered {
        self.commits.clear();
        self.loads.clear();
        self.held.retain(|(log, ..), _| *log == Log::Durable as u8);
        let mut entries: BTreeMap<QueueId, Vec<RecoveredEntry>> = BTreeMap::new();
        for ((_, queue, id), message) in &self.held {
            entries.entry(*queue).or_default().push(RecoveredEntry {
                id: *id,
                weight: message.weight() as u32,
                body: message.content.body().len() as u32,
                published_at: message.published_at,
                expires_at: message.expires_at,
                priority: message.priority,
                redelivered: delivered.is_none_or(|delivered| delivered.contains(id)),
            });
        }
        let topology = self.topology.clone();
        Recovered { topology, entries: entries.into_iter().collect(), last_queue: 100, last_message: self.last_message }
    }
}

fn copy(message: &Message, resident: &Arc<AtomicUsize>) -> Message {
    message.with_content(message.content.clone(), Resident::new(&message.content, resident))
}

#[derive(Clone, Debug)]
enum Step {
    Publish { persistent: bool },
    Consume { no_ack: bool },
    Get { no_ack: bool },
    Settle { pick: prop::sample::Index, multiple: bool, how: u8 },
    Commit,
    Load,
    Reconnect,
    Crash,
    Restart,
}

fn operations() -> impl Strategy<Value = Vec<Step>> {
    let operation = prop_oneof![
        12 => prop::bool::weighted(0.8).prop_map(|persistent| Step::Publish { persistent }),
        1 => prop::bool::weighted(0.2).prop_map(|no_ack| Step::Consume { no_ack }),
        4 => prop::bool::weighted(0.2).prop_map(|no_ack| Step::Get { no_ack }),
        6 => (any::<prop::sample::Index>(), any::<bool>(), 0u8..3)
            .prop_map(|(pick, multiple, how)| Step::Settle { pick, multiple, how }),
        8 => Just(Step::Commit),
        6 => Just(Step::Load),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(operation, 1..150)
}

/// What a client may rely on.
#[derive(Default)]
struct Model {
    published: u8,
    persistent: BTreeSet<u8>,
    /// By confirm tag since the publisher connected.
    tags: Vec<u8>,
    confirmed: BTreeSet<u8>,
    /// By delivery tag.
    unsettled: BTreeMap<u64, u8>,
    delivered: BTreeSet<u8>,
    settled: BTreeSet<u8>,
    consuming: Option<bool>,
    gets: VecDeque<bool>,
}

struct Lab {
    bench: Bench,
    store: SlowStore,
    model: Model,
}

/// So little memory that everything behind the first messages leaves it.
fn limits() -> Limits {
    Limits { resident_bytes: 1, resident_head: 3, ..Limits::default() }
}

impl Lab {
    fn new() -> Self {
        let mut lab = Self { bench: Bench::stored(limits()), store: SlowStore::default(), model: Model::default() };
        let declare = queue::Declare { queue: "q".into(), durable: true, ..no_flags() };
        let effects = lab.bench.method(PUBLISHER, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
        lab.observe(effects).unwrap();
        lab.apply(Step::Commit).unwrap();
        lab.select_confirms();
        lab
    }

    fn select_confirms(&mut self) {
        let select = confirm::AMQPMethod::Select(confirm::Select { nowait: true });
        let effects = self.bench.method(PUBLISHER, AMQPClass::Confirm(select));
        self.model.tags.clear();
        self.observe(effects).unwrap();
    }

    fn observe(&mut self, mut effects: Vec<Effect>) -> Result<(), TestCaseError> {
        self.store.take(&mut effects);
        let model = &mut self.model;
        for effect in &effects {
            match effect {
                Effect::Send { outbound: Outbound::Confirm { delivery_tag, multiple, ack, .. }, .. } => {
                    prop_assert!(*ack);
                    let first = if *multiple { 1 } else { *delivery_tag };
                    for tag in first..=*delivery_tag {
                        model.confirmed.insert(model.tags[tag as usize - 1]);
                    }
                }
                Effect::Send { outbound: Outbound::GetOk { delivery_tag, redelivered, message, .. }, .. } => {
                    let no_ack = model.gets.pop_front().unwrap();
                    model.delivery(*delivery_tag, *redelivered, message.content.body()[0], no_ack)?;
                }
                Effect::Send { outbound: Outbound::Method { method, .. }, .. }
                    if matches!(&**method, AMQPClass::Basic(basic::AMQPMethod::GetEmpty(_))) =>
                {
                    model.gets.pop_front();
                }
                effect => {
                    for (_, tag, redelivered, body) in deliveries(std::slice::from_ref(effect)) {
                        model.delivery(tag, redelivered, body[0], model.consuming.unwrap())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, operation: Step) -> Result<(), TestCaseError> {
        let effects = match operation {
            Step::Publish { persistent } => self.publish(persistent),
            Step::Consume { no_ack } if self.model.consuming.is_none() => {
                self.model.consuming = Some(no_ack);
                self.bench.qos(CONSUMER, 3, false);
                self.bench.consume(CONSUMER, "c", no_ack)
            }
            Step::Consume { .. } => Vec::new(),
            Step::Get { no_ack } => {
                self.model.gets.push_back(no_ack);
                self.bench.basic(CONSUMER, basic::AMQPMethod::Get(basic::Get { queue: "q".into(), no_ack }))
            }
            // What follows a waiting `basic.get` on its channel waits too, and the model does not know the outcome.
            Step::Settle { .. } if !self.model.gets.is_empty() => Vec::new(),
            Step::Settle { pick, multiple, how } => self.settle(pick, multiple, how),
            Step::Commit => {
                self.store.commit().map(|report| self.bench.run(Command::Store(report))).unwrap_or_default()
            }
            Step::Load => {
                let report = self.store.load(&Arc::clone(self.bench.engine.resident()));
                report.map(|report| self.bench.run(Command::Store(report))).unwrap_or_default()
            }
            Step::Reconnect => self.reconnect(),
            Step::Crash => return self.crash(),
            Step::Restart => return self.restart(),
        };
        self.observe(effects)
    }

    fn publish(&mut self, persistent: bool) -> Vec<Effect> {
        let model = &mut self.model;
        let body = model.published;
        model.published += 1;
        model.tags.push(body);
        if persistent {
            model.persistent.insert(body);
        }
        let publish =
            basic::Publish { exchange: "".into(), routing_key: "q".into(), mandatory: false, immediate: false };
        let content = Content::new(&[0x10, 0, if persistent { 2 } else { 1 }], &[body]);
        self.bench.run(Command::Publish { channel: PUBLISHER, publish, content })
    }

    fn settle(&mut self, pick: prop::sample::Index, multiple: bool, how: u8) -> Vec<Effect> {
        let model = &mut self.model;
        let tags: Vec<u64> = model.unsettled.keys().copied().collect();
        if tags.is_empty() {
            return Vec::new();
        }
        let tag = *pick.get(&tags);
        let first = if multiple { 0 } else { tag };
        for (_, body) in model.unsettled.extract_if(first..=tag, |_, _| true) {
            if how != 2 {
                model.settled.insert(body);
            }
        }
        match how {
            0 => self.bench.ack(tag, multiple),
            1 => self.bench.nack(tag, multiple, false),
            _ => self.bench.nack(tag, multiple, true),
        }
    }

    fn reconnect(&mut self) -> Vec<Effect> {
        self.model.forget_consumer();
        let mut effects = self.bench.run(Command::Disconnect { connection: CONSUMER.connection });
        self.bench.connect(CONSUMER);
        effects.extend(self.bench.engine.finish_batch());
        effects
    }

    fn crash(&mut self) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        model.forget_consumer();
        let recovered = self.store.recover(None);
        let there: BTreeSet<u8> = self.store.held.values().map(|message| message.content.body()[0]).collect();
        for body in model.confirmed.intersection(&model.persistent) {
            prop_assert!(there.contains(body) || model.settled.contains(body), "confirmed and lost: {body}");
        }
        // What was settled may come back, as the settlement need not have been committed; what is gone is gone.
        model.settled = (0..model.published).filter(|body| !there.contains(body)).collect();
        model.delivered.retain(|body| there.contains(body));
        model.delivered.extend(there);
        self.start(recovered)
    }

    fn restart(&mut self) -> Result<(), TestCaseError> {
        let effects = self.bench.run(Command::Shutdown);
        self.observe(effects)?;
        self.model.forget_consumer();
        let delivered = self.bench.engine.delivered_before().into_iter().map(|(_, id)| id).collect();
        while self.store.commit().is_some() {}
        let recovered = self.store.recover(Some(&delivered));
        let there: BTreeSet<u8> = self.store.held.values().map(|message| message.content.body()[0]).collect();
        let expected = self.model.persistent.difference(&self.model.settled).copied().collect();
        prop_assert_eq!(&there, &expected);
        self.model.settled = (0..self.model.published).filter(|body| !there.contains(body)).collect();
        self.start(recovered)
    }

    fn start(&mut self, recovered: Recovered) -> Result<(), TestCaseError> {
        self.bench = Bench::stored(limits());
        self.bench.engine.restore(recovered);
        let effects = self.bench.engine.finish_batch().collect();
        self.observe(effects)?;
        self.select_confirms();
        Ok(())
    }
}

impl Model {
    fn delivery(&mut self, tag: u64, redelivered: bool, body: u8, no_ack: bool) -> Result<(), TestCaseError> {
        prop_assert!(body < self.published, "invented");
        prop_assert!(!self.settled.contains(&body), "delivered after it was settled");
        prop_assert!(self.unsettled.values().all(|other| *other != body), "delivered to two at once");
        prop_assert_eq!(redelivered, !self.delivered.insert(body), "redelivered flag of {}", body);
        if !redelivered {
            prop_assert_eq!(self.delivered.iter().filter(|other| **other > body).count(), 0, "out of order");
        }
        if no_ack {
            self.settled.insert(body);
        } else {
            self.unsettled.insert(tag, body);
        }
        Ok(())
    }

    fn forget_consumer(&mut self) {
        self.unsettled.clear();
        self.gets.clear();
        self.consuming = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn nothing_confirmed_is_lost_by_a_crash(operations in operations()) {
        let mut lab = Lab::new();
        for operation in operations {
            lab.apply(operation)?;
            let queue = &lab.bench.engine.snapshot().queues[0];
            let model = &lab.model;
            prop_assert_eq!(queue.unacknowledged, model.unsettled.len());
            prop_assert_eq!(queue.ready + queue.unacknowledged + model.settled.len(), usize::from(model.published));
        }
        // In the end everything that is left is delivered, wherever it was.
        lab.apply(Step::Reconnect)?;
        lab.apply(Step::Consume { no_ack: true })?;
        while !lab.store.commits.is_empty() || !lab.store.loads.is_empty() {
            lab.apply(Step::Commit)?;
            lab.apply(Step::Load)?;
        }
        prop_assert_eq!(lab.model.settled.len(), usize::from(lab.model.published), "lost");
        prop_assert_eq!(lab.bench.engine.held_bytes(), 0);
        prop_assert!(lab.store.held.is_empty(), "kept for ever: {:?}", lab.store.held.keys());
    }
}
