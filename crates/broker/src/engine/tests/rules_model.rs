//! A queue with any combination of arguments against a model of them, in memory and with most of it on disk.
//!
//! Every message ends up delivered and settled, refused, dropped as the rules say, or in the dead-letter queue, once, in
//! the order and for the reason that the model expects; and whatever is left is found again after a crash.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::disk::Disk;
use super::*;

#[derive(Clone, Debug)]
struct Rules {
    ttl: Option<u64>,
    max_length: Option<usize>,
    max_bytes: Option<usize>,
    overflow: usize,
    dead_letters: bool,
    max_priority: u8,
    delivery_limit: Option<u16>,
}

const OVERFLOWS: [&str; 3] = ["drop-head", "reject-publish", "reject-publish-dlx"];

fn rules() -> impl Strategy<Value = Rules> {
    let some = prop::option::of::<std::ops::Range<u64>>;
    let bounds = (some(0..30), prop::option::of(0usize..6), prop::option::of(0usize..12), 0usize..3);
    let kind = prop_oneof![(1u8..4).prop_map(|top| (top, None)), (0u16..3).prop_map(|limit| (0, Some(limit)))];
    (bounds, any::<bool>(), kind).prop_map(|((ttl, max_length, max_bytes, overflow), dead_letters, kind)| Rules {
        ttl,
        max_length,
        max_bytes,
        overflow,
        dead_letters,
        max_priority: kind.0,
        delivery_limit: kind.1,
    })
}

impl Rules {
    fn arguments(&self) -> Vec<(&'static str, AMQPValue)> {
        let size = |size: usize| number(i64::try_from(size).unwrap());
        let mut arguments = vec![("x-overflow", text(OVERFLOWS[self.overflow]))];
        arguments.extend(self.ttl.map(|ttl| ("x-message-ttl", number(i64::try_from(ttl).unwrap()))));
        arguments.extend(self.max_length.map(|max| ("x-max-length", size(max))));
        arguments.extend(self.max_bytes.map(|max| ("x-max-length-bytes", size(max))));
        if self.dead_letters {
            arguments.extend([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))]);
        }
        if let Some(limit) = self.delivery_limit {
            arguments.extend([("x-queue-type", text("quorum")), ("x-delivery-limit", number(i64::from(limit)))]);
        } else {
            arguments.push(("x-max-priority", number(i64::from(self.max_priority))));
        }
        arguments
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        expiration: Option<u64>,
        priority: u8,
        size: usize,
    },
    Get,
    /// A consumer comes, takes up to so many, and goes.
    Consume(u16),
    Settle {
        pick: prop::sample::Index,
        multiple: bool,
        how: u8,
    },
    Wait(u64),
    Reconnect,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        8 => (prop::option::of(0u64..40), 0u8..6, 1usize..5)
            .prop_map(|(expiration, priority, size)| Operation::Publish { expiration, priority, size }),
        4 => Just(Operation::Get),
        3 => (1u16..5).prop_map(Operation::Consume),
        4 => (any::<prop::sample::Index>(), any::<bool>(), 0u8..3)
            .prop_map(|(pick, multiple, how)| Operation::Settle { pick, multiple, how }),
        3 => (0u64..20).prop_map(Operation::Wait),
        1 => Just(Operation::Reconnect),
    ];
    prop::collection::vec(operation, 1..100)
}

#[derive(Clone, Debug)]
struct Item {
    body: Vec<u8>,
    level: u8,
    place: usize,
    expires_at: u64,
    returned: u16,
}

struct Model {
    rules: Rules,
    now: u64,
    published: usize,
    ready: Vec<Item>,
    taken: BTreeMap<u64, Item>,
    /// Bodies and reasons, in order.
    dead: Vec<(Vec<u8>, &'static str)>,
    last_tag: u64,
}

impl Model {
    fn gone(&mut self, item: Item, reason: &'static str) {
        if self.rules.dead_letters {
            self.dead.push((item.body, reason));
        }
    }

    fn is_too_much(&self, more: usize) -> bool {
        let octets: usize = self.ready.iter().map(|item| item.body.len()).sum();
        let count = self.ready.len() + usize::from(more > 0);
        self.rules.max_length.is_some_and(|max| count > max)
            || self.rules.max_bytes.is_some_and(|max| octets + more > max)
    }

