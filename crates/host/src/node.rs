//! The life of a node: arguments, configuration, sockets, roles, serving, stopping. It does not know which roles
//! a node has: the node's crate says.

mod arguments;
mod data;
mod health;
mod sockets;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crosstalk_contract::{describe::Announcement, topology::Topology};
use serde::Deserialize;
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use self::{
    arguments::{NodeArgs, NodeCommand},
    sockets::Sockets,
};
use crate::{
    Host,
    config::{Config, ConfigError, Sources},
    host::Parts,
    http::{Role, router, serve},
    lifecycle, logs,
    peers::{PeerError, Peers, PeersOptions},
    runs::{self, RunOptions, Runs},
    topology::{self, TopologyLoadError},
};

/// Makes what a node keeps in a directory usable again, as far as it can be, and says in the writer what was lost.
pub type Repair = fn(&Path, &mut dyn Write) -> Result<(), Box<dyn Error + Send + Sync>>;

/// How many threads a node's configuration wants for its tasks.
pub type Threads = fn(&Config) -> Result<usize, ConfigError>;

/// What distinguishes one node from another, before its roles.
#[derive(Debug)]
pub struct NodeSpec {
    /// Its name in the topology, and its program's.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Whether it has a UDP socket.
    pub udp: bool,
    /// Whether it has an AMQP listener.
    pub amqp: bool,
    /// Whether what it keeps is to outlive the machine's next start, when nobody says where to keep it.
    pub lasting: bool,
    /// What its command `repair` does, if it has one.
    pub repair: Option<Repair>,
    /// How many threads run its tasks; without it, one for each processor.
    pub threads: Option<Threads>,
    /// The sections of the configuration that concern it.
    pub sections: &'static [&'static str],
    /// What to try, for the end of its help; may be empty.
    pub examples: &'static str,
}

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An option is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The topology is wrong.
    #[error(transparent)]
    Topology(#[from] TopologyLoadError),
    /// The process that started this node did not tell it the topology.
    #[error("the process that started this node did not tell it the topology")]
    NoTopology,
    /// This node has no address.
    #[error("{node} has no address to listen on: it is not in the topology, and --{option} is not given")]
    NoAddress {
        /// The node.
        node: &'static str,
        /// The option that gives it one.
        option: &'static str,
    },
    /// An address cannot be listened on.
    #[error(
        "{node} cannot listen on {address}: {source}; choose another with --{option}, or move the whole local cluster with --port-base"
    )]
    Listen {
        /// The node.
        node: &'static str,
        /// The address.
        address: String,
        /// The option that changes it.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] PeerError),
    /// The runtime or its signal handlers cannot be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// A role cannot start.
    #[error("{node} cannot take up its work: {source}")]
    Role {
        /// The node.
        node: &'static str,
        /// What the role said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// This node has no command `repair`.
    #[error("the {0} keeps nothing that it could repair")]
    NothingToRepair(&'static str),
    /// What it keeps cannot be repaired.
    #[error("cannot repair {}: {source}", directory.display())]
    Repair {
        /// Where it is kept.
        directory: PathBuf,
        /// What the node said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What it was asked for cannot be printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// It is not there, or not ready.
    #[error("{0}")]
    Unhealthy(String),
}

/// The server's share of `[http]`; the bounds on bodies are the runs' business.
#[derive(Debug, Deserialize)]
struct HttpOptions {
    connections_max: usize,
    allowed_hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogOptions {
    format: String,
    messages_per_run: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopologyOptions {
    published: Vec<String>,
}

/// `main` of a node's program: reads the arguments and runs it until it is told to stop.
pub fn main<F, S>(spec: &'static NodeSpec, roles: F) -> ExitCode
where
    F: FnOnce(Host, Sockets) -> S,
    S: Future<Output = Result<Vec<Role>, Box<dyn Error + Send + Sync>>>,
{
    run(spec, NodeArgs::parse_for(spec), roles)
}

/// Runs a node with arguments that were read already, in a runtime of its own.
pub fn run<F, S>(spec: &'static NodeSpec, args: NodeArgs, roles: F) -> ExitCode
where
    F: FnOnce(Host, Sockets) -> S,
    S: Future<Output = Result<Vec<Role>, Box<dyn Error + Send + Sync>>>,
{
    let ended = match &args.command {
        Some(NodeCommand::Config { config, set }) => print_options(spec, &args.sources(config.as_ref(), set)),
        Some(NodeCommand::Healthcheck { listen, watch }) => {
            let asked = health::check(spec, &args, listen.as_deref(), *watch);
            runtime(Some(1)).and_then(|runtime| runtime.block_on(asked))
        }
        Some(NodeCommand::Repair { data }) => repair(spec, data.as_ref().or(args.data.as_ref())),
        None => start(spec, args, roles),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on")]
            {
                eprintln!("error: {error}");
            }
            ExitCode::from(2)
        }
    }
}

fn print_options(spec: &'static NodeSpec, sources: &Sources) -> Result<(), NodeError> {
    let text = Config::load(sources)?.render_sections(spec.name, spec.sections);
    io::stdout().lock().write_all(text.as_bytes()).map_err(NodeError::Output)
}

fn repair(spec: &'static NodeSpec, data: Option<&PathBuf>) -> Result<(), NodeError> {
    let repair = spec.repair.ok_or(NodeError::NothingToRepair(spec.name))?;
    let directory = data.cloned().unwrap_or_else(|| data::default_directory(spec));
    repair(&directory, &mut io::stdout().lock()).map_err(|source| NodeError::Repair { directory, source })
}

fn start<F, S>(spec: &'static NodeSpec, args: NodeArgs, roles: F) -> Result<(), NodeError>
where
    F: FnOnce(Host, Sockets) -> S,
    S: Future<Output = Result<Vec<Role>, Box<dyn Error + Send + Sync>>>,
{
    let config = Config::load(&args.sources(None, &[]))?;
    let threads = spec.threads.map(|threads| threads(&config)).transpose()?;
    runtime(threads)?.block_on(live(spec, args, config, roles))
}

fn runtime(threads: Option<usize>) -> Result<Runtime, NodeError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(NodeError::Runtime)
}

async fn live<F, S>(spec: &'static NodeSpec, args: NodeArgs, config: Config, roles: F) -> Result<(), NodeError>
where
    F: FnOnce(Host, Sockets) -> S,
    S: Future<Output = Result<Vec<Role>, Box<dyn Error + Send + Sync>>>,
{
    let log: LogOptions = config.section("log")?;
    logs::start(spec.name, log.format == "json");
    let shutdown = CancellationToken::new();
    lifecycle::watch_signals(shutdown.clone(), args.managed).map_err(NodeError::Runtime)?;
    let first_line = args.managed.then(|| {
        let (sender, first_line) = oneshot::channel();
        lifecycle::watch_parent(shutdown.clone(), sender);
        first_line
    });
    let known = if args.topology == "-" { None } else { Some(load_topology(&args, &config)?) };
    let (listener, sockets) = sockets::bind(spec, &args, known.as_ref()).await?;
    if args.managed {
        announce(spec, &listener, &sockets);
    }
    let topology = match (known, first_line) {
        (Some(topology), _) => topology,
        (None, Some(first_line)) => told_topology(first_line).await?,
        (None, None) => return Err(NodeError::NoTopology),
    };
    let listens_on = sockets::described(&listener, &sockets);
    let peers: PeersOptions = config.section("peers")?;
    let runs: RunOptions = config.section("run")?;
    let http: HttpOptions = config.section("http")?;
    let host = Host::new(Parts {
        name: spec.name,
        about: spec.about,
        peers: Peers::new(&topology, peers)?,
        runs: Runs::new(runs),
        data: args.data.clone().unwrap_or_else(|| data::default_directory(spec)),
        narrated: log.messages_per_run,
        config,
        topology,
        shutdown,
    });
    let roles = roles(host.clone(), sockets).await.map_err(|source| NodeError::Role { node: spec.name, source })?;
    info!("listens on {listens_on}");
    live_with(&host, roles, listener, &http).await;
    Ok(())
}

async fn live_with(host: &Host, mut roles: Vec<Role>, listener: tokio::net::TcpListener, http: &HttpOptions) {
    if roles.iter().any(|role| role.description.starts.is_some()) {
        roles.push(runs::role(host));
    }
    let router = router(host, roles, &http.allowed_hosts);
    serve(listener, router, host, http.connections_max).await;
    host.tasks().close();
    host.tasks().wait().await;
    info!("has stopped");
}

fn load_topology(args: &NodeArgs, config: &Config) -> Result<Topology, NodeError> {
    let options: TopologyOptions = config.section("topology")?;
    let mut topology = topology::load(&args.topology, args.port_base)?;
    topology::publish(&mut topology, &options.published)?;
    Ok(topology)
}

async fn told_topology(first_line: oneshot::Receiver<String>) -> Result<Topology, NodeError> {
    let line = first_line.await.map_err(|_| NodeError::NoTopology)?;
    serde_json::from_str(&line).map_err(|error| {
        error!("the topology that this node was told cannot be read: {error}");
        NodeError::NoTopology
    })
}

/// One line on standard output, for the process that started this node.
fn announce(spec: &NodeSpec, listener: &tokio::net::TcpListener, sockets: &Sockets) {
    let address = |address: io::Result<std::net::SocketAddr>| address.ok().map(|address| address.to_string());
    let announcement = Announcement {
        node: spec.name.to_owned(),
        pid: std::process::id(),
        http: address(listener.local_addr()).unwrap_or_default(),
        udp: sockets.udp.as_ref().and_then(|socket| address(socket.local_addr())),
        amqp: sockets.amqp.as_ref().and_then(|listener| address(listener.local_addr())),
    };
    #[expect(clippy::print_stdout, reason = "standard output is the way to the parent")]
    {
        println!("{}", serde_json::to_string(&announcement).unwrap_or_default());
    }
}
