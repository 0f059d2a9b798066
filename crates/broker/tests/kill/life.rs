//! What all clients of one life of the broker share: its address, the accounts, and whether it was killed.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lanes::{DEAD, FAN, QUEUES, Queue};
use super::ledger::Ledger;
use super::process::Program;
use super::topology::{Thing, Topology};

/// Long enough for a loaded machine; only a broker that does not answer is waited for so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How long a publisher may take to notice that the broker is gone. One that lapin lets wait for ever is given up, and
/// what it had not heard of counts as unconfirmed.
const HANGING_MAX: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Life {
    uri: String,
    ledger: Arc<Mutex<Ledger>>,
    topology: Arc<Mutex<Topology>>,
    /// The broker is about to be killed, or was: from then on any error is as it should be.
    killed: Arc<AtomicBool>,
    /// Something was confirmed in this life.
    pub(crate) confirmed: CancellationToken,
    /// The broker is gone. A consumer that lapin started while the connection broke may never hear of it.
    over: CancellationToken,
}

/// Ends a wait that will never end.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

impl Life {
    pub(crate) fn new(uri: String, ledger: &Arc<Mutex<Ledger>>, topology: &Arc<Mutex<Topology>>) -> Self {
        let (ledger, topology) = (Arc::clone(ledger), Arc::clone(topology));
        let (confirmed, over) = (CancellationToken::new(), CancellationToken::new());
        Self { uri, ledger, topology, killed: Arc::default(), confirmed, over }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn topology(&self) -> MutexGuard<'_, Topology> {
        self.topology.lock().unwrap()
    }

    /// Kills the broker, and waits for the ends of its clients.
    pub(crate) async fn end(&self, program: Program, mut clients: JoinSet<()>) {
        self.killed.store(true, Ordering::SeqCst);
        program.kill();
        self.over.cancel();
        let ends = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(HANGING_MAX, ends).await.is_err() {
            self.ledger().counts.hanging += clients.len() as u64;
            clients.shutdown().await;
        }
    }

    /// Runs a client until its connection ends; that is a fault while the broker is alive.
    pub(crate) async fn client<F>(self, what: &'static str, client: impl FnOnce(Self) -> F)
    where
        F: Future<Output = lapin::Result<()>>,
    {
        if let Err(error) = client(self.clone()).await
            && !self.killed.load(Ordering::SeqCst)
        {
            self.ledger().fault(format!("{what} was ended while the broker ran: {error}"));
        }
    }

    /// The same for one that only consumes: it ends with the broker even if it does not notice.
    pub(crate) async fn consumer<F>(self, client: impl FnOnce(Self) -> F)
    where
        F: Future<Output = lapin::Result<()>>,
    {
        self.over.clone().run_until_cancelled(self.client("a consumer", client)).await;
    }

    /// A channel on a connection of its own.
    pub(crate) async fn channel(&self) -> lapin::Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    pub(crate) async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let thing = Thing::Queue(name.to_owned());
        self.topology().declaring(&thing);
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, arguments).await?;
        self.topology().declared(&thing);
        Ok(())
    }

    pub(crate) async fn declare_exchange(&self, channel: &Channel, name: &str) -> lapin::Result<()> {
        let thing = Thing::Exchange(name.to_owned());
        self.topology().declaring(&thing);
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel.exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
        self.topology().declared(&thing);
        Ok(())
    }

    pub(crate) async fn bind(&self, channel: &Channel, source: &str, queue: &str, key: &str) -> lapin::Result<()> {
        let [source_name, destination, key_name] = [source, queue, key].map(str::to_owned);
        let thing = Thing::Binding { source: source_name, destination, key: key_name };
        self.topology().declaring(&thing);
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.into(), source.into(), key.into(), options, arguments).await?;
        self.topology().declared(&thing);
        Ok(())
    }

    /// What all clients need; after the first time it is there already.
    pub(crate) async fn prepare(&self) -> lapin::Result<()> {
        let (_connection, channel) = self.channel().await?;
        self.declare_exchange(&channel, FAN).await?;
        self.declare_exchange(&channel, DEAD).await?;
        for queue in QUEUES {
            let arguments = if queue == Queue::Rejects { dead_lettering() } else { FieldTable::default() };
            self.declare_queue(&channel, queue.name(), arguments).await?;
            match queue {
                Queue::Fan(_) => self.bind(&channel, FAN, queue.name(), "").await?,
                Queue::DeadLetters => self.bind(&channel, DEAD, queue.name(), "").await?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The arguments of a queue whose rejected messages are dead letters.
pub(crate) fn dead_lettering() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEAD.into()));
    arguments
}
