//! How much is sent and in which loop. It does not know what is sent.

use std::fmt;

use crosstalk_contract::units::Rate;

/// Most messages in one run: their records take about 100 B each, so a run stays under 100 MB at both ends.
pub const MESSAGES_MAX: u64 = 1_000_000;
/// Most messages that are under way at once in a closed loop.
pub const IN_FLIGHT_MAX: u64 = 10_000;

/// When the next message may start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Open loop: at its intended time, whatever became of the earlier ones.
    Open(Rate),
    /// Closed loop: as soon as fewer than this many are under way.
    Closed {
        /// How many may be under way, at least 1.
        in_flight: u64,
    },
}

/// What a run is asked to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How many messages.
    pub messages: u64,
    /// When each may start.
    pub pace: Pace,
}

impl Load {
    /// Intended send time of message `seq` (from 1) in an open loop that began at `start_ns`; `None` in a
    /// closed loop, where a message is due when its turn comes.
    #[must_use]
    pub fn due_ns(&self, start_ns: u64, seq: u64) -> Option<u64> {
        match self.pace {
            Pace::Closed { .. } => None,
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Pace::Open(rate) => Some(start_ns + ((seq - 1) as f64 * 1e9 / rate.per_second()) as u64),
        }
    }

    /// How many messages may be under way at once. An open loop is held back only by this bound.
    #[must_use]
    pub const fn in_flight_max(&self) -> usize {
        match self.pace {
            Pace::Open(_) => IN_FLIGHT_MAX as usize,
            Pace::Closed { in_flight } => in_flight as usize,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.messages == 1 { "" } else { "s" };
        write!(f, "{} message{plural}, ", self.messages)?;
        match self.pace {
            Pace::Open(rate) => write!(f, "{rate} (open loop)"),
            Pace::Closed { in_flight: 1 } => write!(f, "one at a time"),
            Pace::Closed { in_flight } => write!(f, "{in_flight} in flight (closed loop)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_is_due_by_the_schedule_alone() {
        let load = Load { messages: 3, pace: Pace::Open("100/s".parse().unwrap()) };
        assert_eq!(load.due_ns(1_000, 1), Some(1_000));
        assert_eq!(load.due_ns(1_000, 3), Some(20_001_000));
        assert_eq!(Load { messages: 3, pace: Pace::Closed { in_flight: 2 } }.due_ns(0, 2), None);
    }
}
