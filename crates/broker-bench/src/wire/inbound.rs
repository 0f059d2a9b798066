//! Received bytes, and the frames in them, walked without copying. Does not know what a frame means.

use std::io::{self, Read};

use super::{FRAME_END, FRAME_HEADER_BYTES, WireError};

/// One frame, where it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 1 method, 2 content header, 3 content body, 8 heartbeat.
    pub kind: u8,
    /// 0 is the connection itself.
    pub channel: u16,
    /// Without header and end octet.
    pub payload: &'a [u8],
}

/// A receive buffer of a fixed size.
#[derive(Debug)]
pub struct Inbound {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbound {
    /// A buffer of so many octets; it bounds the largest frame.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity], start: 0, end: 0 }
    }

    /// Reads once, behind what is here; 0 is the end of the stream. Call it when [`Self::next_frame`] gave `None`.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 {
            // An incomplete frame at most: less than a message, so moving it costs less than wrapping around.
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let read = from.read(&mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A frame that cannot fit the buffer, or a wrong end octet.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let bytes = &self.buffer[self.start..self.end];
        let Some(&[kind, c0, c1, s0, s1, s2, s3]) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        let whole = FRAME_HEADER_BYTES + size + 1;
        if whole > self.buffer.len() {
            return Err(WireError::FrameTooLarge { size, max: self.buffer.len() - FRAME_HEADER_BYTES - 1 });
        }
        if bytes.len() < whole {
            return Ok(None);
        }
        if bytes[whole - 1] != FRAME_END {
            return Err(WireError::FrameEnd);
        }
        let payload = &self.buffer[self.start + FRAME_HEADER_BYTES..self.start + whole - 1];
        self.start += whole;
        Ok(Some(Frame { kind, channel: u16::from_be_bytes([c0, c1]), payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_that_cannot_fit_or_end_is_refused() {
        let mut inbound = Inbound::new(16);
        inbound.fill(&mut &[1, 0, 0, 0, 0, 0, 9][..]).unwrap();
        assert_eq!(inbound.next_frame(), Err(WireError::FrameTooLarge { size: 9, max: 8 }));
        let mut inbound = Inbound::new(16);
        inbound.fill(&mut &[1, 0, 0, 0, 0, 0, 1, 7, 0][..]).unwrap();
        assert_eq!(inbound.next_frame(), Err(WireError::FrameEnd));
    }

    proptest! {
        #[test]
        fn frames_survive_any_splits(pieces in proptest::collection::vec(1usize..40, 1..9), count in 1usize..50) {
            let bytes: Vec<u8> = (0..count).flat_map(|n| Method::new(n as u16, 60, 80).long_long(n as u64).finish()).collect();
            let (mut inbound, mut at, mut turn, mut seen) = (Inbound::new(64), 0, 0, Vec::new());
            while at < bytes.len() {
                let end = (at + pieces[turn % pieces.len()]).min(bytes.len());
                at += inbound.fill(&mut &bytes[at..end]).unwrap();
                turn += 1;
                while let Some(frame) = inbound.next_frame().unwrap() {
                    seen.push(frame.channel);
                }
            }
            prop_assert_eq!(seen, (0..count as u16).collect::<Vec<_>>());
        }
    }
}
