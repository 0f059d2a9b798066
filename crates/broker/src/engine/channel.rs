//! What a channel remembers: consumers, and deliveries that wait for a settlement.
//!
//! State and its arithmetic only; the engine's handlers decide what to do with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::confirms::Confirms;
use super::entry::Entry;
use super::reply_to::ReplyConsumer;
use super::transactions::Transaction;
use super::willing::Priority;
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
    /// Tells it from others that had the same number before.
    pub(super) serial: u64,
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
    /// `Some` in transaction mode.
    pub(super) transaction: Option<Transaction>,
    /// Who takes answers to requests (direct reply-to).
    pub(super) replies: Option<ReplyConsumer>,
    /// The exchange that was published to last, which the user may do.
    pub(super) publishes_to: Option<String>,
    /// What an empty queue name stands for.
    pub(super) last_queue: Option<Arc<str>>,
}

impl Channel {
    /// A channel as it is after `channel.open`.
    pub(super) fn new(serial: u64) -> Self {
        Self { serial, ..Self::default() }
    }

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
        self.unacknowledged.len() + self.transaction.as_ref().map_or(0, Transaction::settled_count)
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
        self.settled(&settled);
        Ok(settled)
    }

    /// Takes out everything that is unsettled, in the order of delivery.
    pub(super) fn settle_all(&mut self) -> Vec<Unacknowledged> {
        let settled = std::mem::take(&mut self.unacknowledged).into_values().collect::<Vec<_>>();
        self.settled(&settled);
        settled
    }

    /// Deliveries that were taken out are settled, and no longer count for prefetch.
    pub(super) fn settled(&mut self, deliveries: &[Unacknowledged]) {
        self.outstanding -= deliveries.iter().filter(|delivery| delivery.consumer.is_some()).count();
    }

    /// Takes out what the client settles, by tag, though it still counts for prefetch. With `multiple` as for
    /// [`Self::settle`].
    ///
    /// # Errors
    /// [`Exception::UnknownDeliveryTag`]; nothing is taken out then.
    pub(super) fn set_aside(&mut self, tag: u64, multiple: bool) -> Result<BTreeMap<u64, Unacknowledged>, Exception> {
        if tag == 0 && multiple {
            return Ok(std::mem::take(&mut self.unacknowledged));
        }
        let last = self.unacknowledged.remove(&tag).ok_or(Exception::UnknownDeliveryTag(tag))?;
        let mut aside = BTreeMap::new();
        if multiple {
            let later = self.unacknowledged.split_off(&tag);
            aside = std::mem::replace(&mut self.unacknowledged, later);
        }
        aside.insert(tag, last);
        Ok(aside)
    }

    /// Takes back what was set aside.
    pub(super) fn put_back(&mut self, mut deliveries: BTreeMap<u64, Unacknowledged>) {
        self.unacknowledged.append(&mut deliveries);
    }
}

/// A consumer of a queue.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) tag: Arc<str>,
    pub(super) channel: ChannelKey,
    pub(super) queue: QueueId,
    pub(super) no_ack: bool,
    pub(super) priority: Priority,
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
    use super::super::tests::message;
    use super::*;
    use crate::identity::MessageId;

    fn channel(deliveries: u64) -> Channel {
        let mut channel = Channel::default();
        for position in 0..deliveries {
            let entry = Entry::new(MessageId(position), message(&[]), None);
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
}
