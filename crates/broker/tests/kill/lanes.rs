//! Which publisher's messages are to arrive in which queue, and what a message looks like. Knows no connection.

/// Who publishes, each with a numbering of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Publisher {
    /// To one queue, many messages unconfirmed.
    Many,
    /// To the same queue, one message at a time.
    Single,
    /// To an exchange that copies into three queues.
    Fan,
    /// To a queue whose messages are rejected and go to the dead letters.
    Rejected,
    /// In transactions.
    Transactional,
    /// To queues that are deleted right after their messages became dead letters.
    Brief,
}

pub(crate) const PUBLISHERS: [Publisher; 6] = [
    Publisher::Many,
    Publisher::Single,
    Publisher::Fan,
    Publisher::Rejected,
    Publisher::Transactional,
    Publisher::Brief,
];

/// Where messages are delivered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Work,
    Fan(u8),
    Rejects,
    DeadLetters,
    Transactions,
    /// Any of the queues of [`Publisher::Brief`].
    Brief,
}

/// All queues with one name.
pub(crate) const QUEUES: [Queue; 7] =
    [Queue::Work, Queue::Fan(0), Queue::Fan(1), Queue::Fan(2), Queue::Rejects, Queue::DeadLetters, Queue::Transactions];

/// What the names of the queues of [`Publisher::Brief`] begin with.
pub(crate) const BRIEF: &str = "brief.";
/// The exchange that copies.
pub(crate) const FAN: &str = "fan";
/// The exchange for dead letters.
pub(crate) const DEAD: &str = "dead";

impl Queue {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Fan(0) => "fan.0",
            Self::Fan(1) => "fan.1",
            Self::Fan(_) => "fan.2",
            Self::Rejects => "rejects",
            Self::DeadLetters => "dead-letters",
            Self::Transactions => "transactions",
            Self::Brief => BRIEF,
        }
    }
}

impl Publisher {
    /// Where every confirmed message must be delivered from in the end.
    pub(crate) fn must_reach(self) -> &'static [Queue] {
        match self {
            Self::Many | Self::Single => &[Queue::Work],
            Self::Fan => &[Queue::Fan(0), Queue::Fan(1), Queue::Fan(2)],
            Self::Rejected | Self::Brief => &[Queue::DeadLetters],
            Self::Transactional => &[Queue::Transactions],
        }
    }

    /// Whether a message may be delivered from there.
    pub(crate) fn may_reach(self, queue: Queue) -> bool {
        let passes = matches!((self, queue), (Self::Rejected, Queue::Rejects) | (Self::Brief, Queue::Brief));
        passes || self.must_reach().contains(&queue)
    }

    /// Whether its messages pass through one queue after the other, in one order.
    pub(crate) fn is_ordered(self) -> bool {
        self != Self::Brief
    }
}

/// Octets in front of what fills a body up.
const STAMP: usize = 9;

/// The body of a message: who, which, and octets that follow from both.
pub(crate) fn body(publisher: Publisher, number: u64, filling: usize) -> Vec<u8> {
    let mut body = vec![publisher as u8];
    body.extend_from_slice(&number.to_be_bytes());
    body.resize(STAMP + filling, fill_octet(number));
    body
}

/// Who sent it, and which it is; `None` if it is no such body.
pub(crate) fn read_body(body: &[u8]) -> Option<(Publisher, u64)> {
    let (stamp, filling) = body.split_first_chunk::<STAMP>()?;
    let (publisher, number) = stamp.split_first()?;
    let publisher = *PUBLISHERS.get(usize::from(*publisher))?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    filling.iter().all(|octet| *octet == fill_octet(number)).then_some((publisher, number))
}

fn fill_octet(number: u64) -> u8 {
    (number % 251) as u8
}
