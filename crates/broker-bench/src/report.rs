//! Results as tables: one shape for the terminal and for Markdown. Does not measure.

mod machine;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::rows::Row;
use crate::session::{Measured, Outcome, Results};
use crate::stream::Sample;

/// What a table shows where there is no figure.
const NONE: &str = "–";

/// All tables, each with its heading; the same text reads well in a terminal and as Markdown.
#[must_use]
pub fn tables(results: &Results) -> String {
    let parts = [
        ("End to end", streams(results)),
        ("Compared", ratios(results)),
        ("Memory", resting(results)),
        ("As a queue grows", growth(results)),
        ("Syncs", syncs(results)),
        ("Failed", failures(results)),
    ];
    let shown = parts.into_iter().filter(|(_, table)| table.row_count() > 0);
    shown.map(|(heading, table)| format!("## {heading}\n\n{table}\n\n")).collect()
}

/// A page for the documentation.
#[must_use]
pub fn page(results: &Results, rows: &[Row], how: &str) -> String {
    let brokers: Vec<String> = results.brokers.iter().map(|(name, server)| format!("`{name}` is {server}")).collect();
    let mut about = table(&["row", "what"]);
    for row in rows {
        about.add_row([format!("`{}`", row.name), row.about.clone()]);
    }
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    format!(
        "# Speed of the broker\n\nMade by `{command}`, after `cargo build --release --workspace`; do not edit. {}; {}. {how} msg/s counts deliveries: a rate of 0 means that \
         in the measured time nothing was delivered of what was confirmed, though all of it came in the end.\n\n\
         {}## Rows\n\n{about}\n",
        brokers.join(", "),
        machine::describe(),
        tables(results)
    )
}

fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headings.to_vec());
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// The samples of a row and broker, if it is a row of this kind and one run gave figures.
fn samples(measured: &Measured) -> Option<Vec<&Sample>> {
    let samples: Vec<_> = measured
        .runs
        .iter()
        .filter_map(|run| if let Outcome::Stream(sample) = run { Some(sample) } else { None })
        .collect();
    (!samples.is_empty()).then_some(samples)
}

/// The middle one; of an even number, the higher of the two.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.flatten().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn median_of(samples: &[&Sample], figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    median(samples.iter().map(|sample| figure(sample)))
}

