//! Measurements, not tests: `cargo test --release -p crosstalk-broker --lib measure -- --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use super::super::index::{Index, Location};
use super::super::worker::StoreHandle;
use super::real::{Scratch, start, wait_for};
use super::*;

/// Octets of this process in memory.
fn resident_octets() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

/// Puts `count` messages with so many commits in flight, each of so many messages.
fn fill(handle: &StoreHandle, reports: &std::sync::mpsc::Receiver<Report>, count: u64, flight: u64, each: u64) {
    let shared = message(1, 1024);
    for commit in 1..=count / each {
        let puts = (1..=each).map(|at| Operation::Put {
            log: Log::Durable,
            id: MessageId((commit - 1) * each + at),
            queues: [QueueId(1)].into(),
            message: Arc::clone(&shared),
        });
        handle.submit(CommitId(commit + 1), puts.collect());
        if commit % flight == 0 || commit == count / each {
            wait_for(reports, commit + 1);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_commits() {
    for (flight, count) in [(1, 1000), (100, 50_000), (1000, 500_000)] {
        let scratch = Scratch::new("commits");
        let (handle, _, reports) = start(&scratch).unwrap();
        handle.submit(CommitId(1), vec![queue(1)]);
        wait_for(&reports, 1);
        let syncs = handle.metrics().syncs.get();
        let began = Instant::now();
        fill(&handle, &reports, count, flight, 1);
        let took = began.elapsed().as_secs_f64();
        let syncs = handle.metrics().syncs.get() - syncs;
        println!(
            "1 KiB, {flight} in flight: {:.0} messages/s, {:.0} syncs/s",
            count as f64 / took,
            syncs as f64 / took
        );
        handle.close(Vec::new()).unwrap();
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_recovery() {
    const MESSAGES: u64 = 1_000_000;
    let scratch = Scratch::new("recovery");
    let (handle, _, reports) = start(&scratch).unwrap();
    handle.submit(CommitId(1), vec![queue(1)]);
    fill(&handle, &reports, MESSAGES, 100, 100);
    handle.close(Vec::new()).unwrap();
    for _ in 0..3 {
        let (before, began) = (resident_octets(), Instant::now());
        let (handle, recovered, _reports) = start(&scratch).unwrap();
        let (took, more) = (began.elapsed(), resident_octets().saturating_sub(before));
        assert_eq!(recovered.entries[0].1.len() as u64, MESSAGES);
        println!("{MESSAGES} messages of 1 KiB opened in {took:?}, {} MiB more in memory", more >> 20);
        drop(recovered);
        handle.close(Vec::new()).unwrap();
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_memory() {
    const MESSAGES: u64 = 10_000_000;
    let before = resident_octets();
    let mut index = Index::default();
    for id in 0..MESSAGES {
        let location = Location { segment: (id >> 14) as u32, offset: (id << 10) as u32, octets: 1024 };
        index.insert(MessageId(id), &[QueueId(1 + id % 3)], location);
    }
    let more = resident_octets() - before;
    println!("{MESSAGES} messages: {} MiB, {:.1} octets each", more >> 20, more as f64 / MESSAGES as f64);
    let began = Instant::now();
    for id in 0..MESSAGES {
        assert!(index.release(MessageId(id), QueueId(1 + id % 3)).is_some());
    }
    println!("removed again at {:.0} ns each", began.elapsed().as_nanos() as f64 / MESSAGES as f64);
}
