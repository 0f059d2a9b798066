//! A local cluster: every node a process of this same program. It knows how to start, watch, restart and end
//! them, not what they do.

mod child;
mod logs;

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crosstalk_contract::{
    describe::Announcement,
    topology::{BrokerAddress, NodeAddress, Topology},
};
use crosstalk_host::{
    config::{Config, ConfigError, Sources, Span},
    runs::new_run,
    topology::{self, TopologyLoadError},
};
use crosstalk_lab::{LabError, cluster::Cluster};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::logs::Shown;
use self::{
    child::{Child, Plan},
    logs::Log,
};
use crate::arguments::LocalArgs;

/// How a local cluster is run (`[local]`).
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalOptions {
    start_timeout: Span,
    stop_grace: Span,
    restart_delay: Span,
    restarts_max: u32,
}

/// Why a local cluster could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Topology(#[from] TopologyLoadError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("--broker: expected NAME=URL such as rabbitmq=amqp://guest:guest@127.0.0.1:5672, got {0:?}")]
    Broker(String),
    #[error("{name} did not start: {reason}")]
    Start { name: String, reason: String },
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

/// A cluster on this machine; its processes end with it.
pub(crate) struct Local {
    topology: Topology,
    options: LocalOptions,
    children: JoinSet<()>,
    ending: CancellationToken,
    log: Log,
    /// Removed at the end; `None` when the user named a directory to keep.
    temporary: Option<PathBuf>,
    began: Instant,
}

impl Local {
    /// Starts all nodes and tells them where everyone is.
    pub(crate) async fn start(args: &LocalArgs) -> Result<Self, ClusterError> {
        let began = Instant::now();
        let config = Config::load(&Sources {
            file: args.options.config.clone(),
            environment: Sources::variables(std::env::vars_os()),
            flags: args.options.set.clone(),
        })?;
        let options: LocalOptions = config.section("local")?;
        let extra = args.broker.iter().map(|text| broker(text)).collect::<Result<Vec<_>, _>>()?;
        let wanted = topology::load("local", args.port_base)?;
        let (data, temporary) = data_directory(args)?;
        let log = Log::new(if args.verbose { Shown::Everything } else { Shown::Worries });
        let mut local = Self {
            topology: wanted,
            options,
            children: JoinSet::new(),
            ending: CancellationToken::new(),
            log,
            temporary,
            began,
        };
        let mut started = Vec::new();
        for (name, address) in local.topology.nodes.clone() {
            let plan = Plan {
                data: data.join(&name),
                amqp: (name == "broker").then(|| embedded(&local.topology)).flatten(),
                forwarded: forwarded(args),
                name,
                address,
            };
            started.push(Child::spawn(plan, local.log.clone())?);
        }
        let mut announced = Vec::new();
        for child in &mut started {
            announced.push(child.announced(options.start_timeout.0).await?);
        }
        local.topology = actual(&announced, extra);
        let told = serde_json::to_string(&local.topology)
            .map_err(|error| ClusterError::Start { name: "the topology".to_owned(), reason: error.to_string() })?;
        for (mut child, announcement) in started.into_iter().zip(announced) {
            child.fix(&announcement);
            child.tell(&told).await;
            local.children.spawn(child.live(told.clone(), options, local.ending.clone()));
        }
        Ok(local)
    }

    /// Waits until every node has all it needs, and gives the way to reach them.
    pub(crate) async fn ready(&self) -> Result<Cluster, ClusterError> {
        let first = self.topology.nodes.values().next().map(|node| format!("http://{}", node.http));
        let cluster = Cluster::discover(&first.unwrap_or_default()).await?;
        cluster.ready(self.options.start_timeout.0).await?;
        Ok(cluster)
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// How long ago the start began.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Which log lines of the nodes are shown from now on.
    pub(crate) fn show(&self, shown: Shown) {
        self.log.show(shown);
    }

    /// Ends all nodes, by force after `local.stop_grace`.
    pub(crate) async fn stop(mut self) {
        self.log.show(Shown::Nothing);
        self.ending.cancel();
        while self.children.join_next().await.is_some() {}
        if let Some(directory) = self.temporary.take() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// The topology as it came out: every node where it announced itself, the embedded broker first.
fn actual(announced: &[Announcement], extra: Vec<BrokerAddress>) -> Topology {
    let node = |a: &Announcement| NodeAddress { http: a.http.clone(), udp: a.udp.clone(), published: None };
    let own = announced.iter().find_map(|a| a.amqp.as_ref());
    let own = own.map(|at| BrokerAddress { name: "embedded".to_owned(), url: format!("amqp://guest:guest@{at}") });
    Topology {
        nodes: announced.iter().map(|a| (a.node.clone(), node(a))).collect(),
        brokers: own.into_iter().chain(extra).collect(),
    }
}

fn embedded(topology: &Topology) -> Option<String> {
    let url = &topology.brokers.first()?.url;
    url.rsplit_once('@').map(|(_, place)| place.to_owned())
}

fn broker(text: &str) -> Result<BrokerAddress, ClusterError> {
    let wrong = || ClusterError::Broker(text.to_owned());
    let (name, url) = text.split_once('=').ok_or_else(wrong)?;
    let named = !name.is_empty() && name != "embedded" && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !named || !url.starts_with("amqp://") {
        return Err(wrong());
    }
    Ok(BrokerAddress { name: name.to_owned(), url: url.to_owned() })
}

/// Options that every node gets as this program got them.
fn forwarded(args: &LocalArgs) -> Vec<String> {
    let file = args.options.config.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
    file.chain(args.options.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()])).collect()
}

fn data_directory(args: &LocalArgs) -> Result<(PathBuf, Option<PathBuf>), ClusterError> {
    let failed = |directory: &Path| {
        let what = format!("create {}", directory.display());
        move |source| ClusterError::Io { what, source }
    };
    if let Some(given) = &args.data {
        std::fs::create_dir_all(given).map_err(failed(given))?;
        return Ok((given.clone(), None));
    }
    // A name that nobody can foresee, for nobody else to read, and no error hidden when it is there already.
    let own = std::env::temp_dir().join(format!("crosstalk-{}", new_run()));
    std::fs::DirBuilder::new().mode(0o700).create(&own).map_err(failed(&own))?;
    Ok((own.clone(), Some(own)))
}
