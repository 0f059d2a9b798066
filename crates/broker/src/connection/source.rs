//! Bytes from a transport into frames.
//!
//! Does not know what the frames mean.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::ConnectionError;
use crate::exception::Exception;
use crate::frame::{Frame, FrameReader};

/// Octets asked of the transport at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads frames. Holds at most one incomplete frame and one read.
#[derive(Debug)]
pub(super) struct FrameSource<R> {
    transport: R,
    frames: FrameReader,
}

impl<R: AsyncRead + Unpin> FrameSource<R> {
    pub(super) fn new(transport: R, frame_max: u32) -> Self {
        Self { transport, frames: FrameReader::new(frame_max) }
    }

    pub(super) fn set_frame_max(&mut self, frame_max: u32) {
        self.frames.set_frame_max(frame_max);
    }

    /// Reads once. Losing the future loses no bytes.
    pub(super) async fn fill(&mut self) -> Result<(), ConnectionError> {
        let buffer = self.frames.buffer();
        buffer.reserve(READ_BYTES);
        match self.transport.read_buf(buffer).await? {
            0 => Err(ConnectionError::HungUp),
            _ => Ok(()),
        }
    }

    /// The next frame that is here already.
    pub(super) fn next_ready(&mut self) -> Result<Option<Frame>, Exception> {
        self.frames.next_frame()
    }

    /// The next frame, reading as needed.
    pub(super) async fn next(&mut self) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// What a client opens with.
    pub(super) async fn protocol_header(&mut self) -> Result<[u8; 8], ConnectionError> {
        loop {
            if let Some(header) = self.frames.next_protocol_header() {
                return Ok(header);
            }
            self.fill().await?;
        }
    }

    /// Reads and forgets, once the bytes can no longer be understood.
    pub(super) async fn discard(&mut self) -> Result<(), ConnectionError> {
        self.frames.buffer().clear();
        self.fill().await
    }
}
