//! The file of the topology: one batch that declares everything, then a batch for each change since. It also notes how
//! far the durable log goes.
//!
//! Written anew when it has grown well beyond what it says, when a write or a sync of it failed, and when it is opened.
//! Does not know messages.

use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::StoreError;
use super::format::{BadHeader, BatchWriter, HEADER_OCTETS, Header, Kind, Purpose};
use super::metrics::StoreMetrics;
use super::newest::Newest;
use super::operation::TopologyChange;
use super::scan::{proof_of_sync, scan};
use super::topology::Topology;
use super::topology_record::{decode_change, encode_change};

/// The file, in the data directory.
pub(super) const JOURNAL: &str = "topology";
const JOURNAL_NEW: &str = "topology.new";
/// How much the file may grow beyond twice what it says before it is written anew: a small topology is not worth it.
const SLACK_OCTETS: u64 = 256 * 1024;

/// The topology and its file.
pub(super) struct Journal<D: Disk> {
    disk: D,
    header: Header,
    topology: Topology,
    /// What was noted last of the durable log, if anything was.
    newest: Option<Newest>,
    /// The file, which says all of this, unless it is not to be trusted.
    file: Option<D::File>,
    length: u64,
    /// How long it was when it was written anew.
    compact_length: u64,
    last_batch: u64,
    metrics: Arc<StoreMetrics>,
}

impl<D: Disk> Journal<D> {
    /// A new one, which uses this salt and says this from the beginning.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn create(
        disk: D,
        salt: u64,
        changes: &[TopologyChange],
        newest: Option<Newest>,
        metrics: Arc<StoreMetrics>,
    ) -> Result<Self, StoreError> {
        let header = Header {
            purpose: Purpose::Topology,
            number: Header::TOPOLOGY_NUMBER,
            salt,
            last_id: 0,
            previous_length: 0,
            last_batch: 0,
        };
        let mut topology = Topology::default();
        changes.iter().for_each(|change| topology.apply(change));
        Self::rewritten(disk, header, topology, newest, metrics)
    }

    /// Reads the one that is there.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn open(disk: D, metrics: Arc<StoreMetrics>) -> Result<Self, StoreError> {
        let octets = read_all(&disk, JOURNAL)?;
        let path = disk.path(JOURNAL);
        let header = decode_header(&octets, Purpose::Topology, Header::TOPOLOGY_NUMBER, &path)?;
        let corrupt = |offset: usize, what: &str| StoreError::Corrupt {
            path: path.clone(),
            offset: offset as u64,
            what: what.to_owned(),
        };
        let mut topology = Topology::default();
        let (mut newest, mut unknown) = (None, None);
        let end = scan(&octets, &header, |records| {
            for (at, record) in records {
                let known = match record.kind {
                    Kind::Topology => decode_change(record.payload).map(|change| topology.apply(&change)),
                    Kind::Newest => Newest::decode(record.payload).map(|noted| newest = Some(noted)),
                    _ => Some(()),
                };
                if known.is_none() {
                    unknown = unknown.or(Some(*at));
                }
            }
        });
        if let Some(at) = unknown {
            return Err(corrupt(at, "a record makes no sense"));
        }
        if let Some(problem) = end.problem {
            // The first batch was synced before the file got its name.
            if end.last_batch == 0 || proof_of_sync(&octets, end.length, header.seed(), end.last_batch + 1).is_some() {
                return Err(corrupt(end.length, problem));
            }
            tracing::warn!(path = %path.display(), offset = end.length, problem, "torn end of the topology dropped");
        } else if end.last_batch == 0 {
            return Err(corrupt(end.length, "the file ends too early"));
        }
        topology.seen_queue(end.last_id);
        Self::rewritten(disk, header, topology, newest, metrics)
    }

    fn rewritten(
        disk: D,
        header: Header,
        topology: Topology,
        newest: Option<Newest>,
        metrics: Arc<StoreMetrics>,
    ) -> Result<Self, StoreError> {
        let (file, length, compact_length, last_batch) = Default::default();
        let mut journal = Self { disk, header, topology, newest, file, length, compact_length, last_batch, metrics };
        journal.rewrite()?;
        Ok(journal)
    }

    pub(super) fn salt(&self) -> u64 {
        self.header.salt
    }

    pub(super) fn octets(&self) -> u64 {
        self.length
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What was noted last.
    pub(super) fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// Notes how far the durable log goes, and syncs that, unless this is what it says.
    ///
    /// # Errors
    /// [`StoreError::Io`]; it cannot be relied upon, and whatever is written next writes it too.
    pub(super) fn note(&mut self, newest: Newest) -> Result<(), StoreError> {
        if self.file.is_some() && self.newest == Some(newest) {
            return Ok(());
        }
        self.newest = Some(newest);
        self.write(|writer| {
            writer.record(Kind::Newest, |out| newest.encode(out));
        })
    }

    /// Corrects what is noted of the durable log.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn correct(&mut self, newest: Option<Newest>) -> Result<(), StoreError> {
        self.newest = newest;
        self.rewrite()
    }

    /// Makes changes and syncs them.
    ///
    /// # Errors
    /// [`StoreError::Io`]; none of the changes can be relied upon. The next call, with further changes or none, writes
    /// these too: made again, they might lead to another order.
    pub(super) fn append(&mut self, changes: &[TopologyChange]) -> Result<(), StoreError> {
        for change in changes {
            self.topology.apply(change);
        }
        self.write(|writer| {
            for change in changes {
                writer.record(Kind::Topology, |out| encode_change(out, change));
            }
        })
    }

    /// Appends a batch with these records, which say what is known by now; or writes all of it anew.
    fn write(&mut self, records: impl FnOnce(&mut BatchWriter<'_>)) -> Result<(), StoreError> {
        let grown = self.length > 2 * self.compact_length + SLACK_OCTETS;
        if let Some(file) = self.file.as_ref().filter(|_| !grown) {
            let mut batch = Vec::new();
            let mut writer = BatchWriter::new(&mut batch, self.header.seed());
            records(&mut writer);
            writer.finish(self.last_batch + 1, self.last_batch, self.topology.last_queue());
            match file.write_at(self.length, &batch).and_then(|()| file.sync()) {
                Ok(()) => {
                    self.length += batch.len() as u64;
                    self.last_batch += 1;
                    self.metrics.written_octets.add(batch.len() as u64);
                    self.metrics.syncs.add(1);
                    return Ok(());
                }
                Err(error) => {
                    self.metrics.failures.add(1);
                    tracing::warn!(%error, "the topology could not be appended to, writing all of it to a new file");
                }
            }
        }
        self.rewrite().inspect_err(|_| self.metrics.failures.add(1))
    }

    /// Writes everything to a new file and puts it in place of the old one.
    fn rewrite(&mut self) -> Result<(), StoreError> {
        self.file = None;
        self.header.last_id = self.topology.last_queue();
        let mut octets = self.header.encode().to_vec();
        let mut writer = BatchWriter::new(&mut octets, self.header.seed());
        for change in self.topology.declarations() {
            writer.record(Kind::Topology, |out| encode_change(out, &change));
        }
        if let Some(newest) = self.newest {
            writer.record(Kind::Newest, |out| newest.encode(out));
        }
        writer.finish(1, 0, self.topology.last_queue());
        let failed = |action| StoreError::io(action, self.disk.path(JOURNAL));
        let file = self.disk.create(JOURNAL_NEW).map_err(failed("create"))?;
        file.write_at(0, &octets).map_err(failed("write"))?;
        file.sync().map_err(failed("sync"))?;
        self.disk.rename(JOURNAL_NEW, JOURNAL).map_err(failed("rename to"))?;
        self.disk.sync_directory("").map_err(failed("sync the directory of"))?;
        self.metrics.written_octets.add(octets.len() as u64);
        self.metrics.syncs.add(2);
        self.length = octets.len() as u64;
        self.compact_length = self.length;
        self.last_batch = 1;
        self.file = Some(file);
        Ok(())
    }
}

