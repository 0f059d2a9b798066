//! Disks that fail or are full, and what the store does to need little room.

use super::super::core::{LAZY_SYNC_MILLISECONDS, RETRY_MILLISECONDS};
use super::super::simulated::{Crash, Faults};
use super::*;

pub(super) fn segments(disk: &SimulatedDisk) -> usize {
    disk.names().iter().filter(|name| name.starts_with("messages/")).count()
}

fn recovered(disk: &SimulatedDisk) -> BTreeMap<u64, Vec<u64>> {
    ids(&open(disk, OPTIONS).unwrap_or_else(|error| panic!("{error}")).1)
}

#[test]
fn a_failed_sync_confirms_nothing_until_another_file_took_it() {
    let (disk, mut driver) = fresh(1, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1], 100)]);
    disk.set_faults(Faults { failing_syncs: 1000, ..Faults::default() });
    driver.commit(vec![put(Log::Durable, 2, &[1], 100)]);
    assert_eq!(driver.committed, 2);
    assert!(matches!(driver.state(), StoreState::Failing { .. }));
    assert!(driver.load(Log::Durable, 2).is_some(), "it is still in memory");
    disk.set_faults(Faults::default());
    driver.pass(RETRY_MILLISECONDS - 1);
    assert_eq!(driver.committed, 2, "not tried before its time");
    driver.pass(1);
    assert_eq!((driver.committed, driver.state()), (3, StoreState::Working));
    assert_eq!(segments(&disk), 2, "the file whose sync failed is not written any more");
    disk.crash(Crash::Machine);
    assert_eq!(recovered(&disk)[&1], [1, 2]);
}

#[test]
fn removals_outlive_a_failed_sync() {
    let (disk, mut driver) = fresh(2, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1, 2], 100), put(Log::Durable, 2, &[1], 100)]);
    driver.commit(vec![remove(Log::Durable, 1, 1)]);
    assert_eq!(driver.committed, 3, "a removal does not wait for the disk");
    disk.set_faults(Faults { failing_syncs: 1000, ..Faults::default() });
    driver.pass(LAZY_SYNC_MILLISECONDS);
    assert!(matches!(driver.state(), StoreState::Failing { .. }));
    disk.set_faults(Faults::default());
    driver.pass(RETRY_MILLISECONDS);
    driver.pass(LAZY_SYNC_MILLISECONDS);
    assert_eq!(driver.state(), StoreState::Working);
    disk.crash(Crash::Machine);
    assert_eq!(recovered(&disk), BTreeMap::from([(1, vec![2]), (2, vec![1])]));
}

#[test]
fn a_failing_topology_is_written_to_a_new_file() {
    let (disk, mut driver) = fresh(3, OPTIONS);
    disk.set_faults(Faults { failing_syncs: 1000, ..Faults::default() });
    driver.commit(vec![queue(4)]);
    assert_eq!(driver.committed, 1);
    disk.set_faults(Faults::default());
    driver.pass(RETRY_MILLISECONDS);
    assert_eq!((driver.committed, driver.state()), (2, StoreState::Working));
    disk.crash(Crash::Machine);
    assert_eq!(open(&disk, OPTIONS).unwrap().1.topology.len(), 4);
}

#[test]
fn draining_a_full_disk_makes_room() {
    let (disk, mut driver) = fresh(4, OPTIONS);
    for id in 1..=40 {
        driver.commit(vec![put(Log::Durable, id, &[1], 1000)]);
    }
    disk.set_faults(Faults { capacity: disk.used() + 500, ..Faults::default() });
    driver.commit(vec![put(Log::Durable, 41, &[1], 2000)]);
    assert_eq!(driver.committed, 41);
    assert!(matches!(driver.state(), StoreState::Failing { .. }), "{:?}", driver.states);
    // Consumers go on; nothing can be written, and yet the oldest segment goes.
    for id in 1..=10 {
        driver.commit(vec![remove(Log::Durable, id, 1)]);
    }
    assert_eq!((driver.committed, driver.state()), (52, StoreState::Working));
    driver.pass(LAZY_SYNC_MILLISECONDS);
    disk.crash(Crash::Machine);
    assert_eq!(recovered(&disk)[&1], (11..=41).collect::<Vec<_>>());
}

