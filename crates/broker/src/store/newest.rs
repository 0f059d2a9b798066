//! What the journal notes of the durable log: its newest segment, and where it ended if that was orderly.
//!
//! A segment at the end of the row has no successor whose header says that it was there, and how long it was. Does not
//! know files.

use bytes::{Buf, BufMut};

use super::format::{HEADER_OCTETS, Kind, RECORD_OCTETS, Record, SEGMENT_OCTETS_MAX};

/// The newest segment that batches were written into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) number: u64,
    /// How long it is, if an orderly end was synced there and nothing was written since.
    pub(super) end: Option<u64>,
}

impl Newest {
    /// While the log is written: how much of the segment there is, nobody knows.
    pub(super) fn written(number: u64) -> Self {
        Self { number, end: None }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.put_u64(self.number);
        out.put_u64(self.end.unwrap_or(0));
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(mut payload: &[u8]) -> Option<Self> {
        let rest = &mut payload;
        let (number, length) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
        // As in the names of segments, see `segment_number`.
        let sound = (1..=u64::from(u32::MAX)).contains(&number)
            && (length == 0 || (HEADER_OCTETS as u64..=SEGMENT_OCTETS_MAX).contains(&length));
        (sound && rest.is_empty()).then_some(Self { number, end: (length > 0).then_some(length) })
    }
}

/// Whether one of a batch's records, with their places in the file, says that an orderly end was `length` octets into it.
pub(super) fn is_end_at(records: &[(usize, Record<'_>)], length: u64) -> bool {
    records.iter().any(|(at, record)| record.kind == Kind::End && (at + RECORD_OCTETS) as u64 == length)
}
