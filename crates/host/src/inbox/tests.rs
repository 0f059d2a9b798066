//! What an inbox does, seen from outside, without restarts (those are in `restart` and `model`).

mod model;
mod restart;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use crosstalk_contract::{identity::Identity, record::ReceivedRecord};

use super::*;

const ROOMY: InboxLimits = InboxLimits { bytes_max: 1 << 30, runs_max: 100 };
const DEADLINE: Duration = Duration::from_secs(30);

/// A directory of its own for one test.
pub(super) struct TestDir(PathBuf);

impl TestDir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("crosstalk-inbox-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path); // of an earlier process with the same id
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn open(&self) -> Inbox {
        self.open_with(ROOMY)
    }

    fn open_with(&self, limits: InboxLimits) -> Inbox {
        Inbox::open(self.0.clone(), limits, Clock::start()).unwrap()
    }

    fn file(&self, run: RunId) -> PathBuf {
        self.0.join(format!("{run}.inbox"))
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // best effort
    }
}

fn run(n: u64) -> RunId {
    RunId::from_low_bits(n)
}

fn message(run: RunId, seq: u64, payload: impl AsRef<[u8]>) -> Message {
    let identity = Identity { run, sender: "producer".to_owned(), seq, of: 9, intended_ns: 1, sent_ns: 2 };
    Message { identity, payload: payload.as_ref().to_vec().into() }
}

fn take(inbox: &Inbox, message: &Message) -> Arrival {
    inbox.received("queue", "consumer", message).unwrap()
}

fn only_report(inbox: &Inbox, run: RunId) -> ReceiverReport {
    let mut report = inbox.report(run, None, true).unwrap().unwrap();
    assert_eq!(report.receivers.len(), 1);
    report.receivers.remove(0)
}

