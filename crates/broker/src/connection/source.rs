//! Bytes from a transport into frames.
//!
//! Does not know what the frames mean.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::ConnectionError;
use crate::engine::Octets;
use crate::exception::Exception;
use crate::frame::{Frame, FrameReader};
use crate::server::Traffic;

/// Octets asked of the transport at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads frames. Holds at most one incomplete frame and one read.
#[derive(Debug)]
pub(super) struct FrameSource<R> {
    transport: R,
    frames: FrameReader,
    traffic: Arc<Traffic>,
    octets: Arc<Octets>,
    /// Frames taken since the last read, not yet counted.
    taken: u64,
}

impl<R: AsyncRead + Unpin> FrameSource<R> {
    pub(super) fn new(transport: R, frame_max: u32, traffic: Arc<Traffic>) -> Self {
        Self { transport, frames: FrameReader::new(frame_max), traffic, octets: Arc::default(), taken: 0 }
    }

    /// Where it counts what it reads.
    pub(super) fn octets(&self) -> &Arc<Octets> {
        &self.octets
    }

    pub(super) fn set_frame_max(&mut self, frame_max: u32) {
        self.frames.set_frame_max(frame_max);
    }

    /// Reads once. Losing the future loses no bytes.
    pub(super) async fn fill(&mut self) -> Result<(), ConnectionError> {
        let buffer = self.frames.buffer();
        buffer.reserve(READ_BYTES);
        self.traffic.received_frames.add(std::mem::take(&mut self.taken));
        match self.transport.read_buf(buffer).await? {
            0 => Err(ConnectionError::HungUp),
            read => {
                self.traffic.received_bytes.add(read as u64);
                self.octets.received.fetch_add(read as u64, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// The next frame that is here already.
    pub(super) fn next_ready(&mut self) -> Result<Option<Frame>, Exception> {
        let frame = self.frames.next_frame()?;
        self.taken += u64::from(frame.is_some());
        Ok(frame)
    }

    /// The next frame, reading as needed, each read within `idle`.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.next_ready()? {
                return Ok(frame);
            }
            self.fill_within(idle).await?;
        }
    }

    async fn fill_within(&mut self, idle: Duration) -> Result<(), ConnectionError> {
        tokio::time::timeout(idle, self.fill()).await.unwrap_or(Err(ConnectionError::SilentInHandshake))
    }

    /// What a client opens with, each read within `idle`.
    pub(super) async fn protocol_header(&mut self, idle: Duration) -> Result<[u8; 8], ConnectionError> {
        loop {
            if let Some(header) = self.frames.next_protocol_header() {
                return Ok(header);
            }
            self.fill_within(idle).await?;
        }
    }

    /// Reads and forgets, once the bytes can no longer be understood.
    pub(super) async fn discard(&mut self) -> Result<(), ConnectionError> {
        self.frames.buffer().clear();
        self.fill().await
    }
}
