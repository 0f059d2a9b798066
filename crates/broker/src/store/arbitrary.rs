//! Octets from anywhere as the files of a store, for fuzzing: opened, used, repaired.
//!
//! The files stand in an archive of their own, one behind the other, so that a corpus can be real files: a place (0 is the
//! topology, every other number the segment of that number), the length of the content (3 octets), the content. Does not
//! know what is in them, apart from where checksums stand.

use std::sync::Arc;

use super::StoreOptions;
use super::core::Store;
use super::error::StoreError;
use super::format::{BATCH_OCTETS, HEADER_OCTETS, Header, Purpose, RECORD_OCTETS, Seed};
use super::journal::JOURNAL;
use super::operation::{Log, Operation, Recovered, Report};
use super::repair::repair_disk;
use super::segments::segment_name;
use super::simulated::{Crash, SimulatedDisk};
#[cfg(test)]
use crate::identity::QueueId;
use crate::identity::{CommitId, MessageId};

/// As in the tests of the store: small segments, so that there are many.
const OPTIONS: StoreOptions = StoreOptions { segment_octets: 8192, disk_max_octets: 1 << 20, free_min_octets: 0 };
const SALT: u64 = 77;
/// Turns after which a store that has always more to do counts as hanging.
const TURNS_MAX: usize = 10_000;

