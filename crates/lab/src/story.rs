//! One run as lines of text, from the records of both ends. It tells only what the records show.

use std::{fmt::Write as _, time::Duration};

use crosstalk_contract::{
    record::MessageTimeline,
    report::{Mode, RunReport},
    units::shown,
};

/// What happened in a run: the first `told` messages event by event, then the accounts.
#[must_use]
pub fn told(report: &RunReport, timelines: &[MessageTimeline], told: usize) -> String {
    let mut text = String::new();
    let mut events: Vec<(u64, String)> = timelines.iter().take(told).flat_map(|one| events(report, one)).collect();
    events.sort_by_key(|(at, _)| *at);
    let begin = events.first().map_or(0, |(at, _)| *at);
    for (at, event) in &events {
        let _ = writeln!(text, "  {:>9}  {event}", ms((at - begin) as f64 / 1e6));
    }
    let rest = report.messages.sent.saturating_sub(told as u64);
    if rest > 0 {
        let _ = writeln!(text, "  {:>9}  and {rest} more", "…");
    }
    let _ = write!(text, "\n{}", accounts(report));
    text
}

fn events(report: &RunReport, timeline: &MessageTimeline) -> Vec<(u64, String)> {
    let sent = &timeline.sent;
    let name = format!("{}/{}", sent.seq, report.messages.intended);
    let origin = origin(report);
    let mut events = vec![(sent.sent_ns, format!("{origin:13} sends {name}"))];
    let waited = ms(sent.freed_ns.saturating_sub(sent.sent_ns) as f64 / 1e6);
    let freed = match (&sent.error, sent.answered_ns) {
        (Some(error), _) => format!("{origin:13} gives {name} up after {waited}: {error}"),
        (None, Some(_)) => format!("{origin:13} has the answer to {name} and is free to go on; it waited {waited}"),
        (None, None) => format!("{origin:13} is free to go on after {waited}; nobody answers for {name}"),
    };
    events.push((sent.freed_ns, freed));
    for seen in &timeline.received {
        events.push((seen.record.received_ns, format!("{:13} has received {name}", seen.receiver)));
        if let Some(at) = seen.record.processed_ns {
            events.push((at, format!("{:13} has finished {name}", seen.receiver)));
        }
        if seen.record.copies > 1 {
            events.push((seen.record.received_ns, format!("{:13} got it {} times", seen.receiver, seen.record.copies)));
        }
    }
    if timeline.received.is_empty() {
        events.push((sent.freed_ns + 1, format!("{:13} never received {name}", report.receiver)));
    }
    events
}

/// Who sent the messages: for polling, not the node that started the exchange.
fn origin(report: &RunReport) -> &str {
    report.details.get("origin").and_then(|origin| origin.as_str()).unwrap_or(&report.sender)
}

fn accounts(report: &RunReport) -> String {
    let RunReport { messages, waits, observed, .. } = report;
    let mut text = format!("  {} messages sent", messages.sent);
    if messages.receivers > 1 {
        let _ = write!(text, " to {} receivers", messages.receivers);
    }
    let _ =
        write!(text, ", {} delivered, {} lost, {} duplicated", messages.delivered, messages.lost, messages.duplicated);
    if messages.waiting > 0 {
        let _ = write!(text, ", {} still waiting for the receiver", messages.waiting);
    }
    let _ = writeln!(text, "; the whole took {}.", ms(report.total_ms));
    let hop = match observed.hop {
        Mode::Synchronous => {
            format!("every exchange ended with the neighbour's answer, after {} (p50)", ms(waits.hop.p50_ms))
        }
        Mode::Asynchronous => format!("the sender went on after {} (p50) without an answer", ms(waits.hop.p50_ms)),
        Mode::Both | Mode::Unknown => "nothing was exchanged".to_owned(),
    };
    let end_to_end = match observed.end_to_end {
        Mode::Synchronous => {
            format!("all {} times the receiver had finished before the sender was free", observed.compared)
        }
        Mode::Asynchronous => {
            format!(
                "{} of {} times the sender was free before the receiver had finished",
                observed.freed_before_processed, observed.compared
            )
        }
        Mode::Both | Mode::Unknown if observed.compared > 0 => {
            "the receiver was faster than the broker's answer, so that waiting cannot be told from not waiting"
                .to_owned()
        }
        Mode::Both | Mode::Unknown => "nothing was delivered".to_owned(),
    };
    let _ = writeln!(text, "  On the hop {}: {hop}.", observed.hop);
    let _ = writeln!(text, "  End to end {}: {end_to_end}.", observed.end_to_end);
    let details: Vec<_> = report.details.iter().filter_map(|(name, value)| detail(name, value)).collect();
    if !details.is_empty() {
        let _ = writeln!(text, "  Also: {}.", details.join(", "));
    }
    for error in &report.errors {
        let _ = writeln!(text, "  {} × {}", error.count, error.error);
    }
    text
}

/// A figure of the paradigm's own, such as `empty_attempts`, in words; texts were told already. A name that ends in
/// `_ms` counts milliseconds.
fn detail(name: &str, value: &serde_json::Value) -> Option<String> {
    let words = |name: &str| name.replace('_', " ");
    match (name.strip_suffix("_ms"), value.as_u64(), value.as_f64()) {
        (Some(name), _, Some(time)) => Some(format!("{} {}", words(name), ms(time))),
        (None, Some(whole), _) => Some(format!("{} {whole}", words(name))),
        (None, None, Some(number)) => Some(format!("{} {number:.1}", words(name))),
        _ => None,
    }
}

/// Milliseconds, as [`shown`].
#[must_use]
pub fn ms(value: f64) -> String {
    shown(Duration::from_secs_f64(value.max(0.0) / 1000.0))
}

/// `text` in lines of at most `width` characters.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words() {
        assert_eq!(wrapped("one two  three\nfour", 9), "one two\nthree\nfour");
        assert_eq!(wrapped("", 9), "");
    }
}
