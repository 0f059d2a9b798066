//! Counters in the Prometheus text format. It knows what is counted, not why. What a role knows only when it is asked
//! comes from the sources that it adds.

use std::{
    fmt::{self, Write as _},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
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

type Answer = Pin<Box<dyn Future<Output = Registry> + Send>>;
type Source = Arc<dyn Fn() -> Answer + Send + Sync>;

/// The counters of one node.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    messages: Family<Event, Counter>,
    requests: Family<Request, Counter>,
    runs: Family<Paradigm, Counter>,
    under_way: Gauge,
    sources: Arc<Mutex<Vec<Source>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("registry", &self.registry).finish_non_exhaustive()
    }
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
        Self { registry: Arc::new(registry), messages, requests, runs, under_way, sources: Arc::default() }
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

    /// Adds figures that are taken anew for each scrape. Their names must not be those of another source.
    pub fn add_source<F>(&self, source: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Registry> + Send + 'static,
    {
        let source: Source = Arc::new(move || Box::pin(source()));
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    pub(crate) async fn render(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let mut encoded = encode_registry(&mut text, &self.registry);
        for source in sources {
            let registry = source().await;
            encoded = encoded.and_then(|()| encode_registry(&mut text, &registry));
        }
        if let Err(error) = encoded.and_then(|()| encode_eof(&mut text)) {
            let _ = write!(text, "# {error}");
        }
        text
    }
}
