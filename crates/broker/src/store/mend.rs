//! Replacing damaged stretches of a file, in memory.
//!
//! Does not know files, nor what the records mean.

use super::format::{BATCH_OCTETS, BatchStart, BatchWriter, HEADER_OCTETS, Header, Kind, RECORD_OCTETS, Record, Seed};
use super::scan::{next_whole_batch, proof_of_sync, read_batch, whole_records};

/// A damaged stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where in the file it begins, in octets.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
    /// How many whole records were found in it.
    pub saved: usize,
    /// How many others were in it at most; `None` if it does not say.
    pub lost: Option<u64>,
}

/// What became of a file.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub(super) losses: Vec<Loss>,
    /// The last batch that counts.
    pub(super) last_batch: u64,
}

/// Mends the batches behind the header. `ends_with` is the number of the last batch, unless this is the last file (`None`)
/// or the number is not known. A header that was `made_up` does not know its first batch. Up to `synced` nothing is torn.
pub(super) fn mend(
    octets: &mut [u8],
    header: &mut Header,
    made_up: bool,
    ends_with: Option<Option<u64>>,
    synced: usize,
) -> Mended {
    let seed = header.seed();
    if made_up
        && header.last_batch == 0
        && let Some((_, first, _)) = next_whole_batch(octets, HEADER_OCTETS, seed)
    {
        header.last_batch = first.number.saturating_sub(1);
    }
    let mut mended = Mended { losses: Vec::new(), last_batch: header.last_batch };
    let mut at = HEADER_OCTETS;
    while at < octets.len() {
        let mut records = Vec::new();
        if let Ok((start, end)) = read_batch(octets, at, seed, &mut records) {
            let follows = start.number == mended.last_batch + 1;
            if follows || (start.number > mended.last_batch && is_filler(&records)) {
                (at, mended.last_batch) = (end, start.number);
                continue;
            }
        }
        let (end, number) = match whole_after(octets, at, header, mended.last_batch) {
            Some((next, number)) => (next, number - 1),
            None if ends_with.is_some() => {
                (octets.len(), ends_with.flatten().unwrap_or(mended.last_batch + 1).max(mended.last_batch + 1))
            }
            // The end of the last file: nothing but torn, unless something says that it was synced.
            None if at >= synced && proof_of_sync(octets, at, seed, mended.last_batch + 1).is_none() => break,
            None => (octets.len(), mended.last_batch + 1),
        };
        let expected = records_in(&octets[at..end], seed);
        let (filler, saved) = fill(&octets[at..end], header, number);
        octets[at..end].copy_from_slice(&filler);
        mended.losses.push(Loss {
            offset: at as u64,
            octets: (end - at) as u64,
            saved,
            lost: expected.map(|expected| expected.saturating_sub(saved as u64)),
        });
        (at, mended.last_batch) = (end, number);
    }
    mended
}

/// Whether a batch stands for others, so that its number need not follow.
pub(super) fn is_filler(records: &[(usize, Record<'_>)]) -> bool {
    records.first().is_some_and(|(_, record)| record.kind == Kind::Void)
}

/// The next whole batch that can follow what is to be filled in between.
fn whole_after(octets: &[u8], hole: usize, header: &Header, last_batch: u64) -> Option<(usize, u64)> {
    let mut from = hole;
    while let Some((at, start, _)) = next_whole_batch(octets, from, header.seed()) {
        let room = at - hole;
        if start.number > last_batch + 1 && (room == BATCH_OCTETS || room >= BATCH_OCTETS + RECORD_OCTETS) {
            return Some((at, start.number));
        }
        from = at + 1;
    }
    None
}

/// How many records the batches of a hole say that they have, if nothing in it is left out by that.
fn records_in(hole: &[u8], seed: Seed) -> Option<u64> {
    let (mut at, mut records) = (0, 0);
    while at < hole.len() {
        let start = BatchStart::decode(&hole[at..], seed)?;
        records += u64::from(start.records);
        at += BATCH_OCTETS + start.octets as usize;
    }
    (at == hole.len()).then_some(records)
}

/// A batch of exactly the length of the hole, with the whole records in it.
fn fill(hole: &[u8], header: &Header, number: u64) -> (Vec<u8>, usize) {
    let seed = header.seed();
    let mut saved = whole_records(hole, seed);
    saved.retain(|record| matches!(record.kind, Kind::Message | Kind::Removals | Kind::Topology | Kind::Newest));
    let room = hole.len().saturating_sub(BATCH_OCTETS);
    let left = |saved: &[Record<'_>]| room.checked_sub(saved.iter().map(Record::octets).sum());
    while !saved.is_empty() && left(&saved).is_none_or(|left| left != 0 && left < RECORD_OCTETS) {
        saved.pop();
    }
    let mut out = Vec::new();
    let mut writer = BatchWriter::new(&mut out, seed);
    if let Some(padding) = left(&saved).and_then(|left| left.checked_sub(RECORD_OCTETS)) {
        writer.record(Kind::Void, |out| out.resize(out.len() + padding, 0));
    }
    for record in &saved {
        writer.record(record.kind, |out| out.extend_from_slice(record.payload));
    }
    writer.finish(number, number - 1, header.last_id);
    // A stretch too short even for an empty batch cannot be: it held whole batches once.
    out.resize(hole.len(), 0);
    (out, saved.len())
}
