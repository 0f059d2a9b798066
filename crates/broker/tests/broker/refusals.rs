//! What a client is told when it asks for something it cannot have, and when the broker goes.

use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Error, ErrorKind};

use super::harness::{Server, consume, declare, soon};

/// The code and the text of what the broker closed the channel or the connection with.
fn told(error: &Error) -> (u16, String) {
    match error.kind() {
        ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
        other => panic!("not an AMQP error: {other:?}"),
    }
}

async fn declare_error(channel: &Channel, queue: &str, options: QueueDeclareOptions) -> (u16, String) {
    let declared = soon("declare", channel.queue_declare(queue.into(), options, FieldTable::default())).await;
    told(&declared.unwrap_err())
}

#[tokio::test]
async fn a_missing_queue_is_404_and_closes_only_the_channel() {
    let server = Server::start().await;
    let (connection, channel) = server.channel().await;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let expected = (404, "NOT_FOUND - no queue 'missing' in vhost '/'".to_owned());
    assert_eq!(declare_error(&channel, "missing", passive).await, expected);
    let channel = soon("channel", connection.create_channel()).await.unwrap();
    declare(&channel, "missing", QueueDeclareOptions::default()).await;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    declare(&channel, "missing", passive).await;
}

#[tokio::test]
async fn another_declaration_of_a_queue_is_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let text = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but \
                current is 'false'";
    assert_eq!(declare_error(&channel, "q", durable).await, (406, text.to_owned()));
}

#[tokio::test]
async fn an_exclusive_queue_is_405_for_others_and_ends_with_its_connection() {
    let server = Server::start().await;
    let (owner, channel) = server.channel().await;
    declare(&channel, "mine", QueueDeclareOptions { exclusive: true, ..Default::default() }).await;
    let (_other, channel) = server.channel().await;
    let (code, text) = declare_error(&channel, "mine", QueueDeclareOptions::default()).await;
    assert_eq!(code, 405);
    let start = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'";
    assert!(text.starts_with(start), "{text}");
    soon("close", owner.close(200, "".into())).await.unwrap();
    server.until("its end", |snapshot| snapshot.queues.is_empty()).await;
}

#[tokio::test]
async fn an_unknown_delivery_tag_is_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    channel.basic_ack(7, BasicAckOptions::default()).await.unwrap();
    let error = soon("the close", async {
        loop {
            if let Err(error) = channel.basic_qos(1, BasicQosOptions::default()).await {
                if let ErrorKind::ProtocolError(_) = error.kind() {
                    return error;
                }
                return soon("recovery", channel.wait_for_recovery(error)).await.unwrap_err();
            }
        }
    })
    .await;
    assert_eq!(told(&error), (406, "PRECONDITION_FAILED - unknown delivery tag 7".to_owned()));
}

#[tokio::test]
async fn a_wrong_password_is_403() {
    let server = Server::start().await;
    let properties = ConnectionProperties::default();
    let refused = soon("connect", Connection::connect(&server.uri("guest:wrong"), properties)).await;
    let (code, text) = told(&refused.unwrap_err());
    assert_eq!(code, 403);
    assert!(text.starts_with("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"), "{text}");
}

#[tokio::test]
async fn an_unknown_virtual_host_is_530() {
    let server = Server::start().await;
    let uri = format!("amqp://guest:guest@{}/nowhere", server.address);
    let refused = soon("connect", Connection::connect(&uri, ConnectionProperties::default())).await;
    assert_eq!(told(&refused.unwrap_err()), (530, "NOT_ALLOWED - vhost nowhere not found".to_owned()));
}

#[tokio::test]
async fn a_shutdown_closes_connections_with_320_and_ends() {
    let server = Server::start().await;
    let (connection, channel) = server.channel().await;
    let queue = declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut consumer = consume(&channel, &queue).await;
    server.shutdown.cancel();
    soon("the end of serving", server.serving).await.unwrap().unwrap();
    let ended = soon("the consumer's end", futures_util::StreamExt::next(&mut consumer)).await;
    if let Some(Err(error)) = ended {
        assert_eq!(told(&error), (320, "CONNECTION_FORCED - broker is shutting down".to_owned()));
    }
    soon("the close", async {
        while connection.status().connected() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}
