//! A broker on a free port, lapin connections to it, and waits with a deadline. Knows no test.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use crosstalk_broker::{Broker, BrokerError, Options, Snapshot};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; only a failing test waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Ends a wait that will never end.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), BrokerError>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (broker, shutdown) = (Broker::open(options).await.unwrap(), CancellationToken::new());
        let serving = tokio::spawn({
            let (broker, shutdown) = (broker.clone(), shutdown.clone());
            async move { broker.serve(listener, shutdown).await }
        });
        Self { broker, address, shutdown, serving }
    }

    pub(crate) fn uri(&self, credentials: &str) -> String {
        format!("amqp://{credentials}@{}/%2f", self.address)
    }

    pub(crate) async fn connect(&self) -> Connection {
        let properties = ConnectionProperties::default().with_connection_name("test".into());
        soon("connect", Connection::connect(&self.uri("guest:guest"), properties)).await.unwrap()
    }

    /// A channel on a connection of its own.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let connection = self.connect().await;
        let channel = soon("channel", connection.create_channel()).await.unwrap();
        (connection, channel)
    }

    /// Waits until a look at the broker satisfies the condition.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
        soon(what, async {
            loop {
                let snapshot = self.broker.snapshot().await.unwrap();
                if condition(&snapshot) {
                    return snapshot;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

pub(crate) async fn declare(channel: &Channel, queue: &str, options: QueueDeclareOptions) -> String {
    let declared = soon("declare", channel.queue_declare(queue.into(), options, FieldTable::default())).await;
    declared.unwrap().name().to_string()
}

pub(crate) async fn confirms(channel: &Channel) {
    soon("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await.unwrap();
}

pub(crate) async fn publish_to(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
    let (options, properties) =
        (BasicPublishOptions { mandatory: true, ..Default::default() }, BasicProperties::default());
    let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
    soon("confirm", published).await.unwrap()
}

pub(crate) async fn publish(channel: &Channel, queue: &str, body: &[u8]) -> Confirmation {
    publish_to(channel, "", queue, body).await
}

pub(crate) async fn prefetch(channel: &Channel, count: u16) {
    soon("qos", channel.basic_qos(count, BasicQosOptions::default())).await.unwrap();
}

pub(crate) async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions::default();
    soon("consume", channel.basic_consume(queue.into(), "".into(), options, FieldTable::default())).await.unwrap()
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    soon("a delivery", consumer.next()).await.expect("consumer cancelled").unwrap()
}
