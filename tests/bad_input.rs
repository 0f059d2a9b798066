//! Input that is wrong: each gets an answer that names what is wrong, and the cluster goes on as before.

use std::{io::Write as _, net::UdpSocket};

use futures_util::{SinkExt, StreamExt, stream};
use reqwest::Body;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::cluster::{Cluster, answer, until};

/// Node, request, status, the field at fault, and words of the answer.
const WRONG: [(&str, &str, u16, &str, &str); 17] = [
    ("producer", "/request-response?mesages=5", 400, "mesages", "known are messages"),
    ("producer", "/request-response?messages=many", 400, "messages", "whole number"),
    ("producer", "/request-response?messages=1000001", 400, "messages", "1000000"),
    ("producer", "/request-response?rate=0", 400, "rate", "0.01/s"),
    ("producer", "/request-response?rate=1000000000000", 400, "rate", "1000000/s"),
    ("producer", "/request-response?rate=5/s&in_flight=5", 400, "rate", "exclude each other"),
    ("producer", "/request-response?in_flight=0", 400, "in_flight", "from 1"),
    ("producer", "/request-response?payload=5MiB", 413, "payload", "4194304"),
    ("producer", "/request-response?to=elsewhere", 403, "", "topology"),
    ("producer", "/request-response?to=127.0.0.1:22", 403, "", "topology"),
    ("producer", "/request-response?run=xyz", 400, "run", "12 hexadecimal digits"),
    ("producer", "/queue?broker=kafka", 400, "broker", "embedded"),
    ("producer", "/pubsub?via=pigeon", 400, "via", "broker, direct"),
    ("poller", "/polling?mode=medium", 400, "mode", "short, long"),
    ("poller", "/polling?interval=-5s", 400, "interval", "250ms"),
    ("streamer", "/streaming?transport=tcp", 400, "transport", "udp, websocket"),
    ("streamer", "/streaming?transport=udp&payload=100KiB", 413, "payload", "8136"),
];

/// The cluster still does its work.
async fn unharmed(cluster: &Cluster) {
    let report = cluster.post("producer", "/request-response?messages=1").await;
    assert_eq!(report["messages"]["delivered"], 1, "{report}");
}

#[tokio::test]
async fn wrong_parameters_are_named_with_what_was_expected() {
    let cluster = Cluster::start();
    for (node, request, expected, field, words) in WRONG {
        let (status, problem) = answer(cluster.client.post(cluster.url(node, request))).await;
        assert_eq!(status, expected, "{request}: {problem}");
        assert_eq!(problem["status"], expected, "{request}: {problem}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{request}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{request}: {problem}");
    }
    unharmed(&cluster).await;
}

