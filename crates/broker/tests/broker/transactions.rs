//! Transactions, as a client uses them.

use lapin::message::Delivery;
use lapin::options::*;
use lapin::{BasicProperties, Channel};

use super::harness::{Server, consume, declare, next, soon};

async fn send(channel: &Channel, body: &[u8]) {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), "q".into(), options, body, properties).await.unwrap();
}

async fn ack(delivery: &Delivery) {
    soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
}

#[tokio::test]
async fn a_commit_makes_publishes_and_acknowledgements_real_and_a_rollback_neither() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    soon("select", channel.tx_select()).await.unwrap();
    send(&channel, b"dropped").await;
    soon("rollback", channel.tx_rollback()).await.unwrap();
    send(&channel, b"kept").await;
    assert_eq!(server.broker.snapshot().await.unwrap().queues[0].totals.published, 0);
    soon("commit", channel.tx_commit()).await.unwrap();
    assert_eq!(server.broker.snapshot().await.unwrap().queues[0].ready, 1);

    let mut consumer = consume(&channel, "q").await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.data, b"kept");
    ack(&delivery).await;
    soon("rollback", channel.tx_rollback()).await.unwrap();
    assert_eq!(server.broker.snapshot().await.unwrap().queues[0].unacknowledged, 1);
    soon("recover", channel.basic_recover(BasicRecoverOptions { requeue: true })).await.unwrap();
    let again = next(&mut consumer).await;
    assert!(again.redelivered);
    ack(&again).await;
    soon("commit", channel.tx_commit()).await.unwrap();
    let queue = &server.broker.snapshot().await.unwrap().queues[0];
    assert_eq!((queue.ready, queue.unacknowledged, queue.totals.acknowledged), (0, 0, 1));
}
