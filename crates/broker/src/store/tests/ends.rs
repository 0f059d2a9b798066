//! The end of the log: newest segments that are missing, ends that were cut off, and what the topology notes of both.

use super::super::format::{BATCH_OCTETS, HEADER_OCTETS};
use super::super::journal::{JOURNAL, Journal, read_newest};
use super::super::newest::Newest;
use super::super::repair::repair_disk;
use super::super::simulated::{Crash, Faults};
use super::damage::{FIRST, flip, opened, refusal};
use super::faults::segments;
use super::*;
use crate::store::core::RETRY_MILLISECONDS;

/// A store with so many messages, of which there are about ten in a segment; the names of the segments.
fn many(messages: u64) -> (SimulatedDisk, Vec<String>) {
    let (disk, mut driver) = fresh(1, OPTIONS);
    for id in 1..=messages {
        driver.commit(vec![put(Log::Durable, id, &[1], 700)]);
        let noted = Newest::written(segments(&disk) as u64);
        assert_eq!(read_newest(&disk).unwrap(), Some(noted), "confirmed before it was noted");
    }
    disk.crash(Crash::Machine);
    let names = disk.names().into_iter().filter(|name| name.starts_with("messages/")).collect();
    (disk, names)
}

fn remove_file(disk: &SimulatedDisk, name: &str) {
    disk.unlink(name).unwrap();
    disk.sync_directory(name.rsplit_once('/').map_or("", |(directory, _)| directory)).unwrap();
}

/// Five messages in one segment, and an orderly end before which 1 and 3 were delivered; what is in the segment.
fn closed(seed: u64) -> (SimulatedDisk, Vec<u8>) {
    let (disk, mut driver) = fresh(seed, OPTIONS);
    (1..=5).for_each(|id| driver.commit(vec![put(Log::Durable, id, &[1], 500)]));
    driver.store.close(&[(QueueId(1), MessageId(1)), (QueueId(1), MessageId(3))]).unwrap();
    disk.crash(Crash::Machine);
    let octets = disk.octets(FIRST);
    assert_eq!(read_newest(&disk).unwrap(), Some(Newest { number: 1, end: Some(octets.len() as u64) }));
    (disk, octets)
}

fn redelivered(recovered: &Recovered) -> Vec<u64> {
    let marked = recovered.entries.iter().flat_map(|(_, entries)| entries).filter(|entry| entry.redelivered);
    marked.map(|entry| entry.id.0).collect()
}

#[test]
fn missing_newest_segments_are_refused_and_given_up_by_a_repair() {
    for missing in [1, 3, usize::MAX] {
        let (disk, names) = many(60);
        assert!(names.len() > 4);
        let (left, gone) = names.split_at(names.len().saturating_sub(missing));
        gone.iter().for_each(|name| remove_file(&disk, name));
        for _ in 0..2 {
            let error = refusal(&disk);
            assert!(
                matches!(&error, StoreError::Missing { path } if path.ends_with(&names[names.len() - 1])),
                "{error}"
            );
            disk.crash(Crash::Machine);
        }
        let report = repair_disk(&disk).unwrap();
        assert_eq!(report.files, []);
        let told: Vec<_> = gone.iter().map(|name| disk.path(name)).collect();
        let told = if left.is_empty() { &told[told.len() - 1..] } else { &told[..] };
        assert_eq!(report.missing, told, "the first is not known when all are gone");
        assert_eq!(repair_disk(&disk).unwrap(), Default::default(), "nothing is left to repair");
        let (store, recovered) = open(&disk, OPTIONS).unwrap();
        let mut found = ids(&recovered).remove(&1).unwrap_or_default();
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        assert_eq!(found.is_empty(), left.is_empty());
        let mut driver = Driver::new(store);
        driver.commit(vec![put(Log::Durable, 100, &[1], 700)]);
        disk.crash(Crash::Machine);
        found.push(100);
        assert_eq!(opened(&disk), found, "the store goes on");
    }
}

