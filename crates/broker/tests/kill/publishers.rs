//! Those who publish: with confirms, one at a time or many, and in transactions. They do not know who consumes.

use std::collections::VecDeque;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use super::lanes::{FAN, Publisher, Queue, body};
use super::life::{Life, soon};
use super::random::Random;

/// Messages of one publisher in one life: what a backlog of all lives can grow by.
const IN_LIFE_MAX: usize = 4000;
/// Unconfirmed messages of one publisher at most.
const WINDOWS: [usize; 4] = [10, 50, 200, 500];
/// Messages in one transaction at most.
const IN_TRANSACTION_MAX: u64 = 20;
/// Marks a message as persistent.
const PERSISTENT: u8 = 2;

/// Mostly small ones, some that take several frames.
fn filling(random: &mut Random) -> usize {
    let most = match random.below(500) {
        0 => 300_000,
        1..10 => 20_000,
        _ => 300,
    };
    random.below(most) as usize
}

/// Publishes the next message to where it belongs, or to `key` with the default exchange.
pub(crate) async fn publish(
    life: &Life,
    channel: &Channel,
    publisher: Publisher,
    key: &str,
    random: &mut Random,
) -> lapin::Result<(u64, PublisherConfirm)> {
    let number = life.ledger().publish(publisher);
    let exchange = if publisher == Publisher::Fan { FAN } else { "" };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let body = body(publisher, number, filling(random));
    let options = BasicPublishOptions::default();
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await?;
    Ok((number, confirm))
}

/// Waits for a confirm, and takes note of it.
pub(crate) async fn confirmed(
    life: &Life,
    publisher: Publisher,
    (number, confirm): (u64, PublisherConfirm),
) -> lapin::Result<()> {
    match soon("a confirm", confirm).await? {
        Confirmation::Ack(_) => {
            life.ledger().confirm(publisher, number);
            life.confirmed.cancel();
        }
        Confirmation::Nack(_) => life.ledger().counts.refused += 1,
        Confirmation::NotRequested => life.ledger().fault("a confirm that was not asked for".to_owned()),
    }
    Ok(())
}

/// Publishes with confirms.
pub(crate) async fn confirming(life: Life, publisher: Publisher, mut random: Random) -> lapin::Result<()> {
    let (_connection, channel) = life.channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let key = match publisher {
        Publisher::Rejected => Queue::Rejects.name(),
        Publisher::Fan => "",
        _ => Queue::Work.name(),
    };
    let window = if publisher == Publisher::Single { 1 } else { WINDOWS[random.below(4) as usize] };
    let mut waiting = VecDeque::new();
    let published = async {
        for _ in 0..IN_LIFE_MAX {
            if waiting.len() >= window
                && let Some(first) = waiting.pop_front()
            {
                confirmed(&life, publisher, first).await?;
            }
            waiting.push_back(publish(&life, &channel, publisher, key, &mut random).await?);
        }
        Ok(())
    }
    .await;
    // Those that were confirmed before the connection ended count, whatever became of the others.
    let mut ended = published;
    for one in waiting {
        ended = confirmed(&life, publisher, one).await.and(ended);
    }
    ended
}

/// Publishes in transactions.
pub(crate) async fn transactional(life: Life, mut random: Random) -> lapin::Result<()> {
    let (_connection, channel) = life.channel().await?;
    channel.tx_select().await?;
    let mut left = IN_LIFE_MAX as u64;
    while left > 0 {
        let count = 1 + random.below(IN_TRANSACTION_MAX);
        left = left.saturating_sub(count);
        let mut numbers = Vec::new();
        for _ in 0..count {
            let key = Queue::Transactions.name();
            numbers.push(publish(&life, &channel, Publisher::Transactional, key, &mut random).await?.0);
        }
        soon("tx.commit-ok", channel.tx_commit()).await?;
        let mut ledger = life.ledger();
        numbers.into_iter().for_each(|number| ledger.confirm(Publisher::Transactional, number));
        ledger.counts.transactions += 1;
    }
    Ok(())
}
