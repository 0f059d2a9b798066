//! Bounds on connections and on what one of them may send before and after login.

use std::time::Duration;

use crosstalk_broker::{Limits, Options};
use tokio::io::AsyncWriteExt;

use super::harness::{Server, soon};
use super::raw::{HEADER, closed_with, frame, logged_in, open, read_method, read_to_end, start_ok, still_works};

async fn server(limits: Limits) -> Server {
    Server::start_with(Options { limits, ..Options::default() }).await
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_the_others_stay() {
    let server = server(Limits { connections: 2, ..Limits::default() }).await;
    let (mut first, second) = (logged_in(&server).await, logged_in(&server).await);
    for _ in 0..5 {
        assert!(read_to_end(&mut open(&server).await).await.is_empty());
    }
    assert_eq!(server.broker.traffic().connections_refused, 5);
    first.write_all(&frame(1, 1, b"\x00\x14\x00\x0a\x00")).await.unwrap();
    read_method(&mut first, 20, 11).await;
    drop(second);
    server.until("a free place", |snapshot| snapshot.connections.len() == 1).await;
    soon("a new connection", async {
        // The place comes back a moment after the broker has forgotten the connection.
        while server.broker.traffic().connections_opened < 3 {
            let mut stream = open(&server).await;
            if stream.write_all(HEADER).await.is_ok() && hello(&mut stream).await {
                stream.write_all(&start_ok(&[0; 4])).await.unwrap();
                read_method(&mut stream, 10, 30).await;
                stream.write_all(&super::raw::tune_ok(10, 8192)).await.unwrap();
                stream.write_all(&frame(1, 0, b"\x00\x0a\x00\x28\x01/\x00\x00")).await.unwrap();
                read_method(&mut stream, 10, 41).await;
            }
        }
    })
    .await;
}

/// Whether the broker says anything before it hangs up.
async fn hello(stream: &mut tokio::net::TcpStream) -> bool {
    let mut octet = [0; 1];
    matches!(stream.peek(&mut octet).await, Ok(1))
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_a_newcomer() {
    let server = server(Limits { connections: 3, ..Limits::default() }).await;
    let _settled = logged_in(&server).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(open(&server).await);
    }
    still_works(&server).await;
    for stream in &mut silent[..18] {
        assert!(read_to_end(stream).await.is_empty());
    }
    assert!(server.broker.traffic().connections_displaced >= 18);
    assert_eq!(server.broker.traffic().connections_refused, 0);
}

#[tokio::test]
async fn who_says_nothing_is_closed_although_nobody_needs_the_place() {
    let server = server(Limits { login_idle: Duration::from_millis(200), ..Limits::default() }).await;
    let mut silent = open(&server).await;
    assert!(read_to_end(&mut silent).await.is_empty());
    let mut stopped = open(&server).await;
    stopped.write_all(HEADER).await.unwrap();
    read_method(&mut stopped, 10, 10).await;
    assert!(read_to_end(&mut stopped).await.is_empty());
    still_works(&server).await;
}

#[tokio::test]
async fn a_handshake_drop_by_drop_ends_all_the_same() {
    let server = server(Limits { handshake: Duration::from_millis(300), ..Limits::default() }).await;
    let mut slow = open(&server).await;
    slow.write_all(HEADER).await.unwrap();
    read_method(&mut slow, 10, 10).await;
    // A frame of 64 KiB of which one octet comes at a time, each soon after the other.
    soon("the end", async {
        let mut octets = [1, 0, 0, 0, 1, 0, 0].into_iter().chain(std::iter::repeat(0));
        loop {
            let mut rest = [0; 1];
            if slow.write_all(&[octets.next().unwrap()]).await.is_err() || slow.try_read(&mut rest).is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    still_works(&server).await;
}

#[tokio::test]
async fn properties_above_the_bound_are_506() {
    let server = server(Limits { properties_bytes: 4096, ..Limits::default() }).await;
    let mut stream = logged_in(&server).await;
    stream.write_all(&frame(1, 1, b"\x00\x14\x00\x0a\x00")).await.unwrap();
    stream.write_all(&frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00")).await.unwrap();
    stream.write_all(&frame(2, 1, &[0; 4097])).await.unwrap();
    assert_eq!(closed_with(&mut stream).await, 506);
    still_works(&server).await;
}

#[tokio::test]
async fn messages_that_only_begin_are_counted_on_channels_that_were_never_opened_too() {
    let server = server(Limits { incomplete_bytes: 256 << 10, ..Limits::default() }).await;
    let mut stream = logged_in(&server).await;
    let key = [&b"\x00\x3c\x00\x28\x00\x00\x00\xff"[..], &[b'k'; 255], &[0]].concat();
    let begun: Vec<u8> = (1..=1024).flat_map(|channel| frame(1, channel, &key)).collect();
    stream.write_all(&begun).await.unwrap();
    assert_eq!(closed_with(&mut stream).await, 506);
    still_works(&server).await;
}
