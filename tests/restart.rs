//! A peer that dies and comes back: what was acknowledged is not lost, what was lost is said, and nodes find each
//! other again by themselves.

use serde_json::{Value, json};

use crate::cluster::{Cluster, signal, until};

/// Starts a run, and kills the consumer when a few of its messages are finished and a few are not.
async fn kill_in_mid_run(cluster: &Cluster, node: &str, path: &str, run: &str) -> Value {
    cluster.behave("consumer", json!({"work": "10ms", "concurrency": 1})).await;
    let url = cluster.url(node, &format!("{path}&run={run}"));
    let started = cluster.client.post(url).header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(started.status(), 202);
    until("some messages are finished", async || {
        let inbox = cluster.get("consumer", &format!("/inbox/{run}")).await;
        inbox["receivers"][0]["processed"].as_u64().is_some_and(|count| count >= 5)
    })
    .await;
    signal(cluster.nodes["consumer"].pid, "KILL");
    until("the run is over", async || {
        let report = cluster.get(node, &format!("/runs/{run}")).await;
        report["state"] == "complete" || report["state"] == "failed"
    })
    .await;
    cluster.ready("consumer").await;
    cluster.get(node, &format!("/runs/{run}")).await
}

#[tokio::test]
async fn a_killed_consumer_loses_nothing_on_the_queue() {
    let cluster = Cluster::start();
    let report = kill_in_mid_run(&cluster, "producer", "/queue?messages=60&in_flight=60", "0000000000aa").await;
    until("everything is delivered", async || {
        cluster.get("producer", "/runs/0000000000aa").await["messages"]["delivered"] == 60
    })
    .await;
    let report_now = cluster.get("producer", "/runs/0000000000aa").await;
    assert_eq!(report_now["messages"]["lost"], 0, "{report} became {report_now}");
}

#[tokio::test]
async fn a_killed_consumer_loses_nothing_from_its_subscription_at_the_broker() {
    let cluster = Cluster::start();
    kill_in_mid_run(&cluster, "producer", "/pubsub?via=broker&messages=40&in_flight=40", "0000000000ab").await;
    until("everything is delivered", async || {
        cluster.get("producer", "/runs/0000000000ab").await["messages"]["delivered"] == 80
    })
    .await;
}

#[tokio::test]
async fn a_poller_whose_producer_died_accounts_for_what_it_got() {
    let cluster = Cluster::start_with(&["--set", "polling.away_max=1s", "--set", "local.restarts_max=0"]);
    let url = cluster.url("poller", "/polling?mode=long&messages=400&rate=100/s&run=0000000000ca");
    let started = cluster.client.post(url).header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(started.status(), 202);
    until("some messages have arrived", async || {
        let inbox = cluster.get("poller", "/inbox/0000000000ca").await;
        inbox["receivers"][0]["processed"].as_u64().is_some_and(|count| count >= 5)
    })
    .await;
    signal(cluster.nodes["producer"].pid, "KILL");
    until("the run has failed", async || cluster.get("poller", "/runs/0000000000ca").await["state"] == "failed").await;
    let report = cluster.get("poller", "/runs/0000000000ca").await;
    let inbox = cluster.get("poller", "/inbox/0000000000ca").await;
    assert_eq!(report["messages"]["delivered"], inbox["receivers"][0]["processed"], "{report}");
    assert!(!report["errors"].as_array().unwrap().is_empty(), "{report}");
}

/// What is honest about a loss: all copies due are accounted for, and the missing ones are named.
#[track_caller]
fn lost_and_said(report: &Value) {
    let totals = &report["messages"];
    let count = |name: &str| totals[name].as_u64().unwrap();
    assert!(count("lost") > 0, "some messages had no receiver: {report}");
    assert_eq!(count("expected"), count("delivered") + count("lost") + count("waiting") + count("unknown"), "{report}");
    let missing: u64 = report["missing"].as_array().unwrap().iter().map(range).sum();
    assert_eq!(missing, count("lost"), "{report}");
}

