//! Who gets a message when several consumers wait.

use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::harness::{Server, confirms, consume, declare, next, publish, soon};

async fn ack(delivery: &Delivery) {
    soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
}

async fn declare_single_active(channel: &Channel) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let declared = channel.queue_declare("q".into(), QueueDeclareOptions::default(), arguments);
    soon("declare", declared).await.unwrap();
}

async fn consume_with_priority(channel: &Channel, tag: &str, priority: i32) -> Consumer {
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
    let tag = ShortString::from(tag);
    soon("consume", channel.basic_consume("q".into(), tag, BasicConsumeOptions::default(), arguments)).await.unwrap()
}

#[tokio::test]
async fn a_standby_takes_over_from_a_single_active_consumer_in_order() {
    let server = Server::start().await;
    let (_connection, publisher) = server.channel().await;
    declare_single_active(&publisher).await;
    confirms(&publisher).await;
    let (active_connection, active) = server.channel().await;
    let mut first = consume(&active, "q").await;
    let (_standby_connection, standby) = server.channel().await;
    let mut second = consume(&standby, "q").await;
    for body in 0..4u8 {
        publish(&publisher, "q", &[body]).await;
    }
    for body in 0..2 {
        let delivery = next(&mut first).await;
        assert_eq!(delivery.data, [body]);
        ack(&delivery).await;
    }
    server.until("the acknowledgements", |snapshot| snapshot.queues[0].totals.acknowledged == 2).await;
    soon("close", active_connection.close(200, "".into())).await.unwrap();
    for body in 2..4 {
        let delivery = next(&mut second).await;
        assert_eq!((delivery.data.as_slice(), delivery.redelivered), (&[body][..], true));
        ack(&delivery).await;
    }
}

#[tokio::test]
async fn a_consumer_of_a_higher_priority_gets_all_it_can_take() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut low = consume_with_priority(&channel, "low", 0).await;
    soon("qos", channel.basic_qos(3, BasicQosOptions::default())).await.unwrap();
    let mut high = consume_with_priority(&channel, "high", 1).await;
    confirms(&channel).await;
    for body in 0..4u8 {
        publish(&channel, "q", &[body]).await;
    }
    for body in 0..3 {
        assert_eq!(next(&mut high).await.data, [body]);
    }
    assert_eq!(next(&mut low).await.data, [3]);
}