    /// The messages in the order of delivery; what expires or makes room leaves.
    fn tidy(&mut self) {
        self.ready.sort_by_key(|item| (std::cmp::Reverse(item.level), item.place));
        loop {
            if self.ready.first().is_some_and(|item| item.expires_at <= self.now) {
                let item = self.ready.remove(0);
                self.gone(item, "expired");
            } else if self.rules.overflow == 0 && self.is_too_much(0) {
                let item = self.ready.remove(0);
                self.gone(item, "maxlen");
            } else {
                return;
            }
        }
    }

    /// Whether it is accepted.
    fn publish(&mut self, item: Item) -> bool {
        self.published += 1;
        if self.rules.overflow > 0 && self.is_too_much(item.body.len()) {
            if self.rules.overflow == 2 {
                self.gone(item, "maxlen");
            }
            return false;
        }
        self.ready.push(item);
        self.tidy();
        true
    }

    /// Takes the first message: its delivery tag and whether it was taken before.
    fn take(&mut self) -> Option<(u64, bool, Vec<u8>)> {
        if self.ready.is_empty() {
            return None;
        }
        let item = self.ready.remove(0);
        self.last_tag += 1;
        let taken = (self.last_tag, item.returned > 0, item.body.clone());
        self.taken.insert(self.last_tag, item);
        // What is the first now may have been due for long.
        self.tidy();
        Some(taken)
    }

    fn put_back(&mut self, items: Vec<Item>) {
        for mut item in items {
            item.returned += 1;
            if self.rules.delivery_limit.is_some_and(|limit| item.returned > limit) {
                self.gone(item, "delivery_limit");
            } else {
                self.ready.push(item);
            }
        }
        self.tidy();
    }
}

/// The bench, the model and the store that belong together.
struct Trial {
    bench: Bench,
    disk: Disk,
    model: Model,
}

impl Trial {
    fn new(rules: Rules, mut bench: Bench) -> Self {
        let mut disk = Disk::default();
        for (queue, arguments) in [("dead", vec![]), ("ruled", rules.arguments())] {
            let effects = bench.declare_with(queue, &arguments);
            disk.serve(&mut bench, effects);
        }
        bench.confirms();
        let (ready, taken, dead) = (Vec::new(), BTreeMap::new(), Vec::new());
        let model = Model { rules, now: 0, published: 0, ready, taken, dead, last_tag: 0 };
        Self { bench, disk, model }
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Publish { expiration, priority, size } => self.publish(*expiration, *priority, *size)?,
            Operation::Get => self.get()?,
            Operation::Consume(count) => self.consume(*count)?,
            Operation::Settle { pick, multiple, how } => self.settle(*pick, *multiple, *how),
            Operation::Wait(milliseconds) => {
                self.model.now += milliseconds;
                self.model.tidy();
                let effects = self.bench.at(self.model.now);
                self.disk.serve(&mut self.bench, effects);
            }
            Operation::Reconnect => {
                let items = std::mem::take(&mut self.model.taken).into_values().collect();
                self.model.put_back(items);
                self.model.last_tag = 0;
                let effects = self.bench.run(Command::Disconnect { connection: CONSUMER.connection });
                self.disk.serve(&mut self.bench, effects);
                self.bench.connect(CONSUMER);
            }
        }
        prop_assert_eq!(self.bench.depth("ruled"), Some((self.model.ready.len(), self.model.taken.len())));
        prop_assert_eq!(self.bench.depth("dead"), Some((self.model.dead.len(), 0)));
        Ok(())
    }

    fn publish(&mut self, expiration: Option<u64>, priority: u8, size: usize) -> Result<(), TestCaseError> {
        let body = vec![u8::try_from(self.model.published).unwrap(); size];
        let lives = [expiration, self.model.rules.ttl].into_iter().flatten().min();
        let item = Item {
            body: body.clone(),
            level: priority.min(self.model.rules.max_priority),
            place: self.model.published,
            expires_at: lives.map_or(u64::MAX, |lives| self.model.now + lives),
            returned: 0,
        };
        let accepted = self.model.publish(item);
        let expiration = expiration.map(|milliseconds| milliseconds.to_string());
        let properties = Properties { persistent: true, priority: Some(priority), expiration: expiration.as_deref() };
        let effects = self.bench.send("ruled", properties, &body);
        let effects = self.disk.serve(&mut self.bench, effects);
        prop_assert_eq!(confirmed(&effects), [(self.model.published as u64, accepted)]);
        Ok(())
    }