#[test]
fn nothing_is_confirmed_before_the_segment_is_noted() {
    let (disk, mut driver) = fresh(2, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1], 9000)]);
    // Enough for the header of the next segment, not for the note.
    disk.set_faults(Faults { capacity: disk.used() + 100, ..Faults::default() });
    driver.commit(vec![put(Log::Durable, 2, &[1], 10)]);
    assert_eq!(driver.committed, 2);
    assert!(matches!(driver.state(), StoreState::Failing { .. }));
    assert_eq!(disk.octets("messages/000000000002.log").len(), HEADER_OCTETS);
    driver.pass(RETRY_MILLISECONDS);
    assert_eq!((driver.committed, segments(&disk)), (2, 2), "no further segment for another attempt");
    disk.set_faults(Faults::default());
    driver.pass(RETRY_MILLISECONDS);
    assert_eq!((driver.committed, driver.state()), (3, StoreState::Working));
    assert_eq!(read_newest(&disk).unwrap(), Some(Newest::written(2)));
    disk.crash(Crash::Machine);
    assert_eq!(opened(&disk), [1, 2]);
}

#[test]
fn a_store_without_the_note_is_opened_and_gets_one() {
    let (disk, names) = many(30);
    Journal::open(disk.clone(), Arc::default()).unwrap().correct(None).unwrap();
    for name in names.iter().map(String::as_str).chain([JOURNAL]) {
        disk.tamper(name, |octets| {
            octets[8..12].copy_from_slice(&1u32.to_be_bytes());
            let sum = crc32fast::hash(&octets[..60]);
            octets[60..64].copy_from_slice(&sum.to_be_bytes());
        });
    }
    assert_eq!(repair_disk(&disk).unwrap(), Default::default());
    let (store, recovered) = open(&disk, OPTIONS).unwrap();
    assert_eq!(ids(&recovered)[&1].len(), 30);
    assert_eq!(read_newest(&disk).unwrap(), None);
    Driver::new(store).commit(vec![put(Log::Durable, 31, &[1], 10)]);
    let newest = segments(&disk);
    assert_eq!(read_newest(&disk).unwrap(), Some(Newest::written(newest as u64)));
    disk.crash(Crash::Machine);
    assert_eq!(opened(&disk).len(), 31);
}

#[test]
fn an_end_cut_off_after_an_orderly_one_is_refused_until_it_is_repaired() {
    let whole = closed(3).1.len();
    let last_batch = BATCH_OCTETS + 9 + 8 + 9;
    // In the last batch, at its beginning, in the last message, in the second, and behind the header.
    let cuts = [
        (whole - 1, 5),
        (whole - 9, 5),
        (whole - last_batch, 5),
        (whole - last_batch - 1, 4),
        (700, 1),
        (HEADER_OCTETS, 0),
    ];
    for (seed, (length, left)) in cuts.into_iter().enumerate() {
        let (disk, _) = closed(seed as u64);
        disk.tamper(FIRST, |octets| octets.truncate(length));
        for power_off_after in [None, None, Some(3), Some(6), Some(10), None] {
            disk.set_faults(Faults { power_off_after, ..Faults::default() });
            match refusal(&disk) {
                StoreError::Corrupt { path, offset, what } => {
                    assert!(path.ends_with(FIRST));
                    assert_eq!(offset, length as u64);
                    assert!(what.contains(&format!("{whole} octets of it were synced")), "{what}");
                }
                StoreError::Io { .. } => assert!(power_off_after.is_some()),
                other => panic!("{other}"),
            }
            disk.crash(Crash::Machine);
        }
        let report = repair_disk(&disk).unwrap();
        assert!(report.end_missing && report.files.len() == 1, "{report:?}");
        assert_eq!(disk.octets(FIRST).len(), whole, "as long as was noted");
        assert_eq!(repair_disk(&disk).unwrap(), Default::default(), "nothing is left to repair");
        let (store, recovered) = open(&disk, OPTIONS).unwrap();
        let found = ids(&recovered).remove(&1).unwrap_or_default();
        assert_eq!(redelivered(&recovered), found, "what was delivered is not known any longer");
        assert_eq!(found, (1..=left).collect::<Vec<u64>>());
        store.close(&[]).unwrap();
        disk.crash(Crash::Machine);
        assert_eq!(opened(&disk), found);
    }
}

