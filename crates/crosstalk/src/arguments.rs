//! The command line. It says what can be asked for, not how it is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use crosstalk_contract::{RunId, units::parse_size};
use crosstalk_host::{NodeArgs, topology::PORT_BASE_DEFAULT};

/// A laboratory for the ways in which processes talk to each other.
///
/// Without a command it starts a cluster of real processes on this machine (broker, producer, consumer, poller,
/// streamer), shows every paradigm once, and stays up until Ctrl-C, so that you can try it with curl.
#[derive(Debug, Parser)]
#[command(name = "crosstalk", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    crosstalk                                   the local cluster, the tour, and curl lines to try\n  \
    crosstalk tour                              the tour, then the end; exit code 0 when all arrived that had to\n  \
    run=$(crosstalk send --over queue FILE)     a file through the running cluster, one message a line\n  \
    crosstalk recv $run > COPY                  what the receiver got\n  \
    crosstalk config > mine.toml                every option, with its unit, bound and reason")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) up: UpArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a local cluster, show every paradigm once, stay up until Ctrl-C (what happens without a command)
    Up(UpArgs),
    /// Show every paradigm once, on a cluster of its own or a running one; exit code 0 when all arrived that had to
    Tour(TourArgs),
    /// Carry a file through a running cluster; prints the run's id, alone, on standard output
    Send(SendArgs),
    /// Write what a receiver got of a run to standard output; exit code 0 when nothing is missing
    Recv(RecvArgs),
    /// Print every option, with its unit, bound and reason, and the values in force
    Config(ConfigArgs),
    /// Run the broker alone: keeps messages for any AMQP 0-9-1 client, with pages over HTTP to watch it
    Broker(NodeArgs),
    /// Run the producer alone
    Producer(NodeArgs),
    /// Run the consumer alone
    Consumer(NodeArgs),
    /// Run the poller alone
    Poller(NodeArgs),
    /// Run the streamer alone
    Streamer(NodeArgs),
}

/// Where options come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// File of options that override the compiled-in ones
    #[arg(long, value_name = "FILE", env = "CROSSTALK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// One option, such as queue.prefetch=10; may be given several times
    #[arg(long, value_name = "SECTION.OPTION=VALUE")]
    pub(crate) set: Vec<String>,
}

/// How a local cluster is started.
#[derive(Debug, Clone, Args)]
pub(crate) struct LocalArgs {
    #[command(flatten)]
    pub(crate) options: ConfigArgs,
    /// First of the ports that the nodes use; 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = PORT_BASE_DEFAULT)]
    pub(crate) port_base: u16,
    /// Another broker besides the embedded one, such as rabbitmq=amqp://guest:guest@127.0.0.1:5672
    #[arg(long, value_name = "NAME=URL")]
    pub(crate) broker: Vec<String>,
    /// Directory for what the nodes keep [default: a temporary one that goes with the cluster]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Show the log lines of all nodes from the start, not only after the tour
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    /// Only start the cluster
    #[arg(long)]
    pub(crate) no_tour: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TourArgs {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    /// Address of any node of a running cluster, instead of starting one
    #[arg(long, value_name = "URL")]
    pub(crate) cluster: Option<String>,
}

/// Which running cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    /// Address of any node of the running cluster
    #[arg(long, value_name = "URL", env = "CROSSTALK_CLUSTER", default_value = "http://127.0.0.1:4401")]
    pub(crate) cluster: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The paradigm: request-response, queue, pubsub, polling, streaming, or what else the cluster can do
    #[arg(long, value_name = "PARADIGM")]
    pub(crate) over: String,
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Messages of this size, instead of one for each line
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) chunk: Option<u64>,
    /// Open loop: start so many messages per second
    #[arg(long, conflicts_with = "in_flight")]
    pub(crate) rate: Option<String>,
    /// Closed loop: so many messages under way at once
    #[arg(long)]
    pub(crate) in_flight: Option<u64>,
    /// A parameter of the paradigm, such as broker=rabbitmq, via=direct, transport=websocket or mode=short
    #[arg(long = "with", value_name = "NAME=VALUE")]
    pub(crate) with: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RecvArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The run, as send printed it
    pub(crate) run: RunId,
    /// Which receiver of the node, where there are several, such as subscriber-1 [default: one copy of each message]
    #[arg(long)]
    pub(crate) receiver: Option<String>,
}
