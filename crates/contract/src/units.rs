//! Rates, durations and sizes as people write them (`100/s`, `250ms`, `1KiB`), with errors that teach the
//! form. It knows no option by name: bounds belong to whoever asks.

use std::{fmt, str::FromStr, time::Duration};

/// How many messages per second an open-loop sender starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// Slowest rate: one message in 100 s; slower ones would outlast every timeout.
    pub const MIN: f64 = 0.01;
    /// Fastest rate: beyond what one sender on one machine reaches over any transport here.
    pub const MAX: f64 = 1_000_000.0;

    /// Messages per second.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

/// What a text should have looked like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got:?}")]
pub struct UnitError {
    /// The form that was expected, with an example.
    pub expected: &'static str,
    /// The text, cut to 64 characters.
    pub got: String,
}

fn fail(expected: &'static str, got: &str) -> UnitError {
    UnitError { expected, got: got.chars().take(64).collect() }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FORM: &str = "a rate between 0.01/s and 1000000/s, such as 100/s or 6/min";
        let (number, seconds) = match text.split_once('/') {
            None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
            Some((number, "min")) => (number, 60.0),
            Some((number, "h")) => (number, 3600.0),
            Some(_) => return Err(fail(FORM, text)),
        };
        match number.parse::<f64>() {
            Ok(value) if (Self::MIN..=Self::MAX).contains(&(value / seconds)) => Ok(Self(value / seconds)),
            _ => Err(fail(FORM, text)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// Reads a duration such as `250ms`, `10s` or `1m 30s`; `0` alone is zero.
///
/// # Errors
/// When the text has no unit or is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| fail("a duration with its unit, such as 250ms, 10s or 2m", text))
}

/// Writes a duration the way [`parse_duration`] reads it.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        "0ms".to_owned()
    } else {
        humantime::format_duration(duration).to_string().replace(' ', "")
    }
}

/// A measured duration with the digits that matter, in the unit that fits: `4 µs`, `0.25 ms`, `58.2 ms`, `1234 ms`.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 0.0995 => format!("{:.0} µs", ms * 1e3),
        _ if ms < 9.95 => format!("{ms:.2} ms"),
        _ if ms < 99.5 => format!("{ms:.1} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Reads a size in bytes such as `256B`, `1KiB`, `64kB` or `1MiB`; a bare number counts bytes.
///
/// # Errors
/// When the text is no size.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| fail("a size such as 256B, 1KiB or 4MiB", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_their_units_and_within_bounds() {
        assert_eq!("100/s".parse(), Ok(Rate(100.0)));
        assert_eq!("100".parse(), Ok(Rate(100.0)));
        assert_eq!("6/min".parse(), Ok(Rate(0.1)));
        for text in ["0", "0/s", "-1/s", "1000000000000", "1e12/s", "NaN", "inf/s", "", "/s", "5/week", "5/s/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn measured_times_are_shown_in_fitting_units() {
        let times = [4.0, 250.0, 5_623.0, 58_200.0, 1_234_000.0, 65_000_000.0];
        let texts = times.map(|micros: f64| shown(Duration::from_secs_f64(micros / 1e6)));
        assert_eq!(texts, ["4 µs", "0.25 ms", "5.62 ms", "58.2 ms", "1234 ms", "65.0 s"]);
    }

    #[test]
    fn durations_need_a_unit_and_sizes_do_not() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert!(parse_duration("250").is_err());
        assert!(parse_duration("-1s").is_err());
        assert_eq!(parse_size("1KiB"), Ok(1024));
        assert_eq!(parse_size("512"), Ok(512));
        assert!(parse_size("much").is_err());
        assert_eq!(format_duration(Duration::from_millis(1500)), "1s500ms");
    }
}
