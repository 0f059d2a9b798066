//! The frame of all files: header, batches, records, and their checksums. The octets are described in [`super`].
//!
//! Does not know what the payload of a record means, nor files.

use bytes::BufMut;
use crc32fast::Hasher;

/// What every file of the store begins with.
pub(super) const MAGIC: [u8; 8] = *b"xtalklog";
/// The version of everything described in [`super`]; to be raised when any of it changes.
pub(super) const VERSION: u32 = 2;
/// The oldest version that is read: all of it means the same now.
const VERSION_OLDEST: u32 = 1;
/// Octets of a file's header.
pub(super) const HEADER_OCTETS: usize = 64;
/// Octets in front of a batch's records.
pub(super) const BATCH_OCTETS: usize = 44;
/// Octets in front of a record's payload.
pub(super) const RECORD_OCTETS: usize = 9;
const BATCH_MAGIC: [u8; 4] = *b"BTCH";
/// No number or id in a file is greater: at a million a second, a broker takes 146,000 years to get there. What says
/// more is damaged, and everything that counts on from what it has read can do so.
pub(super) const COUNT_MAX: u64 = 1 << 62;
/// Octets of a segment, at most: places in it are kept in 32 bits.
pub(super) const SEGMENT_OCTETS_MAX: u64 = u32::MAX as u64;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Messages = 1,
    Overflow = 2,
    Topology = 3,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message and the queues that hold it.
    Message = 1,
    /// Messages that queues hold no longer.
    Removals = 2,
    /// Messages that were delivered before an orderly end.
    Delivered = 3,
    /// An orderly end.
    End = 4,
    /// A change of the topology.
    Topology = 5,
    /// Nothing: stands where a repair left something out.
    Void = 6,
    /// The newest segment of the durable log.
    Newest = 7,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        [Self::Message, Self::Removals, Self::Delivered, Self::End, Self::Topology, Self::Void, Self::Newest]
            .into_iter()
            .find(|kind| *kind as u8 == octet)
    }
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) purpose: Purpose,
    pub(super) number: u64,
    /// Goes into all checksums, so that what a client sends can never be taken for a batch.
    pub(super) salt: u64,
    /// No message (in the topology: no queue) handed over before has a greater id.
    pub(super) last_id: u64,
    /// How much of the segment before this one counts; 0 without one.
    pub(super) previous_length: u64,
    /// The number of the last batch before this file.
    pub(super) last_batch: u64,
}

/// Why a header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Foreign,
    Version(u32),
    Damaged(&'static str),
}

impl Header {
    /// The number in the topology's file, which is always the only one.
    pub(super) const TOPOLOGY_NUMBER: u64 = 1;

    pub(super) fn encode(&self) -> [u8; HEADER_OCTETS] {
        let mut octets = [0; HEADER_OCTETS];
        let mut out = &mut octets[..];
        out.put_slice(&MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.purpose as u32);
        for value in [self.number, self.salt, self.last_id, self.previous_length, self.last_batch] {
            out.put_u64(value);
        }
        let checksum = crc32fast::hash(&octets[..HEADER_OCTETS - 4]);
        octets[HEADER_OCTETS - 4..].copy_from_slice(&checksum.to_be_bytes());
        octets
    }

    /// Reads the header of a file for `purpose` with this `number`.
    pub(super) fn decode(octets: &[u8], purpose: Purpose, number: u64) -> Result<Self, BadHeader> {
        if octets.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(BadHeader::Foreign);
        }
        let fixed: &[u8; HEADER_OCTETS] = octets.first_chunk().ok_or(BadHeader::Damaged("the header is cut short"))?;
        let version = u32_at(fixed, 8);
        if !(VERSION_OLDEST..=VERSION).contains(&version) {
            return Err(BadHeader::Version(version));
        }
        if u32_at(fixed, HEADER_OCTETS - 4) != crc32fast::hash(&fixed[..HEADER_OCTETS - 4]) {
            return Err(BadHeader::Damaged("the header's checksum is wrong"));
        }
        let header = Self {
            purpose,
            number: u64_at(fixed, 16),
            salt: u64_at(fixed, 24),
            last_id: u64_at(fixed, 32),
            previous_length: u64_at(fixed, 40),
            last_batch: u64_at(fixed, 48),
        };
        if u32_at(fixed, 12) != purpose as u32 || number != header.number {
            return Err(BadHeader::Damaged("it is another file than its name says"));
        }
        if header.last_id.max(header.last_batch) > COUNT_MAX || header.previous_length > SEGMENT_OCTETS_MAX {
            return Err(BadHeader::Damaged("the header counts further than any broker can"));
        }
        Ok(header)
    }

    /// What all checksums of the file begin with.
    pub(super) fn seed(&self) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(&self.salt.to_be_bytes());
        hasher.update(&self.number.to_be_bytes());
        Seed(hasher.finalize())
    }
}

