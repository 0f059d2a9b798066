//! Those who declare, bind and delete, some of them queues whose messages became dead letters just before.

use lapin::Channel;
use lapin::options::{
    BasicGetOptions, BasicNackOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;

use super::lanes::{BRIEF, Publisher, Queue};
use super::life::{Life, dead_lettering, soon};
use super::publishers::{confirmed, publish};
use super::random::Random;
use super::topology::Thing;

/// Queues and exchanges that come and go, of each.
const NAMES: u64 = 6;
/// Changes in one life at most.
const CHANGES_MAX: usize = 2000;
/// Queues in one life that are deleted after their messages became dead letters.
const BRIEF_MAX: usize = 400;
/// Messages in one of those at most.
const BRIEF_MESSAGES_MAX: u64 = 6;

/// Declares, binds, unbinds and deletes at random.
pub(crate) async fn changing(life: Life, mut random: Random) -> lapin::Result<()> {
    let (_connection, channel) = life.channel().await?;
    for _ in 0..CHANGES_MAX {
        let queue = format!("churn.{}", random.below(NAMES));
        let exchange = format!("churn.{}", random.below(NAMES));
        let key = format!("key.{}", random.below(2));
        soon("a change", change(&life, &channel, &queue, &exchange, &key, random.below(6))).await?;
    }
    Ok(())
}

async fn change(
    life: &Life,
    channel: &Channel,
    queue: &str,
    exchange: &str,
    key: &str,
    which: u64,
) -> lapin::Result<()> {
    let queue_thing = Thing::Queue(queue.to_owned());
    let exchange_thing = Thing::Exchange(exchange.to_owned());
    let [source, destination, key_name] = [exchange, queue, key].map(str::to_owned);
    let binding = Thing::Binding { source, destination, key: key_name };
    let there = |thing: &Thing| life.topology().is_there(thing);
    match which {
        0 => life.declare_queue(channel, queue, FieldTable::default()).await?,
        1 => life.declare_exchange(channel, exchange).await?,
        2 | 3 if there(&queue_thing) && there(&exchange_thing) => life.bind(channel, exchange, queue, key).await?,
        4 if there(&binding) => {
            life.topology().deleting(&binding);
            channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await?;
            life.topology().deleted(&binding);
        }
        5 if there(&queue_thing) => {
            life.topology().deleting(&queue_thing);
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            life.topology().deleted(&queue_thing);
        }
        5 if there(&exchange_thing) => {
            life.topology().deleting(&exchange_thing);
            channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
            life.topology().deleted(&exchange_thing);
        }
        _ => {}
    }
    Ok(())
}

/// Fills a queue, rejects what is in it, and deletes it in the same breath.
pub(crate) async fn brief(life: Life, mut random: Random) -> lapin::Result<()> {
    let (_connection, channel) = life.channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    for _ in 0..BRIEF_MAX {
        // A name that no other life used: what such a queue of a former life holds is for the end.
        let name = format!("{BRIEF}{:016x}", random.below(u64::MAX));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.as_str().into(), options, dead_lettering()).await?;
        for _ in 0..1 + random.below(BRIEF_MESSAGES_MAX) {
            let published = publish(&life, &channel, Publisher::Brief, &name, &mut random).await?;
            confirmed(&life, Publisher::Brief, published).await?;
        }
        empty_and_delete(&life, &channel, &name).await?;
    }
    Ok(())
}

/// Makes all messages of a queue dead letters, and deletes it without waiting in between.
pub(crate) async fn empty_and_delete(life: &Life, channel: &Channel, name: &str) -> lapin::Result<()> {
    let mut last = None;
    while let Some(got) = channel.basic_get(name.into(), BasicGetOptions::default()).await? {
        life.ledger().deliver(Queue::Brief, &got.delivery.data, got.delivery.redelivered);
        last = Some(got.delivery.delivery_tag);
    }
    if let Some(last) = last {
        channel.basic_nack(last, BasicNackOptions { multiple: true, requeue: false }).await?;
    }
    soon("queue.delete-ok", channel.queue_delete(name.into(), QueueDeleteOptions::default())).await?;
    Ok(())
}
