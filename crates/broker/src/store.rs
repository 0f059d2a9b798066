//! The store: durable topology and messages on disk, and messages that only have to leave memory.
//!
//! The engine hands over [`Operation`]s and hears [`Report`]s (`operation`); [`StoreHandle`] runs a `core::Store` on a thread
//! of its own (`worker`). The store knows files and what stands in them; it does not know what a queue does, nor clients.
//!
//! # What is promised
//!
//! * A commit that contains a durable message or a change of the topology is synced before it is reported. A commit that
//!   only removes is reported when it is written, and synced with the next that must be, or after 25 ms: a crash of the
//!   machine (not of the process) may bring back what was removed in that time.
//! * Operations of one commit on the durable log are found again together or not at all. The topology of a commit is synced
//!   before its messages: after a crash it may be there without them, never the other way round. Only the deletion of a
//!   queue waits for what was taken out of it before, which may have gone into another queue: a commit with both is cut.
//! * What cannot be written or synced is kept in memory and tried again every second and whenever a segment is unlinked; a
//!   file whose write or sync failed is never written again, unless there is nothing in it. Meanwhile commits that only
//!   remove count in memory, so that consumers who drain make room.
//!
//! # Files
//!
//! | in the data directory | |
//! |---|---|
//! | `lock` | locked by the broker that uses the directory; holds its process id |
//! | `topology` | what exists, and how far the durable log goes: one file, replaced as a whole when it is opened, has grown, or failed |
//! | `messages/NNNNNNNNNNNN.log` | segments of the durable log, in a row without gaps |
//! | `overflow/NNNNNNNNNNNN.log` | the same for messages that left memory: never synced, removed at the start |
//! | `*.new` | a file that is being made; renamed when it is synced |
//! | `*.damaged` | kept by [`repair`], never read |
//!
//! All numbers are big-endian, all checksums CRC-32 (IEEE). A file is a header and then batches.
//!
//! | header, 64 octets | |
//! |---|---|
//! | 0 | `xtalklog` |
//! | 8 | format version, 4 octets: 2; 1 is read as well, and lacks records of kind 7 |
//! | 12 | purpose, 4 octets: 1 messages, 2 overflow, 3 topology |
//! | 16 | number of the segment; 1 in the topology |
//! | 24 | salt, the same in all files of a store, random: what a client sends cannot look like a batch |
//! | 32 | greatest message id (topology: queue id) handed over before |
//! | 40 | octets of the previous segment that count |
//! | 48 | number of the last batch before this file |
//! | 56 | zero, 4 octets |
//! | 60 | checksum of the 60 octets before |
//!
//! The other checksums are continued from that of salt and number (16 octets), so they hold in one file only.
//!
//! | batch, 44 octets and records | |
//! |---|---|
//! | 0 | `BTCH` |
//! | 4 | octets of the records, 4 octets |
//! | 8 | number: one more than that of the batch before |
//! | 16 | the last batch known to be synced when this was written |
//! | 24 | as in the header at 32 |
//! | 32 | number of records, 4 octets |
//! | 36 | zero, 4 octets |
//! | 40 | checksum of the 40 octets before |
//!
//! | record, 9 octets and payload | |
//! |---|---|
//! | 0 | octets of the payload, 4 octets |
//! | 4 | checksum of kind and payload |
//! | 8 | kind, 1 octet |
//!
//! | kind | payload |
//! |---|---|
//! | 1 message | id (8), number of queues (4), queues (8 each), accepted at (8, ms since 1970), expires at plus one or 0 (8), priority (1), flags (1; 1 = persistent, 2 = dead letter), exchange and routing key (each 2 + text), octets of the properties (4), properties, body to the end |
//! | 2 removals | number of pairs (4); then runs of one queue: queue, length of the run, and for each message the difference to the one before (at first to 0), zigzag; all as LEB128 |
//! | 3 delivered | pairs, as in 2 |
//! | 4 end | nothing: an orderly end, of which the delivered marks before it in the batch are part |
//! | 5 topology | a change (1): queue declared, queue deleted, exchange declared, exchange deleted, bound, unbound; its fields in the order of `operation`, text as 4 + octets, tables as on the wire |
//! | 6 void | nothing that counts: first in a batch that a repair put in place of damaged ones, whose number may skip those |
//! | 7 newest | in the topology: number of the newest segment of the durable log (8), its length at an orderly end or 0 (8); the last one counts |
//!
//! # Recovery
//!
//! Segments are read in order, each as far as the header of the next says that it counts, the last one to its end. A message
//! with an id seen before replaces that one (it was moved); removals take holders away; queues that the topology does not
//! have hold nothing. Only when the last batch of the last segment ends with *end* are the delivered marks used, and before
//! anything else happens an empty batch is written behind it.
//!
//! The topology knows the newest segment: it is noted and synced when the segment is there and before the first batch is
//! in it. At an orderly end, when *end* is synced, the segment's length is noted too, and stays noted until the next start
//! has read everything; that is taken back, and this synced, before the log is written again. So a last segment that is
//! missing is damage, and so is one that was cut short after an orderly end. An end whose note cannot be written is orderly
//! all the same.
//!
//! Where a batch is not whole, it is the torn end of a crash if this is the last segment, no later batch start in it says
//! that this batch was synced, and no orderly end was noted behind it: cut off. Everything else is damage: the store is not
//! opened, and nothing is changed ([`StoreError::Corrupt`]). `broker repair` ([`repair`]) then saves what is whole; messages
//! of queues that were lost with a part of the topology, or all of it, are found in queues `recovered-ID` of the virtual
//! host `/`. Segments that are missing between others are replaced by empty ones; without the newest, the log goes on behind
//! what is left of it. What was noted of the log is corrected last, so that a repair that was interrupted is noticed.
//!
//! A segment gets its name when its header is synced, so a segment without a whole header is damaged too. What was not known
//! to be synced is written once more and synced before the store is used: after a failed sync the system may show octets
//! that the disk does not have.
//!
//! # Room
//!
//! Segments are unlinked from the oldest on when nobody holds a message in them, with a sync of the directory between two:
//! removals in a segment concern it and older ones only. When dead octets exceed the live ones by four segments (a quarter
//! of them by two, when room is short), the messages of the oldest segment are moved to the last one, a little with each
//! commit.
//!
//! # What is not protected
//!
//! * A flipped bit in the very last batch, or a last segment cut short, looks like a torn end unless the end was an orderly
//!   one, and what was there is dropped.
//! * The oldest segments missing as a whole are not noticed, nor is a store that was replaced by an older copy of itself.
//! * In a store of format version 1, no missing newest segment is noticed until something is written.
//! * Checksums find faults, not forgers: who can write the files can write anything.
//! * A disk that says that it synced and did not.
//! * A message body is read and checked when the store is opened and when it is loaded; in between a disk may lose it: then
//!   it is reported as unreadable, with file and offset in the log.

