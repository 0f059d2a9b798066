//! How a cluster ends: whatever happens, no process and no port of it stays behind.

use std::net::{SocketAddr, TcpStream};

use crate::cluster::{Cluster, alive, crosstalk, signal, until};

impl Cluster {
    /// Waits until no process of the cluster is there and nobody listens where its nodes did.
    async fn gone(&self) {
        for (name, node) in &self.nodes {
            until(&format!("process {} of {name} is gone", node.pid), async || !alive(node.pid)).await;
            let address: SocketAddr = node.url.trim_start_matches("http://").parse().unwrap();
            until(&format!("port of {name} is free"), async || TcpStream::connect(address).is_err()).await;
        }
    }
}

#[tokio::test]
async fn ctrl_c_and_sigterm_end_everything_with_success() {
    for name in ["INT", "TERM"] {
        let mut cluster = Cluster::start();
        signal(cluster.process.id(), name);
        let status = cluster.process.wait().unwrap();
        assert!(status.success(), "{name}: {status}");
        cluster.gone().await;
    }
}

#[tokio::test]
async fn a_held_exchange_and_an_open_websocket_do_not_keep_a_cluster_up() {
    let mut cluster = Cluster::start();
    let held = tokio::spawn(cluster.client.get(cluster.url("producer", "/mailbox?after=0&wait=30s")).send());
    let subscribe = cluster.url("producer", "/subscribe?name=visitor").replacen("http", "ws", 1);
    let (_open, _) = tokio_tungstenite::connect_async(subscribe).await.unwrap();
    signal(cluster.process.id(), "TERM");
    assert!(cluster.process.wait().unwrap().success());
    cluster.gone().await;
    // Answered with nothing, or cut off: either way not held any longer.
    let _ = held.await.unwrap();
}

#[tokio::test]
async fn a_node_that_hangs_is_killed() {
    let mut cluster = Cluster::start();
    signal(cluster.nodes["consumer"].pid, "STOP");
    signal(cluster.process.id(), "TERM");
    assert!(cluster.process.wait().unwrap().success());
    cluster.gone().await;
}

#[tokio::test]
async fn nodes_notice_that_their_parent_was_killed() {
    let cluster = Cluster::start();
    signal(cluster.process.id(), "KILL");
    cluster.gone().await;
}

#[test]
fn a_taken_port_is_named_with_the_option_that_moves_it() {
    // Two neighbouring ports: the nodes' first one is taken by this test.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = crosstalk().args(["up", "--no-tour", "--port-base", &(port - 1).to_string()]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&format!("127.0.0.1:{port}")) && errors.contains("--port-base"), "{errors}");
}
