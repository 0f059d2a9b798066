//! When the next attempt follows the last one. It asks nobody.

use std::time::Duration;

use crosstalk_host::http::{Kind, Param, Params, Refusal};

use crate::options::Options;

/// Shortest time between two short polls: the bound of `polling.interval`, for requests too.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Longest time between two short polls.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// How a run polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// Asks, gets an answer at once, and asks again when `interval` has passed since the last attempt began.
    Short {
        /// The time between two attempts.
        interval: Duration,
    },
    /// Asks, is answered as soon as there is something or `wait` is over, and asks again at once.
    Long {
        /// How long an attempt may be held open.
        wait: Duration,
    },
}

impl Schedule {
    /// The parameters that describe a schedule.
    pub(super) fn params(options: &Options) -> [Param; 3] {
        [
            Param {
                name: "mode",
                kind: Kind::Choice(&["short", "long"]),
                default: "short",
                about: "Ask again and again, or ask and wait for something to come.",
            },
            Param {
                name: "interval",
                kind: Kind::Duration(INTERVAL_MAX),
                default: "polling.interval",
                about: "Short polling: time between two attempts, at least 1ms. Not with mode=long.",
            },
            Param {
                name: "wait",
                kind: Kind::Duration(options.wait_max.0),
                default: "polling.wait",
                about: "Long polling: how long an attempt is held open, at least 1ms. Not with mode=short.",
            },
        ]
    }

    /// What the request asks for.
    pub(super) fn read(params: &Params, options: &Options) -> Result<Self, Refusal> {
        let long = params.word("mode") == Some("long");
        let (interval, wait) = (params.duration("interval"), params.duration("wait"));
        let misplaced = |name: &str, belongs: &str| {
            Err(Refusal::bad(name, format!("parameter {name} belongs to mode={belongs}: leave it out, or change mode")))
        };
        let schedule = match (long, interval, wait) {
            (true, Some(_), _) => return misplaced("interval", "short"),
            (false, _, Some(_)) => return misplaced("wait", "long"),
            (true, None, wait) => Self::Long { wait: wait.unwrap_or(options.wait.0) },
            (false, interval, None) => Self::Short { interval: interval.unwrap_or(options.interval.0) },
        };
        match schedule {
            Self::Short { interval } if interval < INTERVAL_MIN => {
                Err(Refusal::bad("interval", "parameter interval: expected at least 1ms"))
            }
            Self::Long { wait } if wait < INTERVAL_MIN => {
                Err(Refusal::bad("wait", "parameter wait: expected at least 1ms; to ask without waiting, mode=short"))
            }
            schedule => Ok(schedule),
        }
    }

    /// How long an attempt may be held open; `None` when it is answered at once.
    pub(super) const fn wait(self) -> Option<Duration> {
        match self {
            Self::Short { .. } => None,
            Self::Long { wait } => Some(wait),
        }
    }

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Short { .. } => "short",
            Self::Long { .. } => "long",
        }
    }
}