/// What a journal notes of the durable log, as far as it is whole; nothing is changed.
pub(super) fn read_newest<D: Disk>(disk: &D) -> Result<Option<Newest>, StoreError> {
    let octets = read_all(disk, JOURNAL)?;
    let header = decode_header(&octets, Purpose::Topology, Header::TOPOLOGY_NUMBER, &disk.path(JOURNAL))?;
    let mut newest = None;
    scan(&octets, &header, |records| {
        for (_, record) in records.iter().filter(|(_, record)| record.kind == Kind::Newest) {
            newest = Newest::decode(record.payload).or(newest);
        }
    });
    Ok(newest)
}

/// A file as a whole.
pub(super) fn read_all<D: Disk>(disk: &D, name: &str) -> Result<Vec<u8>, StoreError> {
    let failed = |action| StoreError::io(action, disk.path(name));
    let file = disk.open(name).map_err(failed("open"))?;
    let mut octets = vec![0; file.length().map_err(failed("read"))? as usize];
    let read = file.read_at(0, &mut octets).map_err(failed("read"))?;
    octets.truncate(read);
    Ok(octets)
}

/// Reads a header and says what is wrong with it.
pub(super) fn decode_header(
    octets: &[u8],
    purpose: Purpose,
    number: u64,
    path: &std::path::Path,
) -> Result<Header, StoreError> {
    Header::decode(octets, purpose, number).map_err(|bad| match bad {
        BadHeader::Foreign if octets.len() < HEADER_OCTETS => {
            StoreError::Corrupt { path: path.to_owned(), offset: 0, what: "the header is cut short".to_owned() }
        }
        BadHeader::Foreign => StoreError::Foreign { path: path.to_owned() },
        BadHeader::Version(found) => {
            StoreError::Version { path: path.to_owned(), found, known: super::format::VERSION }
        }
        BadHeader::Damaged(what) => StoreError::Corrupt { path: path.to_owned(), offset: 0, what: what.to_owned() },
    })
}
