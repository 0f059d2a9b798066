//! What clients hear, told to the model.

use amq_protocol::protocol::{AMQPClass, basic, channel, exchange, queue, tx};
use amq_protocol::types::AMQPValue;

use super::super::model::{Copy, DEAD};
use super::{ADMIN, Asked, COMMITTER, CONSUMER, ChannelKey, Delivery, GETTER, HOLDER, Play};
use crate::engine::{Outbound, headers_of};
use crate::frame::Content;

/// Which copy a content in a queue is.
pub(super) fn copy(queue: String, content: &Content) -> Copy {
    let message = content.body().first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
    let origin = match headers_of(content).inner().get("x-first-death-queue") {
        Some(AMQPValue::LongString(origin)) if queue == DEAD => origin.to_string(),
        _ => String::new(),
    };
    Copy { queue, message, origin }
}

fn is_close(outbound: &Outbound) -> bool {
    let Outbound::Method { method, .. } = outbound else { return false };
    matches!(&**method, AMQPClass::Channel(channel::AMQPMethod::Close(_)))
}

impl Play {
    /// Takes note of everything that was sent to clients; what they answer at once is part of it.
    pub(super) fn hear(&mut self) {
        while let Some((connection, outbound)) = self.world.heard.pop_front() {
            let role = ChannelKey { connection, number: 1 };
            match outbound {
                Outbound::Deliver { ref consumer_tag, delivery_tag, redelivered, ref message, .. } => {
                    *self.undrained.entry(connection).or_default() += outbound.cost();
                    let key = (role, consumer_tag.to_string());
                    let consumer = self.consumers.get(&key).cloned().expect("only consumers get deliveries");
                    assert!(consumer.alive, "a delivery after the end of {consumer_tag}");
                    let copy = copy(consumer.queue, &message.content);
                    self.delivered(role, delivery_tag, copy, (redelivered, consumer.no_ack), Some(key.1.clone()));
                    let has = |delivery: &&Delivery| delivery.consumer.as_ref() == Some(&key.1);
                    let held = self.unsettled.values().filter(has).count();
                    assert!(held <= usize::from(consumer.prefetch), "prefetch of {consumer_tag} exceeded: {held}");
                }
                Outbound::GetOk { delivery_tag, redelivered, ref message, .. } => {
                    let (queue, no_ack) = self.gets.pop_front().expect("somebody asked");
                    self.got = true;
                    self.delivered(role, delivery_tag, copy(queue, &message.content), (redelivered, no_ack), None);
                }
                Outbound::Confirm { delivery_tag, multiple, ack, .. } => self.confirmed(delivery_tag, multiple, ack),
                Outbound::Method { method, .. } => self.method_came(role, *method),
                other => panic!("{other:?} to {connection:?}"),
            }
        }
    }

    fn delivered(&mut self, role: ChannelKey, tag: u64, copy: Copy, how: (bool, bool), consumer: Option<String>) {
        let (redelivered, no_ack) = how;
        // What a channel held goes to others before its end is told.
        let is_ending = |of: ChannelKey| {
            self.world.heard.iter().any(|(connection, outbound)| *connection == of.connection && is_close(outbound))
        };
        let before = self.unsettled.iter().find(|((of, _), held)| *of != role && held.copy == copy && is_ending(*of));
        if let Some(key) = before.map(|(key, _)| *key) {
            self.unsettled.remove(&key);
            self.model.returned(&copy);
        }
        self.model.delivery(&copy, redelivered, self.world.now);
        if no_ack {
            self.model.settled(copy, false);
        } else {
            self.unsettled.insert((role, tag), Delivery { copy, consumer });
        }
    }

    fn confirmed(&mut self, tag: u64, multiple: bool, ack: bool) {
        let first = if multiple { 0 } else { tag };
        let told: Vec<u64> = self.tags.extract_if(first..=tag, |_, _| true).map(|(_, id)| id).collect();
        assert!(!told.is_empty(), "confirmed twice: {tag}");
        told.into_iter().for_each(|id| self.model.confirm(id, ack));
    }

    fn method_came(&mut self, role: ChannelKey, method: AMQPClass) {
        match method {
            AMQPClass::Queue(
                queue::AMQPMethod::DeclareOk(_)
                | queue::AMQPMethod::DeleteOk(_)
                | queue::AMQPMethod::BindOk(_)
                | queue::AMQPMethod::UnbindOk(_),
            )
            | AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(_)) => {
                assert_eq!(role, ADMIN);
                self.answered();
            }
            AMQPClass::Tx(tx::AMQPMethod::CommitOk(_)) if role == HOLDER => {
                let committed = self.committing.pop_front().expect("somebody committed");
                committed.into_iter().for_each(|id| self.model.confirm(id, true));
            }
            AMQPClass::Basic(basic::AMQPMethod::GetEmpty(_)) => {
                self.gets.pop_front().expect("somebody asked");
            }
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => self.channel_closed(role, &close),
            AMQPClass::Channel(_) | AMQPClass::Tx(_) => {}
            AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)) if role == CONSUMER || role == COMMITTER => {
                if let Some(consumer) = self.consumers.get_mut(&(role, cancel.consumer_tag.to_string())) {
                    consumer.alive = false;
                }
            }
            AMQPClass::Basic(
                basic::AMQPMethod::ConsumeOk(_) | basic::AMQPMethod::QosOk(_) | basic::AMQPMethod::RecoverOk(_),
            ) => {}
            other => panic!("{other:?} to {role:?}"),
        }
    }

    fn answered(&mut self) {
        let asked = self.asked.pop_front().expect("somebody asked");
        // What was asked later about the same is still open.
        if self.asked.contains(&asked) {
            return;
        }
        match asked {
            Asked::Queue(name) => {
                if let Some(queue) = self.model.queues.get_mut(&name) {
                    queue.answered = true;
                }
            }
            Asked::Binding(name) => {
                if let Some(queue) = self.model.queues.get_mut(&name).filter(|queue| !queue.deleted) {
                    queue.bound_answered = true;
                }
            }
            Asked::Exchange => {}
        }
    }

    /// A queue that refuses breaks a transaction, and a queue may be gone when its turn to answer has come.
    fn channel_closed(&mut self, role: ChannelKey, close: &channel::Close) {
        let expected = (role == HOLDER && close.reply_code == 406) || (role == GETTER && close.reply_code == 404);
        assert!(expected, "{role:?} was closed: {} {}", close.reply_code, close.reply_text);
        self.left(role);
        self.method(role, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
        self.open(role);
    }
}
