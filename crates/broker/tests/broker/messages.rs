//! What a well-behaved client can do with messages.

use futures_util::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, ExchangeKind};

use super::harness::{Server, confirms, consume, declare, next, prefetch, publish, publish_to, soon};

#[tokio::test]
async fn a_confirmed_message_is_delivered_and_acknowledged() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "", QueueDeclareOptions::default()).await;
    assert!(queue.starts_with("amq.gen-"));
    confirms(&channel).await;
    let mut consumer = consume(&channel, &queue).await;
    assert_eq!(publish(&channel, &queue, b"hello").await, Confirmation::Ack(None));
    let delivery = next(&mut consumer).await;
    assert_eq!(
        (&delivery.data[..], delivery.redelivered, delivery.routing_key.as_str()),
        (&b"hello"[..], false, &*queue)
    );
    soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    let seen = server.until("the ack", |snapshot| snapshot.queues[0].totals.acknowledged == 1).await;
    assert_eq!((seen.queues[0].totals.published, seen.queues[0].unacknowledged, seen.held_bytes), (1, 0, 0));
    assert_eq!(
        (seen.connections[0].client_name.as_deref(), seen.connections[0].user.as_str()),
        (Some("test"), "guest")
    );
}

#[tokio::test]
async fn properties_arrive_as_they_were_sent() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "", QueueDeclareOptions::default()).await;
    let mut headers = FieldTable::default();
    headers.insert("x".into(), AMQPValue::LongInt(-5));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_content_type("text/plain".into())
        .with_delivery_mode(2)
        .with_timestamp(7)
        .with_message_id("m".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.as_str().into(), options, b"", properties.clone()).await.unwrap();
    let got = soon("get", channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true })).await.unwrap();
    assert_eq!(got.unwrap().delivery.properties, properties);
    let empty = soon("get", channel.basic_get(queue.as_str().into(), BasicGetOptions::default())).await.unwrap();
    assert!(empty.is_none());
}

#[tokio::test]
async fn prefetch_holds_deliveries_back_until_one_is_settled() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "q", QueueDeclareOptions::default()).await;
    prefetch(&channel, 2).await;
    let mut consumer = consume(&channel, &queue).await;
    confirms(&channel).await;
    for body in 0..5u8 {
        publish(&channel, &queue, &[body]).await;
    }
    let first = next(&mut consumer).await;
    let held = server.broker.snapshot().await.unwrap();
    assert_eq!((held.queues[0].ready, held.queues[0].unacknowledged), (3, 2));
    soon("ack", first.ack(BasicAckOptions::default())).await.unwrap();
    for body in 1..5 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.data, [body]);
        soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    }
}

#[tokio::test]
async fn an_unroutable_mandatory_message_comes_back_with_its_confirm() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    confirms(&channel).await;
    let Confirmation::Ack(Some(returned)) = publish(&channel, "nowhere", b"back").await else {
        panic!("not returned before the confirm")
    };
    assert_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!((&returned.delivery.data[..], returned.delivery.routing_key.as_str()), (&b"back"[..], "nowhere"));
}

#[tokio::test]
async fn a_lost_connection_gives_its_messages_back_in_order() {
    let server = Server::start().await;
    let (_connection, publisher) = server.channel().await;
    let queue = declare(&publisher, "q", QueueDeclareOptions::default()).await;
    confirms(&publisher).await;
    for body in 0..3u8 {
        publish(&publisher, &queue, &[body]).await;
    }
    let (connection, channel) = server.channel().await;
    let mut consumer = consume(&channel, &queue).await;
    for _ in 0..3 {
        next(&mut consumer).await;
    }
    soon("close", connection.close(200, "".into())).await.unwrap();
    server.until("the requeue", |snapshot| snapshot.queues[0].ready == 3).await;
    let mut consumer = consume(&publisher, &queue).await;
    for body in 0..3u8 {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.data.as_slice(), delivery.redelivered), (&[body][..], true));
    }
}

#[tokio::test]
async fn a_topic_exchange_gives_each_queue_its_copy() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let (options, arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
    let declared = channel.exchange_declare("topics".into(), ExchangeKind::Topic, options, arguments.clone());
    soon("exchange", declared).await.unwrap();
    for (queue, pattern) in [("all", "#"), ("errors", "*.error"), ("other", "nothing")] {
        declare(&channel, queue, QueueDeclareOptions::default()).await;
        let (options, arguments) = (QueueBindOptions::default(), arguments.clone());
        let bound = channel.queue_bind(queue.into(), "topics".into(), pattern.into(), options, arguments);
        soon("bind", bound).await.unwrap();
    }
    confirms(&channel).await;
    publish_to(&channel, "topics", "disk.error", b"full").await;
    let snapshot = server.broker.snapshot().await.unwrap();
    let ready: Vec<_> = snapshot.queues.iter().map(|queue| (queue.name.as_str(), queue.ready)).collect();
    assert_eq!(ready, [("all", 1), ("errors", 1), ("other", 0)]);
}

#[tokio::test]
async fn a_large_message_is_split_over_frames_and_put_together_again() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "q", QueueDeclareOptions::default()).await;
    let body: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    confirms(&channel).await;
    publish(&channel, &queue, &body).await;
    let mut consumer = consume(&channel, &queue).await;
    assert!(next(&mut consumer).await.data == body, "another body");
}

#[tokio::test]
async fn more_than_may_be_on_its_way_arrives_as_well() {
    // Forty times the bound on deliveries that are on their way to a connection.
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "q", QueueDeclareOptions::default()).await;
    confirms(&channel).await;
    for _ in 0..40 {
        publish(&channel, &queue, &vec![1; 1 << 20]).await;
    }
    let (_other, slow) = server.channel().await;
    let mut consumer = consume(&slow, &queue).await;
    for _ in 0..40 {
        let delivery = next(&mut consumer).await;
        soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    }
    server.until("all acks", |snapshot| snapshot.held_bytes == 0).await;
}

#[tokio::test]
async fn a_deleted_queue_cancels_its_consumers() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let queue = declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut consumer = consume(&channel, &queue).await;
    let (_other, deleter) = server.channel().await;
    soon("delete", deleter.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())).await.unwrap();
    assert!(soon("the cancel", consumer.next()).await.is_none());
    assert!(channel.status().connected());
}

#[tokio::test]
async fn publishers_wait_while_too_much_is_held() {
    let limits = crosstalk_broker::Limits { held_bytes: 100_000, ..Default::default() };
    let server = Server::start_with(crosstalk_broker::Options { limits, ..Default::default() }).await;
    let (_connection, publisher) = server.channel().await;
    let queue = declare(&publisher, "q", QueueDeclareOptions::default()).await;
    let filling = tokio::spawn(async move {
        confirms(&publisher).await;
        for _ in 0..30 {
            publish(&publisher, "q", &[0; 10_000]).await;
        }
    });
    let held = server.until("the alarm", |snapshot| snapshot.blocked.is_some()).await;
    assert!(held.queues[0].ready < 30);
    let (_other, channel) = server.channel().await;
    let mut consumer = consume(&channel, &queue).await;
    for _ in 0..30 {
        let delivery = next(&mut consumer).await;
        soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    }
    soon("the publisher", filling).await.unwrap();
}
