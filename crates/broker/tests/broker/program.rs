//! The program `broker`: its help, its pages, its options.

use std::process::Command;
use std::time::Instant;

use super::harness::{DEADLINE, soon};
use super::process::{Program, Scratch};

fn output(arguments: &[&str]) -> String {
    let scratch = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    let output = command.args(arguments).env("CROSSTALK_DATA", scratch.data()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn help_teaches_how_to_start_connect_and_watch() {
    let help = output(&["--help"]);
    for taught in
        ["--listen <", "--listen-amqp <", "--data <", "amqp://guest:guest@", "/queues?name=orders", "broker config"]
    {
        assert!(help.contains(taught), "{taught} in:\n{help}");
    }
    for meaningless in ["--listen-udp", "crosstalk config", "queue.prefetch"] {
        assert!(!help.contains(meaningless), "{meaningless} in:\n{help}");
    }
    let refused = output(&["--listen-udp", "127.0.0.1:0"]);
    assert!(refused.contains("error: ") && refused.contains("the broker has no UDP socket"), "{refused}");
}

#[test]
fn help_says_where_data_goes_by_default() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.arg("--help").env_remove("HOME").env_remove("XDG_DATA_HOME").env_remove("CROSSTALK_DATA");
    let help = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&help).contains("without a HOME in /var/lib; here /var/lib/crosstalk/broker]"), "{help}");
}

#[test]
fn config_prints_what_concerns_the_broker_with_the_values_in_effect() {
    let scratch = Scratch::new();
    let printed = output(&["--set", "broker.queues_max=7", "config", "--set", "broker.vhosts=/,other"]);
    assert!(printed.starts_with("# Every option that concerns the broker, with the value in effect.\n"), "{printed}");
    for shown in [
        "\n[log]\n",
        "\n[broker]\n",
        "\n# Queues in one virtual host; declaring one more is refused.\n# [1 .. 1000000 queues]\nqueues_max = 7 # from --set",
        "\nvhosts = [\"/\", \"other\"] # from --set broker.vhosts=/,other; the default is [\"/\"]\n",
    ] {
        assert!(printed.contains(shown), "{shown} in:\n{printed}");
    }
    assert!(!printed.contains("[streaming]") && !printed.contains("CROSSTALK_QUEUE_PREFETCH"), "{printed}");
    std::fs::write(scratch.log(), &printed).unwrap();
    let file = scratch.log();
    let again = output(&["--config", "/nowhere", "config", "--config", file.to_str().unwrap()]);
    assert!(again.contains("\nqueues_max = 7 # from /"), "{again}");
    assert!(output(&["config", "--set", "broker.queues_max=0"]).contains("error: --set broker.queues_max=0"));
}

#[test]
fn healthcheck_asks_where_it_is_told_that_the_broker_listens() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    let address = program.http.to_string();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
        command.args(arguments).env_remove("CROSSTALK_LISTEN").output().unwrap().status.code()
    };
    let begun = Instant::now();
    while ask(&["healthcheck", "--listen", &address]) != Some(0) {
        assert!(begun.elapsed() < DEADLINE, "never healthy");
    }
    assert_eq!(ask(&["--listen", &address, "healthcheck"]), Some(0));
    assert_eq!(ask(&["healthcheck", "--listen", &address.replace("127.0.0.1", "0.0.0.0")]), Some(0));
    program.kill();
    assert_eq!(ask(&["healthcheck", "--listen", &address]), Some(2));
}

#[test]
fn a_wrong_option_of_the_broker_ends_the_start_with_a_reason() {
    for (set, reason) in [
        ("broker.users=ada", "expected NAME:PASSWORD"),
        ("broker.vhosts=", "broker.vhosts"),
        ("broker.users=[{name='ada', password_file='/nowhere'}]", "/nowhere"),
        ("broker.connections_max=0", "1 .. 1000000 connections"),
        ("broker.listen_tls=127.0.0.1:0", "broker.tls_certificate"),
    ] {
        let said = output(&["--listen", "127.0.0.1:0", "--listen-amqp", "127.0.0.1:0", "--set", set]);
        assert!(said.contains("error: ") && said.contains(reason), "{set}: {said}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_program_without_tls_says_so_when_it_is_asked_for() {
    let options = ["listen_tls=127.0.0.1:0", "tls_certificate=a", "tls_key=b"];
    let options: Vec<_> = options.iter().flat_map(|option| ["--set".to_owned(), format!("broker.{option}")]).collect();
    let mut arguments = vec!["--listen", "127.0.0.1:0", "--listen-amqp", "127.0.0.1:0"];
    arguments.extend(options.iter().map(String::as_str));
    let said = output(&arguments);
    assert!(said.contains("built without TLS; build it with --features crosstalk/tls"), "{said}");
}

#[tokio::test]
async fn what_the_broker_holds_can_be_watched() {
    use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &["--set", "broker.metrics_queues_max=1"]);
    let uri = program.uri();
    let connection = soon("connect", lapin::Connection::connect(&uri, Default::default())).await.unwrap();
    let channel = soon("channel", connection.create_channel()).await.unwrap();
    for queue in ["orders", "größer"] {
        let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
        soon("declare", channel.queue_declare(queue.into(), options, arguments)).await.unwrap();
    }
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    soon("bind", channel.queue_bind("orders".into(), "amq.topic".into(), "#".into(), options, arguments))
        .await
        .unwrap();
    let (options, properties) = (BasicPublishOptions::default(), Default::default());
    channel.basic_publish("".into(), "größer".into(), options, b"x", properties).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume("orders".into(), "c".into(), options, arguments);
    let _consumer = soon("consume", consumer).await.unwrap();

    let queues = program.json("/queues?name=gr%C3%B6%C3%9Fer&vhost=/");
    assert_eq!((queues.len(), &queues[0]["ready"]), (1, &serde_json::json!(1)));
    assert_eq!(program.json("/queues?limit=1").len(), 1);
    assert!(program.json("/exchanges").iter().any(|exchange| exchange["name"] == "amq.topic"));
    assert_eq!(program.json("/bindings?name=orders")[0]["source"], "amq.topic");
    assert_eq!(program.json("/connections?name=guest").len(), 1);
    assert_eq!(program.json("/channels")[0]["user"], "guest");
    let consumers = program.json("/consumers?name=orders");
    assert_eq!((&consumers[0]["tag"], &consumers[0]["queue"]), (&"c".into(), &"orders".into()));
    assert!(program.json("/consumers?vhost=other").is_empty());

    let (_, metrics) = program.get("/metrics");
    for line in [
        "crosstalk_broker_connections 1\n",
        "crosstalk_broker_consumers 1\n",
        "crosstalk_broker_ready 1\n",
        "crosstalk_broker_queues_left_out 1\n",
        "crosstalk_broker_queue_consumers{vhost=\"/\",queue=\"orders\"} 1\n",
        "crosstalk_broker_connections_opened_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n") && metrics.matches("# EOF").count() == 1);
}
