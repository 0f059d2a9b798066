//! Reading a file of the store from its beginning: which batches count, and what it means when one does not.
//!
//! Works on octets in memory. Does not know files, nor what records mean.

use super::format::{BATCH_OCTETS, BatchStart, HEADER_OCTETS, Header, RECORD_OCTETS, Record, Seed, find_batch_magic};
use super::mend::is_filler;

/// How far a file counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// Where the last whole batch ends.
    pub(super) length: usize,
    /// Its number.
    pub(super) last_batch: u64,
    /// Where the batches end that a later batch knew to be synced.
    pub(super) synced_length: usize,
    /// The greatest id in headers and batch starts.
    pub(super) last_id: u64,
    /// What is wrong with what follows, if anything does.
    pub(super) problem: Option<&'static str>,
}

/// Visits the records of each whole batch, with their places in the file, as long as batches follow each other.
pub(super) fn scan<'a>(octets: &'a [u8], header: &Header, mut visit: impl FnMut(&[(usize, Record<'a>)])) -> ScanEnd {
    let seed = header.seed();
    let mut end = ScanEnd {
        length: HEADER_OCTETS,
        last_batch: header.last_batch,
        synced_length: HEADER_OCTETS,
        last_id: header.last_id,
        problem: None,
    };
    let mut records = Vec::new();
    while end.length < octets.len() {
        match read_batch(octets, end.length, seed, &mut records) {
            // A batch that stands for lost ones may skip numbers.
            Ok((start, _))
                if start.number != end.last_batch + 1 && !(start.number > end.last_batch && is_filler(&records)) =>
            {
                end.problem = Some("a batch is out of its order");
                break;
            }
            Ok((start, length)) => {
                if start.synced == end.last_batch {
                    end.synced_length = end.length;
                }
                visit(&records);
                (end.length, end.last_batch) = (length, start.number);
                end.last_id = end.last_id.max(start.last_id);
            }
            Err(problem) => {
                end.problem = Some(problem);
                break;
            }
        }
    }
    end
}

/// Reads the batch at `at` and checks all of it; the place behind it.
pub(super) fn read_batch<'a>(
    octets: &'a [u8],
    at: usize,
    seed: Seed,
    records: &mut Vec<(usize, Record<'a>)>,
) -> Result<(BatchStart, usize), &'static str> {
    records.clear();
    let rest = octets.get(at..).unwrap_or_default();
    let start = BatchStart::decode(rest, seed).ok_or("there is no batch")?;
    let end = at + BATCH_OCTETS + start.octets as usize;
    let whole = octets.get(..end).ok_or("a batch is cut short")?;
    let mut at = at + BATCH_OCTETS;
    while at < end {
        let record = Record::decode(&whole[at..], seed).ok_or("a record is damaged")?;
        records.push((at, record));
        at += record.octets();
    }
    if records.len() == start.records as usize { Ok((start, end)) } else { Err("a batch has too few records") }
}

/// Where a batch stands, from `from` on, that says that batch `number` was synced when it was written itself: then a
/// damaged batch `number` is no torn tail.
pub(super) fn proof_of_sync(octets: &[u8], from: usize, seed: Seed, number: u64) -> Option<usize> {
    let mut at = from;
    while let Some(found) = find_batch_magic(octets, at) {
        if BatchStart::decode(&octets[found..], seed).is_some_and(|start| start.synced >= number) {
            return Some(found);
        }
        at = found + 1;
    }
    None
}

/// Where the next whole batch stands from `from` on, whatever its number.
pub(super) fn next_whole_batch(octets: &[u8], from: usize, seed: Seed) -> Option<(usize, BatchStart, usize)> {
    let mut records = Vec::new();
    let mut at = from;
    while let Some(found) = find_batch_magic(octets, at) {
        if let Ok((start, end)) = read_batch(octets, found, seed, &mut records) {
            return Some((found, start, end));
        }
        at = found + 1;
    }
    None
}

/// The whole records in a stretch of octets, wherever they begin.
pub(super) fn whole_records(octets: &[u8], seed: Seed) -> Vec<Record<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + RECORD_OCTETS <= octets.len() {
        match Record::decode(&octets[at..], seed) {
            Some(record) => {
                found.push(record);
                at += record.octets();
            }
            None => at += 1,
        }
    }
    found
}
