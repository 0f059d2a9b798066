//! A text file of bounded size, and places in it. It knows nothing of what the text means.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::error::Place;

/// Largest file read, in bytes: a thousand times what a configuration needs, and nothing a node could choke on.
pub const FILE_MAX: u64 = 1 << 20;

/// Characters of a foreign text that an error repeats.
const SHOWN_MAX: usize = 64;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused it.
    #[error("{path}: cannot be read: {source}")]
    Read {
        /// The file as the user named it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large.
    #[error("{path}: larger than {FILE_MAX} B, which no such file needs")]
    TooLarge {
        /// The file as the user named it.
        path: String,
    },
    /// It is no text.
    #[error("{place}: expected UTF-8 text, got other bytes")]
    NotText {
        /// The first byte that is none.
        place: Place,
    },
}

/// A text with the name under which errors point into it.
#[derive(Debug)]
pub(crate) struct Document {
    path: String,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn new(path: &str, text: String) -> Self {
        Self { path: path.to_owned(), text }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let path_shown = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
        if let Err(source) = read {
            return Err(FileError::Read { path: path_shown, source });
        }
        if bytes.len() as u64 > FILE_MAX {
            return Err(FileError::TooLarge { path: path_shown });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path: path_shown, text }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let document = Self { path: path_shown, text: String::from_utf8_lossy(error.as_bytes()).into_owned() };
                Err(FileError::NotText { place: document.place(valid) })
            }
        }
    }

    /// The byte at `offset`, for an error. Takes a pass over the text, so it is asked for only when needed.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let (line, column) = self.line_and_column(offset);
        Place::File { path: self.path.clone(), line, column }
    }

    /// Both count from 1; the column counts characters.
    pub(crate) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = String::from_utf8_lossy(&self.text.as_bytes()[..offset.min(self.text.len())]);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// The beginning of a foreign text, for an error.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}
