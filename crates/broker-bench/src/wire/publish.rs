//! A message prebuilt: method, header and body frame in one piece, of which only number and time change.
//!
//! Does not know who counts the messages or reads the clock.

use super::{FRAME_END, Method, WireError};

/// Octets of a body that carry the number and the time; no body is smaller.
pub const BODY_BYTES_MIN: usize = 16;
/// Property flag of the delivery mode (specification section 4.2.6.1: the highest bit is the first property).
const DELIVERY_MODE_FLAG: u16 = 1 << 12;

/// A message for one exchange and routing key.
#[derive(Debug, Clone)]
pub struct PublishTemplate {
    bytes: Vec<u8>,
    /// Where the body begins.
    body_at: usize,
}

impl PublishTemplate {
    /// `body_bytes` is raised to [`BODY_BYTES_MIN`] and must fit one frame of 4,096 octets, the least that every peer
    /// takes.
    #[must_use]
    pub fn new(channel: u16, exchange: &str, routing_key: &str, persistent: bool, body_bytes: usize) -> Self {
        let body_bytes = body_bytes.max(BODY_BYTES_MIN);
        let mut bytes = Method::new(channel, 60, 40).short(0).short_string(exchange).short_string(routing_key);
        bytes = bytes.octet(0);
        let mut bytes = bytes.finish();
        let mut header = vec![2];
        header.extend_from_slice(&channel.to_be_bytes());
        header.extend_from_slice(&15u32.to_be_bytes());
        header.extend_from_slice(&[0, 60, 0, 0]);
        header.extend_from_slice(&(body_bytes as u64).to_be_bytes());
        header.extend_from_slice(&DELIVERY_MODE_FLAG.to_be_bytes());
        header.extend_from_slice(&[if persistent { 2 } else { 1 }, FRAME_END]);
        bytes.extend_from_slice(&header);
        bytes.push(3);
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&(body_bytes as u32).to_be_bytes());
        let body_at = bytes.len();
        bytes.resize(body_at + body_bytes, b'.');
        bytes.push(FRAME_END);
        Self { bytes, body_at }
    }

    /// Appends the message with its number and the time of sending, in nanoseconds of the run.
    pub fn append(&self, out: &mut Vec<u8>, sequence: u64, sent_ns: u64) {
        let body = out.len() + self.body_at;
        out.extend_from_slice(&self.bytes);
        out[body..body + 8].copy_from_slice(&sequence.to_be_bytes());
        out[body + 8..body + 16].copy_from_slice(&sent_ns.to_be_bytes());
    }

    /// The body alone, for a client that makes its frames itself.
    #[must_use]
    pub fn body(&self, sequence: u64, sent_ns: u64) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.bytes.len());
        self.append(&mut whole, sequence, sent_ns);
        whole.pop();
        whole.split_off(self.body_at)
    }
}

/// The number and the time of sending that a body begins with.
///
/// # Errors
/// When the body, or its first frame, is shorter than [`BODY_BYTES_MIN`].
pub fn read_stamp(body: &[u8]) -> Result<(u64, u64), WireError> {
    let mut fields = super::Arguments::new(body, "a message's number and time");
    Ok((fields.long_long()?, fields.long_long()?))
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Inbound, read_event};
    use super::*;

    #[test]
    fn a_message_is_three_frames_and_keeps_its_stamp() {
        let template = PublishTemplate::new(1, "", "q", true, 100);
        let mut bytes = Vec::new();
        template.append(&mut bytes, 7, 1_234);
        let mut inbound = Inbound::new(4096);
        inbound.fill(&mut bytes.as_slice()).unwrap();
        let kinds: Vec<u8> = std::iter::from_fn(|| inbound.next_frame().unwrap().map(|frame| frame.kind)).collect();
        assert_eq!(kinds, [1, 2, 3]);
        let body = template.body(7, 1_234);
        assert_eq!((body.len(), read_stamp(&body)), (100, Ok((7, 1_234))));
        assert_eq!(read_stamp(&body[..15]), Err(WireError::Short("a message's number and time")));
    }

    #[test]
    fn the_header_states_the_body_size() {
        let mut bytes = Vec::new();
        PublishTemplate::new(1, "x", "", false, 5).append(&mut bytes, 0, 0);
        let mut inbound = Inbound::new(4096);
        inbound.fill(&mut bytes.as_slice()).unwrap();
        inbound.next_frame().unwrap();
        let frame = inbound.next_frame().unwrap().unwrap();
        assert_eq!(read_event(&frame).unwrap(), Event::Header { body_bytes: BODY_BYTES_MIN as u64 });
    }
}
