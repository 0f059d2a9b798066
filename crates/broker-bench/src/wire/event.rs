//! What a server's frame tells a load client. Does not know what follows from it.

use super::{Arguments, Frame, WireError};

/// A frame, read as far as the client cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// `basic.ack` or `basic.nack` for what was published.
    Confirm {
        /// The message, counted from 1 on its channel.
        tag: u64,
        /// All unconfirmed up to it as well.
        multiple: bool,
        /// Whether the broker took responsibility.
        positive: bool,
    },
    /// `basic.deliver`; header and body follow.
    Deliver {
        /// The consumer tag.
        consumer: &'a [u8],
        /// What to acknowledge.
        tag: u64,
        /// Whether it may have been delivered before.
        redelivered: bool,
    },
    /// A content header.
    Header {
        /// Octets of the whole body.
        body_bytes: u64,
    },
    /// A piece of a body.
    Body(&'a [u8]),
    /// `connection.blocked`, with the reason.
    Blocked(&'a [u8]),
    /// `connection.unblocked`.
    Unblocked,
    /// `channel.close` or `connection.close`.
    Close {
        /// 20 channel, 10 connection.
        class: u16,
        /// The reply code.
        code: u16,
        /// The reply text.
        text: &'a [u8],
    },
    /// `basic.cancel`: the consumer's queue is gone.
    Cancelled,
    /// Any other method; its arguments.
    Method {
        /// The class.
        class: u16,
        /// The method in it.
        method: u16,
        /// What follows them.
        arguments: &'a [u8],
    },
    /// A sign of life.
    Heartbeat,
}

/// Reads a frame.
///
/// # Errors
/// When it ends before its fields do.
pub fn read_event<'a>(frame: &Frame<'a>) -> Result<Event<'a>, WireError> {
    match frame.kind {
        1 => read_method(frame.payload),
        2 => {
            let mut fields = Arguments::new(frame.payload, "a content header");
            fields.long()?;
            Ok(Event::Header { body_bytes: fields.long_long()? })
        }
        3 => Ok(Event::Body(frame.payload)),
        _ => Ok(Event::Heartbeat),
    }
}

fn read_method(payload: &[u8]) -> Result<Event<'_>, WireError> {
    let mut fields = Arguments::new(payload, "a method");
    let (class, method) = (fields.short()?, fields.short()?);
    Ok(match (class, method) {
        (60, 60) => {
            let consumer = fields.short_string()?;
            Event::Deliver { consumer, tag: fields.long_long()?, redelivered: fields.octet()? != 0 }
        }
        (60, 80 | 120) => {
            let tag = fields.long_long()?;
            Event::Confirm { tag, multiple: fields.octet()? & 1 != 0, positive: method == 80 }
        }
        (60, 30) => Event::Cancelled,
        (10, 60) => Event::Blocked(fields.short_string()?),
        (10, 61) => Event::Unblocked,
        (10, 50) | (20, 40) => Event::Close { class, code: fields.short()?, text: fields.short_string()? },
        _ => Event::Method { class, method, arguments: fields.rest() },
    })
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    fn event(method: Method) -> Vec<u8> {
        let frame = method.finish();
        frame[7..frame.len() - 1].to_vec()
    }

    fn read(payload: &[u8]) -> Result<Event<'_>, WireError> {
        read_event(&Frame { kind: 1, channel: 1, payload })
    }

    #[test]
    fn confirms_and_deliveries_are_read() {
        let ack = event(Method::new(1, 60, 80).long_long(9).octet(1));
        assert_eq!(read(&ack), Ok(Event::Confirm { tag: 9, multiple: true, positive: true }));
        let nack = event(Method::new(1, 60, 120).long_long(9).octet(0));
        assert_eq!(read(&nack), Ok(Event::Confirm { tag: 9, multiple: false, positive: false }));
        let deliver =
            event(Method::new(1, 60, 60).short_string("17").long_long(3).octet(1).short_string("").short_string("q"));
        assert_eq!(read(&deliver), Ok(Event::Deliver { consumer: b"17", tag: 3, redelivered: true }));
        let close = event(Method::new(1, 20, 40).short(404).short_string("NOT_FOUND").short(60).short(20));
        assert_eq!(read(&close), Ok(Event::Close { class: 20, code: 404, text: b"NOT_FOUND" }));
    }

    #[test]
    fn what_ends_early_is_refused() {
        let deliver = event(Method::new(1, 60, 60).short_string("17").long_long(3).octet(1));
        for end in 0..deliver.len() {
            assert_eq!(read(&deliver[..end]), Err(WireError::Short("a method")), "{end}");
        }
    }
}
