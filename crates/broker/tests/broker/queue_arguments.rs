//! Queues with arguments, as clients see them: what expires, what has no room, and where it goes.

use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation};

use super::harness::{Server, confirms, consume, declare, next, prefetch, publish, soon};

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn declare_with(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    soon("declare", channel.queue_declare(queue.into(), options, table(arguments))).await.unwrap();
}

async fn publish_as(channel: &Channel, queue: &str, properties: BasicProperties, body: &[u8]) -> Confirmation {
    let options = BasicPublishOptions::default();
    let published = channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    soon("confirm", published).await.unwrap()
}

/// A queue whose dead letters go to the queue `dead`.
const DEAD: [(&str, &str); 2] = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "dead")];

fn with_dead(more: &[(&'static str, AMQPValue)]) -> Vec<(&'static str, AMQPValue)> {
    DEAD.iter().map(|(name, value)| (*name, text(value))).chain(more.iter().cloned()).collect()
}

#[tokio::test]
async fn an_expired_message_arrives_as_a_dead_letter() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "dead", QueueDeclareOptions::default()).await;
    declare_with(&channel, "q", &with_dead(&[])).await;
    confirms(&channel).await;
    let headers = table(&[("mine", AMQPValue::LongUInt(7))]);
    let properties = BasicProperties::default().with_expiration("1".into()).with_headers(headers).with_priority(4);
    publish_as(&channel, "q", properties, b"late").await;
    let mut consumer = consume(&channel, "dead").await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.data, b"late");
    assert_eq!((delivery.properties.expiration(), delivery.properties.priority()), (&None, &Some(4)));
    let headers = delivery.properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers.get("mine"), Some(&AMQPValue::LongUInt(7)));
    assert_eq!(headers.get("x-first-death-reason"), Some(&text("expired")));
    let Some(AMQPValue::FieldArray(deaths)) = headers.get("x-death") else { panic!("{headers:?}") };
    let [AMQPValue::FieldTable(death)] = deaths.as_slice() else { panic!("{deaths:?}") };
    assert_eq!(death.inner().get("original-expiration"), Some(&text("1")));
    assert_eq!(death.inner().get("queue"), Some(&text("q")));
}

#[tokio::test]
async fn a_full_queue_nacks() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let arguments = [("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", text("reject-publish"))];
    declare_with(&channel, "q", &arguments).await;
    confirms(&channel).await;
    assert_eq!(publish(&channel, "q", b"fits").await, Confirmation::Ack(None));
    assert_eq!(publish(&channel, "q", b"does not").await, Confirmation::Nack(None));
}

#[tokio::test]
async fn a_rejected_message_goes_where_the_queue_says() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "dead", QueueDeclareOptions::default()).await;
    declare_with(&channel, "q", &with_dead(&[("x-queue-type", text("quorum"))])).await;
    confirms(&channel).await;
    prefetch(&channel, 1).await;
    publish(&channel, "q", b"unwanted").await;
    let mut consumer = consume(&channel, "q").await;
    let delivery = next(&mut consumer).await;
    assert!(delivery.properties.headers().is_none());
    soon("nack", delivery.nack(BasicNackOptions { requeue: true, ..Default::default() })).await.unwrap();
    let delivery = next(&mut consumer).await;
    let headers = delivery.properties.headers().clone().unwrap();
    assert_eq!(headers.inner().get("x-delivery-count"), Some(&AMQPValue::LongLongInt(1)));
    soon("nack", delivery.nack(BasicNackOptions::default())).await.unwrap();
    let mut consumer = consume(&channel, "dead").await;
    assert_eq!(next(&mut consumer).await.data, b"unwanted");
}

#[tokio::test]
async fn a_queue_that_nobody_uses_ends() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare_with(&channel, "q", &[("x-expires", AMQPValue::LongInt(1))]).await;
    server.until("its end", |snapshot| snapshot.queues.is_empty()).await;
}

#[tokio::test]
async fn the_highest_priority_is_delivered_first() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare_with(&channel, "q", &[("x-max-priority", AMQPValue::LongInt(10))]).await;
    confirms(&channel).await;
    for (priority, body) in [(0, b"c"), (6, b"b"), (9, b"a")] {
        publish_as(&channel, "q", BasicProperties::default().with_priority(priority), body).await;
    }
    let mut consumer = consume(&channel, "q").await;
    for body in [b"a", b"b", b"c"] {
        assert_eq!(next(&mut consumer).await.data, body);
    }
}