    fn get(&mut self) -> Result<(), TestCaseError> {
        let get = basic::Get { queue: "ruled".into(), no_ack: false };
        let effects = self.bench.basic(CONSUMER, basic::AMQPMethod::Get(get));
        let effects = self.disk.serve(&mut self.bench, effects);
        let got = effects.iter().find_map(|effect| match effect {
            Effect::Send { outbound: Outbound::GetOk { delivery_tag, redelivered, message, .. }, .. } => {
                Some((*delivery_tag, *redelivered, message.content.body().to_vec()))
            }
            _ => None,
        });
        prop_assert_eq!(got, self.model.take());
        Ok(())
    }

    fn consume(&mut self, count: u16) -> Result<(), TestCaseError> {
        self.bench.qos(CONSUMER, count, false);
        let effects = self.bench.consume_from("ruled", "c");
        let effects = self.disk.serve(&mut self.bench, effects);
        let cancel = basic::Cancel { consumer_tag: "c".into(), nowait: true };
        self.bench.basic(CONSUMER, basic::AMQPMethod::Cancel(cancel));
        let given: Vec<_> = deliveries(&effects).into_iter().map(|(_, tag, again, body)| (tag, again, body)).collect();
        let expected: Vec<_> = (0..count).map_while(|_| self.model.take()).collect();
        prop_assert_eq!(given, expected);
        Ok(())
    }

    fn settle(&mut self, pick: prop::sample::Index, multiple: bool, how: u8) {
        let tags: Vec<u64> = self.model.taken.keys().copied().collect();
        if tags.is_empty() {
            return;
        }
        let tag = *pick.get(&tags);
        let first = if multiple { 0 } else { tag };
        let items: Vec<Item> = self.model.taken.extract_if(first..=tag, |_, _| true).map(|(_, item)| item).collect();
        let effects = match how {
            0 => self.bench.ack(tag, multiple),
            1 => {
                items.into_iter().for_each(|item| self.model.gone(item, "rejected"));
                self.bench.nack(tag, multiple, false)
            }
            _ => {
                self.model.put_back(items);
                self.bench.nack(tag, multiple, true)
            }
        };
        self.disk.serve(&mut self.bench, effects);
    }

    /// Everything that is left, after a crash if there is a store.
    fn finish(mut self, stored: bool) -> Result<(), TestCaseError> {
        if stored {
            let live = self.model.ready.len() + self.model.taken.len() + self.model.dead.len();
            prop_assert_eq!(self.disk.held.len(), live, "what is stored is what is left");
            let mut items: Vec<_> = std::mem::take(&mut self.model.taken).into_values().collect();
            items.append(&mut self.model.ready);
            self.model.ready = items;
            self.model.tidy();
            self.bench.engine = Engine::new(Limits::default(), &["/".to_owned()], 1, true);
            self.bench.engine.restore(self.disk.recovered());
            let effects = self.bench.at(self.model.now);
            self.disk.serve(&mut self.bench, effects);
            prop_assert_eq!(self.bench.depth("ruled"), Some((self.model.ready.len(), 0)));
            prop_assert_eq!(self.bench.depth("dead"), Some((self.model.dead.len(), 0)));
            return Ok(());
        }
        let reason = |headers: &FieldTable| headers.inner().get("x-last-death-reason").cloned();
        let dead: Vec<_> = self.bench.take_all("dead").iter().map(|(body, h)| (body.clone(), reason(h))).collect();
        let expected = std::mem::take(&mut self.model.dead);
        let expected: Vec<_> = expected.into_iter().map(|(body, reason)| (body, Some(text(reason)))).collect();
        prop_assert_eq!(dead, expected);
        self.apply(&Operation::Reconnect)?;
        let left: Vec<_> = self.bench.take_all("ruled").into_iter().map(|(body, _)| body).collect();
        // Getting the first of them may let others expire that were due behind it.
        prop_assert!(left.len() <= self.model.ready.len());
        prop_assert!(self.model.rules.dead_letters || self.bench.engine.held_bytes() == 0, "something is left over");
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_queue_keeps_its_rules_in_memory(rules in rules(), operations in operations()) {
        let mut trial = Trial::new(rules, Bench::new(Limits::default()));
        for operation in &operations {
            trial.apply(operation)?;
        }
        trial.finish(false)?;
    }

    #[test]
    fn a_queue_keeps_its_rules_on_disk(rules in rules(), operations in operations()) {
        let mut trial = Trial::new(rules, Bench::stored(Limits { resident_bytes: 1, ..Limits::default() }));
        for operation in &operations {
            trial.apply(operation)?;
        }
        trial.finish(true)?;
    }
}
