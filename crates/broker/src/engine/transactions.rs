//! Transactions of a channel (section 1.9 of the reference): what is published and settled takes effect at
//! `tx.commit`, all of it in one commit of the store, or never.
//!
//! As in RabbitMQ, a message is checked and routed when it is published, and returned at the commit if nobody wants it.
//! Only a queue that refuses a message for want of room (`x-overflow`) leaves a commit incomplete, and the channel is
//! closed then. Does not know how messages are placed or settlements carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::tx::{AMQPMethod as Tx, CommitOk, RollbackOk, SelectOk};

use super::channel::{Channel, Unacknowledged};
use super::publish::Routes;
use super::settle::Settlement;
use super::{ChannelKey, Engine};
use crate::exception::Exception;
use crate::message::Message;

/// Messages that one transaction holds at most: a commit is one step of the engine, during which all others wait.
const MESSAGES_MAX: usize = 65_536;
/// Octets of messages, overhead included, that one transaction holds at most: four of the largest messages. The store
/// takes them in one piece.
const OCTETS_MAX: usize = 64 << 20;

const NOT_TRANSACTIONAL: Exception = Exception::Precondition("channel is not transactional");

/// What a channel in transaction mode holds back.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    publishes: Vec<HeldPublish>,
    /// What the messages in `publishes` weigh.
    octets: usize,
    /// In the order of their methods, each with the deliveries it settles by their tags.
    settlements: Vec<(Settlement, BTreeMap<u64, Unacknowledged>)>,
}

/// A message that was published and is not placed yet.
#[derive(Debug)]
pub(super) struct HeldPublish {
    pub(super) message: Arc<Message>,
    pub(super) routes: Routes,
    pub(super) mandatory: bool,
}

impl Transaction {
    /// Deliveries that are settled once it is committed.
    pub(super) fn settled_count(&self) -> usize {
        self.settlements.iter().map(|(_, deliveries)| deliveries.len()).sum()
    }
}

impl Engine {
    pub(super) fn tx_method(&mut self, key: ChannelKey, method: &Tx) -> Result<(), Exception> {
        match method {
            Tx::Select(_) => self.tx_select(key),
            Tx::Commit(_) => self.tx_commit(key),
            Tx::Rollback(_) => self.tx_rollback(key),
            _ => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn tx_select(&mut self, key: ChannelKey) -> Result<(), Exception> {
        let channel = self.open_channel_or(key)?;
        if channel.confirms.is_some() {
            return Err(Exception::Precondition("cannot switch from confirm to tx mode"));
        }
        channel.transaction.get_or_insert_default();
        self.reply(key, AMQPClass::Tx(Tx::SelectOk(SelectOk {})));
        Ok(())
    }

    fn tx_commit(&mut self, key: ChannelKey) -> Result<(), Exception> {
        let transaction = self.open_channel_or(key)?.transaction.as_mut().ok_or(NOT_TRANSACTIONAL)?;
        let Transaction { publishes, octets, settlements } = std::mem::take(transaction);
        self.transaction_octets -= octets;
        let mut accepted = true;
        for HeldPublish { message, mut routes, mandatory } in publishes {
            // A queue that is gone took its messages with it, and this would have been one of them.
            routes.queues.retain(|queue| self.queues.contains_key(queue));
            accepted &= self.accept(key, &message, &routes, mandatory);
        }
        for (settlement, deliveries) in settlements {
            let deliveries: Vec<_> = deliveries.into_values().collect();
            self.open_channel_or(key)?.settled(&deliveries);
            self.settle(key, deliveries, settlement);
        }
        if !accepted {
            return Err(Exception::Precondition("partial tx completion"));
        }
        self.reply_stored_unless(false, key, AMQPClass::Tx(Tx::CommitOk(CommitOk {})));
        Ok(())
    }

    fn tx_rollback(&mut self, key: ChannelKey) -> Result<(), Exception> {
        let channel = self.open_channel_or(key)?;
        let transaction = channel.transaction.as_mut().ok_or(NOT_TRANSACTIONAL)?;
        let abandoned = std::mem::take(transaction);
        let octets = channel.roll_back(abandoned);
        self.transaction_octets -= octets;
        self.reply(key, AMQPClass::Tx(Tx::RollbackOk(RollbackOk {})));
        Ok(())
    }

    /// Ends the transaction of a channel that ends: what it settled is unsettled again.
    pub(super) fn abandon_transaction(&mut self, channel: &mut Channel) {
        if let Some(abandoned) = channel.transaction.take() {
            self.transaction_octets -= channel.roll_back(abandoned);
        }
    }

    /// Keeps a message until the commit.
    ///
    /// # Errors
    /// [`Exception::LimitReached`], which ends the channel and so the transaction.
    pub(super) fn hold(&mut self, key: ChannelKey, held: HeldPublish) -> Result<(), Exception> {
        // A publisher that is blocked cannot commit. What transactions hold must therefore never be what blocks it.
        let all_max = self.limits.held_bytes / 2;
        let all = self.transaction_octets + held.message.weight();
        let channel = self.open_channel_or(key)?;
        let Some(transaction) = channel.transaction.as_mut() else { return Ok(()) };
        let octets = transaction.octets + held.message.weight();
        if transaction.publishes.len() >= MESSAGES_MAX {
            return Err(Exception::LimitReached { what: "messages in a transaction", max: MESSAGES_MAX });
        }
        if octets > OCTETS_MAX {
            return Err(Exception::LimitReached { what: "octets in a transaction", max: OCTETS_MAX });
        }
        if all > all_max {
            return Err(Exception::LimitReached { what: "octets in all transactions", max: all_max });
        }
        transaction.octets = octets;
        transaction.publishes.push(held);
        self.transaction_octets = all;
        Ok(())
    }
}

impl Channel {
    /// Settles at the commit, if the channel is in transaction mode; `false` if it is not.
    ///
    /// # Errors
    /// [`Exception::UnknownDeliveryTag`].
    pub(super) fn settle_later(&mut self, tag: u64, multiple: bool, how: Settlement) -> Result<bool, Exception> {
        if self.transaction.is_none() {
            return Ok(false);
        }
        let deliveries = self.set_aside(tag, multiple)?;
        if let Some(transaction) = &mut self.transaction {
            match transaction.settlements.last_mut() {
                Some((last, together)) if *last == how => together.extend(deliveries),
                _ => transaction.settlements.push((how, deliveries)),
            }
        }
        Ok(true)
    }

    /// Takes back what a transaction would have settled; returns the octets of the messages that are dropped.
    fn roll_back(&mut self, transaction: Transaction) -> usize {
        for (_, deliveries) in transaction.settlements {
            self.put_back(deliveries);
        }
        transaction.octets
    }
}