/// The beginning of all checksums of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    pub(super) fn checksum(self, octets: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(octets);
        hasher.finalize()
    }
}

/// The beginning of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchStart {
    /// Octets of the records that follow.
    pub(super) octets: u32,
    /// Ascends by one from batch to batch of a log.
    pub(super) number: u64,
    /// All batches up to this one were known to be synced when this was written.
    pub(super) synced: u64,
    /// As [`Header::last_id`].
    pub(super) last_id: u64,
    pub(super) records: u32,
}

impl BatchStart {
    /// Reads the start of a batch, whatever follows it.
    pub(super) fn decode(octets: &[u8], seed: Seed) -> Option<Self> {
        let fixed: &[u8; BATCH_OCTETS] = octets.first_chunk()?;
        let sound = fixed[..4] == BATCH_MAGIC && u32_at(fixed, 40) == seed.checksum(&fixed[..40]);
        let start = Self {
            octets: u32_at(fixed, 4),
            number: u64_at(fixed, 8),
            synced: u64_at(fixed, 16),
            last_id: u64_at(fixed, 24),
            records: u32_at(fixed, 32),
        };
        (sound && start.number.max(start.synced).max(start.last_id) <= COUNT_MAX).then_some(start)
    }
}

/// Where the next batch start may be in `octets`, from `from` on.
pub(super) fn find_batch_magic(octets: &[u8], from: usize) -> Option<usize> {
    let rest = octets.get(from..)?;
    rest.windows(BATCH_MAGIC.len()).position(|window| window == BATCH_MAGIC).map(|at| from + at)
}

/// A record inside of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the front and checks its checksum.
    pub(super) fn decode(octets: &'a [u8], seed: Seed) -> Option<Self> {
        let (fixed, rest) = octets.split_first_chunk::<8>()?;
        let [l0, l1, l2, l3, ..] = *fixed;
        let summed = rest.get(..(u32::from_be_bytes([l0, l1, l2, l3]) as usize).checked_add(1)?)?;
        let (kind, payload) = summed.split_first()?;
        let kind = Kind::from_octet(*kind)?;
        (u32_at(fixed, 4) == seed.checksum(summed)).then_some(Self { kind, payload })
    }

    /// Octets of the whole record.
    pub(super) fn octets(&self) -> usize {
        RECORD_OCTETS + self.payload.len()
    }
}

/// Writes one batch.
pub(super) struct BatchWriter<'a> {
    out: &'a mut Vec<u8>,
    begins_at: usize,
    seed: Seed,
    records: u32,
}

impl<'a> BatchWriter<'a> {
    /// Begins a batch at the end of `out`.
    pub(super) fn new(out: &'a mut Vec<u8>, seed: Seed) -> Self {
        let begins_at = out.len();
        out.resize(begins_at + BATCH_OCTETS, 0);
        Self { out, begins_at, seed, records: 0 }
    }

    /// Appends a record; where it stands from the beginning of the batch on, and its octets.
    pub(super) fn record(&mut self, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) -> (u64, u32) {
        let at = self.out.len();
        self.out.put_bytes(0, RECORD_OCTETS - 1);
        self.out.put_u8(kind as u8);
        payload(self.out);
        let length = self.out.len() - at - RECORD_OCTETS;
        let checksum = self.seed.checksum(&self.out[at + RECORD_OCTETS - 1..]);
        self.out[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
        self.out[at + 4..at + 8].copy_from_slice(&checksum.to_be_bytes());
        self.records += 1;
        ((at - self.begins_at) as u64, (length + RECORD_OCTETS) as u32)
    }

    /// Octets so far, the start included.
    pub(super) fn octets(&self) -> usize {
        self.out.len() - self.begins_at
    }

    /// Writes the start.
    pub(super) fn finish(self, number: u64, synced: u64, last_id: u64) {
        let octets = self.octets() - BATCH_OCTETS;
        let mut start = &mut self.out[self.begins_at..self.begins_at + BATCH_OCTETS];
        start.put_slice(&BATCH_MAGIC);
        start.put_u32(octets as u32);
        for value in [number, synced, last_id] {
            start.put_u64(value);
        }
        start.put_u32(self.records);
        start.put_u32(0);
        let checksum = self.seed.checksum(&self.out[self.begins_at..self.begins_at + 40]);
        self.out[self.begins_at + 40..self.begins_at + 44].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn u32_at<const N: usize>(octets: &[u8; N], at: usize) -> u32 {
    octets[at..].first_chunk().map_or(0, |value| u32::from_be_bytes(*value))
}

fn u64_at<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    octets[at..].first_chunk().map_or(0, |value| u64::from_be_bytes(*value))
}
