//! The engine, the store and the disk under it, driven as the broker drives them, one step at a time.
//!
//! Keeps back what waits for a commit, as an outbox does. Does not know what the commands mean or what is right.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::engine::{Command, ConnectionId, Effect, Engine, Outbound};
use crate::identity::{CommitId, MessageId, QueueId, Timestamp};
use crate::options::Limits;
use crate::store::simulated::{Crash, Faults, Random, SimulatedDisk};
use crate::store::{Log, Operation, Recovered, Report, Store, StoreError, StoreMetrics, StoreOptions};

/// Small segments, so that a case has many.
const OPTIONS: StoreOptions = StoreOptions { segment_octets: 8192, disk_max_octets: 1 << 20, free_min_octets: 0 };
/// Steps after which a broker that has always more to do counts as hanging.
const STEPS_MAX: usize = 100_000;

enum Request {
    Submit(CommitId, Vec<Operation>),
    Load(QueueId, Vec<(Log, MessageId)>),
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) disk: SimulatedDisk,
    /// Milliseconds since 1970.
    pub(super) now: u64,
    /// Whether publishers are to wait.
    pub(super) holding: bool,
    /// What clients got and nobody has looked at.
    pub(super) heard: VecDeque<(ConnectionId, Outbound)>,
    pub(super) engine: Engine,
    store: Store<SimulatedDisk>,
    metrics: Arc<StoreMetrics>,
    inbox: VecDeque<Request>,
    kept_back: BTreeMap<ConnectionId, VecDeque<(CommitId, Outbound)>>,
    submitted: CommitId,
    committed: CommitId,
}

/// So little memory that everything behind the first messages leaves it.
fn new_engine() -> Engine {
    let limits = Limits { resident_bytes: 1000, resident_head: 3, delivery_bytes: 2000, ..Limits::default() };
    Engine::new(limits, &["/".to_owned()], 1, true)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
        Self::open(SimulatedDisk::new(seed), random, 1_000_000).0
    }

    /// A broker on this disk, and what its store found there.
    fn open(disk: SimulatedDisk, random: Random, now: u64) -> (Self, Recovered) {
        let (engine, metrics) = (new_engine(), Arc::default());
        let resident = Arc::clone(engine.resident());
        let opened = Store::open(disk.clone(), OPTIONS, 77, resident, Arc::clone(&metrics));
        let (store, recovered) = opened.unwrap_or_else(|error| panic!("{error}"));
        let world = Self {
            random,
            disk,
            now,
            holding: false,
            heard: VecDeque::new(),
            engine,
            store,
            metrics,
            inbox: VecDeque::new(),
            kept_back: BTreeMap::new(),
            submitted: CommitId(0),
            committed: CommitId(0),
        };
        (world, recovered)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(super) fn run(&mut self, command: Command) {
        self.engine.advance(Timestamp(self.now));
        self.engine.handle(command);
        self.hand_out();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.engine.advance(Timestamp(self.now));
        self.hand_out();
    }

    fn hand_out(&mut self) {
        for effect in self.engine.finish_batch() {
            match effect {
                Effect::Send { connection, outbound, after } => {
                    let kept = self.kept_back.entry(connection).or_default();
                    // What is given out counts from now on, wherever it is on its way.
                    let given = matches!(outbound, Outbound::Deliver { .. } | Outbound::GetOk { .. });
                    if given || (kept.is_empty() && after.is_none_or(|commit| commit <= self.committed)) {
                        self.heard.push_back((connection, outbound));
                    } else {
                        kept.push_back((after.unwrap_or_default(), outbound));
                    }
                }
                Effect::Commit { commit, operations } => {
                    self.submitted = commit;
                    self.inbox.push_back(Request::Submit(commit, operations));
                }
                Effect::Load { queue, wanted } => self.inbox.push_back(Request::Load(queue, wanted)),
                Effect::HoldPublishers(hold) => self.holding = hold,
                Effect::Finish { .. } => {}
            }
        }
    }

    /// What is left for a connection that is gone reaches nobody.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.kept_back.remove(&connection);
        self.heard.retain(|(to, _)| *to != connection);
    }

    /// Lets the store take so many requests and do one turn; when it wants the next.
    pub(super) fn store_turn(&mut self, requests: usize) -> Option<u64> {
        let count = requests.min(self.inbox.len());
        let mut loads = Vec::new();
        for request in self.inbox.drain(..count) {
            match request {
                Request::Submit(commit, operations) => self.store.submit(commit, operations),
                Request::Load(queue, wanted) => loads.push((queue, wanted)),
            }
        }
        let mut reports = Vec::new();
        let next = self.store.turn(self.now, &mut reports);
        reports.extend(loads.iter().map(|(queue, wanted)| self.store.load(*queue, wanted)));
        self.engine.advance(Timestamp(self.now));
        for report in reports {
            if let Report::Committed(commit) = &report {
                self.committed = *commit;
            }
            self.engine.handle(Command::Store(report));
        }
        for (connection, kept) in &mut self.kept_back {
            while let Some((_, outbound)) = kept.pop_front_if(|(after, _)| *after <= self.committed) {
                self.heard.push_back((*connection, outbound));
            }
        }
        self.hand_out();
        next
    }

    /// Works until nothing is left to do, whatever time that takes.
    pub(super) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let next = self.store_turn(usize::MAX);
            let busy = self.engine.next_deadline().is_some_and(|at| at.0 <= self.now);
            match next {
                _ if busy => self.pass(0),
                _ if !self.inbox.is_empty() => {}
                Some(at) => self.pass(at.saturating_sub(self.now)),
                None => return,
            }
        }
        panic!("there is always more to do");
    }

    /// Whether all that was decided so far is on the disk.
    pub(super) fn is_settled(&self) -> bool {
        self.committed == self.submitted && self.store.removals_are_synced()
    }

    /// Ends the broker in order, if the disk allows for it.
    pub(super) fn close(self) -> (Unpowered, bool) {
        let Self { mut engine, mut store, mut inbox, disk, random, now, .. } = self;
        engine.handle(Command::Shutdown);
        let last: Vec<_> = engine.finish_batch().collect();
        for request in inbox.drain(..) {
            if let Request::Submit(commit, operations) = request {
                store.submit(commit, operations);
            }
        }
        for effect in last {
            if let Effect::Commit { commit, operations } = effect {
                store.submit(commit, operations);
            }
        }
        let closed = store.close(&engine.delivered_before()).is_ok();
        (Unpowered { disk, random, now }, closed)
    }

    pub(super) fn crash(self) -> Unpowered {
        Unpowered { disk: self.disk, random: self.random, now: self.now }
    }

    /// That nothing is kept anywhere although no message is left.
    pub(super) fn check_empty(&self) {
        let snapshot = self.engine.snapshot();
        assert_eq!((snapshot.held_bytes, snapshot.blocked), (0, None), "{snapshot:#?}");
        for queue in &snapshot.queues {
            assert_eq!((queue.ready, queue.ready_bytes, queue.unacknowledged), (0, 0, 0), "{queue:?}");
        }
        let metrics = &self.metrics;
        assert_eq!((metrics.live_messages.get(), metrics.live_octets.get()), (0, 0), "the store keeps something");
        assert!(self.is_settled() && self.inbox.is_empty() && !self.holding);
        assert!(self.kept_back.values().all(VecDeque::is_empty), "an answer was never given");
    }
}

