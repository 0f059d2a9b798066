//! Publishing with confirms: messages go out in order on one channel, each confirm is awaited apart, and a lost
//! connection fails only what was under way. It does not know where the exchange leads.

use std::{sync::Arc, time::Duration};

use crosstalk_contract::{Message, units::format_duration};
use crosstalk_measure::{Clock, Exchange};
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

use crate::{
    Declare, Link, LinkError,
    error::{reason, too_late},
    properties,
};

/// Where messages are published to.
#[derive(Debug, Clone)]
pub struct Route {
    /// The exchange; empty for the one that leads to the queue named by the key.
    pub exchange: ShortString,
    /// The routing key.
    pub key: ShortString,
    /// Whether a message that no queue takes is an error.
    pub mandatory: bool,
}

/// Publishes the messages of one run.
pub struct Publisher {
    link: Link,
    route: Route,
    declare: Declare,
    clock: Clock,
    confirm_timeout: Duration,
    channel: Mutex<Option<Channel>>,
}

/// A message under way to the broker.
pub struct Pending(JoinHandle<Exchange>);

impl Pending {
    /// How it ended: answered at the confirm.
    pub async fn outcome(self, clock: &Clock) -> Exchange {
        self.0.await.unwrap_or_else(|error| Exchange::failed(clock, format!("the confirm was not awaited: {error}")))
    }
}

impl Publisher {
    /// A publisher with its channel open and everything declared.
    ///
    /// # Errors
    /// When the broker is not there, or refuses what is declared.
    pub async fn open(
        link: Link,
        route: Route,
        declare: Declare,
        clock: Clock,
        confirm_timeout: Duration,
    ) -> Result<Arc<Self>, LinkError> {
        let publisher = Self { link, route, declare, clock, confirm_timeout, channel: Mutex::default() };
        publisher.channel(publisher.link.patience()).await?;
        Ok(Arc::new(publisher))
    }

    /// Hands a message to the broker. Await this before the next one, so that they leave in order; when the
    /// connection is lost, that waits until it is back, for `confirm_timeout` from when the message was due.
    pub async fn publish(&self, message: &Message) -> Pending {
        let due = self.clock.instant_of(message.identity.intended_ns);
        let left = self.confirm_timeout.saturating_sub(due.elapsed());
        let handed = match self.channel(left).await {
            Ok(channel) => self.hand_over(&channel, message).await,
            Err(error) => Err(error.to_string()),
        };
        let (clock, within) = (self.clock, self.confirm_timeout);
        let link = self.link.clone();
        // A task of its own notes the time of the confirm at once, also while the next message is held up.
        Pending(tokio::spawn(async move {
            match handed {
                Ok(confirm) => confirmed(confirm, &link, within, &clock).await,
                Err(error) => Exchange::failed(&clock, error),
            }
        }))
    }

    async fn hand_over(&self, channel: &Channel, message: &Message) -> Result<PublisherConfirm, String> {
        let Route { exchange, key, mandatory } = self.route.clone();
        let options = BasicPublishOptions { mandatory, immediate: false };
        let publishing = channel.basic_publish(exchange, key, options, &message.payload, properties(&message.identity));
        let broker = self.link.broker();
        match timeout(self.confirm_timeout, publishing).await {
            Ok(handed) => handed.map_err(|error| unknown(broker, &reason(&error))),
            // RabbitMQ stops reading from publishers when it is short of memory or disk.
            Err(_) => {
                self.link.silent("it takes no messages at present");
                Err(unknown(broker, "it takes no messages at present"))
            }
        }
    }

    /// The channel, or a new one when it is gone.
    async fn channel(&self, wait: Duration) -> Result<Channel, LinkError> {
        let mut current = self.channel.lock().await;
        if let Some(channel) = current.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let connection = self.link.connection(wait).await?;
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            (self.declare)(channel.clone()).await?;
            Ok(channel)
        };
        let channel = match timeout(self.confirm_timeout, opening).await {
            Ok(opened) => opened.map_err(|error| self.link.refused("open a channel and declare", &error))?,
            Err(_) => {
                self.link.silent(&too_late(self.confirm_timeout));
                let (broker, reason) = (self.link.broker().to_owned(), too_late(self.confirm_timeout));
                return Err(LinkError::NotThere { broker, reason });
            }
        };
        self.link.answers();
        *current = Some(channel.clone());
        Ok(channel)
    }
}

/// Whether the broker took a message is open: it may have, and only its word got lost.
fn unknown(broker: &str, why: &str) -> String {
    format!("not confirmed by broker {broker}, whether it has the message is unknown: {why}")
}

async fn confirmed(confirm: PublisherConfirm, link: &Link, within: Duration, clock: &Clock) -> Exchange {
    let broker = link.broker();
    let refused = |why: String| Exchange { error: Some(why), ..Exchange::answered(clock) };
    let exchange = match timeout(within, confirm).await {
        Ok(Ok(Confirmation::Ack(None))) => Exchange::answered(clock),
        Ok(Ok(Confirmation::Ack(Some(returned)))) => {
            let (code, text) = (returned.reply_code, returned.reply_text);
            refused(format!("returned by broker {broker}, no queue takes it: {code} {text}"))
        }
        Ok(Ok(Confirmation::Nack(_))) => refused(format!("refused by broker {broker} (nack)")),
        Ok(Ok(Confirmation::NotRequested)) => Exchange::failed(clock, unknown(broker, "the channel has no confirms")),
        Ok(Err(error)) => Exchange::failed(clock, unknown(broker, &reason(&error))),
        Err(_) => {
            let why = format!("no confirm within {}", format_duration(within));
            link.silent(&why);
            return Exchange::failed(clock, unknown(broker, &why));
        }
    };
    // Told after the time was taken. Some errors are answers, too, but the lost connection is none.
    if exchange.error.is_none() {
        link.answers();
    }
    exchange
}
