//! What a repair found and did, as values and in words.
//!
//! Does not know how anything is repaired.

use std::io::{self, Write};
use std::path::PathBuf;

use super::mend::Loss;

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Every file that was damaged and is whole now, in the order of what they say; none if there was none.
    pub files: Vec<RepairedFile>,
    /// Newest segments that were missing. There is nothing in their place: the log goes on behind what is left of it.
    pub missing: Vec<PathBuf>,
    /// The log does not end with the orderly end that was noted for it, and that note was taken back.
    pub end_missing: bool,
    /// Queues in the virtual host `/` that were made for messages whose own queue was lost with the topology or a part of
    /// it. Queues that were deleted not long ago may be among them.
    pub queues: Vec<String>,
}

/// A file that was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedFile {
    /// Its path; what is there now is whole.
    pub path: PathBuf,
    /// Where it is kept as it was; `None` if it was missing.
    pub kept_as: Option<PathBuf>,
    /// What was lost; nothing in particular if all of a topology was.
    pub losses: Vec<Loss>,
}

impl RepairReport {
    /// How many files there are that were not as they should be.
    fn count(&self) -> usize {
        match self.files.len() + self.missing.len() {
            // The note is in one.
            0 => self.end_missing.into(),
            count => count,
        }
    }

    /// Whether there was more damage than to headers, which hold nothing.
    fn lost_something(&self) -> bool {
        self.count() > 0 && self.lost_at_most() != Some(0)
    }

    /// How many records were lost at most, if that is known.
    fn lost_at_most(&self) -> Option<u64> {
        let mut losses = self.files.iter().flat_map(|file| &file.losses);
        // Of what is not there nobody knows what was in it.
        let countable = self.missing.is_empty() && !self.end_missing;
        losses.try_fold(0u64, |sum, loss| sum.checked_add(loss.lost?)).filter(|_| countable)
    }

    /// Says it to people.
    pub(super) fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        for RepairedFile { path, kept_as, losses } in &self.files {
            let path = path.display();
            match kept_as {
                Some(kept) => writeln!(out, "{path}: repaired, kept as {}", kept.display())?,
                None if losses.is_empty() => writeln!(
                    out,
                    "{path}: was missing, made anew without exchanges, bindings, and what queues were called"
                )?,
                None => writeln!(out, "{path}: was missing, replaced by an empty one")?,
            }
            for Loss { offset, octets, saved, .. } in losses {
                writeln!(out, "  at offset {offset}: {octets} octets damaged, {saved} whole records in them saved")?;
            }
        }
        for path in &self.missing {
            writeln!(out, "{}: was missing, the messages go on without it", path.display())?;
        }
        if self.end_missing {
            writeln!(out, "the messages do not end where the last broker to close the store had ended them")?;
        }
        for queue in &self.queues {
            writeln!(out, "queue {queue} in / holds messages whose own queue was lost")?;
        }
        if self.lost_something() {
            let at_most = self.lost_at_most().map(|records| format!(", at most {records} records")).unwrap_or_default();
            writeln!(
                out,
                "messages, queues and bindings in what was damaged or missing are lost unless saved{at_most}; messages \
                 taken out there may be back, and a transaction may have been saved in part"
            )?;
        }
        match self.count() {
            0 => writeln!(out, "nothing is damaged"),
            1 => writeln!(out, "1 file repaired"),
            count => writeln!(out, "{count} files repaired"),
        }
    }
}
