//! What the tests of durability share: numbered persistent messages in one durable queue of a broker in a process of
//! its own, and waits for what that broker says of itself. Knows no fault.

use std::collections::{BTreeSet, VecDeque};
use std::fs;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use super::harness::{confirms, consume, next, prefetch, soon};
use super::process::{Program, Scratch};

const QUEUE: &str = "kept";

pub(crate) async fn connect(program: &Program) -> (Connection, Channel) {
    let connection = soon("connect", Connection::connect(&program.uri(), Default::default())).await.unwrap();
    let channel = soon("channel", connection.create_channel()).await.unwrap();
    (connection, channel)
}

type Publishing = BoxFuture<'static, lapin::Result<PublisherConfirm>>;

/// Publishes messages of one size, numbered from 0.
pub(crate) struct Publisher {
    pub(crate) connection: Connection,
    channel: Channel,
    octets: usize,
    published: u32,
    waiting: VecDeque<(u32, PublisherConfirm)>,
    /// One that lapin keeps back while the connection is blocked.
    held_back: Option<(u32, Publishing)>,
    pub(crate) confirmed: BTreeSet<u32>,
}

impl Publisher {
    pub(crate) async fn new(program: &Program, octets: usize) -> Self {
        let (connection, channel) = connect(program).await;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        soon("declare", channel.queue_declare(QUEUE.into(), options, FieldTable::default())).await.unwrap();
        confirms(&channel).await;
        let (waiting, confirmed) = Default::default();
        Self { connection, channel, octets, published: 0, waiting, held_back: None, confirmed }
    }

    fn publishing(&mut self) -> (u32, Publishing) {
        let (number, channel) = (self.published, self.channel.clone());
        self.published += 1;
        let mut body = number.to_be_bytes().to_vec();
        body.resize(self.octets.max(4), b'.');
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default().with_delivery_mode(2));
        let publishing =
            async move { channel.basic_publish("".into(), QUEUE.into(), options, &body, properties).await };
        (number, publishing.boxed())
    }

    /// Publishes one more, without waiting for its confirm.
    pub(crate) async fn publish(&mut self) {
        let (number, publishing) = self.publishing();
        self.waiting.push_back((number, soon("publish", publishing).await.unwrap()));
    }

    /// Waits until all that was published is confirmed.
    pub(crate) async fn settle(&mut self) {
        if let Some((number, publishing)) = self.held_back.take() {
            self.waiting.push_back((number, soon("publish", publishing).await.unwrap()));
        }
        while let Some((number, confirm)) = self.waiting.pop_front() {
            assert!(matches!(soon("confirm", confirm).await, Ok(Confirmation::Ack(_))), "message {number}");
            self.confirmed.insert(number);
        }
    }

    /// Publishes so many, each once the one before is confirmed.
    pub(crate) async fn publish_each(&mut self, count: u32) {
        for _ in 0..count {
            self.publish().await;
            self.settle().await;
        }
    }

    /// Publishes, with some messages unconfirmed, until the broker no longer wants any.
    pub(crate) async fn publish_until_blocked(&mut self) {
        /// What may be unconfirmed meanwhile.
        const UNCONFIRMED: usize = 64;
        while !self.connection.status().blocked() {
            if self.waiting.len() < UNCONFIRMED {
                let (number, mut publishing) = self.publishing();
                tokio::select! {
                    published = &mut publishing => self.waiting.push_back((number, published.unwrap())),
                    () = self.until_blocked(true) => self.held_back = Some((number, publishing)),
                }
            }
            self.take_confirmed();
            tokio::task::yield_now().await;
        }
    }

    /// Takes note of the confirms that are here already; how many are not.
    pub(crate) fn take_confirmed(&mut self) -> usize {
        while let Some((number, mut confirm)) = self.waiting.pop_front() {
            match (&mut confirm).now_or_never() {
                Some(Ok(Confirmation::Ack(_))) => drop(self.confirmed.insert(number)),
                Some(other) => panic!("message {number}: {other:?}"),
                None => {
                    self.waiting.push_front((number, confirm));
                    break;
                }
            }
        }
        self.waiting.len()
    }

    pub(crate) async fn until_blocked(&self, blocked: bool) {
        let what = if blocked { "connection.blocked" } else { "connection.unblocked" };
        soon(what, async {
            while self.connection.status().blocked() != blocked {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(*body.first_chunk().unwrap())
}

/// Consumes and acknowledges so many messages, on a connection of its own; which they were.
pub(crate) async fn consume_some(program: &Program, count: usize) -> BTreeSet<u32> {
    let (connection, channel) = connect(program).await;
    prefetch(&channel, 10).await;
    let mut consumer = consume(&channel, QUEUE).await;
    let mut consumed = BTreeSet::new();
    while consumed.len() < count {
        let delivery = next(&mut consumer).await;
        consumed.insert(number(&delivery.data));
        soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    }
    // So that the acknowledgements have arrived, whatever follows.
    soon("close", connection.close(200, "done".into())).await.unwrap();
    consumed
}

/// What the queue holds.
pub(crate) async fn contents(program: &Program) -> BTreeSet<u32> {
    let (_connection, channel) = connect(program).await;
    let mut found = BTreeSet::new();
    while let Some(got) = soon("get", channel.basic_get(QUEUE.into(), BasicGetOptions::default())).await.unwrap() {
        assert!(found.insert(number(&got.delivery.data)), "it is there twice");
    }
    found
}

/// Waits until `/readyz` says that the broker is ready, or that it is not, with this in its reason.
pub(crate) async fn until_ready(program: &Program, not_because: Option<&str>) {
    soon("/readyz", async {
        loop {
            let (status, body) = program.get("/readyz");
            let as_wished = match not_because {
                None => status.contains(" 200 "),
                Some(reason) => status.contains(" 503 ") && body.contains(reason),
            };
            if as_wished {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A figure on the page of metrics.
pub(crate) fn metric(program: &Program, name: &str) -> u64 {
    let (_, metrics) = program.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("crosstalk_broker_{name} ")));
    line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
}

pub(crate) async fn until_logged(scratch: &Scratch, text: &str) {
    soon(text, async {
        while !fs::read_to_string(scratch.log()).unwrap_or_default().contains(text) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Says why a test was left out, past the harness, which shows nothing of a test that passes.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    // Who does not read it does not want it.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
}