fn kept(inbox: &Inbox, run: RunId, receiver: Option<&str>) -> Vec<Message> {
    inbox.messages(run, receiver).unwrap().unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn copies_are_counted_and_processed_once() {
    let dir = TestDir::new();
    let inbox = dir.open();
    let first = take(&inbox, &message(run(1), 1, "a"));
    let second = take(&inbox, &message(run(1), 1, "another payload, which does not count"));
    assert_eq!((first.copy, second.copy), (1, 2));
    assert_eq!(only_report(&inbox, run(1)).in_progress, 2);
    second.finished().unwrap();
    let processed_ns = only_report(&inbox, run(1)).records[0].processed_ns;
    first.finished().unwrap();
    let report = only_report(&inbox, run(1));
    assert_eq!((report.received, report.processed, report.duplicates, report.in_progress), (1, 1, 1, 0));
    assert_eq!(report.records[0].copies, 2);
    assert!(processed_ns.is_some() && report.records[0].processed_ns == processed_ns, "the first end counts");
    assert_eq!(kept(&inbox, run(1), None), [message(run(1), 1, "a")]);
}

#[test]
fn records_stand_by_number_and_tell_the_order_of_arrival() {
    let dir = TestDir::new();
    let inbox = dir.open();
    for seq in [3, 1, 3, 2] {
        drop(take(&inbox, &message(run(1), seq, [0; 3])));
    }
    let records = only_report(&inbox, run(1)).records;
    let seen: Vec<_> = records.iter().map(|ReceivedRecord { seq, position, .. }| (*seq, *position)).collect();
    assert_eq!(seen, [(1, 2), (2, 3), (3, 1)]);
    assert!(records.iter().all(|record| record.processed_ns.is_none()), "dropped is not processed");
    let numbers: Vec<u64> = kept(&inbox, run(1), Some("consumer")).iter().map(|m| m.identity.seq).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn receivers_are_kept_apart_and_registered_ones_are_listed() {
    let dir = TestDir::new();
    let inbox = dir.open();
    inbox.register("pubsub", &["b".to_owned(), "c".to_owned()]);
    assert_eq!(inbox.report(run(1), None, true).unwrap(), None);
    let empty = inbox.report(run(1), Some("pubsub"), true).unwrap().unwrap();
    assert_eq!((empty.paradigm.as_str(), empty.of, empty.receivers.len()), ("", 0, 2));
    inbox.received("pubsub", "b", &message(run(1), 1, "1")).unwrap().finished().unwrap();
    inbox.received("pubsub", "b", &message(run(1), 3, "3")).unwrap().finished().unwrap();
    inbox.received("pubsub", "a", &message(run(1), 2, "2")).unwrap().finished().unwrap();
    inbox.received("pubsub", "a", &message(run(1), 3, "3")).unwrap().finished().unwrap();
    let report = inbox.report(run(1), Some("pubsub"), false).unwrap().unwrap();
    let counts: Vec<_> = report.receivers.iter().map(|r| (r.receiver.as_str(), r.received, r.processed)).collect();
    assert_eq!((report.paradigm.as_str(), report.of), ("pubsub", 9));
    assert_eq!(counts, [("a", 2, 2), ("b", 2, 2), ("c", 0, 0)]);
    let payloads = |receiver| kept(&inbox, run(1), receiver).into_iter().map(|m| m.payload).collect::<Vec<_>>();
    assert_eq!(payloads(Some("b")), ["1", "3"]);
    assert_eq!(payloads(Some("a")), ["2", "3"]);
    assert_eq!(payloads(None), ["1", "2", "3"]);
    assert!(payloads(Some("c")).is_empty());
    assert!(inbox.messages(run(2), None).unwrap().is_none());
    assert_eq!(inbox.runs()[0].receivers, report.receivers);
}

#[test]
fn what_is_out_of_bounds_is_refused_and_leaves_nothing() {
    let dir = TestDir::new();
    let inbox = dir.open();
    let good = message(run(1), 1, "");
    let long = "x".repeat(RECEIVER_NAME_MAX + 1);
    for (paradigm, receiver) in [("queue", ""), ("queue", &long), ("", "consumer"), (&long, "consumer")] {
        let error = inbox.received(paradigm, receiver, &good).unwrap_err();
        assert!(matches!(error, InboxError::Bound { .. }), "{error}");
    }
    let mut nameless = good.clone();
    nameless.identity.sender.clear();
    for bad in [message(run(1), 0, ""), nameless, message(run(1), 1, vec![0; (4 << 20) + 1])] {
        let error = inbox.received("queue", "consumer", &bad).unwrap_err();
        assert!(matches!(error, InboxError::Message(_)), "{error}");
    }
    assert_eq!((inbox.runs(), dir.file(run(1)).exists()), (vec![], false));

    for n in 0..RECEIVERS_MAX {
        drop(inbox.received("queue", &n.to_string(), &good).unwrap());
    }
    assert!(matches!(inbox.received("queue", "one more", &good), Err(InboxError::Bound { got: 65, .. })));
    assert!(matches!(inbox.received("pubsub", "0", &good), Err(InboxError::OtherParadigm { .. })));
    assert_eq!(inbox.report(run(1), None, false).unwrap().unwrap().receivers.len(), RECEIVERS_MAX);
}

#[test]
fn the_run_written_to_longest_ago_makes_room_unless_it_is_at_work() {
    let dir = TestDir::new();
    let inbox = dir.open_with(InboxLimits { runs_max: 3, ..ROOMY });
    let ids = || inbox.runs().iter().map(|summary| summary.run.get()).collect::<Vec<_>>();
    let at_work = take(&inbox, &message(run(1), 1, "kept"));
    for n in [2, 3, 2] {
        take(&inbox, &message(run(n), 1, "")).finished().unwrap();
    }
    assert_eq!(ids(), [2, 3, 1]);
    let fourth = take(&inbox, &message(run(4), 1, ""));
    assert_eq!(ids(), [4, 2, 1]);
    assert!(!dir.file(run(3)).exists());
    let fifth = take(&inbox, &message(run(5), 1, ""));
    assert_eq!(ids(), [5, 4, 1]);
    let error = inbox.received("queue", "consumer", &message(run(6), 1, "")).unwrap_err();
    assert!(matches!(error, InboxError::Full { .. }), "{error}");
    assert_eq!(ids(), [5, 4, 1], "a refused message costs no run");
    at_work.finished().unwrap();
    drop((fourth, fifth));
    assert_eq!(kept(&inbox, run(1), None)[0].payload, "kept");
}

#[test]
fn bytes_are_bounded_and_the_end_of_a_message_always_fits() {
    let dir = TestDir::new();
    let inbox = dir.open_with(InboxLimits { bytes_max: 10_000, runs_max: 100 });
    let fill = |id: u64| {
        let mut arrivals = Vec::new();
        loop {
            match inbox.received("queue", "consumer", &message(run(id), arrivals.len() as u64 + 1, [7; 500])) {
                Ok(arrival) => arrivals.push(arrival),
                Err(error) => break (arrivals, error),
            }
        }
    };
    let bytes = || inbox.runs().iter().map(|summary| summary.bytes).sum::<u64>();
    let (arrivals, error) = fill(1);
    assert!(matches!(error, InboxError::Full { .. }) && arrivals.len() > 10, "{error}");
    // Another run finds no room, either, and leaves no trace.
    assert!(matches!(fill(2), (none, InboxError::Full { .. }) if none.is_empty()));
    assert!(!dir.file(run(2)).exists());
    for arrival in arrivals {
        arrival.finished().unwrap();
    }
    assert!((8_000..=10_000).contains(&bytes()), "{}", bytes());
    // Nobody writes to the first run any more: it goes.
    let (arrivals, _) = fill(2);
    assert!(arrivals.len() > 10 && bytes() <= 10_000);
    assert_eq!(inbox.runs().len(), 1);
    // What could never fit deletes nothing.
    drop(arrivals);
    let huge = message(run(3), 1, vec![0; 10_000]);
    assert!(matches!(inbox.received("queue", "consumer", &huge), Err(InboxError::Full { .. })));
    assert_eq!(inbox.runs()[0].run, run(2));
}

#[test]
fn a_deleted_run_can_be_read_to_the_end_by_who_reads_it() {
    let dir = TestDir::new();
    let inbox = dir.open_with(InboxLimits { runs_max: 1, ..ROOMY });
    for seq in 1..=50 {
        take(&inbox, &message(run(1), seq, vec![0; 10_000])).finished().unwrap();
    }
    let mut messages = inbox.messages(run(1), None).unwrap().unwrap();
    assert!(messages.next().unwrap().is_ok());
    drop(take(&inbox, &message(run(2), 1, "")));
    assert!(inbox.report(run(1), None, false).unwrap().is_none());
    assert_eq!(messages.filter(Result::is_ok).count(), 49);
}

#[test]
fn one_directory_is_one_inbox() {
    let dir = TestDir::new();
    let inbox = dir.open();
    let again = || Inbox::open(dir.path().to_owned(), ROOMY, Clock::start());
    assert!(matches!(again(), Err(InboxError::InUse { .. })));
    let arrival = take(&inbox, &message(run(1), 1, ""));
    drop(inbox);
    assert!(matches!(again(), Err(InboxError::InUse { .. })), "a message at work may still be noted as processed");
    arrival.finished().unwrap();
    assert_eq!(only_report(&again().unwrap(), run(1)).processed, 1);
}

#[tokio::test]
async fn who_waits_is_woken_also_for_a_run_that_has_not_begun() {
    let dir = TestDir::new();
    let inbox = dir.open();
    let waiter = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.wait_processed(run(1), 3, DEADLINE).await }
    });
    tokio::task::yield_now().await;
    for (receiver, seq) in [("a", 1), ("b", 1), ("a", 2)] {
        assert!(!waiter.is_finished());
        inbox.received("pubsub", receiver, &message(run(1), seq, "")).unwrap().finished().unwrap();
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(DEADLINE / 2, waiter).await.expect("woken long before its own deadline").unwrap();
    // Already there, nothing asked for, and never there.
    inbox.wait_processed(run(1), 3, Duration::MAX).await;
    inbox.wait_processed(run(2), 0, Duration::MAX).await;
    inbox.wait_processed(run(1), 4, Duration::from_millis(1)).await;
    inbox.wait_processed(run(2), 1, Duration::from_millis(1)).await;
}

