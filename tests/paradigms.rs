//! Each paradigm once over HTTP, as with curl: everything arrives, and the observed mode is what the paradigm is
//! known for. Receivers work for a moment on each message, so that waiting can be told from not waiting.

use serde_json::{Value, json};

use crate::cluster::{Cluster, answer};

const SLOW: &str = "20ms";

async fn cluster() -> Cluster {
    let cluster = Cluster::start();
    for node in ["consumer", "poller"] {
        cluster.behave(node, json!({"work": SLOW, "concurrency": 8})).await;
    }
    cluster
}

#[track_caller]
fn delivered(report: &Value, messages: u64, receivers: u64) {
    let totals = &report["messages"];
    assert_eq!(report["state"], "complete", "{report}");
    assert_eq!(totals["sent"], messages, "{report}");
    assert_eq!(totals["accepted"], messages, "{report}");
    assert_eq!(totals["receivers"], receivers, "{report}");
    assert_eq!(totals["delivered"], messages * receivers, "{report}");
    for none in ["lost", "duplicated", "waiting", "unknown", "failed"] {
        assert_eq!(totals[none], 0, "{none}: {report}");
    }
}

#[track_caller]
fn observed(report: &Value, hop: &str, end_to_end: &str, summary: &str) {
    let seen = ["hop", "end_to_end", "summary"].map(|level| report["observed"][level].as_str().unwrap_or_default());
    assert_eq!(seen, [hop, end_to_end, summary], "{report}");
}

#[tokio::test]
async fn request_response_waits_for_the_receiver() {
    let cluster = cluster().await;
    let report = cluster.post("producer", "/request-response?messages=4").await;
    delivered(&report, 4, 1);
    observed(&report, "synchronous", "synchronous", "synchronous");
    assert_eq!(report["waits"]["held_end_to_end"], 4);
    let together = cluster.post("producer", "/request-response?messages=40&in_flight=8").await;
    delivered(&together, 40, 1);
}

#[tokio::test]
async fn a_queue_is_synchronous_on_the_hop_and_asynchronous_end_to_end() {
    let cluster = cluster().await;
    let report = cluster.post("producer", "/queue?messages=20&in_flight=20").await;
    delivered(&report, 20, 1);
    observed(&report, "synchronous", "asynchronous", "both");
    assert_eq!(report["over"], "embedded");
}

#[tokio::test]
async fn a_topic_gives_each_subscriber_a_copy() {
    let cluster = cluster().await;
    let report = cluster.post("producer", "/pubsub?via=broker&messages=10&in_flight=10").await;
    delivered(&report, 10, 2);
    observed(&report, "synchronous", "asynchronous", "both");
}

#[tokio::test]
async fn direct_subscribers_get_a_copy_each_and_nobody_answers() {
    let cluster = cluster().await;
    let report = cluster.post("producer", "/pubsub?via=direct&messages=10").await;
    delivered(&report, 10, 2);
    observed(&report, "asynchronous", "asynchronous", "asynchronous");
}

#[tokio::test]
async fn polling_answers_each_attempt_and_long_polling_makes_fewer() {
    let cluster = cluster().await;
    let short = cluster.post("poller", "/polling?mode=short&interval=5ms&messages=5&rate=20/s").await;
    delivered(&short, 5, 1);
    observed(&short, "synchronous", "asynchronous", "both");
    let long = cluster.post("poller", "/polling?mode=long&wait=5s&messages=5&rate=20/s").await;
    delivered(&long, 5, 1);
    assert_eq!(long["details"]["empty_attempts"], 0, "a held exchange ends with a message: {long}");
    let empty = short["details"]["empty_attempts"].as_u64().unwrap();
    assert!(empty > 0, "messages came slower than polls, so some found nothing: {short}");
}

#[tokio::test]
async fn a_held_poll_is_answered_when_a_message_comes() {
    let cluster = cluster().await;
    let polled = answer(cluster.client.get(cluster.url("producer", "/mailbox?after=0&wait=30s")));
    let deposited = cluster.post("producer", "/mailbox?messages=1");
    let ((status, mailbox), _) = tokio::join!(polled, deposited);
    assert_eq!(status, 200);
    assert_eq!(mailbox["messages"].as_array().map(Vec::len), Some(1), "{mailbox}");
}

#[tokio::test]
async fn streams_leave_without_an_answer_over_udp_and_websocket() {
    let cluster = cluster().await;
    for transport in ["udp", "websocket"] {
        let path = format!("/streaming?transport={transport}&messages=50&rate=500/s");
        let report = cluster.post("streamer", &path).await;
        delivered(&report, 50, 1);
        observed(&report, "asynchronous", "asynchronous", "asynchronous");
        assert_eq!(report["over"], transport);
    }
}

#[tokio::test]
async fn a_run_may_be_answered_at_once_and_asked_for_later() {
    let cluster = cluster().await;
    let asked = cluster.client.post(cluster.url("producer", "/queue?messages=3")).header("prefer", "respond-async");
    let response = asked.send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    crate::cluster::until("the run is complete", async || {
        cluster.get("producer", &location).await["state"] == "complete"
    })
    .await;
    delivered(&cluster.get("producer", &location).await, 3, 1);
    let messages = cluster.get("producer", &format!("{location}/messages")).await;
    assert_eq!(messages.as_array().map(Vec::len), Some(3), "{messages}");
    assert_eq!(messages[0]["received"][0]["copies"], 1, "{messages}");
}

#[tokio::test]
async fn a_body_is_the_payload_itself() {
    let cluster = cluster().await;
    let body = b"\0binary\xff and text".to_vec();
    let url = cluster.url("producer", "/queue?messages=2");
    let (_, report) = answer(cluster.client.post(url).body(body.clone())).await;
    delivered(&report, 2, 1);
    let path = format!("/inbox/{}/payloads", report["run"].as_str().unwrap());
    let got = cluster.client.get(cluster.url("consumer", &path)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(got, [&body[..], &body[..]].concat());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let cluster = cluster().await;
    cluster.post("producer", "/request-response?messages=7").await;
    for (node, event) in [("producer", "accepted"), ("consumer", "processed")] {
        let metrics = cluster.get(node, "/metrics").await;
        let line = format!("crosstalk_messages_total{{paradigm=\"request-response\",event=\"{event}\"}} 7");
        assert!(metrics.as_str().unwrap().contains(&line), "{metrics}");
    }
}