#[test]
fn a_message_is_not_dropped_for_one_that_is_not_stored() {
    let (disk, mut driver) = fresh(5, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1], 7000)]);
    driver.commit(vec![put(Log::Durable, 2, &[1], 7000)]);
    disk.set_faults(Faults { capacity: disk.used() + 100, ..Faults::default() });
    // As dead-lettering does: into one queue and out of the other, or neither.
    driver.commit(vec![put(Log::Durable, 3, &[2], 7000), remove(Log::Durable, 1, 1)]);
    assert_eq!(driver.committed, 3);
    disk.crash(Crash::Machine);
    assert_eq!(recovered(&disk), BTreeMap::from([(1, vec![1, 2])]));
}

#[test]
fn a_message_that_went_to_another_queue_outlives_the_deletion_of_its_own() {
    let deleted = || Operation::Topology(TopologyChange::QueueDeleted(QueueId(1)));
    for crash in [Crash::Process, Crash::Machine] {
        for (at_once, power_off_after) in (0..12).flat_map(|after| [(true, after), (false, after)]) {
            let (disk, mut driver) = fresh(power_off_after, OPTIONS);
            driver.commit(vec![put(Log::Durable, 1, &[1], 100)]);
            disk.set_faults(Faults { power_off_after: Some(power_off_after), ..Faults::default() });
            let mut moved = vec![put(Log::Durable, 2, &[2], 100), remove(Log::Durable, 1, 1)];
            if at_once {
                moved.push(deleted());
                driver.submit(moved);
            } else {
                driver.submit(moved);
                driver.submit(vec![deleted()]);
            }
            driver.settle();
            disk.crash(crash);
            let found = recovered(&disk);
            let whole = [BTreeMap::from([(1, vec![1])]), BTreeMap::from([(2, vec![2])])];
            assert!(whole.contains(&found), "{found:?} after {power_off_after} operations, {crash:?}");
        }
    }
}

#[test]
fn segments_go_when_their_messages_are_gone() {
    let (disk, mut driver) = fresh(6, OPTIONS);
    for id in 1..=100 {
        driver.commit(vec![put(Log::Durable, id, &[1, 2], 1000), put(Log::Overflow, id, &[3], 1000)]);
    }
    assert!(segments(&disk) > 10);
    for id in 1..=100 {
        driver.commit(vec![remove(Log::Durable, id, 1), remove(Log::Overflow, id, 3)]);
    }
    assert!(segments(&disk) > 10, "queue 2 still holds everything");
    driver.commit(vec![Operation::Topology(TopologyChange::QueueDeleted(QueueId(2)))]);
    assert_eq!(segments(&disk), 1);
    assert!(disk.used() < 4 * OPTIONS.segment_octets);
    let before = driver.store.last_message;
    drop(driver);
    disk.crash(Crash::Machine);
    assert_eq!(open(&disk, OPTIONS).unwrap().1.last_message, before, "ids are not used again");
}

#[test]
fn one_old_message_does_not_hold_the_disk() {
    let (disk, mut driver) = fresh(7, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1, 2], 500)]);
    let mut most = 0;
    for id in 2..=2000 {
        driver.commit(vec![put(Log::Durable, id, &[1], 1000)]);
        driver.commit(vec![remove(Log::Durable, id, 1)]);
        most = most.max(disk.used());
    }
    assert!(most < 8 * OPTIONS.segment_octets, "{most} octets were in use");
    assert!(driver.store.metrics.moved_octets.get() > 0);
    assert!(same(&driver.load(Log::Durable, 1).unwrap(), &message(1, 500)));
    driver.pass(LAZY_SYNC_MILLISECONDS);
    disk.crash(Crash::Machine);
    assert_eq!(recovered(&disk), BTreeMap::from([(1, vec![1]), (2, vec![1])]));
}

