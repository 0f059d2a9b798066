//! Saving what is whole of a damaged store, in place and keeping the damaged files.
//!
//! Each damaged stretch is replaced by one batch of the same length that holds the whole records found in it, so that
//! everything around it stays where it is. Does not know what the records mean.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::disk::{Disk, DiskFile, RealDisk};
use super::error::StoreError;
use super::format::{BATCH_OCTETS, BadHeader, HEADER_OCTETS, Header, Kind, Purpose, VERSION};
use super::journal::{JOURNAL, Journal, decode_header, read_all};
use super::mend::{Loss, mend};
use super::operation::{StoredQueue, TopologyChange};
use super::payload::decode_facts;
use super::recovery::segment_numbers;
use super::scan::scan;
use super::segments::segment_name;
use super::worker::lock;
use crate::identity::QueueId;

/// Missing segments in a row that are replaced by empty ones; 16 GiB of messages at the usual length of a segment. A wider
/// gap is a file that does not belong here.
const GAP_MAX: u64 = 1024;

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Every file that was damaged, in the order of what they say; none if nothing was.
    pub files: Vec<RepairedFile>,
    /// Queues in the virtual host `/` that were made for messages whose own queue was lost with a part of the topology.
    /// Queues that were deleted not long ago may be among them.
    pub queues: Vec<String>,
}

/// A file that was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedFile {
    /// Its path; what is there now is whole.
    pub path: PathBuf,
    /// Where it is kept as it was; `None` if it was missing.
    pub kept_as: Option<PathBuf>,
    /// What was lost.
    pub losses: Vec<Loss>,
}

/// Makes a damaged store in `directory` one that can be opened, and says in `out` what was lost. It must not be in use.
///
/// A file that lost nothing is not touched. A torn end, which every crash may leave, is not damage.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::Io`] (also for `out`), [`StoreError::Version`], and [`StoreError::Missing`] when the
/// topology is not there: without it no message belongs to a queue.
pub fn repair(directory: &Path, out: &mut dyn Write) -> Result<RepairReport, StoreError> {
    if !directory.is_dir() {
        return Err(StoreError::Missing { path: directory.to_owned() });
    }
    let _lock = lock(directory)?;
    let report = repair_disk(&RealDisk::new(directory))?;
    let written = report.files.iter().try_for_each(|file| {
        match &file.kept_as {
            Some(kept) => writeln!(out, "{}: repaired, kept as {}", file.path.display(), kept.display())?,
            None => writeln!(out, "{}: was missing, replaced by an empty one", file.path.display())?,
        }
        file.losses.iter().try_for_each(|loss| {
            let Loss { offset, octets, saved } = loss;
            writeln!(out, "  at offset {offset}: {octets} octets damaged, {saved} whole records in them saved")
        })
    });
    let written = written.and_then(|()| {
        let mut queues = report.queues.iter();
        queues.try_for_each(|queue| writeln!(out, "queue {queue} in / holds messages whose own queue was lost"))
    });
    let summary = match report.files.len() {
        0 => writeln!(out, "nothing is damaged"),
        count => writeln!(out, "{count} files repaired"),
    };
    written.and(summary).map_err(StoreError::io("report on", directory))?;
    Ok(report)
}

/// A file to be looked at.
struct Subject {
    name: String,
    purpose: Purpose,
    number: u64,
    /// Without the header when that is damaged; nothing at all when the file is missing.
    octets: Option<Vec<u8>>,
    header: Option<Header>,
}

/// The same on any disk.
pub(super) fn repair_disk<D: Disk>(disk: &D) -> Result<RepairReport, StoreError> {
    let journal = subject(disk, JOURNAL.to_owned(), Purpose::Topology, Header::TOPOLOGY_NUMBER)?;
    if journal.octets.is_none() {
        return Err(StoreError::Missing { path: disk.path(JOURNAL) });
    }
    let numbers = segment_numbers(disk)?;
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        let missing = after - before - 1;
        if missing > GAP_MAX {
            let path = |number| disk.path(&segment_name(Purpose::Messages, number));
            return Err(StoreError::Gap { before: path(*before), path: path(*after), missing, max: GAP_MAX });
        }
    }
    let range = numbers.first().copied().unwrap_or(1)..=numbers.last().copied().unwrap_or(0);
    let mut segments = Vec::new();
    for number in range {
        segments.push(subject(disk, segment_name(Purpose::Messages, number), Purpose::Messages, number)?);
    }
    let known = |subject: &Subject| subject.header.map(|header| header.salt);
    let Some(salt) = known(&journal).or_else(|| segments.iter().find_map(known)) else {
        let what = "no header of any file is whole: nothing can be told apart".to_owned();
        return Err(StoreError::Corrupt { path: disk.path(JOURNAL), offset: 0, what });
    };
    let mut report = RepairReport::default();
    repair_one(disk, &journal, salt, (0, 0), None, &mut report)?;
    let topology_is_whole = report.files.is_empty();
    // How long the segment before is, and its last batch.
    let mut before = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|next| next.header);
        before = repair_one(disk, segment, salt, before, next, &mut report)?;
    }
    if !topology_is_whole {
        report.queues = make_queues(disk, segments.iter().map(|segment| segment.number))?;
    }
    Ok(report)
}

/// Makes queues for the messages whose own is lost, so that opening the store does not drop them.
fn make_queues<D: Disk>(disk: &D, segments: impl Iterator<Item = u64>) -> Result<Vec<String>, StoreError> {
    let mut journal = Journal::open(disk.clone(), Arc::default())?;
    let mut missing: BTreeSet<QueueId> = BTreeSet::new();
    for number in segments {
        let name = segment_name(Purpose::Messages, number);
        let octets = read_all(disk, &name)?;
        let header = decode_header(&octets, Purpose::Messages, number, &disk.path(&name))?;
        let mut queues = Vec::new();
        scan(&octets, &header, |records| {
            for (_, record) in records.iter().filter(|(_, record)| record.kind == Kind::Message) {
                if decode_facts(record.payload, &mut queues).is_some() {
                    missing.extend(queues.iter().filter(|queue| !journal.topology().has_queue(**queue)));
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
    let changes: Vec<TopologyChange> = made.map(TopologyChange::QueueDeclared).collect();
    let name = |change: &TopologyChange| match change {
        TopologyChange::QueueDeclared(queue) => Some(queue.name.to_string()),
        _ => None,
    };
    if !changes.is_empty() {
        journal.append(&changes)?;
    }
    Ok(changes.iter().filter_map(name).collect())
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
    Ok(Subject { name, purpose, number, octets, header })
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
    if subject.purpose == Purpose::Topology {
        octets.resize(octets.len().max(HEADER_OCTETS + BATCH_OCTETS), 0);
    }
    if subject.header.is_none() {
        octets.resize(octets.len().max(HEADER_OCTETS), 0);
        losses.push(Loss { offset: 0, octets: HEADER_OCTETS as u64, saved: 0 });
    }
    let ends_with = next.map(|next| next.map(|next| next.last_batch));
    let mended = mend(&mut octets, &mut header, subject.header.is_none(), ends_with);
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
