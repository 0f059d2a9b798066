//! All runs of a tour side by side. It does not judge: the columns are what was measured.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use crosstalk_contract::report::{Mode, RunReport};

use crate::{story::ms, tour::Row};

const HEADINGS: [&str; 12] = [
    "Paradigm",
    "sent",
    "delivered",
    "lost",
    "dup.",
    "held: hop",
    "end to end",
    "latency p50",
    "p99",
    "hop",
    "end to end",
    "together",
];

/// A table with a row for each run, and a legend.
#[must_use]
pub fn side_by_side(rows: &[Row]) -> String {
    let mut table = Table::new();
    let style = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADINGS.iter().enumerate().map(|(column, heading)| aligned(column, (*heading).to_owned())));
    for row in rows {
        let cells = match &row.report {
            Some(report) => measured(&row.title, report),
            None => std::iter::once(row.title.clone()).chain(HEADINGS[1..].iter().map(|_| "–".to_owned())).collect(),
        };
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| aligned(column, text)));
    }
    format!(
        "{table}\nheld: how long the sender was held per message (p50), by its direct neighbour and until the final receiver\n\
         had finished; latency: from the intended send time until the receiver had finished; with several\n\
         receivers, a message counts as delivered once for each. All times measured by the nodes themselves."
    )
}

fn aligned(column: usize, text: String) -> Cell {
    let numbers = 1..=8;
    Cell::new(text).set_alignment(if numbers.contains(&column) { CellAlignment::Right } else { CellAlignment::Left })
}

fn measured(title: &str, report: &RunReport) -> Vec<String> {
    let RunReport { messages, waits, latency, observed, .. } = report;
    let known = |value: f64| if latency.count == 0 { "–".to_owned() } else { ms(value) };
    let end_to_end = match observed.end_to_end {
        Mode::Asynchronous if waits.end_to_end.p50_ms == 0.0 => "not held".to_owned(),
        _ => known(waits.end_to_end.p50_ms),
    };
    vec![
        title.to_owned(),
        messages.sent.to_string(),
        messages.delivered.to_string(),
        messages.lost.to_string(),
        messages.duplicated.to_string(),
        ms(waits.hop.p50_ms),
        end_to_end,
        known(latency.p50_ms),
        known(latency.p99_ms),
        short(observed.hop),
        short(observed.end_to_end),
        observed.summary.to_string(),
    ]
}

fn short(mode: Mode) -> String {
    match mode {
        Mode::Synchronous => "sync",
        Mode::Asynchronous => "async",
        Mode::Both => "both",
        Mode::Unknown => "unknown",
    }
    .to_owned()
}