/// A disk with the files of an archive. With `sealed`, all checksums are made right first: otherwise nearly nothing that
/// a fuzzer makes up gets past them.
pub(crate) fn unpack(archive: &[u8], sealed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let mut rest = archive;
    while let Some((&[place, l0, l1, l2], after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let (content, after) = after.split_at(length.min(after.len()));
        let name = match place {
            0 => JOURNAL.to_owned(),
            number => segment_name(Purpose::Messages, number.into()),
        };
        let mut content = content.to_vec();
        if sealed {
            seal(&mut content);
        }
        disk.tamper(&name, |octets| *octets = content);
        rest = after;
    }
    disk
}

/// The archive of what is on a disk.
#[cfg(test)]
fn pack(disk: &SimulatedDisk) -> Vec<u8> {
    let mut archive = Vec::new();
    for name in disk.names() {
        let number = name.strip_prefix("messages/").and_then(super::segments::segment_number);
        let Some(place) = number.or((name == JOURNAL).then_some(0)).and_then(|place| u8::try_from(place).ok()) else {
            continue;
        };
        let content = disk.octets(&name);
        archive.push(place);
        archive.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
        archive.extend_from_slice(&content);
    }
    archive
}

/// Makes the checksums of a file right, as far as its lengths lead.
fn seal(octets: &mut [u8]) {
    let Some(header) = octets.first_chunk_mut::<HEADER_OCTETS>() else { return };
    let sum = crc32fast::hash(&header[..HEADER_OCTETS - 4]);
    header[HEADER_OCTETS - 4..].copy_from_slice(&sum.to_be_bytes());
    let number = |at: usize| header[at..].first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
    let (purpose, number, salt) = (Purpose::Messages, number(16), number(24));
    let seed = Header { purpose, number, salt, last_id: 0, previous_length: 0, last_batch: 0 }.seed();
    let mut at = HEADER_OCTETS;
    while let Some(batch) = octets.get_mut(at..).filter(|rest| rest.len() >= BATCH_OCTETS) {
        at += BATCH_OCTETS + seal_batch(batch, seed);
    }
}

/// Makes the checksums of the batch at the front right; the octets of its records.
fn seal_batch(octets: &mut [u8], seed: Seed) -> usize {
    let length = |octets: &[u8]| octets.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let (start, rest) = octets.split_at_mut(BATCH_OCTETS);
    let sum = seed.checksum(&start[..BATCH_OCTETS - 4]);
    start[BATCH_OCTETS - 4..].copy_from_slice(&sum.to_be_bytes());
    let records = length(&start[4..]).min(rest.len());
    let mut at = 0;
    while let Some(record) = rest[..records].get_mut(at..).filter(|rest| rest.len() >= RECORD_OCTETS) {
        let end = RECORD_OCTETS.saturating_add(length(record)).min(record.len());
        let sum = seed.checksum(&record[RECORD_OCTETS - 1..end]);
        record[4..RECORD_OCTETS - 1].copy_from_slice(&sum.to_be_bytes());
        at += end;
    }
    records
}

/// Opens a disk as a store, after a repair if need be. What is in it is read, one more message is stored, and it is
/// opened again after a crash.
///
/// # Panics
/// When a store that was opened cannot be used, or not be opened again.
pub(crate) fn open_and_use(disk: &SimulatedDisk) {
    let opened = open(disk).or_else(|_| repair_disk(disk).and_then(|_| open(disk)));
    let Ok((mut store, recovered)) = opened else { return };
    let mut read = None;
    for (queue, entries) in &recovered.entries {
        let wanted: Vec<_> = entries.iter().map(|entry| (Log::Durable, entry.id)).collect();
        if let Report::Loaded { messages, .. } = store.load(*queue, &wanted) {
            read = read.or_else(|| messages.into_iter().find_map(|(_, message)| Some((*queue, message?))));
        }
    }
    let (Some((queue, message)), Some(id)) = (read, recovered.last_message.checked_add(1)) else { return };
    let id = MessageId(id);
    store.submit(CommitId(1), vec![Operation::Put { log: Log::Durable, id, queues: Box::new([queue]), message }]);
    let mut reports = Vec::new();
    for _ in 0..TURNS_MAX {
        if store.turn(0, &mut reports).is_none_or(|next| next > 0) {
            break;
        }
    }
    assert!(matches!(reports[..], [Report::Committed(CommitId(1)), ..]), "not stored: {reports:?}");
    drop(store);
    disk.crash(Crash::Machine);
    match open(disk) {
        Ok((_, again)) => {
            let mut entries = again.entries.iter().filter(|(of, _)| *of == queue).flat_map(|(_, entries)| entries);
            assert!(entries.any(|entry| entry.id == id), "what was stored is lost");
        }
        Err(error) => panic!("what was stored cannot be opened: {error}"),
    }
}

fn open(disk: &SimulatedDisk) -> Result<(Store<SimulatedDisk>, Recovered), StoreError> {
    Store::open(disk.clone(), OPTIONS, SALT, Arc::default(), Arc::default())
}

/// An archive that the store wrote, to start from: topology, messages in several segments, removals, and an orderly
/// end if wanted.
#[cfg(test)]
pub(crate) fn example(
    message: &Arc<crate::message::Message>,
    changes: Vec<super::TopologyChange>,
    orderly: bool,
) -> Result<Vec<u8>, StoreError> {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk)?;
    let queue = QueueId(1);
    let put = |id| {
        let queues = if id % 3 == 0 { Box::new([queue, QueueId(2)]) as Box<[_]> } else { Box::new([queue]) };
        Operation::Put { log: Log::Durable, id: MessageId(id), queues, message: Arc::clone(message) }
    };
    let remove = |id| Operation::Remove { log: Log::Durable, id: MessageId(id), queue };
    let mut commits: Vec<Vec<Operation>> =
        changes.into_iter().map(|change| vec![Operation::Topology(change)]).collect();
    commits.extend((1..=12).map(|id| vec![put(id)]));
    commits.push(vec![remove(2), put(13), remove(3)]);
    let mut unheard = Vec::new();
    for (number, operations) in commits.into_iter().enumerate() {
        store.submit(CommitId(number as u64 + 1), operations);
        while store.turn(0, &mut unheard).is_some_and(|next| next == 0) {}
    }
    if orderly {
        store.close(&[(queue, MessageId(1))])?;
    }
    Ok(pack(&disk))
}
