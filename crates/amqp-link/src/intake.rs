//! Consuming from one queue for good: each delivery is noted in the inbox in the order of delivery, worked on when
//! its turn comes, and only then acknowledged, so that a kill at any moment loses nothing. It does not know what
//! put the messages into the queue.

use std::{sync::Arc, time::Duration};

use crosstalk_contract::Message;
use crosstalk_host::{
    Host, Receiver,
    inbox::InboxError,
    readiness::Needed,
    receiver::{Arrived, Turn},
};
use futures_util::{StreamExt, stream};
use lapin::{
    Acker, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions},
    types::{FieldTable, ShortString},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::{Declare, Link, error::reason, identity};

/// Pause before a message that cannot be kept goes back to the queue: without one it would be delivered again at
/// once, and both sides would do nothing else.
const REQUEUE_PAUSE: Duration = Duration::from_secs(1);

/// What is consumed, for whom, and how.
#[derive(Clone)]
pub struct Intake {
    /// The paradigm.
    pub paradigm: &'static str,
    /// The receiver's name in the inbox.
    pub name: String,
    /// The queue.
    pub queue: ShortString,
    /// Unacknowledged messages that the broker hands out at once.
    pub prefetch: u16,
    /// Declares the queue.
    pub declare: Declare,
}

/// A delivery that is noted, and how to acknowledge it.
struct Noted {
    arrived: Arrived,
    acker: Acker,
}

impl Intake {
    /// Consumes until the node stops. The node is not ready before this does: what is published to a topic before
    /// a subscription exists, that subscription misses.
    pub fn start(self, host: &Host, receiver: &Receiver, link: &Link) {
        // As many can be under way as the broker hands out at once.
        let (noted, to_work) = mpsc::channel(usize::from(self.prefetch));
        host.spawn(work_off(receiver.clone(), to_work));
        let needed = host.readiness().need(&format!("queue {} at {}", self.queue, link.broker()));
        let (receiver, link) = (receiver.clone(), link.clone());
        host.spawn(async move { self.run(&receiver, &link, &noted, &needed).await });
    }

    async fn run(&self, receiver: &Receiver, link: &Link, noted: &mpsc::Sender<Noted>, needed: &Needed) {
        let mut pauses = link.pauses();
        while let Some(connection) = link.up().await {
            match self.consumer(&connection).await {
                Ok(consumer) => {
                    needed.there();
                    pauses = link.pauses();
                    self.take(consumer, receiver, noted).await;
                    needed.missing("the connection was lost, or the queue deleted");
                }
                Err(error) => needed.missing(&reason(&error)),
            }
            if let Some(pause) = pauses.next() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn consumer(&self, connection: &Arc<Connection>) -> lapin::Result<Consumer> {
        let channel = connection.create_channel().await?;
        (self.declare)(channel.clone()).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let tag = ShortString::from("");
        channel.basic_consume(self.queue.clone(), tag, BasicConsumeOptions::default(), FieldTable::default()).await
    }

    /// Takes deliveries until the broker cancels the consumer or the connection is lost.
    async fn take(&self, mut consumer: Consumer, receiver: &Receiver, noted: &mpsc::Sender<Noted>) {
        while let Some(Ok(Delivery { properties, data, acker, .. })) = consumer.next().await {
            let message = match identity(&properties) {
                Ok(identity) => Message { identity, payload: data.into() },
                Err(error) => {
                    warn!("{} rejects a message from queue {}: {error}", self.name, self.queue);
                    told(acker.reject(BasicRejectOptions { requeue: false }).await);
                    continue;
                }
            };
            match receiver.arrived(self.paradigm, &self.name, &message) {
                Ok(arrived) => {
                    if noted.send(Noted { arrived, acker }).await.is_err() {
                        return;
                    }
                }
                Err(error) => self.refuse(&error, &acker).await,
            }
        }
    }

    /// Puts a message back that may be kept later, and rejects one that never can be.
    async fn refuse(&self, error: &InboxError, acker: &Acker) {
        let later = matches!(error, InboxError::Full { .. } | InboxError::File { .. } | InboxError::Damaged { .. });
        let fate = if later { "goes back" } else { "is rejected" };
        warn!("{} cannot keep a message from queue {}, it {fate}: {error}", self.name, self.queue);
        if later {
            tokio::time::sleep(REQUEUE_PAUSE).await;
        }
        told(acker.nack(BasicNackOptions { multiple: false, requeue: later }).await);
    }
}

/// Lets messages begin in the order in which they were noted, as many at once as the receiver does.
async fn work_off(receiver: Receiver, noted: mpsc::Receiver<Noted>) {
    let in_turn = stream::unfold((noted, &receiver), |(mut noted, receiver)| async move {
        let Noted { arrived, acker } = noted.recv().await?;
        let turn = receiver.turn().await;
        Some(((arrived, acker, turn), (noted, receiver)))
    });
    let work = async |(arrived, acker, turn): (Arrived, Acker, Turn)| match receiver.work(arrived, turn).await {
        Ok(_) => told(acker.ack(BasicAckOptions::default()).await),
        Err(error) => {
            warn!("a message could not be finished, the broker gets it back: {error}");
            told(acker.nack(BasicNackOptions { multiple: false, requeue: true }).await);
        }
    };
    // Turns are the bound on how many are at work.
    in_turn.for_each_concurrent(None, work).await;
}

/// What the broker did not hear it delivers again, so there is nothing to do about it here.
fn told(outcome: lapin::Result<bool>) {
    match outcome {
        Ok(true) => {}
        Ok(false) => debug!("the connection was lost before the broker was told; it will deliver the message again"),
        Err(error) => debug!("the broker could not be told, it will deliver the message again: {error}"),
    }
}
