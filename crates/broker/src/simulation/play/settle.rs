//! Clients that take messages and settle them.

use amq_protocol::protocol::{basic, tx};

use super::{COMMITTER, CONSUMER, ChannelKey, Command, Consumer, GETTER, Play, priority};
use crate::engine::{ConnectionId, consume_from};

/// Consumers of one role at a time.
const CONSUMERS_MAX: usize = 3;

impl Play {
    fn some_queue(&mut self) -> String {
        let mut names = self.model.alive();
        names.swap_remove(self.world.below(names.len() as u64) as usize)
    }

    pub(super) fn consume(&mut self) {
        let role = if self.world.below(2) == 0 { CONSUMER } else { COMMITTER };
        let alive = self.consumers.iter().filter(|((of, _), consumer)| *of == role && consumer.alive).count();
        if alive >= CONSUMERS_MAX {
            return;
        }
        self.last_name += 1;
        let (tag, queue) = (format!("consumer-{}", self.last_name), self.some_queue());
        let no_ack = role == CONSUMER && self.world.below(6) == 0;
        let prefetch = 1 + self.world.below(3) as u16;
        self.basic(role, basic::AMQPMethod::Qos(basic::Qos { prefetch_count: prefetch, global: false }));
        let consumer = Consumer { queue: queue.clone(), prefetch, no_ack, alive: true };
        self.consumers.insert((role, tag.clone()), consumer);
        let mut consume = basic::Consume { queue: queue.as_str().into(), ..consume_from("", &tag, no_ack) };
        let level = self.world.below(2);
        consume.arguments.insert("x-priority".into(), priority(level));
        self.basic(role, basic::AMQPMethod::Consume(consume));
    }

    pub(super) fn cancel(&mut self) {
        let alive: Vec<_> =
            self.consumers.iter().filter(|(_, consumer)| consumer.alive).map(|(key, _)| key.clone()).collect();
        if alive.is_empty() {
            return;
        }
        let key = alive[self.world.below(alive.len() as u64) as usize].clone();
        if let Some(consumer) = self.consumers.get_mut(&key) {
            consumer.alive = false;
        }
        let (role, tag) = key;
        let cancel = basic::Cancel { consumer_tag: tag.as_str().into(), nowait: true };
        self.basic(role, basic::AMQPMethod::Cancel(cancel));
    }

    pub(super) fn get(&mut self) {
        let (queue, no_ack) = (self.some_queue(), self.world.below(3) == 0);
        self.get_from(queue, no_ack);
    }

    pub(super) fn get_from(&mut self, queue: String, no_ack: bool) {
        let get = basic::Get { queue: queue.as_str().into(), no_ack };
        self.gets.push_back((queue, no_ack));
        self.basic(GETTER, basic::AMQPMethod::Get(get));
    }

    pub(super) fn settle_some(&mut self) {
        // What follows a waiting `basic.get` on its channel waits too, and it is not known for what then.
        let waits = !self.gets.is_empty();
        let keys: Vec<_> = self.unsettled.keys().copied().filter(|(role, _)| *role != GETTER || !waits).collect();
        if keys.is_empty() {
            return;
        }
        let (role, tag) = keys[self.world.below(keys.len() as u64) as usize];
        let multiple = self.world.below(3) == 0;
        let how = self.world.below(4);
        let commit = role != COMMITTER || self.world.below(4) > 0;
        if commit {
            self.note(role, tag, multiple, how);
        }
        let settlement = match how {
            0 | 1 => basic::AMQPMethod::Ack(basic::Ack { delivery_tag: tag, multiple }),
            _ => basic::AMQPMethod::Nack(basic::Nack { delivery_tag: tag, multiple, requeue: how == 3 }),
        };
        self.basic(role, settlement);
        if role == COMMITTER {
            self.tx(
                role,
                if commit { tx::AMQPMethod::Commit(tx::Commit {}) } else { tx::AMQPMethod::Rollback(tx::Rollback {}) },
            );
        }
    }

    fn note(&mut self, role: ChannelKey, tag: u64, multiple: bool, how: u64) {
        let first = if multiple { 0 } else { tag };
        let settled: Vec<_> = self.unsettled.extract_if((role, first)..=(role, tag), |_, _| true).collect();
        for (_, delivery) in settled {
            if how == 3 {
                self.model.returned(&delivery.copy);
            } else {
                self.model.settled(delivery.copy, how == 2);
            }
        }
    }

    /// A client reads what was sent to it, so that it is sent more.
    pub(super) fn take_what_was_sent(&mut self) {
        let sent: Vec<(ConnectionId, usize)> = std::mem::take(&mut self.undrained).into_iter().collect();
        for (connection, bytes) in sent {
            self.world.run(Command::Drained { connection, bytes });
        }
    }
}
