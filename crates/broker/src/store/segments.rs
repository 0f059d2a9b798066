//! The files of one log: a row of segments with ascending numbers, the last of which is written.
//!
//! Knows what has to be synced in which order, and that a file whose write or sync failed is never trusted again.
//! Does not know what the batches contain.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::StoreError;
use super::format::{HEADER_OCTETS, Header, Purpose, Seed};
use super::index::Location;
use super::metrics::StoreMetrics;

/// Files that are kept open for reading; above it, the one that was opened first is closed.
const READERS_MAX: usize = 16;

/// What is known of a segment without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// How much of it counts.
    pub(super) length: u64,
    /// Octets of records of messages that a queue holds.
    pub(super) live_octets: u64,
    pub(super) live_messages: u32,
}

/// All segments of a log.
pub(super) struct Segments<D: Disk> {
    disk: D,
    purpose: Purpose,
    salt: u64,
    /// From which length on a segment is not written any further.
    segment_octets: u64,
    segments: VecDeque<Segment>,
    /// The sums over them.
    octets: u64,
    live_octets: u64,
    /// The last segment, unless it is not to be trusted or there is none.
    head: Option<D::File>,
    /// How much of the last segment is known to be synced, and up to which batch.
    synced_length: u64,
    synced_batch: u64,
    last_batch: u64,
    /// A segment was unlinked, and its directory not synced.
    unlinked: bool,
    readers: VecDeque<(u64, D::File)>,
    metrics: Arc<StoreMetrics>,
}

impl<D: Disk> Segments<D> {
    pub(super) fn new(disk: D, purpose: Purpose, salt: u64, segment_octets: u64, metrics: Arc<StoreMetrics>) -> Self {
        Self {
            disk,
            purpose,
            salt,
            segment_octets,
            segments: VecDeque::new(),
            octets: 0,
            live_octets: 0,
            head: None,
            synced_length: 0,
            synced_batch: 0,
            last_batch: 0,
            unlinked: false,
            readers: VecDeque::new(),
            metrics,
        }
    }

    /// Takes over a segment that was found, the next of the row.
    pub(super) fn adopt(&mut self, number: u64) {
        self.segments.push_back(Segment { number, length: 0, live_octets: 0, live_messages: 0 });
    }

    /// Notes how much of the segment taken over last counts, and which batch is its last.
    pub(super) fn adopted(&mut self, length: u64, last_batch: u64) {
        if let Some(last) = self.segments.back_mut() {
            last.length = length;
        }
        self.octets += length;
        (self.synced_length, self.synced_batch, self.last_batch) = (length, last_batch, last_batch);
    }

    /// Goes on in the last segment that was found, which is synced up to its length and ends there.
    pub(super) fn resume(&mut self, file: D::File) {
        self.head = Some(file);
    }

