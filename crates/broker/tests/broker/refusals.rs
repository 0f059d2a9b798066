//! What a client is told when it asks for something it cannot have, and when the broker goes.

use crosstalk_broker::{Limits, Options};
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, Error, ErrorKind, ExchangeKind};
use tokio::io::AsyncWriteExt;

use super::harness::{Server, consume, declare, soon};
use super::raw::{frame, logged_in, read_frame, read_method};

/// The code and the text of what the broker closed the channel or the connection with.
pub(crate) fn told(error: &Error) -> (u16, String) {
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
async fn an_exclusive_queue_is_the_same_durable_or_not() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    declare(&channel, "own", exclusive).await;
    declare(&channel, "own", QueueDeclareOptions { durable: true, ..exclusive }).await;
}

#[tokio::test]
async fn a_wrong_argument_of_a_queue_is_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(-1));
    let options = QueueDeclareOptions::default();
    let refused = soon("declare", channel.queue_declare("q".into(), options, arguments)).await.unwrap_err();
    let text = "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}";
    assert_eq!(told(&refused), (406, text.to_owned()));
}

#[tokio::test]
async fn other_arguments_of_a_queue_are_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let options = QueueDeclareOptions::default();
    let refused = soon("declare", channel.queue_declare("q".into(), options, arguments)).await.unwrap_err();
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '5' \
                of type 'signedint' but current is none";
    assert_eq!(told(&refused), (406, text.to_owned()));
}

async fn declare_exchange(channel: &Channel, arguments: &[(&str, AMQPValue)]) -> Result<(), Error> {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = ExchangeDeclareOptions::default();
    soon("declare", channel.exchange_declare("x".into(), ExchangeKind::Direct, options, table)).await
}

#[tokio::test]
async fn of_the_arguments_of_an_exchange_only_the_alternate_makes_a_difference() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare_exchange(&channel, &[]).await.unwrap();
    declare_exchange(&channel, &[("x-mine", AMQPValue::LongInt(1))]).await.unwrap();
    let alternate = AMQPValue::LongString("amq.fanout".into());
    let refused = declare_exchange(&channel, &[("alternate-exchange", alternate)]).await.unwrap_err();
    let text = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received the \
                value 'amq.fanout' of type 'longstr' but current is none";
    assert_eq!(told(&refused), (406, text.to_owned()));
}

#[tokio::test]
async fn an_alternate_exchange_that_is_no_name_is_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    let refused = declare_exchange(&channel, &[("alternate-exchange", AMQPValue::LongInt(7))]).await.unwrap_err();
    let text =
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'";
    assert_eq!(told(&refused), (406, text.to_owned()));
}

#[tokio::test]
async fn a_match_that_does_not_exist_is_406() {
    let server = Server::start().await;
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-match".into(), AMQPValue::LongString("most".into()));
    let options = QueueBindOptions::default();
    let bound = soon("bind", channel.queue_bind("q".into(), "amq.headers".into(), "".into(), options, arguments)).await;
    let text = "PRECONDITION_FAILED - Invalid x-match field value <<\"most\">>; expected all, any, all-with-x, or \
                any-with-x";
    assert_eq!(told(&bound.unwrap_err()), (406, text.to_owned()));
}

#[tokio::test]
async fn a_message_that_is_somewhat_too_large_is_406_once_all_of_it_came() {
    let limits = Limits { message_bytes: 3, ..Limits::default() };
    let server = Server::start_with(Options { limits, ..Options::default() }).await;
    let mut stream = logged_in(&server).await;
    let publish = [
        frame(1, 1, b"\x00\x14\x00\x0a\x00"),
        frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00"),
        frame(2, 1, &[&[0, 60, 0, 0][..], &4u64.to_be_bytes(), &[0, 0]].concat()),
        frame(3, 1, b"abc"),
        // On another channel, and answered: so far nothing was said about the first.
        frame(1, 2, b"\x00\x14\x00\x0a\x00"),
    ];
    stream.write_all(&publish.concat()).await.unwrap();
    for _channel in 1..=2 {
        assert_eq!(read_frame(&mut stream).await[..4], [0, 20, 0, 11]);
    }
    stream.write_all(&frame(3, 1, b"d")).await.unwrap();
    let close = read_method(&mut stream, 20, 40).await;
    let text = b"\x01\x96\x49PRECONDITION_FAILED - message size 4 is larger than configured max size 3";
    assert_eq!(close[..text.len()], text[..]);
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
    // Without lapin, which gives the reason to a call under way only, and between calls forgets it.
    let mut stream = logged_in(&server).await;
    stream.write_all(&frame(1, 1, b"\x00\x14\x00\x0a\x00")).await.unwrap();
    stream.write_all(&frame(1, 1, b"\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x07\x00")).await.unwrap();
    let close = read_method(&mut stream, 20, 40).await;
    assert!(close.starts_with(b"\x01\x96\x2cPRECONDITION_FAILED - unknown delivery tag 7"), "{close:?}");
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
