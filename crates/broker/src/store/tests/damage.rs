//! Files that are not as they were written.

use super::super::format::{BATCH_OCTETS, COUNT_MAX, HEADER_OCTETS, Header, Purpose, VERSION};
use super::super::repair::repair_disk;
use super::super::simulated::{Crash, Faults, Random};
use super::*;

pub(super) const FIRST: &str = "messages/000000000001.log";

/// Ten commits of one message each in one segment, synced; where each batch begins.
fn ten() -> (SimulatedDisk, Vec<usize>) {
    let options = StoreOptions { segment_octets: 1 << 20, ..OPTIONS };
    let (disk, mut driver) = fresh(1, options);
    let mut begins = Vec::new();
    for id in 1..=10 {
        begins.push(if id == 1 { HEADER_OCTETS } else { disk.octets(FIRST).len() });
        driver.commit(vec![put(Log::Durable, id, &[1], 500)]);
    }
    disk.crash(Crash::Machine);
    (disk, begins)
}

pub(super) fn flip(disk: &SimulatedDisk, name: &str, at: usize) {
    disk.tamper(name, |octets| octets[at] ^= 4);
}

pub(super) fn refusal(disk: &SimulatedDisk) -> StoreError {
    match open(disk, OPTIONS) {
        Err(error) => error,
        Ok((_, recovered)) => panic!("opened: {:?}", ids(&recovered)),
    }
}

pub(super) fn opened(disk: &SimulatedDisk) -> Vec<u64> {
    let (_, recovered) = open(disk, OPTIONS).unwrap_or_else(|error| panic!("{error}"));
    ids(&recovered).remove(&1).unwrap_or_default()
}

