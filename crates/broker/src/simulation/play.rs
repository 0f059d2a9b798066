//! Clients that do at random what clients may do, and tell the model what they sent and heard.
//!
//! One channel for each role, so that what a role sends is never held up by another one's wait. Does not know how the
//! broker works.

mod hear;
mod publish;
mod settle;
mod topology;

use std::collections::{BTreeMap, VecDeque};

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, tx};
use amq_protocol::types::AMQPValue;

use super::model::{Copy, DEAD, Model, Rules};
use super::world::World;
use crate::engine::{ChannelKey, Client, Command, ConnectionId};
use crate::store::simulated::{Crash, Faults};

const fn role(connection: u64) -> ChannelKey {
    ChannelKey { connection: ConnectionId(connection), number: 1 }
}

const ADMIN: ChannelKey = role(1);
/// Publishes with confirms.
const PUBLISHER: ChannelKey = role(2);
/// Publishes in transactions.
const HOLDER: ChannelKey = role(3);
const CONSUMER: ChannelKey = role(4);
/// Settles in transactions.
const COMMITTER: ChannelKey = role(5);
const GETTER: ChannelKey = role(6);
const ROLES: [ChannelKey; 6] = [ADMIN, PUBLISHER, HOLDER, CONSUMER, COMMITTER, GETTER];

const EXCHANGE: &str = "fan";

/// What the administrator waits for an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Queue(String),
    Binding(String),
    Exchange,
}

#[derive(Clone, Debug)]
struct Consumer {
    queue: String,
    prefetch: u16,
    no_ack: bool,
    alive: bool,
}

#[derive(Clone, Debug)]
struct Delivery {
    copy: Copy,
    /// `None` for `basic.get`.
    consumer: Option<String>,
}

pub(super) struct Play {
    world: World,
    model: Model,
    last_message: u64,
    last_order: u64,
    last_name: u64,
    asked: VecDeque<Asked>,
    /// Not yet confirmed, by tag.
    tags: BTreeMap<u64, u64>,
    last_tag: u64,
    /// In the open transaction, and in those whose commit is not answered.
    holding: Vec<u64>,
    committing: VecDeque<Vec<u64>>,
    consumers: BTreeMap<(ChannelKey, String), Consumer>,
    gets: VecDeque<(String, bool)>,
    /// Whether a `basic.get` found something.
    got: bool,
    unsettled: BTreeMap<(ChannelKey, u64), Delivery>,
    undrained: BTreeMap<ConnectionId, usize>,
}

impl Play {
    pub(super) fn new(seed: u64) -> Self {
        let mut play = Self {
            world: World::new(seed),
            model: Model::default(),
            last_message: 0,
            last_order: 0,
            last_name: 0,
            asked: VecDeque::new(),
            tags: BTreeMap::new(),
            last_tag: 0,
            holding: Vec::new(),
            committing: VecDeque::new(),
            consumers: BTreeMap::new(),
            gets: VecDeque::new(),
            got: false,
            unsettled: BTreeMap::new(),
            undrained: BTreeMap::new(),
        };
        play.connect_all();
        play.declare_exchange();
        play.declare(DEAD.to_owned(), Rules { durable: true, ..Rules::default() });
        play.world.settle();
        play.hear();
        play
    }

    pub(super) fn run(mut self) {
        for _ in 0..2 + self.world.below(3) {
            self.break_something();
            for _ in 0..self.world.below(150) {
                self.step();
                self.hear();
            }
            self = self.end();
        }
        self.world.disk.set_faults(Faults::default());
        self.drain();
    }

    fn break_something(&mut self) {
        let power_off_after = (self.world.below(2) == 0).then(|| self.world.below(300));
        let faults = Faults { power_off_after, ..Faults::default() };
        let room = self.world.disk.used() + self.world.below(40_000);
        let faults = match self.world.below(5) {
            0 => Faults { failing_syncs: 50, ..faults },
            1 => Faults { failing_writes: 50, ..faults },
            2 => Faults { capacity: room, ..faults },
            _ => faults,
        };
        self.world.disk.set_faults(faults);
    }

    fn step(&mut self) {
        match self.world.below(40) {
            0..=9 => self.publish(),
            10..=12 => self.hold(),
            13 => self.end_transaction(),
            14..=15 => self.change_topology(),
            16..=17 => self.consume(),
            18 => self.cancel(),
            19..=20 => self.get(),
            21..=26 => self.settle_some(),
            27 => self.take_what_was_sent(),
            28 => self.reconnect(),
            29..=31 => {
                let milliseconds = [0, 1, 7, 30, 200, 1000][self.world.below(6) as usize];
                self.world.pass(milliseconds);
            }
            _ => {
                let requests = [1, 2, usize::MAX][self.world.below(3) as usize];
                self.world.store_turn(requests);
            }
        }
        if self.world.is_settled() {
            self.model.synced();
        }
    }

