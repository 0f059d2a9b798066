//! Log lines for reading: time, node, and what happened; or JSON for machines. It does not know what is worth
//! a line.

use std::{fmt, io::IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// What `RUST_LOG` is when nobody sets it: our own story, and only the worries of the libraries.
// lapin is left out: it reports every lost connection and missing queue as an error, with raw AMQP frames, and
// the link tells the same in words.
const DEFAULT_FILTER: &str = "warn,lapin=off,crosstalk=info";

/// Sends log lines to standard error. `RUST_LOG` chooses what is logged.
pub fn start(node: &'static str, json: bool) {
    // Set but empty, as compose files pass it on, is not set.
    let chosen = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|chosen| !chosen.is_empty());
    let filter = EnvFilter::new(chosen.unwrap_or_else(default_filter));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that nobody can read any more, because the reader is gone, must not become a panic.
    let builder = builder.log_internal_errors(false);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second call (several nodes as tasks of one process) keeps the first one's form.
    let _ = if json {
        builder.json().flatten_event(true).try_init().map_err(drop)
    } else {
        builder.with_ansi(colours).event_format(Story { node }).try_init().map_err(drop)
    };
}

/// Every crate of ours begins with `crosstalk`; the filter matches by prefix up to `::`, so each is named.
fn default_filter() -> String {
    const OURS: [&str; 10] = [
        "amqp_link",
        "broker",
        "consumer",
        "host",
        "polling",
        "pubsub",
        "queue",
        "request_response",
        "streaming",
        "lab",
    ];
    OURS.iter().fold(DEFAULT_FILTER.to_owned(), |filter, name| filter + ",crosstalk_" + name + "=info")
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
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer, "{reset}")
    }
}

/// `HH:MM:SS.mmm`, UTC, as containers of one cluster share no other zone.
fn time_of_day() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
