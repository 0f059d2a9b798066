//! Publishers, with confirms and in transactions.

use amq_protocol::protocol::{basic, tx};

use super::super::model::Published;
use super::{EXCHANGE, HOLDER, PUBLISHER, Play};
use crate::engine::{Command, Properties};
use crate::frame::Content;

impl Play {
    /// A new message and where it is going, as the model sees it.
    fn new_message(&mut self) -> (u64, basic::Publish, Content) {
        self.last_message += 1;
        let id = self.last_message;
        let names = self.model.alive();
        let to_exchange = self.world.below(3) == 0;
        let name = names[self.world.below(names.len() as u64) as usize].clone();
        let bound: Vec<String> = self.model.queues_that(|queue| queue.bound && !queue.deleted);
        let (routes, maybe, exchange, key) = if to_exchange {
            (bound, self.model.queues_that(|queue| queue.deleted && !queue.answered), EXCHANGE, "")
        } else {
            (vec![name.clone()], Vec::new(), "", &*name)
        };
        let persistent = self.world.below(5) > 0;
        let priority = self.world.below(4) as u8;
        let expiration = (self.world.below(12) == 0).then(|| self.world.below(300));
        let at = self.world.now;
        let expires_at = expiration.map(|milliseconds| at + milliseconds);
        let (order, confirmed, refused) = (0, false, false);
        let published = Published { persistent, priority, expires_at, at, routes, maybe, order, confirmed, refused };
        self.model.messages.insert(id, published);
        let expiration = expiration.map(|milliseconds| milliseconds.to_string());
        let properties = Properties { persistent, priority: Some(priority), expiration: expiration.as_deref() };
        let padding = if self.world.below(20) == 0 { 5000 } else { self.world.below(400) };
        let mut body = id.to_be_bytes().to_vec();
        body.resize(8 + padding as usize, id as u8);
        let content = Content::new(&properties.encoded(), &body);
        let (mandatory, immediate) = (false, false);
        let publish = basic::Publish { exchange: exchange.into(), routing_key: key.into(), mandatory, immediate };
        (id, publish, content)
    }

    fn accepted(&mut self, id: u64) {
        self.last_order += 1;
        let alive = self.model.alive();
        if let Some(published) = self.model.messages.get_mut(&id) {
            published.order = self.last_order;
            // Their deletion was asked for, and may be waiting.
            published.maybe.extend(published.routes.extract_if(.., |route| !alive.contains(route)));
        }
    }

    pub(super) fn publish(&mut self) {
        if self.world.holding {
            return;
        }
        let (id, publish, content) = self.new_message();
        self.accepted(id);
        self.last_tag += 1;
        self.tags.insert(self.last_tag, id);
        self.world.run(Command::Publish { channel: PUBLISHER, publish, content });
    }

    pub(super) fn hold(&mut self) {
        if self.world.holding {
            return;
        }
        let (id, publish, content) = self.new_message();
        self.holding.push(id);
        self.world.run(Command::Publish { channel: HOLDER, publish, content });
    }

    pub(super) fn end_transaction(&mut self) {
        let held = std::mem::take(&mut self.holding);
        if self.world.below(4) == 0 {
            self.roll_back(&held);
            return self.tx(HOLDER, tx::AMQPMethod::Rollback(tx::Rollback {}));
        }
        held.iter().for_each(|id| self.accepted(*id));
        self.committing.push_back(held);
        self.tx(HOLDER, tx::AMQPMethod::Commit(tx::Commit {}));
    }

    pub(super) fn roll_back(&mut self, held: &[u64]) {
        for id in held {
            self.model.messages.remove(id);
        }
    }
}
