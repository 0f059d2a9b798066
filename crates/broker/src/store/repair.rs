//! Saving what is whole of a damaged store, in place and keeping the damaged files.
//!
//! Each damaged stretch is replaced by one batch of the same length that holds the whole records found in it, so that
//! everything around it stays where it is. Does not know what the records mean.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::disk::{Disk, DiskFile, RealDisk};
use super::error::StoreError;
use super::format::{BATCH_OCTETS, BadHeader, HEADER_OCTETS, Header, Kind, Purpose, VERSION};
use super::journal::{JOURNAL, Journal, decode_header, read_all, read_newest};
use super::mend::{Loss, mend};
use super::newest::{Newest, is_end_at};
use super::operation::{StoredQueue, TopologyChange};
use super::payload::decode_facts;
use super::recovery::{list, segment_numbers};
use super::repair_report::{RepairReport, RepairedFile};
use super::scan::scan;
use super::segments::{segment_name, segment_number};
use super::topology::Topology;
use super::worker::lock;
use crate::identity::QueueId;

/// Missing segments in a row that are replaced by empty ones; 16 GiB of messages at the usual length of a segment. A wider
/// gap is a file that does not belong here.
const GAP_MAX: u64 = 1024;

/// Makes a damaged store in `directory` one that can be opened, and says in `out` what was lost. It must not be in use.
///
/// A file that lost nothing is not touched. A torn end, which every crash may leave, is not damage.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Io`] (also for `out`), [`StoreError::Version`], [`StoreError::NoStore`],
/// [`StoreError::Gap`] and [`StoreError::Stranger`] for files that do not belong there, and [`StoreError::Corrupt`] when no
/// header of any file is whole.
pub fn repair(directory: &Path, out: &mut dyn Write) -> Result<RepairReport, StoreError> {
    let disk = RealDisk::new(directory);
    // Before anything is made there, the lock too.
    if !holds_store(&disk)? {
        return Err(StoreError::NoStore { directory: directory.to_owned() });
    }
    let _lock = lock(directory)?;
    let report = repair_disk(&disk)?;
    report.tell(out).map_err(StoreError::io("report on", directory))?;
    Ok(report)
}

/// Whether there is anything that a store consists of.
fn holds_store<D: Disk>(disk: &D) -> Result<bool, StoreError> {
    let names = |directory| match list(disk, directory) {
        Err(StoreError::Io { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        other => other,
    };
    Ok(names("")?.iter().any(|name| name == JOURNAL)
        || names("messages")?.iter().any(|name| segment_number(name).is_some()))
}

/// A file to be looked at.
struct Subject {
    name: String,
    purpose: Purpose,
    number: u64,
    /// Without the header when that is damaged; nothing at all when the file is missing.
    octets: Option<Vec<u8>>,
    header: Option<Header>,
    /// So much of it was synced, as others say.
    synced: u64,
}

/// The same on any disk.
pub(super) fn repair_disk<D: Disk>(disk: &D) -> Result<RepairReport, StoreError> {
    if !holds_store(disk)? {
        return Err(StoreError::NoStore { directory: disk.path("") });
    }
    disk.create_directory("messages").map_err(StoreError::io("create", disk.path("messages")))?;
    let mut journal = subject(disk, JOURNAL.to_owned(), Purpose::Topology, Header::TOPOLOGY_NUMBER)?;
    // The first batch was synced before the file got its name.
    journal.synced = (HEADER_OCTETS + BATCH_OCTETS) as u64;
    let mut segments = segments(disk)?;
    let salt = common_salt(disk, &journal, &segments)?;
    let mut report = RepairReport::default();
    let is_there = journal.octets.is_some();
    let noted = if is_there {
        repair_one(disk, &journal, salt, (0, 0), None, &mut report)?;
        read_newest(disk)?
    } else {
        // It is made when all else is done: until then, messages without queues would not outlive a start.
        report.files.push(RepairedFile { path: disk.path(JOURNAL), kept_as: None, losses: Vec::new() });
        None
    };
    let is_whole = report.files.is_empty();
    if let (Some(Newest { number, end: Some(end) }), Some(last)) = (noted, segments.last_mut())
        && number == last.number
    {
        last.synced = end;
    }
    // How long the segment before is, and its last batch.
    let mut before = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.header);
        before = repair_one(disk, segment, salt, before, next, &mut report)?;
    }
    let numbers: Vec<u64> = segments.iter().map(|segment| segment.number).collect();
    let newest = compare(disk, noted, numbers.last().copied(), &mut report)?;
    let queues = if !is_there {
        let queues = lost_queues(disk, &numbers, &Topology::default())?;
        Journal::create(disk.clone(), salt, &queues, numbers.last().copied().map(Newest::written), Arc::default())?;
        queues
    } else if !is_whole || newest != noted {
        let mut journal = Journal::open(disk.clone(), Arc::default())?;
        let queues = if is_whole { Vec::new() } else { lost_queues(disk, &numbers, journal.topology())? };
        if !queues.is_empty() {
            journal.append(&queues)?;
        }
        if newest != noted {
            journal.correct(newest)?;
        }
        queues
    } else {
        Vec::new()
    };
    let name = |change: &TopologyChange| match change {
        TopologyChange::QueueDeclared(queue) => Some(queue.name.to_string()),
        _ => None,
    };
    report.queues = queues.iter().filter_map(name).collect();
    Ok(report)
}