#[cfg(any(test, fuzzing))]
pub(crate) mod arbitrary;
mod commit;
mod compaction;
mod core;
mod disk;
mod error;
mod format;
mod gathering;
mod holders;
mod index;
mod journal;
mod load;
mod log;
mod mend;
mod metrics;
mod newest;
mod operation;
mod payload;
mod plan;
mod recovery;
mod repair;
mod repair_report;
mod scan;
mod segments;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))] // tests use all of it
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
mod topology;
mod topology_record;
mod worker;

#[cfg(test)]
pub(crate) use core::Store;
pub use error::StoreError;
pub use mend::Loss;
pub use metrics::{Count, StoreMetrics};
pub(crate) use operation::{
    Log, Operation, Recovered, RecoveredEntry, Report, StoreState, StoredBinding, StoredDestination, StoredExchange,
    StoredQueue, TopologyChange,
};
pub use repair::repair;
pub use repair_report::{RepairReport, RepairedFile};
pub(crate) use worker::StoreHandle;

/// The bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// From which length on, in octets, a segment is not written any further. Default 16 MiB: small enough that little
    /// is kept for the sake of a few messages, large enough that there are few files. At most 1 GiB.
    pub segment_octets: u64,
    /// Octets of all files of the store from which on publishers are to wait. What was taken is still stored, so this
    /// can be exceeded by what is on its way. At least eight segments are sensible. Default 32 GiB.
    pub disk_max_octets: u64,
    /// Octets that are to stay free on the file system; below it publishers are to wait. Default 256 MiB.
    pub free_min_octets: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_octets: 16 << 20, disk_max_octets: 32 << 30, free_min_octets: 256 << 20 }
    }
}