#[test]
fn overflow_segments_go_in_any_order() {
    let (disk, mut driver) = fresh(12, OPTIONS);
    for id in 1..=100 {
        driver.commit(vec![put(Log::Overflow, id, &[1], 1000)]);
    }
    let full = disk.used();
    for id in (2..=99).rev() {
        driver.commit(vec![remove(Log::Overflow, id, 1)]);
    }
    assert!(disk.used() < full / 3, "{} of {full} octets are still in use", disk.used());
    assert!(same(&driver.load(Log::Overflow, 1).unwrap(), &message(1, 1000)));
    assert!(same(&driver.load(Log::Overflow, 100).unwrap(), &message(100, 1000)));
}

#[test]
fn the_bound_on_disk_use_is_reported_and_lifted() {
    let options = StoreOptions { disk_max_octets: 100_000, ..OPTIONS };
    let (_, mut driver) = fresh(8, options);
    let mut id = 0;
    while driver.state() == StoreState::Working {
        id += 1;
        driver.commit(vec![put(Log::Durable, id, &[1], 1000)]);
        assert!(id < 200);
    }
    assert!(matches!(driver.state(), StoreState::Full { .. }));
    driver.commit(vec![put(Log::Durable, id + 1, &[1], 1000)]);
    assert_eq!(driver.committed, id + 2, "what is handed over is stored all the same");
    for id in 1..=id / 2 {
        driver.commit(vec![remove(Log::Durable, id, 1)]);
    }
    assert_eq!(driver.state(), StoreState::Working);
    assert_eq!(driver.states.len(), 2, "{:?}", driver.states);
}

#[test]
fn little_room_on_the_file_system_is_reported_and_lifted() {
    let (disk, mut driver) = fresh(9, StoreOptions { free_min_octets: 50_000, ..OPTIONS });
    disk.set_faults(Faults { capacity: 60_000, ..Faults::default() });
    for id in 1..=12 {
        driver.commit(vec![put(Log::Durable, id, &[1], 1000)]);
        driver.pass(1000);
    }
    assert!(matches!(driver.state(), StoreState::Full { .. }));
    disk.set_faults(Faults::default());
    driver.pass(1000);
    assert_eq!(driver.state(), StoreState::Working);
}

#[test]
fn what_is_removed_at_once_is_never_written() {
    let (disk, mut driver) = fresh(10, OPTIONS);
    let before = driver.store.metrics.written_octets.get();
    driver.submit(vec![put(Log::Durable, 1, &[1, 2], 1000)]);
    driver.submit(vec![remove(Log::Durable, 1, 1)]);
    driver.submit(vec![remove(Log::Durable, 1, 2)]);
    driver.settle();
    assert_eq!(driver.committed, 4);
    assert_eq!(driver.store.metrics.written_octets.get(), before);
    assert_eq!(segments(&disk), 0);
}

#[test]
fn an_orderly_end_knows_what_was_delivered_until_work_goes_on() {
    let (disk, mut driver) = fresh(11, OPTIONS);
    driver.commit((1..=4).map(|id| put(Log::Durable, id, &[1], 100)).collect());
    driver.submit(vec![remove(Log::Durable, 4, 1)]);
    driver.store.close(&[(QueueId(1), MessageId(2)), (QueueId(1), MessageId(4))]).unwrap();
    disk.crash(Crash::Machine);
    let marks = |recovered: &Recovered| -> Vec<(u64, bool)> {
        recovered.entries[0].1.iter().map(|entry| (entry.id.0, entry.redelivered)).collect()
    };
    let (store, first) = open(&disk, OPTIONS).unwrap();
    assert_eq!(marks(&first), [(1, false), (2, true), (3, false)]);
    drop(store);
    disk.crash(Crash::Machine);
    let (_, second) = open(&disk, OPTIONS).unwrap();
    assert_eq!(marks(&second), [(1, true), (2, true), (3, true)], "anything may have been delivered since");
}
