//! Bytes that no proper client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Server, soon};

pub(crate) const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

pub(crate) async fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).await.unwrap();
    // Several small writes in a row would each wait for the kernel's delayed acknowledgement of the one before.
    stream.set_nodelay(true).unwrap();
    stream
}

/// `channel.open`.
const OPEN: &[u8] = b"\x00\x14\x00\x0a\x00";

pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&channel.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(0xCE);
    bytes
}

pub(crate) async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    soon("a frame", async {
        let mut head = [0; 7];
        stream.read_exact(&mut head).await.unwrap();
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; size + 1];
        stream.read_exact(&mut payload).await.unwrap();
        assert_eq!(payload.pop(), Some(0xCE));
        payload
    })
    .await
}

/// Reads until a method with these ids, and returns what follows them.
pub(crate) async fn read_method(stream: &mut TcpStream, class: u8, method: u8) -> Vec<u8> {
    loop {
        let payload = read_frame(stream).await;
        if payload.get(..4) == Some(&[0, class, 0, method]) {
            return payload[4..].to_vec();
        }
    }
}

pub(crate) async fn closed_with(stream: &mut TcpStream) -> u16 {
    let close = read_method(stream, 10, 50).await;
    u16::from_be_bytes([close[0], close[1]])
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    drop(soon("the end", stream.read_to_end(&mut rest)).await);
    rest
}

pub(crate) fn start_ok(table: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 10, 0, 11];
    payload.extend_from_slice(table);
    payload.extend_from_slice(b"\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US");
    frame(1, 0, &payload)
}

pub(crate) fn tune_ok(channel_max: u16, frame_max: u32) -> Vec<u8> {
    let mut payload = vec![0, 10, 0, 31];
    payload.extend_from_slice(&channel_max.to_be_bytes());
    payload.extend_from_slice(&frame_max.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    frame(1, 0, &payload)
}

/// A connection that has logged in.
pub(crate) async fn logged_in(server: &Server) -> TcpStream {
    let mut stream = open(server).await;
    stream.write_all(HEADER).await.unwrap();
    read_method(&mut stream, 10, 10).await;
    stream.write_all(&start_ok(&[0; 4])).await.unwrap();
    read_method(&mut stream, 10, 30).await;
    stream.write_all(&tune_ok(10, 8192)).await.unwrap();
    stream.write_all(&frame(1, 0, b"\x00\x0a\x00\x28\x01/\x00\x00")).await.unwrap();
    read_method(&mut stream, 10, 41).await;
    stream
}

pub(crate) async fn still_works(server: &Server) {
    let mut stream = logged_in(server).await;
    stream.write_all(&frame(1, 1, OPEN)).await.unwrap();
    read_method(&mut stream, 20, 11).await;
}

#[tokio::test]
async fn a_wrong_protocol_header_is_answered_with_the_right_one() {
    let server = Server::start().await;
    for wrong in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\x00\x01\x00\x00", b"AMQP\x01\x01\x00\x0a"] {
        let mut stream = open(&server).await;
        stream.write_all(wrong).await.unwrap();
        let mut answer = [0; 8];
        soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, HEADER);
        assert!(read_to_end(&mut stream).await.is_empty());
    }
}

#[tokio::test]
async fn a_frame_above_the_agreed_size_is_501_before_its_payload_comes() {
    let server = Server::start().await;
    let mut stream = logged_in(&server).await;
    stream.write_all(&[3, 0, 1, 0, 0, 0x1F, 0xF9]).await.unwrap();
    assert_eq!(closed_with(&mut stream).await, 501);
    still_works(&server).await;
}

#[tokio::test]
async fn wrong_frames_end_the_connection_with_their_code() {
    let server = Server::start().await;
    let mut bad_end = frame(1, 1, OPEN);
    *bad_end.last_mut().unwrap() = 0;
    let open_1 = frame(1, 1, OPEN);
    let publish = frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00");
    let cases: [(&str, Vec<u8>, u16); 11] = [
        ("frame end", bad_end, 501),
        ("frame type", frame(4, 0, b""), 501),
        ("unknown method", [&open_1[..], &frame(1, 1, b"\x00\x63\x00\x01")].concat(), 540),
        ("arguments", [&open_1[..], &frame(1, 1, b"\x00\x3c\x00\x28")].concat(), 501),
        ("method on a closed channel", frame(1, 1, b"\x00\x55\x00\x0a\x00"), 504),
        ("double open", [&open_1[..], &open_1[..]].concat(), 504),
        ("channel method on channel 0", frame(1, 0, b"\x00\x55\x00\x0a\x00"), 504),
        (
            "one channel more than channel_max",
            (65_525..=65_535).flat_map(|number| frame(1, number, OPEN)).collect(),
            530,
        ),
        ("body without header", [&open_1[..], &publish[..], &frame(3, 1, b"x")].concat(), 505),
        ("content without publish", [&open_1[..], &frame(3, 1, b"x")].concat(), 505),
        ("prefetch size", [&open_1[..], &frame(1, 1, b"\x00\x3c\x00\x0a\x00\x00\x00\x01\x00\x01\x00")].concat(), 540),
    ];
    for (what, bytes, code) in cases {
        let mut stream = logged_in(&server).await;
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(closed_with(&mut stream).await, code, "{what}");
    }
}

