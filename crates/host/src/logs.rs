//! Log lines for reading: time, node, and what happened; or JSON for machines. It does not know what is worth
//! a line.

use std::{
    fmt::{self, Write},
    io::IsTerminal,
};

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// The variable that chooses what is logged, as in most Rust programs: LEVEL, or TARGET=LEVEL, separated by commas.
const VARIABLE: &str = "RUST_LOG";

/// Sends log lines to standard error. `RUST_LOG` chooses what is logged.
pub fn start(node: &'static str, json: bool) {
    // Set but empty, as compose files pass it on, is not set.
    let chosen = std::env::var(VARIABLE).ok().filter(|chosen| !chosen.is_empty());
    let (filter, misunderstood) = filter(chosen.as_deref());
    // A line that nobody can read any more, because the reader is gone, must not become a panic.
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let registry = tracing_subscriber::registry();
    // A second call (several nodes as tasks of one process) keeps the first one's form.
    let _ = if json {
        registry.with(layer.json().flatten_event(true).with_filter(filter)).try_init().map_err(drop)
    } else {
        registry
            .with(layer.with_ansi(colours).event_format(Story { node }).with_filter(filter))
            .try_init()
            .map_err(drop)
    };
    if let Some(problem) = misunderstood {
        tracing::warn!(
            "{VARIABLE} is not understood and left out: {problem}; expected a level (off, error, warn, info, debug, \
             trace) or TARGET=LEVEL, separated by commas, such as info,crosstalk_broker=debug"
        );
    }
}

/// The filter for what was chosen, and what is wrong with that.
fn filter(chosen: Option<&str>) -> (Targets, Option<String>) {
    match chosen.map(str::parse::<Targets>) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default_filter(), Some(error.to_string())),
        None => (default_filter(), None),
    }
}

/// What is logged when nobody chooses: our own story, and only the worries of the libraries.
fn default_filter() -> Targets {
    // lapin is left out: it reports every lost connection and missing queue as an error, with raw AMQP frames, and the
    // link tells the same in words. A target stands for all that begin like it, so `crosstalk` is every crate of ours.
    Targets::new()
        .with_default(Level::WARN)
        .with_target("lapin", LevelFilter::OFF)
        .with_target("crosstalk", Level::INFO)
}

struct Story {
    node: &'static str,
}

impl<S, N> FormatEvent<S, N> for Story
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let (paint, reset) = match (writer.has_ansi_escapes(), level) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
            (true, Level::DEBUG | Level::TRACE) => ("\x1b[2m", "\x1b[0m"),
            (true, _) => ("", ""),
        };
        let mark = match level {
            Level::ERROR => "ERROR ",
            Level::WARN => "WARN ",
            _ => "",
        };
        write!(writer, "{paint}{} {:8} {mark}", time_of_day(), self.node)?;
        let mut told = String::new();
        context.field_format().format_fields(Writer::new(&mut told), event)?;
        write_on_one_line(&mut writer, &told)?;
        writeln!(writer, "{reset}")
    }
}

/// Writes text such that it stays on its line and paints nothing: names that clients chose are in it, and must not look
/// like lines of ours.
fn write_on_one_line(out: &mut impl Write, text: &str) -> fmt::Result {
    text.chars().try_for_each(|next| {
        if next.is_control() { write!(out, "{}", next.escape_default()) } else { out.write_char(next) }
    })
}

/// `HH:MM:SS.mmm`, UTC, as containers of one cluster share no other zone.
fn time_of_day() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_taken_or_refused_with_its_reason() {
        let is_told = |filter: &Targets, target| filter.would_enable(target, &Level::INFO);
        let (default, problem) = filter(None);
        assert!(is_told(&default, "crosstalk_broker::engine") && is_told(&default, "crosstalk") && problem.is_none());
        assert!(!is_told(&default, "hyper::client") && !default.would_enable("lapin::channel", &Level::ERROR));
        let (chosen, problem) = filter(Some("warn,hyper=debug"));
        assert!(is_told(&chosen, "hyper::client") && !is_told(&chosen, "crosstalk_broker") && problem.is_none());
        let (instead, problem) = filter(Some("crosstalk=loud"));
        assert!(is_told(&instead, "crosstalk_broker") && problem.is_some());
    }

    #[test]
    fn what_a_client_named_stays_on_its_line() {
        let mut line = String::new();
        write_on_one_line(&mut line, "no queue 'a\r\n12:00:00 \u{1b}[31mbroker' für \"x\"")
            .expect("a string takes all");
        assert_eq!(line, "no queue 'a\\r\\n12:00:00 \\u{1b}[31mbroker' für \"x\"");
    }
}
