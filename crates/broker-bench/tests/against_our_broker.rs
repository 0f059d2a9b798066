//! The load client against our broker in this process, with small counts: what it publishes comes back, and what does
//! not come back is noticed. Knows neither containers nor clocks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crosstalk_broker::{Broker, Options};
use crosstalk_broker_bench::connection::{Connection, QueueKind};
use crosstalk_broker_bench::error::BenchError;
use crosstalk_broker_bench::ledger::Account;
use crosstalk_broker_bench::load::{Client, Consumer, CrowdPace, Progress, Window, Workload, publish};
use crosstalk_broker_bench::stream::{CrowdLoad, Measurement};
use crosstalk_broker_bench::wire::Event;
use crosstalk_broker_bench::{growth, resting};
use lapin::uri::AMQPUri;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Messages in a test that counts them.
const MESSAGES: u64 = 500;

/// A broker on a free port; ends with its runtime.
struct Server {
    _runtime: Runtime,
    uri: AMQPUri,
}

impl Server {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let address: SocketAddr = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let broker = Broker::open(Options::default()).await.unwrap();
            tokio::spawn(async move { broker.serve(listener, CancellationToken::new()).await });
            address
        });
        Self { _runtime: runtime, uri: format!("amqp://guest:guest@{address}/%2f").parse().unwrap() }
    }
}

fn workload(queues: usize) -> Workload {
    Workload {
        client: Client::Raw,
        queues,
        kind: QueueKind::Classic,
        fanout: false,
        body_bytes: 100,
        persistent: true,
        window: Window::Unconfirmed(50),
        auto_ack: false,
        prefetch: 100,
        ack_every: 7,
    }
}

fn progress() -> Progress {
    Progress::new(Arc::new(AtomicBool::new(false)))
}

/// Publishes all, then consumes all; what is left in the queues.
fn there_and_back(load: &Workload) -> u32 {
    let server = Server::start();
    let mut control = Connection::open(&server.uri).unwrap();
    load.set_up(&mut control).unwrap();
    let progress = progress();
    let published = publish(&server.uri, load, &progress, MESSAGES).unwrap();
    assert_eq!(published.count, MESSAGES);
    let consumed = Consumer::open(&server.uri, load).unwrap().run(load, &progress).unwrap();
    assert_eq!(consumed.count, MESSAGES * load.copies());
    (0..load.queues).map(|queue| control.ready(&load.queue(queue)).unwrap()).sum()
}

#[test]
fn every_message_comes_back_once_and_in_order() {
    assert_eq!(there_and_back(&workload(1)), 0);
    assert_eq!(there_and_back(&Workload { window: Window::Unconfirmed(1), ack_every: 1, ..workload(1) }), 0);
}

#[test]
fn many_queues_in_turn_and_fan_out_are_counted_queue_by_queue() {
    assert_eq!(there_and_back(&workload(30)), 0);
    assert_eq!(there_and_back(&Workload { fanout: true, ..workload(5) }), 0);
}

#[test]
fn a_message_that_someone_else_took_away_is_lost() {
    let (server, load, progress) = (Server::start(), workload(1), progress());
    let mut control = Connection::open(&server.uri).unwrap();
    load.set_up(&mut control).unwrap();
    publish(&server.uri, &load, &progress, MESSAGES).unwrap();
    let mut thief = Connection::open(&server.uri).unwrap();
    thief.prefetch(1).unwrap();
    thief.consume(&load.queue(0), 0, false).unwrap();
    let mut taken = false;
    while !taken {
        thief.receive().unwrap();
        let mut see = |event: Event<'_>| {
            taken |= matches!(event, Event::Body(_));
            Ok(())
        };
        thief.drain(&mut see).unwrap();
    }
    // The victim ends after so many messages, the first of which it never sees.
    progress.finish(u64::from(load.prefetch));
    let account = Consumer::open(&server.uri, &load).unwrap().run(&load, &progress).unwrap_err();
    assert!(matches!(account, BenchError::Account(Account { lost: 1, .. })), "{account}");
}

fn measure(load: Option<Workload>, crowd: Option<CrowdLoad>) {
    let server = Server::start();
    let measurement = Measurement {
        uri: &server.uri,
        processes: None,
        load,
        crowd,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(200),
        interrupted: Arc::new(AtomicBool::new(false)),
    };
    let sample = measurement.run().unwrap();
    assert!(sample.published > 0 && sample.broker_cores.is_none());
}

#[test]
fn a_steady_state_is_measured_and_all_of_it_arrives() {
    measure(Some(workload(1)), None);
    let transient = Workload {
        kind: QueueKind::Transient,
        persistent: false,
        window: Window::Undelivered(100),
        auto_ack: true,
        ..workload(1)
    };
    measure(Some(transient.clone()), None);
    measure(Some(Workload { client: Client::Lapin, ..transient }), None);
    measure(Some(Workload { client: Client::Lapin, ..workload(3) }), None);
}

#[test]
fn a_crowd_sends_and_takes_alone_and_beside_the_main_pair() {
    let crowd = |pace| Some(CrowdLoad { size: 20, pace, body_bytes: 100 });
    measure(None, crowd(CrowdPace::Full));
    measure(Some(workload(1)), crowd(CrowdPace::Round(Duration::from_millis(50))));
}

#[test]
fn growth_gives_ten_parts_each_way() {
    let server = Server::start();
    let interrupted = Arc::new(AtomicBool::new(false));
    let growth = growth::run(&server.uri, None, 5_000, 50, &interrupted, &|_| {}).unwrap();
    assert!((1..=10).contains(&growth.fill.len()) && (1..=10).contains(&growth.drain.len()));
    let refused = resting::idle(None, &interrupted).unwrap_err();
    assert!(refused.to_string().contains("pid="), "{refused}");
}

#[test]
fn an_interrupt_ends_a_measurement() {
    let server = Server::start();
    let (load, progress) = (workload(1), progress());
    let mut control = Connection::open(&server.uri).unwrap();
    load.set_up(&mut control).unwrap();
    let interrupted = Arc::new(AtomicBool::new(true));
    let error = publish(&server.uri, &load, &Progress::new(Arc::clone(&interrupted)), u64::MAX).unwrap_err();
    assert!(matches!(error, BenchError::Interrupted));
    progress.stop.store(true, Ordering::Relaxed);
    assert_eq!(publish(&server.uri, &load, &progress, u64::MAX).unwrap().count, 0);
}

#[test]
fn what_a_broker_refuses_is_said_in_its_words() {
    let server = Server::start();
    let mut wrong = server.uri.clone();
    wrong.vhost = "nowhere".to_owned();
    let error = Connection::open(&wrong).unwrap_err().to_string();
    assert!(error.contains("530") && error.contains("nowhere"), "{error}");
    let error = Connection::open(&server.uri).unwrap().ready("nothing").unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}
