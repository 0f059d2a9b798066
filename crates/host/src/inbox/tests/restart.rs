//! What is left after the process ended at any moment, or after somebody else was at the files.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::*;

/// Where the child process of a test keeps its inbox.
const CHILD_DIR: &str = "CROSSTALK_TEST_INBOX_CHILD_DIR";

/// What a kill at this moment leaves behind, opened by the next process.
pub(super) fn killed_and_restarted(dir: &TestDir) -> (TestDir, Inbox) {
    let next = TestDir::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, next.path().join(path.file_name().unwrap())).unwrap();
    }
    let inbox = next.open();
    (next, inbox)
}

/// A file with everything in it, and for each of its records where it ends and what was received,
/// processed, and twice there by then.
fn small_file(dir: &TestDir) -> Vec<(u64, (u64, u64, u64))> {
    let inbox = dir.open();
    let mut ends = Vec::new();
    let mut note = || {
        let report = only_report(&inbox, run(1));
        ends.push((
            fs::metadata(dir.file(run(1))).unwrap().len(),
            (report.received, report.processed, report.duplicates),
        ));
    };
    let first = take(&inbox, &message(run(1), 2, "first"));
    note();
    first.finished().unwrap();
    note();
    let copy = take(&inbox, &message(run(1), 2, "copy"));
    note();
    let second = take(&inbox, &message(run(1), 1, "second"));
    note();
    drop(copy);
    second.finished().unwrap();
    note();
    ends
}

#[test]
fn a_restart_reads_back_what_was_there() {
    let dir = TestDir::new();
    let inbox = dir.open();
    let mut at_work = Vec::new();
    for seq in [5, 2, 2, 7, 1] {
        let arrival = take(&inbox, &message(run(1), seq, seq.to_string().repeat(50_000)));
        if seq == 7 { at_work.push(arrival) } else { arrival.finished().unwrap() }
    }
    take(&inbox, &message(run(2), 1, "")).finished().unwrap();
    let (_next, again) = killed_and_restarted(&dir);
    drop(at_work);
    assert_eq!(again.runs(), inbox.runs());
    assert_eq!(again.report(run(1), None, true).unwrap(), inbox.report(run(1), None, true).unwrap());
    assert_eq!(kept(&again, run(1), None), kept(&inbox, run(1), None));
    // And it goes on where the first process stopped.
    let copy = take(&again, &message(run(1), 7, "a redelivery"));
    assert_eq!(copy.copy, 2);
    copy.finished().unwrap();
    assert_eq!((only_report(&again, run(1)).processed, only_report(&again, run(1)).received), (4, 4));
}

#[test]
fn a_file_cut_anywhere_yields_what_was_whole() {
    let dir = TestDir::new();
    let ends = small_file(&dir);
    let bytes = fs::read(dir.file(run(1))).unwrap();
    for cut in 0..=bytes.len() {
        let torn = TestDir::new();
        fs::write(torn.file(run(1)), &bytes[..cut]).unwrap();
        let inbox = torn.open();
        let whole = ends.iter().rev().find(|(end, _)| *end <= cut as u64);
        let report = inbox.report(run(1), None, true).unwrap();
        let counts = report.map(|report| {
            let receiver = &report.receivers[0];
            (receiver.received, receiver.processed, receiver.duplicates)
        });
        assert_eq!(counts, whole.map(|(_, counts)| *counts), "cut at {cut}");
        assert_eq!(inbox.runs().len(), usize::from(whole.is_some()), "cut at {cut}");
        // It can be written to again, and that can be read again.
        take(&inbox, &message(run(1), 3, "later")).finished().unwrap();
        let report = only_report(&inbox, run(1));
        drop(inbox);
        let inbox = torn.open();
        assert_eq!(only_report(&inbox, run(1)), report, "cut at {cut}");
        assert_eq!(kept(&inbox, run(1), None).len() as u64, report.received, "cut at {cut}");
    }
}

#[test]
fn a_byte_changed_anywhere_costs_what_is_behind_it_and_a_copy_stays() {
    let dir = TestDir::new();
    let ends = small_file(&dir);
    let bytes = fs::read(dir.file(run(1))).unwrap();
    for at in 0..bytes.len() {
        let damaged = TestDir::new();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        fs::write(damaged.file(run(1)), &bytes).unwrap();
        let inbox = damaged.open();
        let whole = ends.iter().rev().find(|(end, _)| *end <= at as u64);
        let report = inbox.report(run(1), None, false).unwrap();
        assert_eq!(report.map(|r| r.receivers[0].received), whole.map(|(_, counts)| counts.0), "changed at {at}");
        let aside = damaged.path().join(format!("{}.inbox.damaged", run(1)));
        let in_the_last = at as u64 >= ends[ends.len() - 2].0;
        // A length that reaches behind the end of the file cannot be told from a record that was cut short.
        let reaches_far = ends.iter().any(|(end, _)| (*end..*end + 4).contains(&(at as u64)));
        if !in_the_last && !reaches_far && whole.is_some() {
            assert_eq!(fs::read(aside).unwrap(), bytes, "changed at {at}");
        }
    }
}

