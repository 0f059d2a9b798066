//! One append-only file: written record by record, repaired when a write or a process ended halfway, and
//! read back into a [`Book`]. It does not know other files, nor how much room there is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use crosstalk_contract::RunId;

use super::{
    InboxError,
    book::Book,
    format::{self, Next},
};

/// Read at once; a system call per small record would take longer than the rest.
pub(super) const READ_BUFFER_LEN: usize = 64 << 10;

/// The file of one run, up to the end of its last whole record.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Open for appending; only while the run is written to, as a process has few descriptors.
    file: Option<File>,
    len: u64,
    /// There may be bytes behind `len`: a write failed, and taking back what it wrote failed, too.
    torn: bool,
}

impl Log {
    /// Creates the file with its beginning. What stands there under that name is no run (those are known) and
    /// is replaced; nothing is left when it fails.
    pub(super) fn create(path: &Path, beginning: &[u8]) -> Result<Self, InboxError> {
        let failed = |source| error("create", path, source);
        // Emptied by opening, then appended to: any later opening does the same to the same file.
        OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(failed)?;
        let mut log = Self { path: path.to_owned(), file: None, len: 0, torn: false };
        match log.append(beginning) {
            Ok(_) => Ok(log),
            Err(error) => {
                if let Err(source) = fs::remove_file(path) {
                    tracing::warn!(path = %path.display(), %source, "could not remove a file that was not begun");
                }
                Err(error)
            }
        }
    }

    /// Appends a record and says where it begins. A record that could not be written whole is taken back.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<u64, InboxError> {
        let failed = |source| error("write to", &self.path, source);
        let file = match self.file {
            Some(ref mut file) => file,
            None => self.file.insert(OpenOptions::new().append(true).open(&self.path).map_err(failed)?),
        };
        if self.torn {
            file.set_len(self.len).map_err(failed)?;
            self.torn = false;
        }
        if let Err(source) = file.write_all(record) {
            self.torn = file.set_len(self.len).is_err();
            return Err(failed(source));
        }
        let place = self.len;
        self.len += record.len() as u64;
        Ok(place)
    }

    /// Gives the descriptor back; the next write opens the file again.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file that an earlier process left; `None` when it is not there or had to be set aside.
    ///
    /// A record that the end of the process cut short was never acknowledged, and is cut off.
    pub(super) fn read_back(path: &Path, run: RunId) -> Result<Option<(Self, Book)>, InboxError> {
        let failed = |source| error("read", path, source);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let end = file.metadata().map_err(failed)?.len();
        let mut input = BufReader::with_capacity(READ_BUFFER_LEN, &file);
        let header = format::read_header(&mut input).map_err(failed)?;
        let Some((header, mut len)) = header.filter(|(header, _)| header.run == run) else {
            set_aside(path, end)?;
            return Ok(None);
        };
        let mut book = Book::new(header.paradigm, header.of);
        let torn = loop {
            match format::read_record(&mut input).map_err(failed)? {
                Next::Record { record, len: n } if book.note(&record, len) => len += n,
                Next::End => break None,
                Next::Cut => break Some(true),
                Next::Record { len: n, .. } | Next::Wrong { len: Some(n) } => break Some(len + n == end),
                Next::Wrong { len: None } => break Some(false),
            }
        };
        if let Some(at_the_end) = torn {
            cut_off(path, &file, len, end, at_the_end)?;
        }
        Ok(Some((Self { path: path.to_owned(), file: None, len, torn: false }, book)))
    }
}

/// A file that does not say what it is may still mean something to somebody: it is kept, under another name.
fn set_aside(path: &Path, bytes: u64) -> Result<(), InboxError> {
    let aside = aside(path);
    fs::rename(path, &aside).map_err(|source| error("set aside", path, source))?;
    tracing::warn!(
        path = %path.display(), aside = %aside.display(), bytes,
        "not an inbox file, or its header is damaged: set aside; what it held counts as not received"
    );
    Ok(())
}

/// Cuts off what is not whole. When that is more than one record, it is damage that a killed process does
/// not do, and acknowledged messages may be among it: then a copy of the file is kept.
fn cut_off(path: &Path, file: &File, len: u64, end: u64, at_the_end: bool) -> Result<(), InboxError> {
    let bytes = end - len;
    if at_the_end {
        tracing::warn!(
            path = %path.display(), offset = len, bytes,
            "cut off a record that was not whole at the end of the file: the process ended while writing it"
        );
    } else {
        let aside = aside(path);
        fs::copy(path, &aside).map_err(|source| error("copy before repairing", path, source))?;
        tracing::warn!(
            path = %path.display(), offset = len, bytes, copy = %aside.display(),
            "damaged within: cut off there; messages behind it count as not received"
        );
    }
    file.set_len(len).map_err(|source| error("cut off the damaged end of", path, source))
}

fn aside(path: &Path) -> PathBuf {
    path.with_added_extension("damaged")
}

/// An error of the file system.
pub(super) fn error(action: &'static str, path: &Path, source: io::Error) -> InboxError {
    InboxError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
