//! Frames out: methods by `amq-protocol`, and by hand the few that are sent for each message.
//!
//! Encoding by hand spares the hot path a copy of three strings for each delivery; the layouts are fixed
//! by the specification. Does not know when to write or how much may be buffered.

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::{AMQPClass, gen_class};
use bytes::{BufMut, BytesMut};

use super::{FRAME_END, FrameKind};

const BASIC: u16 = 60;
/// A short string's length is one octet (section 4.2.5.3).
const SHORT_STRING_MAX_BYTES: usize = 255;

/// A method that a content follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ContentMethod<'a> {
    /// `basic.deliver`.
    Deliver {
        /// Which consumer it is for.
        consumer_tag: &'a str,
        /// What the client will acknowledge.
        delivery_tag: u64,
        /// Whether the message may have been delivered before.
        redelivered: bool,
    },
    /// `basic.get-ok`.
    GetOk {
        /// What the client will acknowledge.
        delivery_tag: u64,
        /// Whether the message may have been delivered before.
        redelivered: bool,
        /// How many messages are left in the queue.
        message_count: u32,
    },
    /// `basic.return`.
    Return {
        /// 312 for an unroutable message.
        reply_code: u16,
        /// The code's name.
        reply_text: &'a str,
    },
}

/// Appends a method frame.
pub(crate) fn encode_method(out: &mut BytesMut, channel: u16, method: &AMQPClass) {
    let context = WriteContext { write: Vec::with_capacity(64), position: 0 };
    match gen_class(method)(context) {
        Ok(done) => frame(out, FrameKind::Method, channel, |out| out.put_slice(&done.write)),
        // A `Vec` takes everything, so only a method this broker built wrongly ends here; it must not end the process.
        Err(error) => tracing::error!(%error, ?method, "method could not be encoded"),
    }
}

/// Appends the method frame in front of a content; `exchange` and `routing_key` are the message's.
pub(crate) fn encode_content_method(
    out: &mut BytesMut,
    channel: u16,
    method: ContentMethod<'_>,
    exchange: &str,
    routing_key: &str,
) {
    frame(out, FrameKind::Method, channel, |out| {
        out.put_u16(BASIC);
        match method {
            ContentMethod::Deliver { consumer_tag, delivery_tag, redelivered } => {
                out.put_u16(60);
                short_string(out, consumer_tag);
                out.put_u64(delivery_tag);
                out.put_u8(u8::from(redelivered));
            }
            ContentMethod::GetOk { delivery_tag, redelivered, .. } => {
                out.put_u16(71);
                out.put_u64(delivery_tag);
                out.put_u8(u8::from(redelivered));
            }
            ContentMethod::Return { reply_code, reply_text } => {
                out.put_u16(50);
                out.put_u16(reply_code);
                short_string(out, reply_text);
            }
        }
        short_string(out, exchange);
        short_string(out, routing_key);
        if let ContentMethod::GetOk { message_count, .. } = method {
            out.put_u32(message_count);
        }
    });
}

/// Appends the header frame of a content.
pub(crate) fn encode_content_header(out: &mut BytesMut, channel: u16, properties: &[u8], body_size: usize) {
    frame(out, FrameKind::Header, channel, |out| {
        out.put_u16(BASIC);
        out.put_u16(0);
        out.put_u64(body_size as u64);
        out.put_slice(properties);
    });
}

/// Appends one body frame; the caller cuts the body to the negotiated size.
pub(crate) fn encode_body(out: &mut BytesMut, channel: u16, piece: &[u8]) {
    frame(out, FrameKind::Body, channel, |out| out.put_slice(piece));
}

/// Appends a publisher confirm: `basic.ack`, or `basic.nack` when `positive` is false.
pub(crate) fn encode_confirm(out: &mut BytesMut, channel: u16, delivery_tag: u64, multiple: bool, positive: bool) {
    frame(out, FrameKind::Method, channel, |out| {
        out.put_u16(BASIC);
        out.put_u16(if positive { 80 } else { 120 });
        out.put_u64(delivery_tag);
        out.put_u8(u8::from(multiple));
    });
}

/// Appends a heartbeat frame.
pub(crate) fn encode_heartbeat(out: &mut BytesMut) {
    frame(out, FrameKind::Heartbeat, 0, |_| {});
}

fn frame(out: &mut BytesMut, kind: FrameKind, channel: u16, payload: impl FnOnce(&mut BytesMut)) {
    out.put_u8(match kind {
        FrameKind::Method => 1,
        FrameKind::Header => 2,
        FrameKind::Body => 3,
        FrameKind::Heartbeat => 8,
    });
    out.put_u16(channel);
    let size_at = out.len();
    out.put_u32(0);
    payload(out);
    let size = (out.len() - size_at - 4) as u32;
    out[size_at..size_at + 4].copy_from_slice(&size.to_be_bytes());
    out.put_u8(FRAME_END);
}

fn short_string(out: &mut BytesMut, text: &str) {
    let cut = text.floor_char_boundary(SHORT_STRING_MAX_BYTES);
    out.put_u8(cut as u8);
    out.put_slice(&text.as_bytes()[..cut]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::frame::{AMQPFrame, parse_frame};
    use amq_protocol::protocol::basic::{AMQPMethod, Ack, Deliver, GetOk, Nack, Return};

    fn parsed(bytes: &[u8]) -> AMQPClass {
        match parse_frame(bytes).expect("a frame").1 {
            AMQPFrame::Method(7, class) => class,
            other => panic!("not a method on channel 7: {other:?}"),
        }
    }

    #[test]
    fn methods_by_hand_are_what_the_parser_reads() {
        let encode = |method| {
            let mut out = BytesMut::new();
            encode_content_method(&mut out, 7, method, "ex", "key");
            parsed(&out)
        };
        let (exchange, routing_key) = ("ex".into(), "key".into());
        let deliver = Deliver { consumer_tag: "c".into(), delivery_tag: 5, redelivered: true, exchange, routing_key };
        assert_eq!(
            encode(ContentMethod::Deliver { consumer_tag: "c", delivery_tag: 5, redelivered: true }),
            AMQPClass::Basic(AMQPMethod::Deliver(deliver))
        );
        let (exchange, routing_key) = ("ex".into(), "key".into());
        let get_ok = GetOk { delivery_tag: 5, redelivered: false, exchange, routing_key, message_count: 9 };
        assert_eq!(
            encode(ContentMethod::GetOk { delivery_tag: 5, redelivered: false, message_count: 9 }),
            AMQPClass::Basic(AMQPMethod::GetOk(get_ok))
        );
        let (exchange, routing_key) = ("ex".into(), "key".into());
        let returned = Return { reply_code: 312, reply_text: "NO_ROUTE".into(), exchange, routing_key };
        assert_eq!(
            encode(ContentMethod::Return { reply_code: 312, reply_text: "NO_ROUTE" }),
            AMQPClass::Basic(AMQPMethod::Return(returned))
        );
    }

    #[test]
    fn confirms_are_what_the_parser_reads() {
        let mut out = BytesMut::new();
        encode_confirm(&mut out, 7, 3, true, true);
        assert_eq!(parsed(&out), AMQPClass::Basic(AMQPMethod::Ack(Ack { delivery_tag: 3, multiple: true })));
        out.clear();
        encode_confirm(&mut out, 7, 3, false, false);
        let nack = Nack { delivery_tag: 3, multiple: false, requeue: false };
        assert_eq!(parsed(&out), AMQPClass::Basic(AMQPMethod::Nack(nack)));
    }
}
