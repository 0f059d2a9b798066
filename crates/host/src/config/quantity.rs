//! Quantities as the typed form of a section holds them, read from the texts people write. Bounds were checked
//! before, by the line above each default; none is known here.

use std::{ops::Deref, time::Duration};

use crosstalk_contract::units::{Rate, UnitError, parse_duration, parse_size};
use serde::Deserialize;

/// A duration, written `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A number of bytes, written `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// A number of messages per second, written `100/s`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pace(pub Rate);

impl Size {
    /// The size of something in memory; larger than memory can be stays the largest.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<String> for Span {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        parse_duration(&text).map(Self)
    }
}

impl TryFrom<String> for Size {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        parse_size(&text).map(Self)
    }
}

impl TryFrom<String> for Pace {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse().map(Self)
    }
}

impl Deref for Span {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl Deref for Size {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}

impl Deref for Pace {
    type Target = Rate;

    fn deref(&self) -> &Rate {
        &self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl From<Pace> for Rate {
    fn from(pace: Pace) -> Self {
        pace.0
    }
}
