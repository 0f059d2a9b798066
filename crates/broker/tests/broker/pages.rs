//! The pages of the program: what one sees of arguments, consumers, connections and rates.

use std::time::{Duration, SystemTime};

use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use serde_json::{Value, json};

use super::harness::{next, soon};
use super::process::{Program, Scratch};

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn channel(program: &Program) -> (Connection, Channel) {
    let uri = program.uri();
    let connecting = Connection::connect(&uri, ConnectionProperties::default());
    let connection = soon("connect", connecting).await.unwrap();
    let channel = soon("channel", connection.create_channel()).await.unwrap();
    (connection, channel)
}

async fn declare(channel: &Channel, queue: &str, durable: bool, arguments: FieldTable) {
    let options = QueueDeclareOptions { durable, ..Default::default() };
    soon("declare", channel.queue_declare(queue.into(), options, arguments)).await.unwrap();
}

async fn consume(channel: &Channel, queue: &str, tag: &str, exclusive: bool, priority: i32) -> Consumer {
    let options = BasicConsumeOptions { exclusive, no_ack: true, ..Default::default() };
    let arguments = table([("x-priority", AMQPValue::LongInt(priority))]);
    soon("consume", channel.basic_consume(queue.into(), tag.into(), options, arguments)).await.unwrap()
}

/// The one entry that has this name.
fn named<'a>(entries: &'a [Value], key: &str, name: &str) -> &'a Value {
    entries.iter().find(|entry| entry[key] == name).unwrap_or_else(|| panic!("{key} {name} in {entries:?}"))
}

#[tokio::test]
async fn what_was_declared_is_shown_with_its_arguments() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    let (_connection, channel) = channel(&program).await;
    let arguments = table([
        ("x-message-ttl", AMQPValue::LongInt(60_000)),
        ("x-dead-letter-exchange", text("amq.fanout")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
    ]);
    declare(&channel, "classic", false, arguments).await;
    declare(&channel, "quorum", true, table([("x-queue-type", text("quorum"))])).await;
    let options = ExchangeDeclareOptions::default();
    let arguments = table([("alternate-exchange", text("amq.direct"))]);
    let declaring = channel.exchange_declare("e".into(), ExchangeKind::Headers, options, arguments);
    soon("declare", declaring).await.unwrap();
    for region in ["north", "south"] {
        let odd = AMQPValue::FieldArray(
            vec![
                AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 1250 }),
                AMQPValue::ByteArray(ByteArray::from(vec![0, 255])),
                AMQPValue::LongString(vec![0xFF].into()),
            ]
            .into(),
        );
        let arguments = table([("x-match", text("any")), ("region", text(region)), ("odd", odd)]);
        let options = QueueBindOptions::default();
        let binding = channel.queue_bind("classic".into(), "e".into(), "".into(), options, arguments);
        soon("bind", binding).await.unwrap();
    }

    let queues = program.json("/queues");
    let (classic, quorum) = (named(&queues, "name", "classic"), named(&queues, "name", "quorum"));
    assert_eq!((&classic["type"], &quorum["type"]), (&json!("classic"), &json!("quorum")));
    let declared = json!({
        "x-message-ttl": 60_000, "x-dead-letter-exchange": "amq.fanout", "x-single-active-consumer": true,
    });
    assert_eq!(classic["arguments"], declared);
    assert_eq!(quorum["arguments"], json!({ "x-queue-type": "quorum" }));
    let exchanges = program.json("/exchanges");
    assert_eq!(named(&exchanges, "name", "e")["arguments"], json!({ "alternate-exchange": "amq.direct" }));
    assert_eq!(named(&exchanges, "name", "amq.topic")["arguments"], json!({}));
    let mut regions: Vec<_> = program.json("/bindings?name=e").into_iter().map(|mut b| b["arguments"].take()).collect();
    regions.sort_by_key(|arguments| arguments["region"].to_string());
    let bound = |region: &str| json!({ "x-match": "any", "region": region, "odd": ["12.50", "0x00ff", "0xff"] });
    assert_eq!(regions, [bound("north"), bound("south")]);
}

