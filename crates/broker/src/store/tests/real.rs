//! The store on a thread of its own and on a real disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::worker::StoreHandle;
use super::*;

/// Longer than anything here takes, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A directory of its own, removed at the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crosstalk-store-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn start(scratch: &Scratch) -> Result<(StoreHandle, Recovered, Receiver<Report>), StoreError> {
    let (sender, reports) = channel();
    let report = move |report| {
        let _ = sender.send(report);
    };
    let (handle, recovered) = StoreHandle::start(&scratch.0, StoreOptions::default(), Arc::default(), report)?;
    Ok((handle, recovered, reports))
}

pub(super) fn wait_for(reports: &Receiver<Report>, commit: u64) {
    loop {
        match reports.recv_timeout(DEADLINE).expect("a report in time") {
            Report::Committed(id) if id.0 >= commit => return,
            Report::Committed(_) | Report::State(StoreState::Working) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_outlive_the_store() {
    let scratch = Scratch::new("outlive");
    let (handle, recovered, reports) = start(&scratch).unwrap();
    assert!(recovered.topology.is_empty() && recovered.entries.is_empty());
    handle.submit(CommitId(1), vec![queue(1)]);
    for id in 1..=500 {
        handle.submit(CommitId(1 + id), vec![put(Log::Durable, id, &[1], 1024)]);
    }
    wait_for(&reports, 501);
    handle.submit(CommitId(502), vec![remove(Log::Durable, 7, 1), put(Log::Overflow, 501, &[1], 64)]);
    wait_for(&reports, 502);
    handle.load(QueueId(1), vec![(Log::Durable, MessageId(9)), (Log::Overflow, MessageId(501))]);
    match reports.recv_timeout(DEADLINE).unwrap() {
        Report::Loaded { queue: QueueId(1), messages } => {
            assert!(same(messages[0].1.as_ref().unwrap(), &message(9, 1024)));
            assert!(same(messages[1].1.as_ref().unwrap(), &message(501, 64)));
        }
        other => panic!("{other:?}"),
    }
    assert!(handle.metrics().syncs.get() > 0);
    handle.close(vec![(QueueId(1), MessageId(1))]).unwrap();

    let (handle, recovered, _reports) = start(&scratch).unwrap();
    assert_eq!(ids(&recovered)[&1], (1..=500).filter(|id| *id != 7).collect::<Vec<_>>());
    let delivered = recovered.entries[0].1.iter().filter(|entry| entry.redelivered);
    assert_eq!(delivered.map(|entry| entry.id.0).collect::<Vec<_>>(), [1]);
    handle.close(Vec::new()).unwrap();
}

#[test]
fn a_second_broker_is_refused() {
    let scratch = Scratch::new("second");
    let (handle, ..) = start(&scratch).unwrap();
    let error = start(&scratch).expect_err("the directory is taken");
    assert!(matches!(&error, StoreError::Locked { holder: Some(pid), .. } if *pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&*scratch.0.to_string_lossy()), "{error}");
    assert!(matches!(repair(&scratch.0, &mut Vec::new()), Err(StoreError::Locked { .. })));
    handle.close(Vec::new()).unwrap();
    start(&scratch).unwrap().0.close(Vec::new()).unwrap();
}

#[test]
fn where_there_is_no_store_a_repair_makes_nothing() {
    let scratch = Scratch::new("none");
    let refused = || match repair(&scratch.0, &mut Vec::new()) {
        Err(error @ StoreError::NoStore { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(), format!("there is no store in {}", scratch.0.display()));
    assert!(!scratch.0.exists());
    std::fs::create_dir_all(scratch.0.join("messages")).unwrap();
    refused();
    std::fs::write(scratch.0.join("messages/a.log"), "something else").unwrap();
    refused();
    let names = || std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names().collect::<Vec<_>>(), ["messages"]);
    let file = Scratch::new("none-file");
    std::fs::write(&file.0, "no directory").unwrap();
    assert!(matches!(repair(&file.0, &mut Vec::new()), Err(StoreError::NoStore { .. })));
    std::fs::remove_file(&file.0).unwrap();
}

#[test]
fn a_store_whose_messages_are_gone_with_their_directory_is_refused_and_repaired() {
    let scratch = Scratch::new("gone");
    let (handle, _, reports) = start(&scratch).unwrap();
    handle.submit(CommitId(1), vec![queue(1), put(Log::Durable, 1, &[1], 1024)]);
    wait_for(&reports, 1);
    handle.close(Vec::new()).unwrap();
    std::fs::remove_dir_all(scratch.0.join("messages")).unwrap();
    assert_eq!(repair(&scratch.0, &mut Vec::new()).unwrap().missing.len(), 1);
    let (handle, recovered, _reports) = start(&scratch).unwrap();
    assert_eq!((recovered.entries.len(), recovered.topology.len()), (0, 1));
    handle.close(Vec::new()).unwrap();
}

#[test]
fn a_damaged_store_is_repaired() {
    let scratch = Scratch::new("repair");
    let (handle, _, reports) = start(&scratch).unwrap();
    handle.submit(CommitId(1), vec![queue(1)]);
    for id in 1..=3 {
        handle.submit(CommitId(1 + id), vec![put(Log::Durable, id, &[1], 1024)]);
        wait_for(&reports, 1 + id);
    }
    handle.close(Vec::new()).unwrap();
    let segment = scratch.0.join("messages/000000000001.log");
    let mut octets = std::fs::read(&segment).unwrap();
    octets[500] ^= 1;
    std::fs::write(&segment, octets).unwrap();
    let error = start(&scratch).expect_err("it is damaged");
    assert!(matches!(error, StoreError::Corrupt { offset: 64, .. }), "{error}");
    let mut told = Vec::new();
    assert_eq!(repair(&scratch.0, &mut told).unwrap().files.len(), 1);
    assert!(String::from_utf8(told).unwrap().contains("octets damaged"));
    let (handle, recovered, _reports) = start(&scratch).unwrap();
    assert_eq!(ids(&recovered)[&1], [2, 3]);
    handle.close(Vec::new()).unwrap();
}
