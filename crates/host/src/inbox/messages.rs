//! The messages of one run, read again from its file one at a time. It does not know how they came there.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    vec,
};

use crosstalk_contract::identity::Message;

use super::{
    InboxError,
    format::{self, Event, Next},
    log::{READ_BUFFER_LEN, error},
};

/// Messages in the order of their numbers. It holds one message at a time, and 16 bytes for each to come; it
/// reads on even when the run is deleted meanwhile. It ends after an error.
#[derive(Debug)]
pub struct Messages {
    path: PathBuf,
    input: BufReader<File>,
    at: u64,
    places: vec::IntoIter<(u64, u64)>,
}

impl Messages {
    /// Opens the file; `places` are numbers of messages and where their records begin.
    pub(super) fn open(path: &Path, places: Vec<(u64, u64)>) -> Result<Self, InboxError> {
        let file = File::open(path).map_err(|source| error("read", path, source))?;
        let input = BufReader::with_capacity(READ_BUFFER_LEN, file);
        Ok(Self { path: path.to_owned(), input, at: 0, places: places.into_iter() })
    }

    fn read(&mut self, seq: u64, place: u64) -> Result<Message, InboxError> {
        // Messages mostly arrive in order: going there by a distance keeps what is in the buffer.
        let sought = self.input.seek_relative(place.wrapping_sub(self.at).cast_signed());
        let next = sought.and_then(|()| format::read_record(&mut self.input));
        match next.map_err(|source| error("read", &self.path, source))? {
            Next::Record { record, len } => {
                self.at = place + len;
                match record.event {
                    Event::Received(message) if message.identity.seq == seq => Ok(message),
                    _ => Err(self.damaged(place)),
                }
            }
            _ => Err(self.damaged(place)),
        }
    }

    fn damaged(&self, offset: u64) -> InboxError {
        InboxError::Damaged { path: self.path.clone(), offset }
    }
}

impl Iterator for Messages {
    type Item = Result<Message, InboxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (seq, place) = self.places.next()?;
        let message = self.read(seq, place);
        if message.is_err() {
            // The place in the file is not certain any more.
            self.places = Vec::new().into_iter();
        }
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends it early.
        (0, Some(self.places.len()))
    }
}
