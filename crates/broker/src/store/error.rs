//! Everything that can be wrong with a store, told with the place and with what to do about it.
//!
//! Does not know how it was noticed.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not be opened, closed or repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another broker works in the directory.
    #[error(
        "{} is in use by another broker{}; stop that one, or give this one a directory of its own",
        directory.display(),
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// The process that holds it, if it wrote its id.
        holder: Option<u32>,
    },
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not begin as a file of the store does.
    #[error("{} is not a file of this broker: move it out of the data directory, or run `{}`", path.display(), repair(path))]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file was written by a broker of another format.
    #[error(
        "{} has format version {found}, this broker knows version {known}: use the broker that wrote it, or another \
         data directory", path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it carries.
        found: u32,
        /// The version this broker writes.
        known: u32,
    },
    /// Something that was synced is not as it was written.
    #[error(
        "{} is damaged at offset {offset}: {what}. Nothing was changed. `{}` saves what is whole and keeps the \
         damaged file", path.display(), repair(path)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in octets.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// A file that must be there is not.
    #[error("{} is missing: put it back, or run `{}` to save what is left", path.display(), repair(path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to be repaired.
    #[error("there is no store in {}", directory.display())]
    NoStore {
        /// What was given as the data directory.
        directory: PathBuf,
    },
    /// A file is whole, and of another store.
    #[error(
        "{} and {} belong to different stores: move the one that does not belong here out of the data directory",
        path.display(), other.display()
    )]
    Stranger {
        /// The file.
        path: PathBuf,
        /// One that it does not belong to.
        other: PathBuf,
    },
    /// Every id was given out, which takes thousands of years, or something counted on from a wrong number.
    #[error("the ids in {} are used up: let consumers of a broker on another data directory go on", directory.display())]
    UsedUp {
        /// The data directory.
        directory: PathBuf,
    },
    /// A gap between files that no loss explains.
    #[error(
        "{} follows on {} with {missing} segments missing, and repair replaces {max} at most: move the one that does not          belong here out of the data directory", path.display(), before.display()
    )]
    Gap {
        /// The segment before the gap.
        before: PathBuf,
        /// The segment behind it.
        path: PathBuf,
        /// How many are missing between them.
        missing: u64,
        /// The most that repair replaces.
        max: u64,
    },
    /// What was handed over last could not be written before the end.
    #[error("the store could not write what was handed over last: {reason}")]
    Unwritten {
        /// Why.
        reason: String,
    },
    /// The thread of the store is gone.
    #[error("the store ended unexpectedly; see the log above")]
    Gone,
}

/// The command that repairs the store which a file belongs to, ready to be pasted into a shell.
fn repair(file: &Path) -> String {
    let parent = file.parent().unwrap_or(file);
    let data = if parent.ends_with("messages") { parent.parent().unwrap_or(parent) } else { parent };
    format!("broker repair --data '{}'", data.display())
}

impl StoreError {
    /// Puts an action and a path around what the system said.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
