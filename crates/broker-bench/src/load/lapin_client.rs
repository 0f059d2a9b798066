//! The same load through lapin, as an application would send and take it. Does not know what the raw client does.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, ConnectionProperties, Consumer};
use tokio::runtime::Runtime;

use super::{Consumed, Progress, Published, Times, Window, Workload};
use crate::connection::{QueueKind, STALL, stream_of};
use crate::error::BenchError;
use crate::ledger::Ledger;
use crate::wire::read_stamp;

/// How often a waiting task looks up, whether it was told to end.
const TICK: Duration = Duration::from_millis(100);
/// Wait for deliveries when the window without confirms is full; the finest that the timer has.
const UNDELIVERED_WAIT: Duration = Duration::from_millis(1);

/// A publisher and a consumer, each with a connection of its own, on one runtime.
pub struct LapinPair {
    runtime: Runtime,
    publisher: lapin::Connection,
    consumer: lapin::Connection,
    publishing: Channel,
    consuming: Channel,
    consumers: Vec<Consumer>,
}

impl LapinPair {
    /// Connects, and asks for messages; makes the queues if they are the consumer's own.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn open(uri: &AMQPUri, load: &Workload) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Io { what: "starting a runtime for lapin", source };
        let runtime = Runtime::new().map_err(failed)?;
        let connect = || lapin::Connection::connect_uri(uri.clone(), ConnectionProperties::default());
        let (publisher, consumer, publishing, consuming, consumers) = runtime.block_on(async {
            let (publisher, consumer) = (connect().await?, connect().await?);
            let (publishing, consuming) = (publisher.create_channel().await?, consumer.create_channel().await?);
            let consumers = consume(&consuming, load).await?;
            if matches!(load.window, Window::Unconfirmed(_)) {
                publishing.confirm_select(ConfirmSelectOptions::default()).await?;
            }
            Ok::<_, BenchError>((publisher, consumer, publishing, consuming, consumers))
        })?;
        Ok(Self { runtime, publisher, consumer, publishing, consuming, consumers })
    }

    /// Publishes until it is told to stop, and takes all that was published.
    ///
    /// # Errors
    /// When the broker fails or is silent, and when messages are lost, duplicated or out of order.
    pub fn run(self, load: &Workload, progress: &Progress) -> Result<(Published, Consumed), BenchError> {
        let Self { runtime, publisher, consumer, publishing, consuming, consumers } = self;
        runtime.block_on(async {
            let publish = async {
                let published = publish(&publishing, load, progress).await?;
                progress.finish(published.count);
                Ok(published)
            };
            let both = tokio::try_join!(publish, take(&consuming, consumers, load, progress))?;
            publisher.close(200, "done".into()).await?;
            consumer.close(200, "done".into()).await?;
            Ok(both)
        })
    }
}

async fn consume(channel: &Channel, load: &Workload) -> Result<Vec<Consumer>, BenchError> {
    if !load.auto_ack {
        channel.basic_qos(load.prefetch, BasicQosOptions::default()).await?;
    }
    let mut consumers = Vec::new();
    for stream in 0..load.queues {
        let queue = load.queue(stream);
        if load.kind == QueueKind::Transient {
            let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
        }
        let options = BasicConsumeOptions { no_ack: load.auto_ack, ..Default::default() };
        let tag = stream.to_string();
        let consumer = channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await?;
        consumers.push(consumer);
    }
    Ok(consumers)
}