#[tokio::test]
async fn who_waits_for_a_deleted_run_sees_it_come_again() {
    let dir = TestDir::new();
    let inbox = dir.open_with(InboxLimits { runs_max: 1, ..ROOMY });
    drop(take(&inbox, &message(run(1), 1, "")));
    let waiter = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.wait_processed(run(1), 1, DEADLINE).await }
    });
    tokio::task::yield_now().await;
    drop(take(&inbox, &message(run(2), 1, "")));
    tokio::task::yield_now().await;
    take(&inbox, &message(run(1), 1, "")).finished().unwrap();
    tokio::time::timeout(DEADLINE / 2, waiter).await.expect("woken long before its own deadline").unwrap();
}

#[test]
fn threads_that_fight_for_room_lose_no_message() {
    let dir = TestDir::new();
    let inbox = dir.open_with(InboxLimits { bytes_max: 60_000, runs_max: 6 });
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let inbox = &inbox;
            scope.spawn(move || {
                for n in 0..100 {
                    let id = run(worker * 1000 + n);
                    let taken: Vec<_> = (1..=20).map(|seq| take(inbox, &message(id, seq, [1; 100]))).collect();
                    let report = only_report(inbox, id);
                    assert_eq!((report.received, report.in_progress), (20, 20));
                    taken.into_iter().for_each(|arrival| arrival.finished().unwrap());
                    assert!(inbox.runs().len() <= 6);
                }
            });
        }
    });
    assert!(inbox.runs().len() <= 6);
    let bytes: u64 = inbox.runs().iter().map(|summary| summary.bytes).sum();
    assert!((1..=60_000).contains(&bytes));
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, inbox.runs().len() + 1, "and the lock");
}
