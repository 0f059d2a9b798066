//! AMQP 0-9-1 on the wire, as little of it as a load client needs, so that the client costs next to nothing.
//!
//! Frames are built by hand and walked in place. Does not know sockets, nor what a message is sent for.

mod event;
mod inbound;
mod method;
mod publish;
mod server;

pub use event::{Event, read_event};
pub use inbound::{Frame, Inbound};
pub use method::Method;
pub use publish::{BODY_BYTES_MIN, PublishTemplate, read_stamp};
pub(crate) use server::read_server_name;

/// What a client opens with: `AMQP`, 0, and the version 0-9-1 (specification section 4.2.2).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// The octet that ends every frame (section 4.2.3).
pub const FRAME_END: u8 = 0xCE;
/// Octets in front of a frame's payload: type, channel, size.
pub const FRAME_HEADER_BYTES: usize = 7;

/// Bytes that no AMQP 0-9-1 server may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The stream is out of step, or is not AMQP.
    #[error("a frame does not end with 0xCE; is this an AMQP 0-9-1 port?")]
    FrameEnd,
    /// A frame larger than was agreed.
    #[error("a frame of {size} octets, above the agreed {max}")]
    FrameTooLarge {
        /// Its payload.
        size: usize,
        /// What fits.
        max: usize,
    },
    /// Arguments or a content end early.
    #[error("{0} ends early")]
    Short(&'static str),
    /// A content frame where none belongs.
    #[error("a content frame without a delivery")]
    StrayContent,
}

/// Reads big-endian values off the front of a payload.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(payload: &'a [u8], what: &'static str) -> Self {
        Self { rest: payload, what }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, octets: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(octets).ok_or(WireError::Short(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn octet(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn short(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn long(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn long_long(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn short_string(&mut self) -> Result<&'a [u8], WireError> {
        let octets = self.octet()?;
        self.take(usize::from(octets))
    }
}