fn range(missing: &Value) -> u64 {
    missing["through"].as_u64().unwrap() - missing["from"].as_u64().unwrap() + 1
}

#[tokio::test]
async fn request_response_says_what_a_killed_consumer_lost() {
    let cluster = Cluster::start();
    let path = "/request-response?messages=60&rate=100/s";
    let report = kill_in_mid_run(&cluster, "producer", path, "0000000000ba").await;
    lost_and_said(&report);
    assert!(report["messages"]["failed"].as_u64().unwrap() > 0, "{report}");
    assert!(!report["errors"].as_array().unwrap().is_empty(), "{report}");
}

#[tokio::test]
async fn direct_publish_subscribe_says_what_a_killed_consumer_lost() {
    let cluster = Cluster::start();
    let path = "/pubsub?via=direct&messages=100&rate=200/s";
    lost_and_said(&kill_in_mid_run(&cluster, "producer", path, "0000000000bb").await);
}

#[tokio::test]
async fn streaming_over_udp_says_what_a_killed_consumer_lost() {
    let cluster = Cluster::start();
    let path = "/streaming?transport=udp&messages=100&rate=100/s";
    lost_and_said(&kill_in_mid_run(&cluster, "streamer", path, "0000000000bc").await);
}

#[tokio::test]
async fn a_broker_that_comes_back_is_found_again() {
    let cluster = Cluster::start();
    signal(cluster.nodes["broker"].pid, "KILL");
    until("the producer misses its broker", async || {
        cluster.get("producer", "/readyz").await["detail"].as_str().is_some_and(|why| why.contains("broker embedded"))
    })
    .await;
    for node in ["producer", "consumer"] {
        cluster.ready(node).await;
    }
    let report = cluster.post("producer", "/queue?messages=10&in_flight=10").await;
    assert_eq!(report["messages"]["delivered"], 10, "{report}");
    let report = cluster.post("producer", "/pubsub?via=broker&messages=10&in_flight=10").await;
    assert_eq!(report["messages"]["delivered"], 20, "{report}");
}

#[tokio::test]
async fn a_producer_that_comes_back_has_its_direct_subscribers_again() {
    let cluster = Cluster::start();
    signal(cluster.nodes["producer"].pid, "KILL");
    until("the producer is another process", async || {
        let asked = cluster.client.get(cluster.url("producer", "/")).header("accept", "application/json").send().await;
        match asked {
            Ok(answer) => answer.json::<Value>().await.is_ok_and(|it| it["pid"] != cluster.nodes["producer"].pid),
            Err(_) => false,
        }
    })
    .await;
    for node in ["producer", "consumer", "poller"] {
        cluster.ready(node).await;
    }
    until("both subscribers are back", async || {
        let report = cluster.post("producer", "/pubsub?via=direct&messages=1").await;
        report["messages"]["delivered"] == 2
    })
    .await;
}

#[tokio::test]
async fn without_its_broker_a_run_says_so() {
    let nowhere = "nowhere=amqp://guest:guest@127.0.0.1:1";
    let broken = crate::cluster::crosstalk()
        .args(["tour", "--port-base", "0", "--set", "local.start_timeout=2s", "--broker", nowhere])
        .output()
        .unwrap();
    let (_, errors) = crate::cluster::printed(&broken);
    assert_eq!(broken.status.code(), Some(2), "{errors}");
    assert!(errors.contains("broker nowhere"), "{errors}");
    let cluster = Cluster::start_with(&["--set", "local.restarts_max=0"]);
    signal(cluster.nodes["broker"].pid, "KILL");
    until("a run over the broker is refused", async || {
        let answer = cluster.client.post(cluster.url("producer", "/queue?messages=1")).send().await.unwrap();
        answer.status() == 503 && answer.text().await.unwrap().contains("embedded")
    })
    .await;
}
