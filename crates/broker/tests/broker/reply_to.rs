//! Requests and their answers without a queue for the answers.

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::*;
use lapin::types::FieldTable;

use super::harness::{Server, declare, next, soon};

#[tokio::test]
async fn a_request_is_answered_without_a_queue_for_answers() {
    let server = Server::start().await;
    let (_server_connection, answering) = server.channel().await;
    declare(&answering, "requests", QueueDeclareOptions::default()).await;
    let (options, arguments) = (BasicConsumeOptions { no_ack: true, ..Default::default() }, FieldTable::default());
    let requests = answering.basic_consume("requests".into(), "".into(), options, arguments.clone());
    let mut requests = soon("consume", requests).await.unwrap();

    let (client_connection, asking) = server.channel().await;
    let answers = asking.basic_consume("amq.rabbitmq.reply-to".into(), "".into(), options, arguments);
    let mut answers = soon("consume", answers).await.unwrap();
    let request = BasicProperties::default()
        .with_reply_to("amq.rabbitmq.reply-to".into())
        .with_correlation_id("7".into())
        .with_content_type("text/plain".into());
    let options = BasicPublishOptions::default();
    asking.basic_publish("".into(), "requests".into(), options, b"ping", request).await.unwrap();

    let got = next(&mut requests).await;
    let address = got.properties.reply_to().clone().unwrap();
    assert_eq!((got.data.as_slice(), got.properties.content_type().is_some()), (&b"ping"[..], true));
    let reply = BasicProperties::default().with_correlation_id(got.properties.correlation_id().clone().unwrap());
    answering.basic_publish("".into(), address, options, b"pong", reply).await.unwrap();
    let answer = next(&mut answers).await;
    let correlation = answer.properties.correlation_id().as_ref().map(|id| id.as_str());
    assert_eq!((answer.data.as_slice(), correlation, answer.redelivered), (&b"pong"[..], Some("7"), false));

    soon("close", client_connection.close(200, "".into())).await.unwrap();
    drop(soon("the end", answers.next()).await);
    assert!(server.broker.snapshot().await.unwrap().queues.iter().all(|queue| queue.name == "requests"));
}