#[test]
fn what_is_no_inbox_file_is_set_aside_and_other_files_are_left_alone() {
    let dir = TestDir::new();
    fs::write(dir.file(run(1)), b"This is not an inbox file, it only has the name of one.").unwrap();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    fs::write(dir.path().join("0123456789ABCD.inbox"), b"mine").unwrap();
    {
        let other = TestDir::new();
        small_file(&other);
        fs::copy(other.file(run(1)), dir.file(run(2))).unwrap();
    }
    let inbox = dir.open();
    assert_eq!(inbox.runs(), []);
    for n in [1, 2] {
        assert!(!dir.file(run(n)).exists());
        assert!(dir.path().join(format!("{}.inbox.damaged", run(n))).exists());
    }
    take(&inbox, &message(run(1), 1, "new")).finished().unwrap();
    assert_eq!(kept(&inbox, run(1), None)[0].payload, "new");
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_record_that_was_damaged_since_is_an_error_and_not_a_message() {
    let dir = TestDir::new();
    let inbox = dir.open();
    drop(take(&inbox, &message(run(1), 1, "good")));
    let begin = fs::metadata(dir.file(run(1))).unwrap().len();
    drop(take(&inbox, &message(run(1), 2, "bad")));
    let mut bytes = fs::read(dir.file(run(1))).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(dir.file(run(1)), bytes).unwrap();
    let mut messages = inbox.messages(run(1), None).unwrap().unwrap();
    assert_eq!(messages.next().unwrap().unwrap().payload, "good");
    assert!(matches!(messages.next(), Some(Err(InboxError::Damaged { offset, .. })) if offset == begin));
    assert!(messages.next().is_none());
}

#[test]
fn runs_of_earlier_processes_make_room_too() {
    let dir = TestDir::new();
    let inbox = dir.open();
    for n in 1..=5 {
        take(&inbox, &message(run(n), 1, [0; 1000])).finished().unwrap();
    }
    let all: u64 = inbox.runs().iter().map(|summary| summary.bytes).sum();
    drop(inbox);
    let inbox = dir.open_with(InboxLimits { bytes_max: all - 1, runs_max: 100 });
    take(&inbox, &message(run(6), 1, "")).finished().unwrap();
    assert_eq!(inbox.runs().iter().map(|summary| summary.run.get()).collect::<Vec<_>>(), [6, 5, 4, 3, 2]);
    drop(inbox);
    let inbox = dir.open_with(InboxLimits { runs_max: 2, ..ROOMY });
    take(&inbox, &message(run(7), 1, "")).finished().unwrap();
    assert_eq!(inbox.runs().iter().map(|summary| summary.run.get()).collect::<Vec<_>>(), [7, 6]);
}

#[tokio::test]
async fn what_an_earlier_process_processed_counts_for_who_waits() {
    let dir = TestDir::new();
    let inbox = dir.open();
    take(&inbox, &message(run(1), 1, "")).finished().unwrap();
    let (_next, again) = killed_and_restarted(&dir);
    let waiting = again.wait_processed(run(1), 1, Duration::MAX);
    tokio::time::timeout(DEADLINE, waiting).await.expect("nothing to wait for");
}

#[test]
fn a_killed_process_keeps_what_it_said_it_had() {
    let dir = TestDir::new();
    let (_crate, module) = module_path!().split_once("::").unwrap();
    let child_test = format!("{module}::child_that_is_killed");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &child_test, "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = |line: String| line.strip_prefix("has ").and_then(|seq| seq.parse::<u64>().ok());
    let enough = lines.by_ref().filter_map(said).find(|seq| *seq == 500).expect("the child ended early");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died; the last line may be cut short, and so be a smaller number.
    let last = lines.filter_map(said).fold(enough, u64::max);
    let inbox = dir.open();
    let report = only_report(&inbox, run(1));
    assert!(report.received >= last && report.processed >= last, "{last} {report:?}");
    assert_eq!(kept(&inbox, run(1), None).len() as u64, report.received);
}

/// Not a test of its own: what the test above starts and kills.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let inbox = Inbox::open(dir.into(), ROOMY, Clock::start()).unwrap();
    for seq in 1..=MESSAGES_MAX as u64 {
        take(&inbox, &message(run(1), seq, [0; 2000])).finished().unwrap();
        println!("has {seq}");
    }
}