/// A figure with three significant digits or all digits before the point.
fn shown(value: Option<f64>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    match value {
        1000.0.. => grouped(value),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn streams(results: &Results) -> Table {
    let mut table = table(&[
        "row",
        "broker",
        "msg/s",
        "lowest .. highest",
        "confirm ms p50 / p99 / max",
        "end to end ms p50 / p99",
        "broker cores",
        "broker µs/msg",
        "broker RSS peak MiB",
        "client cores",
    ]);
    for measured in &results.measured {
        let Some(samples) = samples(measured) else { continue };
        let figure = |of: fn(&Sample) -> Option<f64>| shown(median_of(&samples, of));
        let rates = || samples.iter().map(|sample| sample.messages_per_s);
        let (lowest, highest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        table.add_row(vec![
            Cell::new(&measured.row),
            Cell::new(&measured.broker),
            right(figure(|sample| Some(sample.messages_per_s))),
            right(format!("{} .. {}", shown(Some(lowest)), shown(Some(highest)))),
            right(format!(
                "{} / {} / {}",
                figure(|sample| sample.confirm_p50_ms),
                figure(|sample| sample.confirm_p99_ms),
                figure(|sample| sample.confirm_max_ms)
            )),
            right(format!(
                "{} / {}",
                figure(|sample| sample.end_to_end_p50_ms),
                figure(|sample| sample.end_to_end_p99_ms)
            )),
            right(figure(|sample| sample.broker_cores)),
            right(figure(|sample| sample.broker_us_per_message)),
            right(figure(|sample| sample.rss_peak_mib)),
            right(figure(|sample| Some(sample.client_cores))),
        ]);
    }
    table
}

/// The first broker's medians divided by each other's.
fn ratios(results: &Results) -> Table {
    let mut table = table(&["row", "brokers", "msg/s", "confirm p99", "broker µs/msg", "broker RSS"]);
    let mut rest = results.measured.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let same = others.iter().take_while(|other| other.row == first.row).count();
        rest = &others[same..];
        for other in &others[..same] {
            let (Some(ours), Some(theirs)) = (samples(first), samples(other)) else { continue };
            let ratio = |of: fn(&Sample) -> Option<f64>| {
                let divided = median_of(&ours, of).zip(median_of(&theirs, of)).map(|(ours, theirs)| ours / theirs);
                right(
                    divided.filter(|ratio| ratio.is_finite()).map_or(NONE.to_owned(), |ratio| format!("× {ratio:.2}")),
                )
            };
            table.add_row(vec![
                Cell::new(&first.row),
                Cell::new(format!("{} / {}", first.broker, other.broker)),
                ratio(|sample| Some(sample.messages_per_s)),
                ratio(|sample| sample.confirm_p99_ms),
                ratio(|sample| sample.broker_us_per_message),
                ratio(|sample| sample.rss_peak_mib),
            ]);
        }
    }
    table
}

fn resting(results: &Results) -> Table {
    let mut table = table(&["row", "broker", "RSS MiB"]);
    for measured in &results.measured {
        for run in &measured.runs {
            if let Outcome::Resting(resting) = run {
                let cells =
                    [Cell::new(&measured.row), Cell::new(&measured.broker), right(shown(Some(resting.rss_mib)))];
                table.add_row(cells);
            }
        }
    }
    table
}

fn growth(results: &Results) -> Table {
    let mut table = table(&[
        "broker",
        "messages",
        "in: msg/s",
        "in: µs/msg",
        "in: RSS MiB",
        "out: msg/s",
        "out: µs/msg",
        "out: RSS MiB",
    ]);
    for measured in &results.measured {
        for run in &measured.runs {
            let Outcome::Growth(growth) = run else { continue };
            for (at, (fill, drain)) in growth.fill.iter().zip(&growth.drain).enumerate() {
                let messages = growth.messages * (at as u64 + 1) / growth.fill.len() as u64;
                let mut cells = vec![Cell::new(&measured.broker), right(grouped(messages as f64))];
                for part in [fill, drain] {
                    let figures = [Some(part.messages_per_s), part.broker_us_per_message, part.rss_mib];
                    cells.extend(figures.map(|figure| right(shown(figure))));
                }
                table.add_row(cells);
            }
        }
    }
    table
}

fn syncs(results: &Results) -> Table {
    let mut table = table(&["row", "broker", "confirms, 1 at a time", "fsync + fdatasync", "each"]);
    for measured in &results.measured {
        for run in &measured.runs {
            if let Outcome::Syncs(syncs) = run {
                let each = syncs.syncs as f64 / syncs.confirms as f64;
                let figures = [syncs.confirms.to_string(), syncs.syncs.to_string(), shown(Some(each))];
                let names = [Cell::new(&measured.row), Cell::new(&measured.broker)];
                table.add_row(names.into_iter().chain(figures.map(right)));
            }
        }
    }
    table
}

fn failures(results: &Results) -> Table {
    let mut table = table(&["row", "broker", "why there is no figure"]);
    for measured in &results.measured {
        for run in &measured.runs {
            if let Outcome::Failed(reason) = run {
                let reason = reason.replace('\n', " ");
                table.add_row([&measured.row, &measured.broker, &reason]);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(broker: &str, rates: &[f64]) -> Measured {
        let run = |rate: &f64| {
            Outcome::Stream(Sample { messages_per_s: *rate, confirm_p99_ms: Some(*rate / 1000.0), ..Sample::default() })
        };
        Measured { row: "r".to_owned(), broker: broker.to_owned(), runs: rates.iter().map(run).collect() }
    }

    #[test]
    fn medians_and_ratios_are_shown_and_what_is_unknown_is_not() {
        let measured = vec![measured("a", &[30_000.0, 10_000.0, 20_000.0]), measured("b", &[8_000.0])];
        let text = tables(&Results { brokers: Vec::new(), measured });
        assert!(text.contains("20,000") && text.contains("10,000 .. 30,000"), "{text}");
        assert!(text.contains("× 2.50") && text.contains(NONE), "{text}");
        assert!(!text.contains("## Failed") && !text.contains("## Memory"), "{text}");
    }

    #[test]
    fn a_failed_run_is_named_and_gives_no_figure() {
        let mut failed = measured("a", &[]);
        failed.runs.push(Outcome::Failed("3 lost".to_owned()));
        let results = Results { brokers: Vec::new(), measured: vec![failed] };
        let text = tables(&results);
        assert!(results.any_failed() && text.contains("3 lost") && !text.contains("## End to end"), "{text}");
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(
            [0.123, 12.34, 123.4, 1234567.8].map(|value| shown(Some(value))),
            ["0.12", "12.3", "123", "1,234,568"]
        );
    }
}
