//! Arguments, configuration and help of the programs. It starts no cluster.

use std::collections::BTreeSet;

use crate::cluster::{crosstalk, printed, temporary};

fn fails(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = crosstalk().args(arguments).envs(environment.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    printed(&output).1
}

#[test]
fn help_teaches_every_command() {
    for command in ["", "up", "tour", "send", "recv", "config", "producer", "broker"] {
        let arguments: Vec<_> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let output = crosstalk().args(&arguments).output().unwrap();
        assert!(output.status.success());
        assert!(printed(&output).0.contains("Usage:"), "{command}");
    }
}

#[test]
fn the_printed_configuration_can_be_loaded_again_and_says_where_values_come_from() {
    let output = crosstalk().args(["config", "--set", "queue.prefetch=7"]).env("CROSSTALK_LOG_FORMAT", "json").output();
    let (text, errors) = printed(&output.unwrap());
    assert!(text.contains("prefetch = 7") && text.contains("CROSSTALK_LOG_FORMAT"), "{text}{errors}");
    let file = temporary("config.toml");
    std::fs::write(&file, &text).unwrap();
    let again = crosstalk().args(["config", "--config", file.to_str().unwrap()]).output().unwrap();
    assert!(again.status.success(), "{}", printed(&again).1);
    std::fs::remove_file(file).unwrap();
}

fn sections(arguments: &[&str]) -> BTreeSet<String> {
    let output = crosstalk().args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", printed(&output).1);
    printed(&output).0.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect()
}

#[test]
fn every_section_concerns_a_node_or_the_local_cluster() {
    let nodes = ["broker", "producer", "consumer", "poller", "streamer"];
    let mut of_nodes: BTreeSet<String> = nodes.iter().flat_map(|node| sections(&[node, "config"])).collect();
    assert!(of_nodes.insert("[local]".to_owned()));
    assert_eq!(of_nodes, sections(&["config"]));
}

#[test]
fn a_node_takes_only_the_sockets_it_has() {
    let listen = |node, option: &str| fails(&[node, option, "127.0.0.1:0", "--topology", "nowhere"], &[]);
    assert!(listen("broker", "--listen-udp").contains("the broker has no UDP socket"));
    assert!(listen("consumer", "--listen-amqp").contains("the consumer has no AMQP listener"));
    assert!(listen("consumer", "--listen-udp").contains("expected local"));
    // A variable may be meant for the node beside it.
    let elsewhere = [("CROSSTALK_LISTEN_UDP", "127.0.0.1:0")];
    assert!(fails(&["broker", "--topology", "nowhere"], &elsewhere).contains("local"));
}

#[test]
fn wrong_options_name_their_place_and_what_was_expected() {
    let file = temporary("wrong.toml");
    let name = file.to_str().unwrap().to_owned();
    for (text, place, words) in [
        ("[queue]\nprefetch = 0\n", ":2:", "1 .. 10000"),
        ("[queue]\nprefech = 5\n", ":2:", "prefetch"),
        ("[queues]\nprefetch = 5\n", ":1:", "queue"),
        ("[queue\n", ":1:", "]"),
        ("[queue]\nprefetch = \"many\"\n", ":2:", "integer"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = fails(&["config", "--config", &name], &[]);
        assert!(error.contains(&format!("{name}{place}")) && error.contains(words), "{text:?}: {error}");
    }
    std::fs::remove_file(file).unwrap();
    assert!(fails(&["config"], &[("CROSSTALK_QUEUE_PREFECH", "5")]).contains("CROSSTALK_QUEUE_PREFETCH"));
    assert!(fails(&["config", "--set", "queue.prefetch=0"], &[]).contains("--set"));
    assert!(fails(&["up", "--broker", "rabbitmq"], &[]).contains("NAME=URL"));
    assert!(fails(&["producer", "--topology", "nowhere"], &[]).contains("local"));
}