#[tokio::test]
async fn half_a_frame_and_a_hang_up_leave_nothing() {
    let server = Server::start().await;
    let mut stream = logged_in(&server).await;
    server.until("the connection", |snapshot| snapshot.connections.len() == 1).await;
    stream.write_all(&[1, 0, 1, 0, 0, 0, 5, 0, 20]).await.unwrap();
    drop(stream);
    server.until("its end", |snapshot| snapshot.connections.is_empty()).await;
}

#[tokio::test]
async fn a_table_nested_3000_deep_is_refused_before_login() {
    let server = Server::start().await;
    let mut table = 0u32.to_be_bytes().to_vec();
    for _ in 0..3000 {
        let mut outer = ((table.len() + 3) as u32).to_be_bytes().to_vec();
        outer.extend_from_slice(b"\x01aF");
        outer.extend_from_slice(&table);
        table = outer;
    }
    let mut stream = open(&server).await;
    stream.write_all(HEADER).await.unwrap();
    read_method(&mut stream, 10, 10).await;
    stream.write_all(&start_ok(&table)).await.unwrap();
    assert_eq!(closed_with(&mut stream).await, 501);
    still_works(&server).await;
}

#[tokio::test]
async fn a_bad_tune_is_530() {
    let server = Server::start().await;
    for tune in [tune_ok(2048, 131_072), tune_ok(2047, 131_073), tune_ok(2047, 4095)] {
        let mut stream = open(&server).await;
        stream.write_all(HEADER).await.unwrap();
        read_method(&mut stream, 10, 10).await;
        stream.write_all(&start_ok(&[0; 4])).await.unwrap();
        read_method(&mut stream, 10, 30).await;
        stream.write_all(&tune).await.unwrap();
        assert_eq!(closed_with(&mut stream).await, 530);
    }
}

#[tokio::test]
async fn a_client_that_closes_gets_the_answer_and_the_end() {
    let server = Server::start().await;
    let mut stream = logged_in(&server).await;
    stream.write_all(&frame(1, 0, b"\x00\x0a\x00\x32\x00\xc8\x00\x00\x00\x00\x00")).await.unwrap();
    read_method(&mut stream, 10, 51).await;
    assert!(read_to_end(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_no_more_than_the_bound() {
    let server = Server::start().await;
    let mut stream = logged_in(&server).await;
    stream.write_all(&frame(1, 1, OPEN)).await.unwrap();
    stream.write_all(&frame(1, 1, b"\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x00")).await.unwrap();
    // Two unknowns, the socket's buffers and the bound; 64 MiB is more than both.
    let message = [
        &frame(1, 1, b"\x00\x3c\x00\x28\x00\x00\x00\x01q\x00")[..],
        &frame(2, 1, &[&[0, 60, 0, 0][..], &8000u64.to_be_bytes(), &[0, 0]].concat()),
        &frame(3, 1, &[7; 8000]),
    ]
    .concat();
    let (mut reading, mut writing) = stream.into_split();
    for _ in 0..8192 {
        writing.write_all(&message).await.unwrap();
    }
    server.until("all messages", |snapshot| snapshot.queues.iter().any(|queue| queue.ready == 8192)).await;
    // basic.consume without acknowledgement, and nobody reads.
    let consume = b"\x00\x3c\x00\x14\x00\x00\x01q\x01c\x02\x00\x00\x00\x00";
    writing.write_all(&frame(1, 1, consume)).await.unwrap();
    let bound = crosstalk_broker::Limits::default().delivery_bytes + 8192 + crosstalk_broker::MESSAGE_OVERHEAD_BYTES;
    let full = server.until("a full backlog", |s| s.connections[0].backlog_bytes > bound / 2).await;
    assert!(full.connections[0].backlog_bytes <= bound, "{}", full.connections[0].backlog_bytes);
    assert!(full.queues[0].ready > 0);
    let mut sink = vec![0; 1 << 16];
    soon("the rest", async {
        while server.broker.snapshot().await.unwrap().queues[0].ready > 0 {
            assert!(reading.read(&mut sink).await.unwrap() > 0);
        }
    })
    .await;
}
