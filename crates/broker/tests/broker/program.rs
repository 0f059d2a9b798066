//! The program `broker`: its help, its pages, its options.

use std::process::Command;

use super::harness::soon;
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
        ["--listen <", "--listen-amqp <", "--data <", "amqp://guest:guest@", "/queues?name=orders", "[broker]"]
    {
        assert!(help.contains(taught), "{taught} in:\n{help}");
    }
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