#[test]
fn a_torn_end_is_cut_off() {
    let (disk, begins) = ten();
    for cut in [1, BATCH_OCTETS / 2, BATCH_OCTETS + 20] {
        let (disk, begins) = if cut == 1 { (disk.clone(), begins.clone()) } else { ten() };
        disk.tamper(FIRST, |octets| octets.truncate(begins[9] + cut));
        assert_eq!(opened(&disk), (1..=9).collect::<Vec<_>>());
        assert_eq!(disk.octets(FIRST).len(), begins[9]);
    }
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place() {
    let (disk, begins) = ten();
    let before = disk.octets(FIRST);
    flip(&disk, FIRST, begins[4] + 200);
    let error = refusal(&disk);
    let StoreError::Corrupt { path, offset, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with(FIRST), "{error}");
    assert_eq!(*offset, begins[4] as u64);
    assert!(error.to_string().contains("broker repair"), "{error}");
    assert_eq!(disk.octets(FIRST).len(), before.len(), "a refused store is not changed");
}

#[test]
fn repair_saves_what_is_whole() {
    let (disk, begins) = ten();
    // One record lost, one batch start lost whose record is whole, and two batches lost at once.
    flip(&disk, FIRST, begins[1] + 200);
    flip(&disk, FIRST, begins[3] + 10);
    disk.tamper(FIRST, |octets| octets[begins[5] + 5..begins[6] + 100].fill(0xAA));
    let damaged = disk.octets(FIRST);
    let report = repair_disk(&disk).unwrap();
    let [file] = &report.files[..] else { panic!("{report:?}") };
    let saved: Vec<_> = file.losses.iter().map(|loss| (loss.offset as usize, loss.saved)).collect();
    assert_eq!(saved, [(begins[1], 0), (begins[3], 1), (begins[5], 0)]);
    assert_eq!(opened(&disk), [1, 3, 4, 5, 8, 9, 10]);
    assert_eq!(disk.octets(&format!("{FIRST}.damaged")), damaged);
    assert_eq!(repair_disk(&disk).unwrap().files, [], "nothing is left to repair");
}

#[test]
fn repair_makes_up_headers_and_segments() {
    let (disk, mut driver) = fresh(2, OPTIONS);
    for id in 1..=60 {
        driver.commit(vec![put(Log::Durable, id, &[1], 700)]);
    }
    let segments: Vec<String> = disk.names().into_iter().filter(|name| name.starts_with("messages/")).collect();
    assert!(segments.len() > 5);
    disk.crash(Crash::Machine);
    disk.unlink(&segments[3]).unwrap();
    assert!(matches!(refusal(&disk), StoreError::Missing { .. }));
    flip(&disk, &segments[1], 30);
    disk.tamper(&segments[4], |octets| octets.truncate(octets.len() / 2));
    let report = repair_disk(&disk).unwrap();
    assert_eq!(report.files.len(), 3, "{report:?}");
    let left = opened(&disk);
    assert!(left.len() > 40 && left.len() < 55, "{left:?}");
    assert!(left.contains(&12), "what was in the segment without a header is saved: {left:?}");
}

#[test]
fn a_file_that_does_not_belong_there_is_refused() {
    let (disk, _) = ten();
    let stray = "messages/004000000000.log";
    disk.tamper(stray, |octets| octets.extend_from_slice(b"a copy of something else"));
    assert!(matches!(refusal(&disk), StoreError::Missing { .. }));
    let error = repair_disk(&disk).unwrap_err();
    assert!(matches!(error, StoreError::Gap { missing: 3_999_999_998, .. }), "{error}");
    disk.unlink(stray).unwrap();
    assert_eq!(opened(&disk).len(), 10);
}

#[test]
fn numbers_that_no_broker_reaches_are_damage() {
    for number in [u64::MAX, COUNT_MAX + 1] {
        let (disk, begins) = ten();
        disk.tamper(FIRST, |octets| {
            let header = Header::decode(octets, Purpose::Messages, 1).unwrap();
            octets[begins[4] + 8..begins[4] + 16].copy_from_slice(&number.to_be_bytes());
            let sum = header.seed().checksum(&octets[begins[4]..begins[4] + 40]);
            octets[begins[4] + 40..begins[4] + 44].copy_from_slice(&sum.to_be_bytes());
        });
        assert!(matches!(refusal(&disk), StoreError::Corrupt { .. }));
        repair_disk(&disk).unwrap();
        assert_eq!(opened(&disk).len(), 10, "the record was whole");
    }
}

#[test]
fn damage_to_the_topology_is_refused_and_repaired() {
    let (disk, mut driver) = fresh(3, OPTIONS);
    for id in 4..10 {
        driver.commit(vec![queue(id), put(Log::Durable, id, &[id], 100)]);
    }
    disk.crash(Crash::Machine);
    let octets = disk.octets("topology");
    let name = octets.windows(7).position(|window| window == b"queue-6").unwrap();
    flip(&disk, "topology", name);
    assert!(matches!(refusal(&disk), StoreError::Corrupt { .. }));
    assert_eq!(repair_disk(&disk).unwrap().queues, ["recovered-6"]);
    let (_, recovered) = open(&disk, OPTIONS).unwrap();
    assert_eq!(ids(&recovered), (4..10).map(|id| (id, vec![id])).collect());
    assert_eq!((recovered.topology.len(), recovered.last_queue), (9, 9));
}

#[test]
fn messages_without_their_topology_are_refused_and_a_repair_makes_queues_for_them() {
    let mut done = 0;
    for power_off_after in 0..20 {
        let (disk, _) = ten();
        disk.unlink("topology").unwrap();
        disk.sync_directory("").unwrap();
        assert!(matches!(refusal(&disk), StoreError::Missing { .. }));
        disk.set_faults(Faults { power_off_after: Some(power_off_after), ..Faults::default() });
        if let Ok(report) = repair_disk(&disk) {
            assert_eq!(report.queues, ["recovered-1"]);
            assert!(matches!(&report.files[..], [file] if file.path.ends_with("topology") && file.kept_as.is_none()));
            done += 1;
        }
        disk.crash(Crash::Machine);
        match open(&disk, OPTIONS) {
            Err(StoreError::Missing { .. }) => assert_eq!(repair_disk(&disk).unwrap().queues, ["recovered-1"]),
            Err(error) => panic!("{error}"),
            Ok(_) => {}
        }
        let (_, recovered) = open(&disk, OPTIONS).unwrap();
        assert_eq!(ids(&recovered)[&1], (1..=10).collect::<Vec<_>>());
        let TopologyChange::QueueDeclared(queue) = &recovered.topology[0] else { panic!("{recovered:?}") };
        assert_eq!((&*queue.vhost, &*queue.name), ("/", "recovered-1"));
        assert_eq!(repair_disk(&disk).unwrap(), Default::default(), "nothing is left to repair");
    }
    assert!((1..20).contains(&done), "{done} repairs were not interrupted");
}

#[test]
fn files_of_two_stores_are_told_apart() {
    let (disk, _) = ten();
    let other = SimulatedDisk::new(1);
    let (store, _) = Store::open(other.clone(), OPTIONS, 78, Arc::default(), Arc::default()).unwrap();
    store.close(&[]).unwrap();
    disk.tamper("messages/000000000002.log", |octets| {
        let mut header = Header::decode(&other.octets(FIRST), Purpose::Messages, 1).unwrap();
        header.number = 2;
        octets.extend_from_slice(&header.encode());
    });
    for topology in [true, false] {
        if !topology {
            disk.unlink("topology").unwrap();
            // So that there are more segments of the one store than of the other.
            let header = Header::decode(&disk.octets(FIRST), Purpose::Messages, 1).unwrap();
            let third = Header { number: 3, ..header };
            disk.tamper("messages/000000000003.log", |octets| octets.extend_from_slice(&third.encode()));
        }
        match repair_disk(&disk).unwrap_err() {
            StoreError::Stranger { path, other } => {
                assert!(path.ends_with("messages/000000000002.log"));
                assert!(other.ends_with(if topology { "topology" } else { FIRST }), "{other:?}");
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_repair_says_what_its_figures_mean() {
    let told = |disk: &SimulatedDisk| {
        let mut told = Vec::new();
        repair_disk(disk).unwrap().tell(&mut told).unwrap();
        String::from_utf8(told).unwrap()
    };
    let meaning = "messages, queues and bindings in what was damaged or missing are lost unless saved";
    let (disk, begins) = ten();
    assert_eq!(told(&disk), "nothing is damaged\n");
    flip(&disk, FIRST, begins[1] + 200);
    flip(&disk, FIRST, begins[3] + 200);
    let text = told(&disk);
    assert!(text.contains(&format!("{meaning}, at most 2 records; ")), "{text}");
    let (disk, begins) = ten();
    flip(&disk, FIRST, begins[1] + 200);
    flip(&disk, FIRST, begins[3] + 10);
    let text = told(&disk);
    assert!(text.contains(&format!("{meaning}; ")), "how many is not known: {text}");
    let (disk, _) = ten();
    flip(&disk, FIRST, 30);
    let text = told(&disk);
    assert!(text.contains("octets damaged") && !text.contains(meaning), "a header holds no messages: {text}");
    let (disk, _) = ten();
    disk.unlink(FIRST).unwrap();
    let text = told(&disk);
    assert!(text.contains("000000000001.log: was missing") && text.contains(&format!("{meaning}; ")), "{text}");
    assert!(text.ends_with("1 file repaired\n"), "{text}");
}

#[test]
fn another_format_is_refused() {
    for name in ["topology", FIRST] {
        let (disk, _) = ten();
        disk.tamper(name, |octets| octets[8..12].copy_from_slice(&(VERSION + 1).to_be_bytes()));
        assert!(matches!(refusal(&disk), StoreError::Version { found, .. } if found == VERSION + 1));
        let (disk, _) = ten();
        disk.tamper(name, |octets| octets[..4].copy_from_slice(b"what"));
        assert!(matches!(refusal(&disk), StoreError::Foreign { .. }));
    }
}

#[test]
fn a_message_damaged_while_running_is_not_delivered() {
    let (disk, mut driver) = fresh(4, OPTIONS);
    driver.commit(vec![put(Log::Durable, 1, &[1], 500), put(Log::Durable, 2, &[1], 500)]);
    flip(&disk, FIRST, HEADER_OCTETS + BATCH_OCTETS + 300);
    assert!(driver.load(Log::Durable, 1).is_none());
    assert!(same(&driver.load(Log::Durable, 2).unwrap(), &message(2, 500)));
}

#[test]
fn no_flipped_bit_brings_wrong_messages() {
    let length = ten().0.octets(FIRST).len();
    for at in (0..length).step_by(7) {
        let (disk, _) = ten();
        flip(&disk, FIRST, at);
        if let Ok((store, recovered)) = open(&disk, OPTIONS) {
            let mut driver = Driver::new(store);
            for id in ids(&recovered).remove(&1).unwrap_or_default() {
                assert!(same(&driver.load(Log::Durable, id).unwrap(), &message(id, 500)));
            }
        }
    }
}

#[test]
fn whatever_is_damaged_repair_makes_a_store_that_opens() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let (disk, mut driver) = fresh(seed, OPTIONS);
        for id in 1..=40 {
            driver.commit(vec![put(Log::Durable, id, &[1], 700)]);
            if id.is_multiple_of(4) {
                driver.commit(vec![remove(Log::Durable, id, 1), queue(id)]);
            }
        }
        disk.crash(Crash::Machine);
        let files = disk.names();
        for _ in 0..=random.below(4) {
            let name = &files[random.below(files.len() as u64) as usize];
            let length = disk.octets(name).len() as u64;
            let (from, count) = (random.below(length) as usize, random.below(300) as usize);
            match random.below(4) {
                0 => flip(&disk, name, from),
                1 => disk.tamper(name, |octets| octets.truncate(from.max(1))),
                2 => disk.tamper(name, |octets| octets.iter_mut().skip(from).take(count).for_each(|octet| *octet = 0)),
                _ => disk.tamper(name, |octets| octets.iter_mut().skip(from).take(count).for_each(|o| *o ^= 0x5A)),
            }
        }
        match repair_disk(&disk) {
            Ok(report) => report,
            // A version or a magic of its own is not damage that can be told.
            Err(StoreError::Version { .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let (store, recovered) = open(&disk, OPTIONS).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let mut driver = Driver::new(store);
        for id in ids(&recovered).remove(&1).unwrap_or_default() {
            assert!(same(&driver.load(Log::Durable, id).unwrap(), &message(id, 700)), "seed {seed}");
        }
    }
}