/// All segments, also those that are missing between two.
fn segments<D: Disk>(disk: &D) -> Result<Vec<Subject>, StoreError> {
    let numbers = segment_numbers(disk)?;
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        let missing = after - before - 1;
        if missing > GAP_MAX {
            let path = |number| disk.path(&segment_name(Purpose::Messages, number));
            return Err(StoreError::Gap { before: path(*before), path: path(*after), missing, max: GAP_MAX });
        }
    }
    let range = numbers.first().copied().unwrap_or(1)..=numbers.last().copied().unwrap_or(0);
    let subjects =
        range.map(|number| subject(disk, segment_name(Purpose::Messages, number), Purpose::Messages, number));
    subjects.collect()
}

/// The salt of the store: that of its topology or, without one, of most segments.
fn common_salt<D: Disk>(disk: &D, journal: &Subject, segments: &[Subject]) -> Result<u64, StoreError> {
    let known = |subject: &Subject| subject.header.map(|header| header.salt);
    let count = |salt: u64| segments.iter().filter(|segment| known(segment) == Some(salt)).count();
    // Backwards, because of several the last one is taken.
    let most = || segments.iter().rev().filter_map(|s| Some((s, known(s)?))).max_by_key(|(_, salt)| count(*salt));
    let Some((model, salt)) = known(journal).map(|salt| (journal, salt)).or_else(most) else {
        let what = "no header of any file is whole: nothing can be told apart".to_owned();
        return Err(StoreError::Corrupt { path: disk.path(JOURNAL), offset: 0, what });
    };
    match segments.iter().find(|segment| known(segment).is_some_and(|other| other != salt)) {
        Some(other) => Err(StoreError::Stranger { path: disk.path(&other.name), other: disk.path(&model.name) }),
        None => Ok(salt),
    }
}

/// Compares what was noted of the log with what there is: up to segment `last`. What is to be noted instead.
fn compare<D: Disk>(
    disk: &D,
    noted: Option<Newest>,
    last: Option<u64>,
    report: &mut RepairReport,
) -> Result<Option<Newest>, StoreError> {
    let Some(newest) = noted.filter(|newest| last.is_none_or(|last| last <= newest.number)) else {
        return Ok(noted);
    };
    if last == Some(newest.number) {
        let Some(end) = newest.end else { return Ok(noted) };
        let name = segment_name(Purpose::Messages, newest.number);
        let octets = read_all(disk, &name)?;
        let header = decode_header(&octets, Purpose::Messages, newest.number, &disk.path(&name))?;
        let mut found = false;
        scan(&octets, &header, |records| found |= is_end_at(records, end));
        report.end_missing = !found;
        return Ok(if found { noted } else { Some(Newest::written(newest.number)) });
    }
    // How many there were is not known when none is left; and not all are named when someone threw away very many.
    let first = last.map_or(newest.number, |last| last + 1).max(newest.number.saturating_sub(GAP_MAX));
    let missing = (first..=newest.number).map(|number| disk.path(&segment_name(Purpose::Messages, number)));
    report.missing = missing.collect();
    Ok(last.map(Newest::written))
}

/// What makes queues for the messages whose own is not in the topology, so that opening the store does not drop them.
fn lost_queues<D: Disk>(disk: &D, segments: &[u64], topology: &Topology) -> Result<Vec<TopologyChange>, StoreError> {
    let mut missing: BTreeSet<QueueId> = BTreeSet::new();
    for number in segments {
        let name = segment_name(Purpose::Messages, *number);
        let octets = read_all(disk, &name)?;
        let header = decode_header(&octets, Purpose::Messages, *number, &disk.path(&name))?;
        let mut queues = Vec::new();
        scan(&octets, &header, |records| {
            for (_, record) in records.iter().filter(|(_, record)| record.kind == Kind::Message) {
                if decode_facts(record.payload, &mut queues).is_some() {
                    missing.extend(queues.iter().filter(|queue| !topology.has_queue(**queue)));
                }
            }
        });
    }
    let made = missing.into_iter().map(|id| StoredQueue {
        id,
        vhost: "/".into(),
        name: format!("recovered-{}", id.0).into(),
        auto_delete: false,
        arguments: FieldTable::default(),
    });
    Ok(made.map(TopologyChange::QueueDeclared).collect())
}

