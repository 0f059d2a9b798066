//! What a role may use: the node's name, clock, configuration, peers, readiness, metrics and tasks. It does not
//! know which roles there are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crosstalk_contract::{RunId, topology::Topology};
use crosstalk_measure::Clock;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};

use crate::{config::Config, metrics::Metrics, peers::Peers, readiness::Readiness, runs::Runs};

/// One node's context; cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: &'static str,
    about: &'static str,
    clock: Clock,
    config: Config,
    topology: Topology,
    data: PathBuf,
    peers: Peers,
    readiness: Readiness,
    metrics: Metrics,
    runs: Runs,
    narrated: u64,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// What [`Host::new`] is made of.
pub(crate) struct Parts {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) config: Config,
    pub(crate) topology: Topology,
    pub(crate) data: PathBuf,
    pub(crate) peers: Peers,
    pub(crate) runs: Runs,
    pub(crate) narrated: u64,
    pub(crate) shutdown: CancellationToken,
}

impl Host {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { name, about, config, topology, data, peers, runs, narrated, shutdown } = parts;
        Self(Arc::new(Inner {
            name,
            about,
            clock: Clock::start(),
            config,
            topology,
            data,
            peers,
            readiness: Readiness::default(),
            metrics: Metrics::default(),
            runs,
            narrated,
            shutdown,
            tasks: TaskTracker::new(),
        }))
    }

    /// The node's name in the topology.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What the node is, in a sentence.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.0.about
    }

    /// The process's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The options in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Where everyone is.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.0.topology
    }

    /// Where this node may keep files.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.0.data
    }

    /// The other nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// What this node needs, and whether it is there.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// What this node counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The runs that this node started.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Cancelled when the node is to stop.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// Runs `task` until it ends or the node stops; a stopping node waits for it to notice.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            shutdown.run_until_cancelled(task).await;
        });
    }

    /// Runs `task`, which has to see by itself that the node stops, and to end soon after: a stopping node waits
    /// for it. For what has to say goodbye to somebody.
    pub fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Tells what happened to message `seq` of a run: the first few of each run for everyone, the rest for who
    /// asks for details, so that a run of a million messages is not a million lines.
    pub fn narrate(&self, run: RunId, seq: u64, what: impl FnOnce() -> String) {
        if seq <= self.0.narrated {
            info!("{}", what());
        } else if tracing::enabled!(tracing::Level::DEBUG) {
            debug!("{}", what());
        } else if seq == self.0.narrated + 1 {
            info!("run {run}: from message {seq} on, details only with RUST_LOG=debug");
        }
    }
}