/// What is left of a broker that is not running.
pub(super) struct Unpowered {
    disk: SimulatedDisk,
    random: Random,
    now: u64,
}

impl Unpowered {
    /// Turns the power on again, now and then without success; what was found, and the contents of it.
    pub(super) fn start(mut self, mut how: Crash) -> (World, Found) {
        self.disk.crash(how);
        while self.random.below(4) == 0 {
            let power_off_after = Some(self.random.below(12));
            self.disk.set_faults(Faults { power_off_after, ..Faults::default() });
            match Store::open(self.disk.clone(), OPTIONS, 77, Arc::default(), Arc::default()) {
                Ok(_) | Err(StoreError::Io { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            how = Crash::Machine;
            self.disk.crash(how);
        }
        self.start_at_once(how)
    }

    pub(super) fn start_at_once(self, how: Crash) -> (World, Found) {
        let Self { disk, random, now } = self;
        disk.crash(how);
        let (mut world, recovered) = World::open(disk, random, now);
        let found = Found::read(&recovered, &mut world.store);
        world.engine.advance(Timestamp(now));
        world.engine.restore(recovered);
        world.hand_out();
        (world, found)
    }
}

/// The messages that were found: queue, content, whether it may have been delivered.
pub(super) struct Found(pub(super) Vec<(String, crate::frame::Content, bool)>);

impl Found {
    fn read(recovered: &Recovered, store: &mut Store<SimulatedDisk>) -> Self {
        use crate::store::TopologyChange::QueueDeclared;
        let name = |id: QueueId| {
            recovered.topology.iter().find_map(|change| match change {
                QueueDeclared(queue) if queue.id == id => Some(queue.name.to_string()),
                _ => None,
            })
        };
        let mut found = Vec::new();
        for (id, entries) in &recovered.entries {
            let queue = name(*id).expect("entries are those of declared queues");
            let wanted: Vec<_> = entries.iter().map(|entry| (Log::Durable, entry.id)).collect();
            let Report::Loaded { messages, .. } = store.load(*id, &wanted) else { unreachable!() };
            for (entry, (_, message)) in entries.iter().zip(messages) {
                let message = message.unwrap_or_else(|| panic!("{entry:?} of {queue} cannot be read"));
                found.push((queue.clone(), message.content.clone(), entry.redelivered));
            }
        }
        Self(found)
    }
}
