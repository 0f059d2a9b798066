//! When publishers must wait: memory is used up, the store is full or fails, or it cannot keep up.
//!
//! Does not know how a connection is kept from reading.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod as ConnectionMethod, Blocked, Unblocked};

use super::{Effect, Engine, Outbound};
use crate::identity::Timestamp;
use crate::store::StoreState;

/// Octets of messages on their way to the store above which publishers wait: enough for it to write without pause, and
/// little to lose when the machine stops. Such a wait is short, and clients are not told.
const UNCOMMITTED_MAX_BYTES: usize = 32 << 20;

/// How often to look whether memory is free again, in milliseconds: it also becomes so when a client has taken what was
/// on its way to it, of which the engine hears nothing.
const LOOK_AGAIN_MS: u64 = 100;

/// Why publishers wait, as far as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Memory,
    Disk,
}

impl Alarm {
    /// The reason in `connection.blocked`, in RabbitMQ's words.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Memory => "low on memory",
            Self::Disk => "low on disk",
        }
    }
}

/// What was last said about it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    pub(super) alarm: Option<Alarm>,
    holding: bool,
}

impl Engine {
    /// Looks whether publishers must wait or may go on, and says so where that is news.
    pub(super) fn check_pressure(&mut self) {
        let alarm = self.alarm();
        if alarm != self.pressure.alarm {
            let held_bytes = self.held_bytes();
            match alarm {
                Some(alarm) => tracing::warn!(reason = alarm.reason(), held_bytes, "publishers are blocked"),
                None => tracing::info!(held_bytes, "publishers may go on"),
            }
            self.pressure.alarm = alarm;
            self.tell_blocked();
        }
        // Half of it must be free again, so that not every commit wakes all publishers.
        let room = if self.pressure.holding { UNCOMMITTED_MAX_BYTES / 2 } else { UNCOMMITTED_MAX_BYTES };
        let hold = alarm.is_some() || self.storage.uncommitted_bytes > room;
        if hold != self.pressure.holding {
            self.pressure.holding = hold;
            self.effects.push(Effect::HoldPublishers(hold));
        }
    }

    /// When to look again although nothing happens.
    pub(super) fn pressure_deadline(&self) -> Option<Timestamp> {
        (self.pressure.alarm == Some(Alarm::Memory)).then(|| self.now.after(LOOK_AGAIN_MS))
    }

    fn alarm(&self) -> Option<Alarm> {
        let bound = match self.pressure.alarm {
            Some(Alarm::Memory) => self.limits.held_bytes / 10 * 9,
            _ => self.limits.held_bytes,
        };
        if self.storage.state != StoreState::Working {
            Some(Alarm::Disk)
        } else {
            (self.held_bytes() > bound).then_some(Alarm::Memory)
        }
    }

    /// Tells publishers who want to know that they are no longer read from, or are again.
    pub(super) fn tell_blocked(&mut self) {
        let alarm = self.pressure.alarm;
        for (id, connection) in &mut self.connections {
            let concerned = connection.publishes && connection.client.blocked_notify;
            if !concerned || connection.blocked == alarm.is_some() {
                continue;
            }
            connection.blocked = alarm.is_some();
            let method = match alarm {
                Some(alarm) => ConnectionMethod::Blocked(Blocked { reason: alarm.reason().into() }),
                None => ConnectionMethod::Unblocked(Unblocked {}),
            };
            let outbound = Outbound::Method { channel: 0, method: Box::new(AMQPClass::Connection(method)) };
            self.effects.push(Effect::Send { connection: *id, outbound, after: None });
        }
    }
}