    pub(super) fn directory(&self) -> &'static str {
        directory(self.purpose)
    }

    pub(super) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Octets of all segments.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn live_octets(&self) -> u64 {
        self.live_octets
    }

    pub(super) fn seed_of(&self, number: u64) -> Seed {
        self.header(number, 0, 0).seed()
    }

    /// The number of the last batch, and of the last that is known to be synced.
    pub(super) fn batches(&self) -> (u64, u64) {
        (self.last_batch, self.synced_batch)
    }

    pub(super) fn file_name(&self, number: u64) -> String {
        segment_name(self.purpose, number)
    }

    fn header(&self, number: u64, last_id: u64, previous_length: u64) -> Header {
        Header { purpose: self.purpose, number, salt: self.salt, last_id, previous_length, last_batch: self.last_batch }
    }

    fn is_synced(&self) -> bool {
        self.purpose != Purpose::Overflow
    }

    fn segment(&mut self, number: u32) -> Option<&mut Segment> {
        let first = self.segments.front()?.number;
        self.segments.get_mut(u64::from(number).checked_sub(first)? as usize)
    }

    /// A message stands there from now on.
    pub(super) fn occupy(&mut self, at: Location) {
        if let Some(segment) = self.segment(at.segment) {
            segment.live_octets += u64::from(at.octets);
            segment.live_messages += 1;
            self.live_octets += u64::from(at.octets);
        }
    }

    /// The message that stood there is gone.
    pub(super) fn vacate(&mut self, at: Location) {
        if let Some(segment) = self.segment(at.segment) {
            segment.live_octets -= u64::from(at.octets);
            segment.live_messages -= 1;
            self.live_octets -= u64::from(at.octets);
        }
    }

    /// Makes sure that a batch can be appended; the segment and the place it will be at.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the log can be used as before, and this be tried again.
    pub(super) fn prepare(&mut self, last_id: u64) -> Result<(u64, u64), StoreError> {
        let room = |segment: &&Segment| segment.length < self.segment_octets;
        if let (Some(_), Some(last)) = (&self.head, self.segments.back().filter(room)) {
            return Ok((last.number, last.length));
        }
        if self.head.is_some() {
            // The new segment's header will say that all of this one counts.
            self.sync()?;
        }
        let (number, previous_length) = self.segments.back().map_or((1, 0), |last| (last.number + 1, last.length));
        let file = self.create(self.header(number, last_id, previous_length)).inspect_err(|_| self.failed())?;
        self.head = Some(file);
        let length = HEADER_OCTETS as u64;
        self.segments.push_back(Segment { number, length, live_octets: 0, live_messages: 0 });
        self.octets += length;
        self.synced_length = length;
        Ok((number, length))
    }

    /// Creates a segment such that, under its name, it has a whole header whenever it is there.
    fn create(&self, header: Header) -> Result<D::File, StoreError> {
        let name = self.file_name(header.number);
        let made_as = format!("{name}.new");
        let failed = |action| StoreError::io(action, self.disk.path(&name));
        let file = self.disk.create(&made_as).map_err(failed("create"))?;
        file.write_at(0, &header.encode()).map_err(failed("write the header of"))?;
        self.metrics.written_octets.add(HEADER_OCTETS as u64);
        if self.is_synced() {
            file.sync().map_err(failed("sync the header of"))?;
        }
        self.disk.rename(&made_as, &name).map_err(failed("rename to"))?;
        if self.is_synced() {
            self.disk.sync_directory(self.directory()).map_err(failed("sync the directory of"))?;
            self.metrics.syncs.add(2);
        }
        Ok(file)
    }

    /// Appends a batch where [`Self::prepare`] said it would be.
    ///
    /// # Errors
    /// [`StoreError::Io`]; nothing that was not synced before counts any longer, and the next batch will be in a new
    /// segment.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        let (Some(head), Some(last)) = (&self.head, self.segments.back_mut()) else {
            return Err(StoreError::Gone);
        };
        if let Err(error) = head.write_at(last.length, batch) {
            let path = self.disk.path(&segment_name(self.purpose, last.number));
            // For the room, on a full disk; a part of a batch does not count anyway.
            let cut_off = head.truncate(last.length);
            if let Err(error) = &cut_off {
                tracing::debug!(%error, path = %path.display(), "part of a batch not cut off");
            }
            if cut_off.is_ok() && last.length == HEADER_OCTETS as u64 {
                // Nothing was in it, so it is as good as a new one: a full disk does not get an empty segment with
                // every attempt.
                self.failed();
            } else if self.sync().is_ok() {
                // What was written whole before is as good as it was, if it can be synced.
                self.abandon();
            }
            return Err(StoreError::io("write", path)(error));
        }
        last.length += batch.len() as u64;
        self.octets += batch.len() as u64;
        self.last_batch += 1;
        self.metrics.written_octets.add(batch.len() as u64);
        Ok(())
    }

    /// Syncs what was appended.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        let (Some(head), Some(last)) = (&self.head, self.segments.back()) else {
            return Ok(());
        };
        if self.is_synced() && self.synced_batch < self.last_batch {
            if let Err(error) = head.sync() {
                let path = self.disk.path(&segment_name(self.purpose, last.number));
                self.abandon();
                return Err(StoreError::io("sync", path)(error));
            }
            self.metrics.syncs.add(1);
        }
        (self.synced_length, self.synced_batch) = (last.length, self.last_batch);
        Ok(())
    }

    fn failed(&self) {
        self.metrics.failures.add(1);
    }

    /// Gives up on the last segment: only what was synced of it counts. It is not cut off there, because if the process
    /// ends before there is a next segment, all that is whole is better than that.
    fn abandon(&mut self) {
        self.failed();
        self.head = None;
        if !self.is_synced() {
            // Nothing survives a restart anyway, so what was written stays as good as it was.
            (self.synced_length, self.synced_batch) = (self.segments.back().map_or(0, |s| s.length), self.last_batch);
        }
        if let Some(last) = self.segments.back_mut() {
            self.octets -= last.length - self.synced_length;
            last.length = self.synced_length;
        }
        self.last_batch = self.synced_batch;
    }

    /// Unlinks segments that nothing live stands in, never the last; whether there were any. Of the durable log only the
    /// oldest: removals in a segment are needed as long as there are older ones.
    ///
    /// # Errors
    /// [`StoreError::Io`]; to be tried again.
    pub(super) fn unlink_dead(&mut self) -> Result<bool, StoreError> {
        let mut any = false;
        while self.segments.len() > 1 && self.segments.front().is_some_and(|oldest| oldest.live_messages == 0) {
            self.sync_unlinked()?;
            any |= self.unlink(0)?;
            self.segments.pop_front();
        }
        self.sync_unlinked()?;
        if !self.is_synced() {
            for at in 1..self.segments.len().saturating_sub(1) {
                if self.segments[at].live_messages == 0 {
                    any |= self.unlink(at)?;
                }
            }
        }
        Ok(any)
    }

    /// Unlinks a segment and leaves an empty place in the row; whether it was there.
    fn unlink(&mut self, at: usize) -> Result<bool, StoreError> {
        let Some(segment) = self.segments.get_mut(at).filter(|segment| segment.length > 0) else { return Ok(false) };
        let name = segment_name(self.purpose, segment.number);
        self.readers.retain(|(number, _)| *number != segment.number);
        self.disk.unlink(&name).map_err(StoreError::io("unlink", self.disk.path(&name)))?;
        self.octets -= std::mem::take(&mut segment.length);
        self.unlinked = true;
        Ok(true)
    }

    /// A segment must not go for good before those older than it: they hold what its removals are about.
    fn sync_unlinked(&mut self) -> Result<(), StoreError> {
        if self.unlinked && self.is_synced() {
            let path = self.disk.path(self.directory());
            self.disk.sync_directory(self.directory()).map_err(StoreError::io("sync", path))?;
            self.metrics.syncs.add(1);
        }
        self.unlinked = false;
        Ok(())
    }

    /// Reads from a segment; shorter than asked for where the file ends.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn read(&mut self, number: u64, offset: u64, octets: usize) -> Result<Vec<u8>, StoreError> {
        let name = self.file_name(number);
        let failed = |action| StoreError::io(action, self.disk.path(&name));
        if !self.readers.iter().any(|(open, _)| *open == number) {
            let file = self.disk.open(&name).map_err(failed("open"))?;
            self.readers.truncate(READERS_MAX - 1);
            self.readers.push_front((number, file));
        }
        let mut buffer = vec![0; octets];
        for (_, file) in self.readers.iter().filter(|(open, _)| *open == number) {
            let read = file.read_at(offset, &mut buffer).map_err(failed("read"))?;
            buffer.truncate(read);
        }
        Ok(buffer)
    }
}

fn directory(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Overflow => "overflow",
        Purpose::Messages | Purpose::Topology => "messages",
    }
}

/// Where the segment of this number is.
pub(super) fn segment_name(purpose: Purpose, number: u64) -> String {
    format!("{}/{number:012}.log", directory(purpose))
}

/// The number in a file name in the directory of a log; `None` for files that are no segments. The index keeps the number
/// in 32 bits.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log").filter(|digits| digits.len() == 12)?.parse().ok().map(|number: u32| number.into())
}
