//! Tests of the store on a simulated disk and on a real one.

mod crash;
mod damage;
mod ends;
mod faults;
mod measure;
mod model;
mod real;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Store;
use super::disk::Disk;
use super::simulated::SimulatedDisk;
use super::*;
use crate::frame::Content;
use crate::identity::{CommitId, MessageId, QueueId, Timestamp};
use crate::message::{Message, Resident};

/// Small segments, so that a test has many.
const OPTIONS: StoreOptions = StoreOptions { segment_octets: 8192, disk_max_octets: 1 << 20, free_min_octets: 0 };

fn open<D: Disk>(disk: &D, options: StoreOptions) -> Result<(Store<D>, Recovered), StoreError> {
    Store::open(disk.clone(), options, 77, Arc::default(), Arc::default())
}

fn queue(id: u64) -> Operation {
    Operation::Topology(TopologyChange::QueueDeclared(StoredQueue {
        id: QueueId(id),
        vhost: "/".into(),
        name: format!("queue-{id}").into(),
        auto_delete: false,
        arguments: Default::default(),
    }))
}

/// A message that can be told from all others, of about this size.
fn message(id: u64, octets: usize) -> Arc<Message> {
    let body: Vec<u8> = (0..octets).map(|at| (at as u64).wrapping_mul(id | 1).wrapping_add(id) as u8).collect();
    Arc::new(Message {
        exchange: "exchange".into(),
        routing_key: format!("key-{id}").into(),
        content: Content::new(&[0, 0], &body),
        published_at: Timestamp(1000 + id),
        expires_at: id.is_multiple_of(3).then_some(Timestamp(5000 + id)),
        priority: (id % 10) as u8,
        persistent: true,
        dead_letter: false,
        resident: Resident::default(),
    })
}

fn put(log: Log, id: u64, queues: &[u64], octets: usize) -> Operation {
    let queues = queues.iter().copied().map(QueueId).collect();
    Operation::Put { log, id: MessageId(id), queues, message: message(id, octets) }
}

fn remove(log: Log, id: u64, queue: u64) -> Operation {
    Operation::Remove { log, id: MessageId(id), queue: QueueId(queue) }
}

fn same(left: &Message, right: &Message) -> bool {
    let key = |message: &Message| (message.exchange.clone(), message.routing_key.clone(), message.persistent);
    let facts = |message: &Message| (message.published_at, message.expires_at, message.priority);
    key(left) == key(right) && facts(left) == facts(right) && left.content == right.content
}

/// The ids of each queue.
fn ids(recovered: &Recovered) -> BTreeMap<u64, Vec<u64>> {
    let list = |entries: &[RecoveredEntry]| entries.iter().map(|entry| entry.id.0).collect();
    recovered.entries.iter().map(|(queue, entries)| (queue.0, list(entries))).collect()
}

/// A store with a clock and a counter of commits.
struct Driver<D: Disk> {
    store: Store<D>,
    now: u64,
    submitted: u64,
    committed: u64,
    states: Vec<StoreState>,
}

impl<D: Disk> Driver<D> {
    fn new(store: Store<D>) -> Self {
        Self { store, now: 0, submitted: 0, committed: 0, states: Vec::new() }
    }

    fn submit(&mut self, operations: Vec<Operation>) {
        self.submitted += 1;
        self.store.submit(CommitId(self.submitted), operations);
    }

    fn turn(&mut self) -> Option<u64> {
        let mut reports = Vec::new();
        let next = self.store.turn(self.now, &mut reports);
        for report in reports {
            match report {
                Report::Committed(id) => self.committed = id.0,
                Report::State(state) => self.states.push(state),
                Report::Loaded { .. } => unreachable!("nothing was asked for"),
            }
        }
        next
    }

    /// Turns until nothing is to be done at once.
    fn settle(&mut self) {
        while self.turn().is_some_and(|at| at <= self.now) {}
    }

    fn commit(&mut self, operations: Vec<Operation>) {
        self.submit(operations);
        self.settle();
    }

    /// Lets time pass.
    fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.settle();
    }

    fn state(&self) -> StoreState {
        self.states.last().cloned().unwrap_or_default()
    }

    fn load(&mut self, log: Log, id: u64) -> Option<Arc<Message>> {
        match self.store.load(QueueId(1), &[(log, MessageId(id))]) {
            Report::Loaded { mut messages, .. } => messages.pop().and_then(|(_, message)| message),
            other => panic!("{other:?}"),
        }
    }
}

/// A new store on a simulated disk, with queues 1 to 3.
fn fresh(seed: u64, options: StoreOptions) -> (SimulatedDisk, Driver<SimulatedDisk>) {
    let disk = SimulatedDisk::new(seed);
    let (store, _) = open(&disk, options).unwrap();
    let mut driver = Driver::new(store);
    driver.commit(vec![queue(1), queue(2), queue(3)]);
    assert_eq!(driver.committed, 1);
    (disk, driver)
}