fn subject<D: Disk>(disk: &D, name: String, purpose: Purpose, number: u64) -> Result<Subject, StoreError> {
    let octets = match read_all(disk, &name) {
        Ok(octets) => Some(octets),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let header = match octets.as_ref().map(|octets| Header::decode(octets, purpose, number)) {
        Some(Ok(header)) => Some(header),
        Some(Err(BadHeader::Version(found))) => {
            return Err(StoreError::Version { path: disk.path(&name), found, known: VERSION });
        }
        Some(Err(BadHeader::Foreign | BadHeader::Damaged(_))) | None => None,
    };
    Ok(Subject { name, purpose, number, octets, header, synced: 0 })
}

/// Repairs one file. `next` is the header of the segment after it: none for the last, and none in it if damaged. What
/// the file after this one has to know: how much counts, and the last batch.
fn repair_one<D: Disk>(
    disk: &D,
    subject: &Subject,
    salt: u64,
    before: (u64, u64),
    next: Option<Option<Header>>,
    report: &mut RepairReport,
) -> Result<(u64, u64), StoreError> {
    let mut octets = subject.octets.clone().unwrap_or_default();
    let mut losses = Vec::new();
    let mut header = subject.header.unwrap_or(Header {
        purpose: subject.purpose,
        number: subject.number,
        salt,
        last_id: 0,
        previous_length: before.0,
        last_batch: before.1,
    });
    if let Some(counts) = next.flatten().map(|next| next.previous_length as usize) {
        octets.resize(counts.max(HEADER_OCTETS), 0);
    }
    octets.resize(octets.len().max(subject.synced as usize), 0);
    if subject.header.is_none() {
        octets.resize(octets.len().max(HEADER_OCTETS), 0);
        // Of a file that is missing nobody knows what was in it.
        let lost = subject.octets.as_ref().map(|_| 0);
        losses.push(Loss { offset: 0, octets: HEADER_OCTETS as u64, saved: 0, lost });
    }
    let ends_with = next.map(|next| next.map(|next| next.last_batch));
    let mended = mend(&mut octets, &mut header, subject.header.is_none(), ends_with, subject.synced as usize);
    losses.extend(mended.losses);
    if !losses.is_empty() {
        octets[..HEADER_OCTETS].copy_from_slice(&header.encode());
        let kept_as = replace(disk, subject, &octets)?;
        report.files.push(RepairedFile { path: disk.path(&subject.name), kept_as, losses });
    }
    Ok((octets.len() as u64, mended.last_batch))
}

/// Puts `octets` in place of the file, in one step; where a copy of it is.
fn replace<D: Disk>(disk: &D, subject: &Subject, octets: &[u8]) -> Result<Option<PathBuf>, StoreError> {
    let name = &subject.name;
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut kept_as = None;
    if let Some(damaged) = &subject.octets {
        let names = disk.list(directory).map_err(StoreError::io("list", disk.path(directory)))?;
        let taken = |copy: &String| names.iter().any(|name| copy.rsplit('/').next() == Some(name));
        let mut copy = format!("{name}.damaged");
        for count in 1.. {
            if !taken(&copy) {
                break;
            }
            copy = format!("{name}.damaged-{count}");
        }
        write_synced(disk, &copy, damaged)?;
        kept_as = Some(disk.path(&copy));
    }
    let repaired = format!("{name}.repaired");
    write_synced(disk, &repaired, octets)?;
    disk.rename(&repaired, name).map_err(StoreError::io("rename to", disk.path(name)))?;
    disk.sync_directory(directory).map_err(StoreError::io("sync", disk.path(directory)))?;
    Ok(kept_as)
}

fn write_synced<D: Disk>(disk: &D, name: &str, octets: &[u8]) -> Result<(), StoreError> {
    let file = disk.create(name).map_err(StoreError::io("create", disk.path(name)))?;
    file.write_at(0, octets).and_then(|()| file.sync()).map_err(StoreError::io("write", disk.path(name)))
}
