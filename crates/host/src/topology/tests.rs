//! What topologies amount to: the built-in ones, and files with something wrong in them.

use std::fs;

use proptest::prelude::*;

use super::*;

fn from_text(text: &str) -> Result<Topology, TopologyLoadError> {
    sheet::read(&Document::new("t.toml", text.to_owned()), PORT_BASE_DEFAULT)
}

#[test]
fn the_local_topology_counts_from_its_port_base() {
    let topology = load("local", PORT_BASE_DEFAULT).unwrap();
    let http = |name: &str| topology.nodes[name].http.as_str();
    let nodes = ["producer", "consumer", "poller", "streamer", "broker"].map(http);
    assert_eq!(nodes, ["127.0.0.1:4401", "127.0.0.1:4402", "127.0.0.1:4403", "127.0.0.1:4404", "127.0.0.1:4405"]);
    assert_eq!(topology.nodes["consumer"].udp.as_deref(), Some("127.0.0.1:4402"));
    assert_eq!(topology.brokers[0].name, "embedded");
    assert_eq!(topology.brokers[0].url, "amqp://guest:guest@127.0.0.1:4406");

    let free = load("local", 0).unwrap();
    assert!(free.nodes.values().all(|node| node.http == "127.0.0.1:0"));
    assert_eq!(free.brokers[0].url, "amqp://guest:guest@127.0.0.1:0");

    assert!(load("local", 65529).is_ok());
    assert_eq!(
        load("local", 65530).unwrap_err().to_string(),
        "config/topology/local.toml:25:7: brokers.embedded.url: expected a port up to 65535, got port base 65530 + 6"
    );
}

#[test]
fn the_compose_topology_speaks_to_services_by_name() {
    let topology = load("compose", 0).unwrap();
    for (name, port) in [("producer", 1), ("consumer", 2), ("poller", 3), ("streamer", 4), ("broker", 5)] {
        assert_eq!(topology.nodes[name].http, format!("{name}:8080"));
        assert_eq!(topology.nodes[name].published, Some(format!("127.0.0.1:808{port}")));
    }
    assert_eq!(topology.nodes["consumer"].udp.as_deref(), Some("consumer:8082"));
    let urls: Vec<&str> = topology.brokers.iter().map(|broker| broker.url.as_str()).collect();
    assert_eq!(urls, ["amqp://crosstalk:crosstalk@broker:5672", "amqp://crosstalk:crosstalk@rabbitmq:5672/%2f"]);
}

#[test]
fn an_unknown_name_gets_the_built_in_ones() {
    assert_eq!(
        load("lokal", 0).unwrap_err().to_string(),
        "unknown topology \"lokal\": expected local, compose, or the path of a .toml file"
    );
    assert_eq!(
        load("./lokal.toml", 0).unwrap_err().to_string(),
        "./lokal.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_is_a_topology_too() {
    let path = std::env::temp_dir().join(format!("crosstalk-topology-{}.toml", std::process::id()));
    fs::write(&path, "[nodes.producer]\nhttp = 'h:+1'").unwrap();
    let topology = load(path.to_str().unwrap(), 80).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(topology.nodes["producer"].http, "h:81");
    assert!(topology.brokers.is_empty());
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    for (text, expected) in [
        (
            "[nodes.a]\nhttp = 'h'",
            "t.toml:2:8: nodes.a.http: expected host:port, such as 127.0.0.1:4401 or 127.0.0.1:+1, got \"h\"",
        ),
        (
            "[nodes.a]\nhttp = 'h:1'\nudp = ':1'",
            "t.toml:3:7: nodes.a.udp: expected host:port, such as 127.0.0.1:4401 or 127.0.0.1:+1, got \":1\"",
        ),
        (
            "[nodes.'A b']\nhttp = 'h:1'",
            "t.toml:1:8: nodes: expected a name of 1 .. 32 characters a-z, 0-9 or -, got \"A b\"",
        ),
        ("[nodes.a]\nhtp = 'h:1'", "t.toml:2:1: unknown field `htp`, expected one of `http`, `udp`, `published`"),
        ("[nodes.a]\nudp = 'h:1'", "t.toml:1:1: missing field `http`"),
        ("[nodes.a]\nhttp = 1", "t.toml:2:8: invalid type: integer `1`, expected a string"),
        ("[nodes.a", "t.toml:1:9: unclosed table, expected `]`"),
        ("", "t.toml:1:1: missing field `nodes`"),
        (
            "[nodes]\n[[brokers]]\nname = 'b'\nurl = 'amqp://me:s3cret@h'",
            "t.toml:4:7: brokers.b.url: expected amqp://user:password@host:port/vhost \
             (what stood there may hold a password)",
        ),
        (
            "[nodes]\n[[brokers]]\nname = 'b'\nurl = 'amqp://a:b@h:1'\n[[brokers]]\nname = 'b'\nurl = 'amqp://a:b@h:1'",
            "t.toml:6:8: brokers.b.name: expected a name of its own, an earlier broker has this one",
        ),
    ] {
        assert_eq!(from_text(text).unwrap_err().to_string(), expected);
    }
    let crowd: String = (0..65).map(|n| format!("[nodes.n{n}]\nhttp = 'h:1'\n")).collect();
    let expected = "t.toml: 65 nodes or brokers, at most 64 are allowed";
    assert_eq!(from_text(&crowd).unwrap_err().to_string(), expected);
}

#[test]
fn published_addresses_are_overridden_all_or_none() {
    let mut topology = load("compose", 0).unwrap();
    let before = topology.clone();
    publish(&mut topology, &["producer=127.0.0.1:9081".to_owned(), "poller = localhost:9083".to_owned()]).unwrap();
    assert_eq!(topology.nodes["producer"].published.as_deref(), Some("127.0.0.1:9081"));
    assert_eq!(topology.nodes["poller"].published.as_deref(), Some("localhost:9083"));
    assert_eq!(topology.nodes["consumer"], before.nodes["consumer"]);

    let good = topology.clone();
    for (entry, expected) in [
        ("producer", "topology.published: \"producer\": expected node=host:port, such as producer=127.0.0.1:8081"),
        (
            "producer=9081",
            "topology.published: \"producer=9081\": expected node=host:port, such as producer=127.0.0.1:8081",
        ),
        (
            "baker=h:1",
            "topology.published: \"baker=h:1\": unknown node, \
             expected one of broker, consumer, poller, producer, streamer",
        ),
    ] {
        let error = publish(&mut topology, &["streamer=h:1".to_owned(), entry.to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(topology, good);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), address in "\\PC{0,20}", base in any::<u16>()) {
        drop(from_text(&text));
        drop(address::broker(&text, base));
        drop(address::broker(&format!("amqp://{address}"), base));
        if let Ok(resolved) = address::node(&address, base) {
            prop_assert!(address::is_host_and_port(&resolved));
        }
    }
}