#[tokio::test]
async fn errors_are_problem_details_also_for_unknown_paths_and_methods() {
    let cluster = Cluster::start();
    let cases = [
        (cluster.client.get(cluster.url("producer", "/nothing")), 404),
        (cluster.client.get(cluster.url("producer", "/queue")), 405),
        (cluster.client.get(cluster.url("consumer", "/inbox/000000000001")), 404),
        (cluster.client.get(cluster.url("producer", "/runs/000000000001")), 404),
        (cluster.client.get(cluster.url("producer", "/")).header("host", "evil.example"), 403),
        (cluster.client.get(cluster.url("producer", "/")).header("origin", "http://evil.example"), 403),
    ];
    for (request, expected) in cases {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn malformed_json_names_the_member() {
    let cluster = Cluster::start();
    for (body, field) in [("{", "body"), ("[1]", "body"), (r#"{"work": 5}"#, "work"), (r#"{"speed": 1}"#, "speed")] {
        let (status, problem) = answer(cluster.client.put(cluster.url("consumer", "/behaviour")).body(body)).await;
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{problem}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let cluster = Cluster::start_with(&["--set", "http.body_idle=200ms"]);
    let stalled = stream::once(async { Ok::<_, std::io::Error>("first piece") }).chain(stream::pending());
    let url = cluster.url("producer", "/queue");
    let (status, problem) = answer(cluster.client.post(&url).body(Body::wrap_stream(stalled))).await;
    assert_eq!(status, 408, "{problem}");
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10]));
    let sent = cluster.client.post(&url).body(Body::wrap_stream(endless)).send().await;
    // The answer comes before the body has ended; whether it is read depends on who is faster.
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    unharmed(&cluster).await;
}

#[tokio::test]
async fn websocket_clients_that_send_garbage_are_closed_with_a_reason() {
    let cluster = Cluster::start();
    let url = cluster.url("producer", "/subscribe?name=visitor").replacen("http", "ws", 1);
    for garbage in [Message::text("hello?"), Message::binary(vec![0xff; 100])] {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        socket.send(garbage).await.unwrap();
        let closed = loop {
            match socket.next().await.expect("a close frame comes").unwrap() {
                Message::Close(frame) => break frame.expect("with a code"),
                _ => continue,
            }
        };
        assert!(matches!(closed.code, CloseCode::Unsupported | CloseCode::Policy | CloseCode::Invalid), "{closed:?}");
        assert!(!closed.reason.is_empty());
    }
    let report = cluster.post("producer", "/pubsub?via=direct&messages=3").await;
    assert_eq!(report["messages"]["lost"], 0, "{report}");
}

#[tokio::test]
async fn datagrams_of_random_bytes_change_nothing() {
    let cluster = Cluster::start();
    let description: Value =
        answer(cluster.client.get(cluster.url("consumer", "/")).header("accept", "application/json")).await.1;
    let address = description["topology"]["nodes"]["consumer"]["udp"].as_str().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..200usize {
        let datagram: Vec<u8> = (0..length).map(|index| (index * 37 + length * 11) as u8).collect();
        socket.send_to(&datagram, address).unwrap();
        socket.send_to(&[b"XT\x01", &datagram[..]].concat(), address).unwrap();
    }
    let report = cluster.post("streamer", "/streaming?transport=udp&messages=20&rate=200/s").await;
    assert_eq!(report["messages"]["delivered"], 20, "{report}");
}

#[tokio::test]
async fn half_a_request_and_other_protocols_do_not_disturb_anyone() {
    let cluster = Cluster::start();
    let address = cluster.nodes["producer"].url.trim_start_matches("http://").to_owned();
    let open: Vec<_> =
        [&b"GET / HT"[..], b"AMQP\0\0\x09\x01", b"\x16\x03\x01\x02\0\x01\0", b"POST /queue HTTP/1.1\r\n"]
            .into_iter()
            .map(|bytes| {
                let mut stream = std::net::TcpStream::connect(&address).unwrap();
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
    unharmed(&cluster).await;
    drop(open);
}

#[tokio::test]
async fn a_run_id_is_used_once() {
    let cluster = Cluster::start();
    let path = "/request-response?messages=1&run=00000000abcd";
    assert_eq!(cluster.post("producer", path).await["state"], "complete");
    let (status, problem) = answer(cluster.client.post(cluster.url("producer", path))).await;
    assert_eq!(status, 409, "{problem}");
}

#[tokio::test]
async fn more_runs_than_allowed_are_refused_for_now() {
    let cluster = Cluster::start_with(&["--set", "run.at_once=1"]);
    cluster.behave("consumer", serde_json::json!({"work": "30s"})).await;
    let url = cluster.url("producer", "/request-response?messages=1&run=00000000abcd");
    let first = cluster.client.post(url).header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(first.status(), 202);
    let second = cluster.client.post(cluster.url("producer", "/request-response")).send().await.unwrap();
    assert_eq!(second.status(), 503);
    assert!(second.headers().contains_key("retry-after"));
    until("the first is under way", async || {
        cluster.get("consumer", "/inbox/00000000abcd").await["receivers"][0]["in_progress"] == 1
    })
    .await;
}
