//! Clients that mean harm or are broken. While each of them is at it, others get their work done.
//!
//! The flood of connections opens as many as the hard limit on open files (`ulimit -Hn`) allows, up to 2,000. For
//! 10,000, where that limit is 11,500 or more:
//! `BROKER_TEST_CONNECTIONS=10000 cargo test -p crosstalk-broker --test broker hostile`

use std::future::Future;
use std::time::Duration;

use crosstalk_broker::{Limits, Options};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Confirmation, ErrorKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Server, confirms, consume, declare, next, publish, soon};
use super::raw::{
    HEADER, closed_with, frame, logged_in, open, read_frame, read_method, start_ok, still_works, tune_ok,
};

/// Messages a well-behaved client sends and takes while others misbehave.
const WORK: u32 = 100;
/// Memory that the test process, which holds clients and brokers of all tests, never comes near to unless something
/// grows without bound.
const MEMORY_MAX: u64 = 1 << 30;
const CHANNEL_OPEN: &[u8] = b"\x00\x14\x00\x0a\x00";
/// To the default exchange, key `q`, mandatory.
const PUBLISH_MANDATORY: &[u8] = b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x01";
const DECLARE_Q: &[u8] = b"\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x00";
/// From `q`, without acknowledgement.
const CONSUME_Q: &[u8] = b"\x00\x3c\x00\x14\x00\x00\x01q\x01c\x02\x00\x00\x00\x00";

/// A well-behaved client: publishes with confirms, consumes, acknowledges. Ends when all is done.
async fn good_client(server: &Server, queue: &str) {
    let (connection, channel) = server.channel().await;
    declare(&channel, queue, QueueDeclareOptions::default()).await;
    confirms(&channel).await;
    let mut consumer = consume(&channel, queue).await;
    for number in 0..WORK {
        assert_eq!(publish(&channel, queue, &number.to_be_bytes()).await, Confirmation::Ack(None));
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.data, number.to_be_bytes());
        soon("ack", delivery.ack(BasicAckOptions::default())).await.unwrap();
    }
    soon("close", connection.close(200, "".into())).await.unwrap();
}

/// The good client's work beside an attack that must not come to its end by itself.
async fn while_attacked(server: &Server, attack: impl Future<Output = ()>) {
    tokio::select! {
        () = good_client(server, "good") => {}
        () = attack => panic!("the broker took everything"),
    }
    memory_is_bounded();
}

fn memory_is_bounded() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes << 10 < MEMORY_MAX, "{kilobytes} kB resident");
}

fn content(body_size: u64, body: &[u8]) -> Vec<u8> {
    let header = [&[0, 60, 0, 0][..], &body_size.to_be_bytes(), &[0, 0]].concat();
    [frame(2, 1, &header), frame(3, 1, body)].concat()
}

async fn with_channel(server: &Server) -> TcpStream {
    let mut stream = logged_in(server).await;
    stream.write_all(&frame(1, 1, CHANNEL_OPEN)).await.unwrap();
    read_method(&mut stream, 20, 11).await;
    stream
}

fn small() -> Limits {
    Limits { delivery_bytes: 128 << 10, reply_bytes: 128 << 10, ..Limits::default() }
}

async fn server(limits: Limits) -> Server {
    Server::start_with(Options { limits, ..Options::default() }).await
}

