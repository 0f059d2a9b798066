//! Counters in the Prometheus text format. It knows what is counted, not why.

use std::{fmt::Write as _, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    paradigm: String,
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Paradigm {
    paradigm: String,
}

/// The counters of one node.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    messages: Family<Event, Counter>,
    requests: Family<Request, Counter>,
    runs: Family<Paradigm, Counter>,
    under_way: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("crosstalk");
        let (messages, requests, runs, under_way) =
            (Family::default(), Family::default(), Family::default(), Gauge::default());
        registry.register("messages", "Messages by paradigm and what happened to them", messages.clone());
        registry.register("http_requests", "Requests answered, by path and status", requests.clone());
        registry.register("runs", "Runs started here", runs.clone());
        registry.register("runs_under_way", "Runs started here that are not over", under_way.clone());
        Self { registry: Arc::new(registry), messages, requests, runs, under_way }
    }
}

impl Metrics {
    /// Counts `count` messages of a paradigm to which `event` (`sent`, `accepted`, `failed`, `received`,
    /// `processed`, `duplicated`, `refused`) happened.
    pub fn messages(&self, paradigm: &str, event: &'static str, count: u64) {
        if count > 0 {
            self.messages.get_or_create(&Event { paradigm: paradigm.to_owned(), event }).inc_by(count);
        }
    }

    pub(crate) fn request(&self, path: &str, status: u16) {
        self.requests.get_or_create(&Request { path: path.to_owned(), status }).inc();
    }

    pub(crate) fn run_began(&self, paradigm: &str) {
        self.runs.get_or_create(&Paradigm { paradigm: paradigm.to_owned() }).inc();
        self.under_way.inc();
    }

    pub(crate) fn run_ended(&self) {
        self.under_way.dec();
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            let _ = write!(text, "# {error}");
        }
        text
    }
}
