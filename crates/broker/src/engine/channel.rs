//! What a channel remembers: consumers, deliveries that wait for a settlement, publisher confirms.
//!
//! State and its arithmetic only; the engine's handlers decide what to do with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::Entry;
use super::{ChannelKey, ConsumerId, QueueId};
use crate::exception::Exception;

/// A channel number of a connection that has been opened.
#[derive(Debug)]
pub(super) enum ChannelState {
    Open(Box<Channel>),
    /// The broker sent `channel.close`; everything until `channel.close-ok` is ignored (section 1.5.2.5).
    Closing,
}

/// A delivery that waits for its settlement.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) queue: QueueId,
    /// `None` for `basic.get`, which no prefetch limits.
    pub(super) consumer: Option<ConsumerId>,
    pub(super) entry: Entry,
}

/// An open channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    last_delivery_tag: u64,
    unacknowledged: BTreeMap<u64, Unacknowledged>,
    /// Of those, the ones that went to consumers.
    outstanding: usize,
    pub(super) consumers: BTreeMap<Arc<str>, ConsumerId>,
    /// `basic.qos` with `global=false`: the limit that later consumers get; 0 is none.
    pub(super) consumer_prefetch: u16,
    /// `basic.qos` with `global=true`: the limit over all consumers; 0 is none.
    pub(super) channel_prefetch: u16,
    pub(super) confirms: Option<Confirms>,
    /// What an empty queue name stands for.
    pub(super) last_queue: Option<Arc<str>>,
}

impl Channel {
    /// The tag for a delivery that needs no settlement.
    pub(super) fn next_delivery_tag(&mut self) -> u64 {
        self.last_delivery_tag += 1;
        self.last_delivery_tag
    }

    /// Remembers a delivery until it is settled, and returns its tag.
    pub(super) fn remember(&mut self, delivery: Unacknowledged) -> u64 {
        let tag = self.next_delivery_tag();
        self.outstanding += usize::from(delivery.consumer.is_some());
        self.unacknowledged.insert(tag, delivery);
        tag
    }

    /// Whether `basic.qos` for the whole channel allows one more delivery to a consumer.
    pub(super) fn has_room(&self) -> bool {
        self.channel_prefetch == 0 || self.outstanding < usize::from(self.channel_prefetch)
    }

    pub(super) fn unacknowledged_count(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Takes out what the client settles, in the order of delivery. With `multiple`, everything up to the tag, and
    /// everything there is for tag 0.
    ///
    /// # Errors
    /// [`Exception::UnknownDeliveryTag`]; nothing is settled then.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool) -> Result<Vec<Unacknowledged>, Exception> {
        if tag == 0 && multiple {
            return Ok(self.settle_all());
        }
        let last = self.unacknowledged.remove(&tag).ok_or(Exception::UnknownDeliveryTag(tag))?;
        let mut settled = Vec::new();
        if multiple {
            let later = self.unacknowledged.split_off(&tag);
            settled.extend(std::mem::replace(&mut self.unacknowledged, later).into_values());
        }
        settled.push(last);
        self.outstanding -= settled.iter().filter(|delivery| delivery.consumer.is_some()).count();
        Ok(settled)
    }

    /// Takes out everything that is unsettled, in the order of delivery.
    pub(super) fn settle_all(&mut self) -> Vec<Unacknowledged> {
        self.outstanding = 0;
        std::mem::take(&mut self.unacknowledged).into_values().collect()
    }
}

/// Publisher confirms of a channel (RabbitMQ's extension `confirm.select`).
#[derive(Debug, Default)]
pub(super) struct Confirms {
    last_published: u64,
    last_confirmed: u64,
}

impl Confirms {
    /// Counts a message that the broker has taken responsibility for.
    pub(super) fn accept(&mut self) {
        self.last_published += 1;
    }

    /// The confirm that is due, as tag and `multiple`. Everything up to the tag is accepted by then.
    pub(super) fn take_due(&mut self) -> Option<(u64, bool)> {
        let due = self.last_published - self.last_confirmed;
        self.last_confirmed = self.last_published;
        (due > 0).then_some((self.last_published, due > 1))
    }
}

/// A consumer of a queue.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) tag: Arc<str>,
    pub(super) channel: ChannelKey,
    pub(super) queue: QueueId,
    pub(super) no_ack: bool,
    /// How many deliveries may be unsettled; 0 is any number.
    pub(super) prefetch: u16,
    pub(super) outstanding: usize,
    /// Whether it is missing in its queue's list of willing consumers.
    pub(super) parked: bool,
}

impl Consumer {
    /// Whether its own prefetch allows one more delivery.
    pub(super) fn has_room(&self) -> bool {
        self.no_ack || self.prefetch == 0 || self.outstanding < usize::from(self.prefetch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    fn channel(deliveries: u64) -> Channel {
        let mut channel = Channel::default();
        for position in 0..deliveries {
            let message = Message { exchange: "".into(), routing_key: "".into(), content: Default::default() };
            let entry = Entry { position, message: Arc::new(message), redelivered: false };
            channel.remember(Unacknowledged { queue: QueueId(1), consumer: Some(ConsumerId(1)), entry });
        }
        channel
    }

    #[test]
    fn settlement_is_by_tag_up_to_a_tag_or_all() {
        let mut channel = channel(6);
        assert_eq!(channel.settle(2, false).map(|settled| settled.len()), Ok(1).map_err(|e: Exception| e));
        assert_eq!(channel.settle(4, true).unwrap().len(), 3);
        assert_eq!(channel.settle(4, true).unwrap_err(), Exception::UnknownDeliveryTag(4));
        assert_eq!(channel.settle(0, false).unwrap_err(), Exception::UnknownDeliveryTag(0));
        assert_eq!(channel.settle(0, true).unwrap().len(), 2);
        assert_eq!((channel.outstanding, channel.unacknowledged_count()), (0, 0));
    }

    #[test]
    fn confirms_are_batched() {
        let mut confirms = Confirms::default();
        assert_eq!(confirms.take_due(), None);
        confirms.accept();
        assert_eq!(confirms.take_due(), Some((1, false)));
        confirms.accept();
        confirms.accept();
        assert_eq!((confirms.take_due(), confirms.take_due()), (Some((3, true)), None));
    }
}
