//! All runs of a tour side by side. It does not judge: the columns are what was measured.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use crosstalk_contract::report::{Mode, RunReport};

use crate::{story::ms, tour::Row};

const HEADINGS: [&str; 11] = [
    "Paradigm",
    "sent",
    "delivered",
    "lost",
    "dup.",
    "held: hop",
    "end to end",
    "latency",
    "p99",
    "hop → end",
    "observed",
];

/// What stands before a line that goes on from the one above.
const SPACE: &str = "            ";

/// A table with a row for each run, and a legend.
#[must_use]
pub fn side_by_side(rows: &[Row]) -> String {
    let mut table = Table::new();
    let style = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADINGS.iter().enumerate().map(|(column, heading)| aligned(column, (*heading).to_owned())));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for row in rows {
        let cells = match &row.report {
            Some(report) => measured(&row.title, report),
            None => std::iter::once(row.title.clone()).chain(HEADINGS[1..].iter().map(|_| "–".to_owned())).collect(),
        };
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| aligned(column, text)));
    }
    format!(
        "{table}\n\n\
         held        how long the sender was held per message (p50): on the hop, by its direct neighbour; end to end, until\n\
         {SPACE}the final receiver had finished. For polling: the poller, per attempt.\n\
         latency     from the intended send time until the final receiver had finished (p50 and p99)\n\
         delivered   finished by the receiver, as its own records say; with several receivers, once for each"
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
        format!("{} → {}", short(observed.hop), short(observed.end_to_end)),
        observed.summary.to_string(),
    ]
}

fn short(mode: Mode) -> &'static str {
    match mode {
        Mode::Synchronous => "sync",
        Mode::Asynchronous => "async",
        Mode::Both => "both",
        Mode::Unknown => "unknown",
    }
}