    fn method(&mut self, channel: ChannelKey, method: AMQPClass) {
        self.world.run(Command::Method { channel, method: Box::new(method) });
    }

    fn basic(&mut self, channel: ChannelKey, method: basic::AMQPMethod) {
        self.method(channel, AMQPClass::Basic(method));
    }

    fn tx(&mut self, channel: ChannelKey, method: tx::AMQPMethod) {
        self.method(channel, AMQPClass::Tx(method));
    }

    fn connect_all(&mut self) {
        ROLES.into_iter().for_each(|role| self.connect(role));
    }

    fn connect(&mut self, role: ChannelKey) {
        let client =
            Client { vhost: "/".to_owned(), channel_max: 10, consumer_cancel_notify: true, ..Client::default() };
        self.world.run(Command::Connect { connection: role.connection, client });
        self.open(role);
    }

    fn open(&mut self, role: ChannelKey) {
        self.method(role, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
        if role == PUBLISHER {
            (self.tags, self.last_tag) = (BTreeMap::new(), 0);
            let select = confirm::AMQPMethod::Select(confirm::Select { nowait: true });
            self.method(role, AMQPClass::Confirm(select));
        } else if role == HOLDER || role == COMMITTER {
            self.tx(role, tx::AMQPMethod::Select(tx::Select {}));
        }
    }

    fn reconnect(&mut self) {
        let role = ROLES[1 + self.world.below(5) as usize];
        self.disconnect(role);
        self.connect(role);
    }

    fn disconnect(&mut self, role: ChannelKey) {
        self.left(role);
        self.world.run(Command::Disconnect { connection: role.connection });
        self.world.forget(role.connection);
        self.hear();
    }

    /// What was between a client and the broker is over.
    fn left(&mut self, role: ChannelKey) {
        let held = self.unsettled.extract_if(.., |(channel, _), _| *channel == role);
        held.for_each(|(_, delivery)| self.model.returned(&delivery.copy));
        self.consumers.retain(|(channel, _), _| *channel != role);
        self.undrained.remove(&role.connection);
        if role == GETTER {
            self.gets.clear();
        } else if role == HOLDER {
            let held = std::mem::take(&mut self.holding);
            self.roll_back(&held);
            // How they ended was never heard.
            std::mem::take(&mut self.committing).into_iter().flatten().for_each(|id| self.model.confirm(id, false));
        }
    }

    /// Ends the broker in one way or another and starts it again.
    fn end(mut self) -> Self {
        let orderly = self.world.below(4) == 0;
        let how = if self.world.below(3) == 0 { Crash::Process } else { Crash::Machine };
        let now = self.world.now;
        let (found, marks);
        if orderly {
            self.world.disk.set_faults(Faults::default());
            let (unpowered, closed) = self.world.close();
            marks = closed;
            (self.world, found) = unpowered.start_at_once(if closed { how } else { Crash::Machine });
        } else {
            marks = false;
            (self.world, found) = self.world.crash().start(how);
        }
        ROLES.into_iter().for_each(|role| self.left(role));
        self.asked.clear();
        if marks {
            self.model.closed();
        }
        let found = found.0.into_iter().map(|(queue, content, redelivered)| (hear::copy(queue, &content), redelivered));
        let there = self.topology();
        self.model.restart(found.collect(), &there, marks, now);
        self.connect_all();
        self.hear();
        self
    }

    /// The names of all queues, and whether they are bound.
    fn topology(&self) -> BTreeMap<String, bool> {
        let snapshot = self.world.engine.snapshot();
        assert!(snapshot.exchanges.iter().any(|exchange| exchange.name == EXCHANGE), "lost: the exchange");
        let bound = |name: &str| snapshot.bindings.iter().any(|binding| binding.destination == name);
        snapshot.queues.iter().map(|queue| (queue.name.clone(), bound(&queue.name))).collect()
    }

    /// Takes everything out of all queues; then nothing is left anywhere.
    fn drain(&mut self) {
        for role in [CONSUMER, COMMITTER, GETTER, HOLDER] {
            self.disconnect(role);
        }
        self.connect(GETTER);
        self.world.settle();
        self.hear();
        let mut queues = self.model.alive();
        queues.sort_by_key(|name| name == DEAD);
        for name in queues {
            self.got = true;
            while std::mem::take(&mut self.got) {
                self.get_from(name.clone(), true);
                self.world.settle();
                self.hear();
            }
        }
        self.world.settle();
        self.hear();
        self.model.check_nothing_lost(&Default::default(), self.world.now);
        self.world.check_empty();
    }
}

/// `x-priority` of a consumer.
fn priority(number: u64) -> AMQPValue {
    AMQPValue::LongInt(number as i32)
}