#[test]
fn no_flipped_bit_before_an_orderly_end_goes_unnoticed() {
    let whole = closed(4).1.len();
    for at in (0..whole).step_by(11).chain(whole - 160..whole) {
        let (disk, _) = closed(4);
        flip(&disk, FIRST, at);
        let error = refusal(&disk);
        assert!(!matches!(error, StoreError::Io { .. }), "octet {at}: {error}");
    }
}

#[test]
fn an_interrupted_repair_of_a_cut_end_is_noticed() {
    let mut done = 0;
    for power_off_after in 0..30 {
        let (disk, octets) = closed(power_off_after);
        disk.tamper(FIRST, |octets| octets.truncate(1500));
        disk.set_faults(Faults { power_off_after: Some(power_off_after), ..Faults::default() });
        let repaired = repair_disk(&disk).is_ok();
        disk.crash(Crash::Machine);
        if repaired {
            done += 1;
        } else if let Err(error) = open(&disk, OPTIONS) {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            let report = repair_disk(&disk).unwrap();
            assert!(report.end_missing, "{report:?}");
        }
        assert_eq!(opened(&disk), [1, 2]);
        assert_eq!(disk.octets(&format!("{FIRST}.damaged")).len().max(1500), 1500, "of {} octets", octets.len());
    }
    assert!((1..30).contains(&done), "{done} repairs were not interrupted");
}

#[test]
fn interrupted_starts_after_an_orderly_end_lose_nothing() {
    let mut opened_at_first = 0;
    for (crash, power_off_after) in (0..40).flat_map(|after| [(Crash::Process, after), (Crash::Machine, after)]) {
        let (disk, _) = closed(power_off_after);
        disk.set_faults(Faults { power_off_after: Some(power_off_after), ..Faults::default() });
        let mut used = false;
        if let Ok((store, recovered)) = open(&disk, OPTIONS) {
            assert_eq!(redelivered(&recovered), [1, 3]);
            assert_eq!(read_newest(&disk).unwrap(), Some(Newest::written(1)), "the note was taken back");
            (used, opened_at_first) = (true, opened_at_first + 1);
            Driver::new(store).commit(vec![put(Log::Durable, 6, &[2], 500)]);
        }
        disk.crash(crash);
        let (_, recovered) = open(&disk, OPTIONS).unwrap_or_else(|error| panic!("{power_off_after}: {error}"));
        assert_eq!(ids(&recovered)[&1], [1, 2, 3, 4, 5]);
        let mut marked = redelivered(&recovered);
        marked.retain(|id| *id < 6);
        // Whoever has used it may have delivered more.
        assert!(marked == [1, 2, 3, 4, 5] || (!used && marked == [1, 3]), "{power_off_after}: {marked:?}");
    }
    assert!((1..80).contains(&opened_at_first), "{opened_at_first}");
}

#[test]
fn an_end_whose_note_cannot_be_written_is_an_end_as_any_other() {
    let (disk, mut driver) = fresh(5, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1], 500), put(Log::Durable, 2, &[1], 500)]);
    // Enough for the end, not for the note.
    let end = BATCH_OCTETS + 9 + 4 + 9;
    disk.set_faults(Faults { capacity: disk.used() + end as u64 + 20, ..Faults::default() });
    driver.store.close(&[]).unwrap();
    assert_eq!(read_newest(&disk).unwrap(), Some(Newest::written(1)));
    disk.crash(Crash::Machine);
    let (_, recovered) = open(&disk, OPTIONS).unwrap();
    assert_eq!((ids(&recovered).remove(&1), redelivered(&recovered)), (Some(vec![1, 2]), vec![]));
}

#[test]
fn an_end_with_something_torn_behind_it_does_not_count_twice() {
    let (disk, octets) = closed(6);
    // What a start leaves that is interrupted while it says that work goes on.
    disk.tamper(FIRST, |octets| octets.extend_from_slice(b"BTCH"));
    assert_eq!(opened(&disk), [1, 2, 3, 4, 5]);
    disk.crash(Crash::Machine);
    assert!(disk.octets(FIRST).len() > octets.len());
    let (_, recovered) = open(&disk, OPTIONS).unwrap();
    assert_eq!(redelivered(&recovered), [1, 2, 3, 4, 5], "anything may have been delivered since");
}
