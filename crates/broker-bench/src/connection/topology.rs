//! Queues, exchanges, consumers: the methods by which a measurement makes and removes what it needs.
//!
//! Does not know what is measured with them.

use super::{CHANNEL, Connection};
use crate::error::BenchError;
use crate::wire::{Method, WireError};

/// How a queue keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Durable.
    Classic,
    /// Durable, `x-queue-type=quorum`; one member on a broker of one node.
    Quorum,
    /// Neither durable nor shared: exclusive to the consumer's connection, as RabbitMQ is giving up on others.
    Transient,
}

impl Connection {
    /// `queue.declare`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn declare(&mut self, queue: &str, kind: QueueKind) -> Result<(), BenchError> {
        // Bits: passive, durable, exclusive, auto-delete, no-wait.
        let (bits, arguments): (u8, &[(&str, &str)]) = match kind {
            QueueKind::Classic => (0b0_0010, &[]),
            QueueKind::Quorum => (0b0_0010, &[("x-queue-type", "quorum")]),
            QueueKind::Transient => (0b0_0100, &[]),
        };
        let request = Method::new(CHANNEL, 50, 10).short(0).short_string(queue).octet(bits).table(arguments);
        self.call(request, 11, "declaring a queue").map(drop)
    }

    /// `queue.delete`; a queue that is not there is none to delete.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete(&mut self, queue: &str) -> Result<(), BenchError> {
        let request = Method::new(CHANNEL, 50, 40).short(0).short_string(queue).octet(0);
        self.call(request, 41, "deleting a queue").map(drop)
    }

    /// Messages ready in a queue, by a passive `queue.declare`.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn ready(&mut self, queue: &str) -> Result<u32, BenchError> {
        let request = Method::new(CHANNEL, 50, 10).short(0).short_string(queue).octet(1).table(&[]);
        let answer = self.call(request, 11, "counting messages")?;
        let mut fields = crate::wire::Arguments::new(&answer, "queue.declare-ok");
        fields.short_string()?;
        Ok(fields.long()?)
    }

    /// `exchange.declare`: fan-out, not durable.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn declare_fanout(&mut self, exchange: &str) -> Result<(), BenchError> {
        let request = Method::new(CHANNEL, 40, 10).short(0).short_string(exchange).short_string("fanout");
        self.call(request.octet(0).table(&[]), 11, "declaring an exchange").map(drop)
    }

    /// `exchange.delete`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete_exchange(&mut self, exchange: &str) -> Result<(), BenchError> {
        let request = Method::new(CHANNEL, 40, 20).short(0).short_string(exchange).octet(0);
        self.call(request, 21, "deleting an exchange").map(drop)
    }

    /// `queue.bind` with an empty key.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn bind(&mut self, queue: &str, exchange: &str) -> Result<(), BenchError> {
        let request = Method::new(CHANNEL, 50, 20).short(0).short_string(queue).short_string(exchange);
        self.call(request.short_string("").octet(0).table(&[]), 21, "binding a queue").map(drop)
    }

    /// `confirm.select`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn confirm_select(&mut self) -> Result<(), BenchError> {
        self.call(Method::new(CHANNEL, 85, 10).octet(0), 11, "asking for confirms").map(drop)
    }

    /// `basic.qos` for each consumer.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn prefetch(&mut self, messages: u16) -> Result<(), BenchError> {
        self.call(Method::new(CHANNEL, 60, 10).long(0).short(messages).octet(0), 11, "setting the prefetch").map(drop)
    }

    /// `basic.consume`, the stream's number as the consumer tag. Without waiting for the answer, so that deliveries of
    /// earlier consumers are not in the way.
    ///
    /// # Errors
    /// When the broker hung up.
    pub fn consume(&mut self, queue: &str, stream: usize, auto_ack: bool) -> Result<(), BenchError> {
        // Bits: no-local, no-ack, exclusive, no-wait.
        let bits = 0b1000 | if auto_ack { 0b0010 } else { 0 };
        let request = Method::new(CHANNEL, 60, 20).short(0).short_string(queue).short_string(&stream.to_string());
        self.send(&request.octet(bits).table(&[]).finish())
    }
}

/// The stream's number out of a consumer tag.
///
/// # Errors
/// When the tag is none that [`Connection::consume`] gave.
pub(crate) fn stream_of(consumer: &[u8]) -> Result<usize, WireError> {
    let number = consumer
        .iter()
        .try_fold(0usize, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')));
    number.filter(|_| (1..=9).contains(&consumer.len())).ok_or(WireError::Short("a consumer tag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_tag_is_the_streams_number() {
        assert_eq!(stream_of(b"0"), Ok(0));
        assert_eq!(stream_of(b"1234"), Ok(1234));
        for wrong in [&b""[..], b"ctag", b"1234567890"] {
            assert!(stream_of(wrong).is_err());
        }
    }
}