#[tokio::test]
async fn consumers_show_who_is_served_first_and_who_waits() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    let (_connection, channel) = channel(&program).await;
    declare(&channel, "shared", false, table([("x-single-active-consumer", AMQPValue::Boolean(true))])).await;
    declare(&channel, "own", false, FieldTable::default()).await;
    let _first = consume(&channel, "shared", "first", false, 0).await;
    let _second = consume(&channel, "shared", "second", false, -3).await;
    let _alone = consume(&channel, "own", "alone", true, 7).await;
    let consumers = program.json("/consumers");
    let seen = |tag| {
        let consumer = named(&consumers, "tag", tag);
        (consumer["exclusive"].as_bool(), consumer["priority"].as_i64(), consumer["active"].as_bool())
    };
    assert_eq!(seen("first"), (Some(false), Some(0), Some(true)));
    assert_eq!(seen("second"), (Some(false), Some(-3), Some(false)));
    assert_eq!(seen("alone"), (Some(true), Some(7), Some(true)));
    soon("cancel", channel.basic_cancel("first".into(), Default::default())).await.unwrap();
    assert_eq!(named(&program.json("/consumers"), "tag", "second")["active"], true);
}

#[tokio::test]
async fn a_connection_shows_since_when_it_is_there_and_what_it_carried() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    // The broker's clock runs steadily from its start; the machine's may be corrected meanwhile.
    let correction = Duration::from_secs(2).as_millis();
    let before = now() - correction;
    let (_connection, channel) = channel(&program).await;
    let seen = || program.json("/connections").remove(0);
    let connection = seen();
    let connected_at = u128::from(connection["connected_at"].as_u64().unwrap());
    assert!((before..=now() + correction).contains(&connected_at), "{connected_at}");
    assert_eq!((&connection["tls"], &connection["blocked"]), (&json!(false), &json!(false)));
    declare(&channel, "q", false, FieldTable::default()).await;
    let body = vec![7; 100_000];
    let published = channel.basic_publish("".into(), "q".into(), Default::default(), &body, Default::default());
    soon("publish", published).await.unwrap();
    let mut consumer = consume(&channel, "q", "c", false, 0).await;
    let delivery: Delivery = next(&mut consumer).await;
    assert_eq!(delivery.data.len(), body.len());
    let octets = |key: &str| seen()[key].as_u64().unwrap();
    assert!(octets("recv_oct") > 100_000);
    // What the client has got may be counted a moment later.
    soon("the count", async {
        while octets("send_oct") < 100_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(seen()["connected_at"], connection["connected_at"]);
}

#[tokio::test]
async fn rates_are_there_for_whoever_asks_first_and_do_not_depend_on_who_asked() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, &[]);
    let (_connection, channel) = channel(&program).await;
    declare(&channel, "q", false, FieldTable::default()).await;
    let rates = || program.json("/queues?name=q").remove(0)["per_second"].take();
    // A sample knows the queue once there are rates; what comes after it is in them.
    let until = |what: &'static str, reached: fn(&Value) -> bool| async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let looking = async {
            loop {
                ticks.tick().await;
                let seen = rates();
                if reached(&seen) {
                    return seen;
                }
            }
        };
        soon(what, looking).await
    };
    until("a first sample", |rates| rates["published"] == 0.0).await;
    for _ in 0..10 {
        let published = channel.basic_publish("".into(), "q".into(), Default::default(), b"x", Default::default());
        soon("publish", published).await.unwrap();
    }
    let seen = until("the messages", |rates| {
        let (published, over_s) = (rates["published"].as_f64().unwrap(), rates["over_s"].as_f64().unwrap());
        published * over_s > 9.5
    })
    .await;
    let messages = |rates: &Value| rates["published"].as_f64().unwrap() * rates["over_s"].as_f64().unwrap();
    assert!((messages(&seen) - 10.0).abs() < 0.01, "{seen}");
    // Asking changes nothing: they leave the rates only with the sample before them.
    let gone = until("the end of the window", |rates| rates["published"] == 0.0).await;
    assert!(gone["over_s"].as_f64().unwrap() >= 5.0 - 0.5, "{gone}");

    let (_, description) = program.get("/openapi.json");
    assert!(description.contains("averages over the last 5 to 10 s"), "{description}");
}
