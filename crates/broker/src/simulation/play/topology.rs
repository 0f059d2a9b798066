//! Someone who declares, binds and deletes queues.

use amq_protocol::protocol::{AMQPClass, exchange, queue};
use amq_protocol::types::FieldTable;

use super::super::model::{DEAD, Rules};
use super::{ADMIN, Asked, EXCHANGE, Play};
use crate::engine::{number, table, text};

/// Queues at a time.
const QUEUES_MAX: usize = 5;

impl Play {
    pub(super) fn declare_exchange(&mut self) {
        let declare = exchange::Declare {
            exchange: EXCHANGE.into(),
            kind: "fanout".into(),
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.asked.push_back(Asked::Exchange);
        self.method(ADMIN, AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)));
    }

    pub(super) fn declare(&mut self, name: String, rules: Rules) {
        let mut arguments = Vec::new();
        arguments.extend(rules.ttl.map(|ttl| ("x-message-ttl", number(ttl as i64))));
        arguments.extend(rules.max_length.map(|max| ("x-max-length", number(max as i64))));
        if rules.refuses {
            arguments.push(("x-overflow", text("reject-publish")));
        }
        if rules.dead_letters {
            arguments.extend([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(DEAD))]);
        }
        if rules.max_priority > 0 {
            arguments.push(("x-max-priority", number(i64::from(rules.max_priority))));
        }
        if let Some(limit) = rules.delivery_limit {
            arguments.extend([("x-queue-type", text("quorum")), ("x-delivery-limit", number(i64::from(limit)))]);
        }
        let declare = queue::Declare {
            queue: name.as_str().into(),
            passive: false,
            durable: rules.durable,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: table(&arguments),
        };
        self.asked.push_back(Asked::Queue(name.clone()));
        self.model.declared(name, rules);
        self.method(ADMIN, AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    }

    pub(super) fn change_topology(&mut self) {
        // A deletion may have to wait, and what follows it on the channel too.
        if self.model.queues.values().any(|queue| queue.deleted && !queue.answered) {
            return;
        }
        let names = self.model.alive();
        if names.len() < QUEUES_MAX && self.world.below(2) == 0 {
            self.last_name += 1;
            let rules = self.rules();
            return self.declare(format!("queue-{}", self.last_name), rules);
        }
        let name = names[self.world.below(names.len() as u64) as usize].clone();
        let Some(queue) = self.model.queues.get_mut(&name).filter(|_| name != DEAD) else { return };
        if self.world.below(4) > 0 {
            (queue.bound, queue.bound_answered) = (!queue.bound, false);
            let (key, exchange, queue_name) = ("".into(), EXCHANGE.into(), name.as_str().into());
            let arguments = FieldTable::default();
            let method = if queue.bound {
                queue::AMQPMethod::Bind(queue::Bind {
                    queue: queue_name,
                    exchange,
                    routing_key: key,
                    nowait: false,
                    arguments,
                })
            } else {
                queue::AMQPMethod::Unbind(queue::Unbind { queue: queue_name, exchange, routing_key: key, arguments })
            };
            self.asked.push_back(Asked::Binding(name));
            self.method(ADMIN, AMQPClass::Queue(method));
            return;
        }
        (queue.deleted, queue.answered, queue.bound_answered, queue.bound) = (true, false, false, false);
        let delete = queue::Delete { queue: name.as_str().into(), if_unused: false, if_empty: false, nowait: false };
        self.asked.push_back(Asked::Queue(name));
        self.method(ADMIN, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)));
    }

    fn rules(&mut self) -> Rules {
        let durable = Rules { durable: true, ..Rules::default() };
        let dead_letters = self.world.below(2) == 0;
        let small = 1 + self.world.below(6);
        match self.world.below(7) {
            0 => Rules::default(),
            1 => Rules { max_priority: 2, ..durable },
            2 => Rules { ttl: Some(small * 20), dead_letters, ..durable },
            3 => Rules { max_length: Some(small), dead_letters, ..durable },
            4 => Rules { max_length: Some(small), refuses: true, ..durable },
            5 => Rules { delivery_limit: Some(2), dead_letters, ..durable },
            _ => Rules { dead_letters, ..durable },
        }
    }
}
