//! Distributions of times in HDR histograms. It does not know what was timed.

use crosstalk_contract::report::Latency;
use hdrhistogram::Histogram;

/// Longest time told apart, in nanoseconds (one hour); longer ones count as this.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// The distribution of `values_ns`, nanoseconds each.
#[must_use]
pub fn latency(values_ns: impl IntoIterator<Item = u64>) -> Latency {
    let Ok(mut histogram) = Histogram::<u64>::new_with_max(HIGHEST_NS, DIGITS) else { return Latency::default() };
    for value in values_ns {
        histogram.saturating_record(value);
    }
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    Latency {
        count: histogram.len(),
        mean_ms: histogram.mean() / 1e6,
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        max_ms: ms(histogram.max()),
    }
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
#[must_use]
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_stated_digits() {
        let latency = latency((1..=1000).map(|n| n * 1_000_000));
        assert_eq!(latency.count, 1000);
        assert!((latency.p50_ms - 500.0).abs() <= 0.5, "{latency:?}");
        assert!((latency.p99_ms - 990.0).abs() <= 1.0, "{latency:?}");
        assert_eq!(super::latency([]), Latency::default());
    }
}