#[tokio::test]
async fn who_publishes_and_never_reads_what_comes_back_is_not_read_from() {
    let server = server(small()).await;
    let mut stream = with_channel(&server).await;
    let message = [frame(1, 1, PUBLISH_MANDATORY), content(8000, &[7; 8000])].concat();
    while_attacked(&server, async {
        // 1 GiB: far more than all buffers. Without a bound all of it would come back.
        for _ in 0..1 << 17 {
            stream.write_all(&message).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_never_reads_costs_its_backlog_and_others_get_theirs() {
    let server = server(small()).await;
    let mut stream = with_channel(&server).await;
    stream.write_all(&frame(1, 1, DECLARE_Q)).await.unwrap();
    read_method(&mut stream, 50, 11).await;
    stream.write_all(&frame(1, 1, CONSUME_Q)).await.unwrap();
    read_method(&mut stream, 60, 21).await;
    let (_feeding, feeder) = server.channel().await;
    confirms(&feeder).await;
    let attack = async {
        loop {
            publish(&feeder, "q", &[7; 8000]).await;
            tokio::task::yield_now().await;
        }
    };
    while_attacked(&server, attack).await;
    let snapshot = server.broker.snapshot().await.unwrap();
    for connection in &snapshot.connections {
        assert!(connection.backlog_bytes <= small().delivery_bytes + 16_000, "{}", connection.backlog_bytes);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_given_up() {
    let server = server(Limits { stall: Duration::from_millis(200), ..small() }).await;
    let mut stream = with_channel(&server).await;
    let message = [frame(1, 1, PUBLISH_MANDATORY), content(8000, &[7; 8000])].concat();
    soon("the end", async { while stream.write_all(&message).await.is_ok() {} }).await;
    server.until("its end", |snapshot| snapshot.connections.is_empty()).await;
}

#[tokio::test]
async fn many_connections_hold_no_more_of_incomplete_messages_than_all_may() {
    let server = server(Limits { incomplete_total_bytes: 4 << 20, ..Limits::default() }).await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut stream = with_channel(&server).await;
        stream.write_all(&frame(1, 1, PUBLISH_MANDATORY)).await.unwrap();
        stream.write_all(&content(8 << 20, &[7; 8000])).await.unwrap();
        for _ in 0..124 {
            // Whoever reaches the bound is closed.
            drop(stream.write_all(&frame(3, 1, &[7; 8000])).await);
        }
        stalled.push(stream);
    }
    // 1 MB each: four fit.
    server.until("the others' end", |snapshot| snapshot.connections.len() <= 4).await;
    good_client(&server, "good").await;
    assert!(server.broker.snapshot().await.unwrap().connections.len() >= 3);
}

#[tokio::test]
async fn half_frames_and_half_contents_hold_up_nobody() {
    let server = Server::start().await;
    let mut stalled = Vec::new();
    for number in 0..60 {
        let mut stream = with_channel(&server).await;
        let half = match number % 3 {
            0 => vec![1, 0],
            1 => [frame(1, 1, PUBLISH_MANDATORY), vec![2, 0, 1, 0, 0, 0, 14, 0]].concat(),
            _ => [frame(1, 1, PUBLISH_MANDATORY), content(1 << 20, &[7; 4000])].concat(),
        };
        stream.write_all(&half).await.unwrap();
        stalled.push(stream);
    }
    while_attacked(&server, std::future::pending()).await;
    drop(stalled);
    server.until("their end", |snapshot| snapshot.connections.is_empty()).await;
}

#[tokio::test]
async fn a_body_of_4_gib_is_refused_from_its_header() {
    let server = Server::start().await;
    for size in [1 << 32, u64::MAX, (64 << 20) + 1] {
        let mut stream = with_channel(&server).await;
        stream.write_all(&frame(1, 1, PUBLISH_MANDATORY)).await.unwrap();
        stream.write_all(&content(size, &[7; 4000])).await.unwrap();
        let close = read_method(&mut stream, 20, 40).await;
        assert_eq!(u16::from_be_bytes([close[0], close[1]]), 406, "{size}");
    }
    memory_is_bounded();
    good_client(&server, "good").await;
}

#[tokio::test]
async fn deep_tables_in_arguments_and_headers_end_only_their_connection() {
    let server = Server::start().await;
    let mut table = 0u32.to_be_bytes().to_vec();
    for _ in 0..1000 {
        table = [&((table.len() + 3) as u32).to_be_bytes()[..], b"\x01aF", &table].concat();
    }
    let mut stream = with_channel(&server).await;
    stream.write_all(&frame(1, 1, &[&DECLARE_Q[..DECLARE_Q.len() - 4], &table].concat())).await.unwrap();
    assert_eq!(closed_with(&mut stream).await, 501);
    // The same as the headers of a message to an exchange that looks at them.
    let mut stream = with_channel(&server).await;
    let publish = frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x0bamq.headers\x00\x00");
    let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0][..], &table].concat();
    stream.write_all(&[publish, frame(2, 1, &header)].concat()).await.unwrap();
    good_client(&server, "good").await;
}

#[tokio::test]
async fn headers_that_fill_a_frame_arrive_whole() {
    let server = Server::start().await;
    let mut headers = FieldTable::default();
    for number in 0..1000 {
        headers.insert(format!("header-{number}").into(), lapin::types::AMQPValue::LongString(vec![7; 100].into()));
    }
    let properties = lapin::BasicProperties::default().with_headers(headers);
    let (_connection, channel) = server.channel().await;
    declare(&channel, "q", QueueDeclareOptions::default()).await;
    let mut consumer = consume(&channel, "q").await;
    let published = channel.basic_publish("".into(), "q".into(), Default::default(), b"x", properties.clone());
    soon("publish", published).await.unwrap();
    assert_eq!(next(&mut consumer).await.properties, properties);
}

#[tokio::test]
async fn garbage_before_and_after_login_ends_only_its_connection() {
    let server = Server::start().await;
    // xorshift: the same bytes in every run.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut garbage = || {
        let octets: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(500)
        .collect();
        octets
    };
    for round in 0..60 {
        let mut stream = if round % 2 == 0 { open(&server).await } else { with_channel(&server).await };
        let octets = if round % 3 == 0 { frame(1 + round as u8 % 3, 1, &garbage()) } else { garbage() };
        // It may have been refused, and the socket closed, before all is written.
        drop(stream.write_all(&octets).await);
    }
    good_client(&server, "good").await;
    server.until("their end", |snapshot| snapshot.connections.is_empty()).await;
}

#[tokio::test]
async fn every_method_without_arguments_ends_at_most_its_connection() {
    let server = Server::start().await;
    for class in [10, 20, 30, 40, 50, 60, 85, 90, 255] {
        for method in (0..=130).step_by(5) {
            let mut stream = with_channel(&server).await;
            stream.write_all(&frame(1, 1, &[0, class, 0, method])).await.unwrap();
            // Whatever it was: this is answered, or the connection is closed with a reason.
            let enquiry = frame(1, 1, b"\x00\x14\x00\x14\x01");
            drop(stream.write_all(&enquiry).await);
            assert!(!read_frame(&mut stream).await.is_empty());
        }
    }
    still_works(&server).await;
}

#[tokio::test]
async fn all_channels_of_a_few_connections_hold_up_nobody_and_one_more_is_530() {
    let server = Server::start().await;
    let mut flooders = Vec::new();
    for _ in 0..3 {
        let mut stream = agreed(&server, &tune_ok(2047, 8192)).await;
        for number in 1..=2047u16 {
            stream.write_all(&frame(1, number, CHANNEL_OPEN)).await.unwrap();
        }
        flooders.push(stream);
    }
    let channels = |count: usize| {
        move |snapshot: &crosstalk_broker::Snapshot| {
            snapshot.connections.iter().map(|connection| connection.channels.len()).sum::<usize>() == count
        }
    };
    server.until("all channels", channels(3 * 2047)).await;
    good_client(&server, "good").await;
    flooders[0].write_all(&frame(1, 2048, CHANNEL_OPEN)).await.unwrap();
    assert_eq!(closed_with(&mut flooders[0]).await, 530);
    drop(flooders);
    server.until("their end", channels(0)).await;
}

/// A connection that has logged in and agreed on this.
async fn agreed(server: &Server, tune_ok: &[u8]) -> TcpStream {
    let mut stream = open(server).await;
    stream.write_all(HEADER).await.unwrap();
    read_method(&mut stream, 10, 10).await;
    stream.write_all(&start_ok(&[0; 4])).await.unwrap();
    read_method(&mut stream, 10, 30).await;
    stream.write_all(tune_ok).await.unwrap();
    stream.write_all(&frame(1, 0, b"\x00\x0a\x00\x28\x01/\x00\x00")).await.unwrap();
    read_method(&mut stream, 10, 41).await;
    stream
}

#[tokio::test]
async fn more_consumers_than_allowed_are_530() {
    let server = server(Limits { consumers: 50, ..Limits::default() }).await;
    let mut stream = with_channel(&server).await;
    stream.write_all(&frame(1, 1, DECLARE_Q)).await.unwrap();
    for number in 0..51 {
        let tag = format!("{number:02}");
        let consume = [&b"\x00\x3c\x00\x14\x00\x00\x01q\x02"[..], tag.as_bytes(), &[2, 0, 0, 0, 0]];
        stream.write_all(&frame(1, 1, &consume.concat())).await.unwrap();
    }
    assert_eq!(closed_with(&mut stream).await, 530);
    server.until("their end", |snapshot| snapshot.consumers.is_empty()).await;
    good_client(&server, "good").await;
}

#[tokio::test]
async fn an_exclusive_consumer_keeps_others_out_only_while_it_is_there() {
    let server = Server::start().await;
    let mut selfish = with_channel(&server).await;
    selfish.write_all(&frame(1, 1, DECLARE_Q)).await.unwrap();
    selfish.write_all(&frame(1, 1, b"\x00\x3c\x00\x14\x00\x00\x01q\x01c\x06\x00\x00\x00\x00")).await.unwrap();
    read_method(&mut selfish, 60, 21).await;
    let (connection, channel) = server.channel().await;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let refused = soon("consume", channel.basic_consume("q".into(), "".into(), options, arguments)).await.unwrap_err();
    let ErrorKind::ProtocolError(refused) = refused.kind() else { panic!("{refused}") };
    assert_eq!(refused.get_id(), 403);
    drop(selfish);
    server.until("its end", |snapshot| snapshot.consumers.is_empty()).await;
    let channel = soon("channel", connection.create_channel()).await.unwrap();
    consume(&channel, "q").await;
}

#[tokio::test]
async fn who_agreed_on_heartbeats_and_falls_silent_is_gone_after_two() {
    let server = Server::start().await;
    let mut tune = tune_ok(10, 8192);
    let end = tune.len() - 2;
    tune[end] = 1;
    let mut stream = agreed(&server, &tune).await;
    server.until("the connection", |snapshot| snapshot.connections.len() == 1).await;
    // The broker's own heartbeats come meanwhile, then the end.
    let mut heard = Vec::new();
    soon("the end", stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard[..8], [8, 0, 0, 0, 0, 0, 0, 0xCE]);
    server.until("its end", |snapshot| snapshot.connections.is_empty()).await;
}

#[tokio::test]
async fn a_flood_of_connections_locks_nobody_out() {
    let wanted = std::env::var("BROKER_TEST_CONNECTIONS").map_or(2000, |count| count.parse().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // Beside the flood's own descriptors: the broker's ends of it, and those of other tests.
    let flood = wanted.min(maximum.unwrap_or(u64::MAX).saturating_sub(1500));
    assert!(flood >= 1000, "the limit on open files is too low for this test: {maximum:?}");
    let limits = Limits { connections: 500, handshake: Duration::from_secs(30), ..Limits::default() };
    let server = server(limits).await;
    let _settled = logged_in(&server).await;
    let mut open_connections = Vec::new();
    for number in 0..flood {
        open_connections.push(open(&server).await);
        if number % 500 == 499 {
            good_client(&server, "good").await;
        }
    }
    good_client(&server, "good").await;
    memory_is_bounded();
    assert_eq!(server.broker.snapshot().await.unwrap().connections.len(), 1);
    assert_eq!(server.broker.traffic().connections_refused, 0);
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    let server = Server::start().await;
    for number in 0..300 {
        let mut stream = open(&server).await;
        if number % 3 == 0 {
            stream.write_all(HEADER).await.unwrap();
        }
    }
    good_client(&server, "good").await;
    server.until("their end", |snapshot| snapshot.connections.is_empty()).await;
}