async fn publish(channel: &Channel, load: &Workload, progress: &Progress) -> Result<Published, BenchError> {
    let templates = load.templates();
    let turns = templates.len() as u64;
    let properties = BasicProperties::default().with_delivery_mode(if load.persistent { 2 } else { 1 });
    let (mut times, mut count, mut waiting) = (Times::new(), 0u64, FuturesUnordered::new());
    let window = match load.window {
        Window::Unconfirmed(window) | Window::Undelivered(window) => window,
    };
    let confirmed = |outcome: Result<(u64, u64, Confirmation), lapin::Error>, times: &mut Times| {
        let (number, sent_ns, confirmation) = outcome?;
        if matches!(confirmation, Confirmation::Nack(_)) {
            return Err(BenchError::Refused(number));
        }
        if progress.recording.load(Ordering::Relaxed) && matches!(load.window, Window::Unconfirmed(_)) {
            times.record(progress.now_ns().saturating_sub(sent_ns));
        }
        Ok(())
    };
    while !progress.stop.load(Ordering::Relaxed) {
        progress.go_on()?;
        let undelivered = count.saturating_sub(progress.delivered.load(Ordering::Relaxed) / load.copies());
        if matches!(load.window, Window::Undelivered(_)) && undelivered >= window {
            tokio::time::sleep(UNDELIVERED_WAIT).await;
            continue;
        }
        let (queue, sent_ns) = ((count % turns) as usize, progress.now_ns());
        let key = if load.fanout { String::new() } else { load.queue(queue) };
        let body = templates[queue].body(count / turns, sent_ns);
        let (exchange, options) = (load.exchange().into(), BasicPublishOptions::default());
        let confirm = channel.basic_publish(exchange, key.into(), options, &body, properties.clone()).await?;
        count += 1;
        progress.published.fetch_add(1, Ordering::Relaxed);
        let number = count;
        waiting.push(async move { confirm.await.map(|confirmation| (number, sent_ns, confirmation)) });
        while waiting.len() as u64 >= window
            && let Some(outcome) = waiting.next().await
        {
            confirmed(outcome, &mut times)?;
        }
    }
    while let Some(outcome) = waiting.next().await {
        confirmed(outcome, &mut times)?;
    }
    Ok(Published { count, confirm: times })
}

async fn take(
    channel: &Channel,
    consumers: Vec<Consumer>,
    load: &Workload,
    progress: &Progress,
) -> Result<Consumed, BenchError> {
    let mut deliveries = futures_util::stream::select_all(consumers.into_iter().map(|consumer| {
        let tag = consumer.tag().to_string();
        consumer.map(move |delivery| (stream_of(tag.as_bytes()), delivery))
    }));
    let (mut ledger, mut end_to_end, mut heard) = (Ledger::new(load.queues), Times::new(), Instant::now());
    loop {
        progress.go_on()?;
        if progress.total().is_some_and(|total| ledger.count() >= total * load.copies()) {
            break;
        }
        let Ok(next) = tokio::time::timeout(TICK, deliveries.next()).await else {
            if heard.elapsed() > STALL {
                break;
            }
            continue;
        };
        let (stream, delivery) = next.ok_or(BenchError::Cancelled)?;
        let (stream, delivery) = (stream?, delivery?);
        heard = Instant::now();
        let (sequence, sent_ns) = read_stamp(&delivery.data)?;
        ledger.delivered(stream, sequence);
        if progress.recording.load(Ordering::Relaxed) {
            end_to_end.record(progress.now_ns().saturating_sub(sent_ns));
        }
        if !load.auto_ack {
            acknowledge(channel, delivery.delivery_tag, &ledger, load, progress).await?;
        }
        progress.delivered.fetch_add(1, Ordering::Relaxed);
    }
    let (count, published) =
        (ledger.count(), progress.total().unwrap_or_else(|| progress.published.load(Ordering::Relaxed)));
    let account = ledger.close(|stream| load.published_to(stream, published));
    if account.is_clean() { Ok(Consumed { count, end_to_end }) } else { Err(BenchError::Account(account)) }
}

/// Acknowledges what is due. The publisher of a small window, and the prefetch, wait for acknowledgements that are
/// held back; so nothing is held back once the consumer has caught up.
async fn acknowledge(
    channel: &Channel,
    tag: u64,
    ledger: &Ledger,
    load: &Workload,
    progress: &Progress,
) -> Result<(), BenchError> {
    // Deliveries of several consumers do not come in the order of their tags, so none may stand for those before it.
    let every = if load.queues > 1 { 1 } else { load.ack_every };
    let caught_up = ledger.count() >= progress.published.load(Ordering::Relaxed) * load.copies();
    if caught_up || ledger.count().is_multiple_of(every) {
        channel.basic_ack(tag, BasicAckOptions { multiple: every > 1 }).await?;
    }
    Ok(())
}
