//! Those who consume: acknowledge some, reject, acknowledge in transactions. They do not know who publishes.

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};

use super::lanes::Queue;
use super::life::{Life, soon};
use super::random::Random;

/// One delivery out of so many is not acknowledged, and comes again in the next life.
const KEPT_ONE_IN: u64 = 8;
/// One acknowledgement out of so many is for all before as well.
const MULTIPLE_ONE_IN: u64 = 32;
/// Deliveries that are acknowledged in one transaction at most.
const IN_TRANSACTION_MAX: u64 = 20;

/// What is done with deliveries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As a client in the midst of its work does.
    Some,
    /// All is acknowledged, or rejected, at once.
    All,
}

/// Consumes from a queue until the connection ends.
pub(crate) async fn consuming(life: Life, queue: Queue, manner: Manner, mut random: Random) -> lapin::Result<()> {
    let (_connection, channel) = life.channel().await?;
    let transactional = queue == Queue::Transactions && manner == Manner::Some;
    if transactional {
        channel.tx_select().await?;
    }
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.name().into(), "".into(), options, arguments).await?;
    match (queue, manner) {
        (Queue::Transactions, Manner::Some) => in_transactions(&life, &channel, consumer, &mut random).await,
        (Queue::Rejects, _) => rejecting(&life, consumer).await,
        _ => acknowledging(&life, queue, manner, consumer, &mut random).await,
    }
}

async fn acknowledging(
    life: &Life,
    queue: Queue,
    manner: Manner,
    mut consumer: Consumer,
    random: &mut Random,
) -> lapin::Result<()> {
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        life.ledger().deliver(queue, &delivery.data, delivery.redelivered);
        if manner == Manner::Some && random.one_in(KEPT_ONE_IN) {
            continue;
        }
        let multiple = random.one_in(MULTIPLE_ONE_IN);
        delivery.ack(BasicAckOptions { multiple }).await?;
        life.ledger().counts.acknowledged += 1;
    }
    Ok(())
}

async fn rejecting(life: &Life, mut consumer: Consumer) -> lapin::Result<()> {
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        life.ledger().deliver(Queue::Rejects, &delivery.data, delivery.redelivered);
        delivery.reject(BasicRejectOptions { requeue: false }).await?;
        life.ledger().counts.rejected += 1;
    }
    Ok(())
}

async fn in_transactions(
    life: &Life,
    channel: &Channel,
    mut consumer: Consumer,
    random: &mut Random,
) -> lapin::Result<()> {
    let mut waiting = Vec::new();
    let mut wanted = 1 + random.below(IN_TRANSACTION_MAX);
    while let Some(delivery) = consumer.next().await {
        let delivery: Delivery = delivery?;
        waiting.extend(life.ledger().deliver(Queue::Transactions, &delivery.data, delivery.redelivered));
        wanted -= 1;
        if wanted > 0 {
            continue;
        }
        delivery.ack(BasicAckOptions { multiple: true }).await?;
        soon("tx.commit-ok", channel.tx_commit()).await?;
        let mut ledger = life.ledger();
        for (publisher, number) in waiting.drain(..) {
            ledger.settle(Queue::Transactions, publisher, number);
        }
        ledger.counts.transactions += 1;
        wanted = 1 + random.below(IN_TRANSACTION_MAX);
    }
    Ok(())
}
