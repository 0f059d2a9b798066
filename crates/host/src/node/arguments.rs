//! The arguments that every node takes. It does not know what follows from them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Command, FromArgMatches, Subcommand};
use crosstalk_contract::units::parse_duration;

use super::NodeSpec;
use crate::topology::PORT_BASE_DEFAULT;

const ENVIRONMENT: &str = "\
Any option of `crosstalk config` can also be set by environment, such as
CROSSTALK_QUEUE_PREFETCH=10. What is logged: RUST_LOG (default: our own lines at info).
Once it runs: curl its address.";

/// How a node is started.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// File of options that override the compiled-in ones; `crosstalk config` prints all of them
    #[arg(long, value_name = "FILE", env = "CROSSTALK_CONFIG")]
    pub config: Option<PathBuf>,
    /// One option, such as queue.prefetch=10; may be given several times, and wins over file and environment
    #[arg(long, value_name = "SECTION.OPTION=VALUE")]
    pub set: Vec<String>,
    /// Where everyone is: local, compose, or a file
    #[arg(long, value_name = "NAME|FILE", env = "CROSSTALK_TOPOLOGY", default_value = "local")]
    pub topology: String,
    /// Moves all ports of the local topology
    #[arg(long, value_name = "PORT", default_value_t = PORT_BASE_DEFAULT)]
    pub port_base: u16,
    /// Address for HTTP; by default the node's own in the topology (any interface when that is a name)
    #[arg(long, value_name = "HOST:PORT", env = "CROSSTALK_LISTEN")]
    pub listen: Option<String>,
    /// Address for UDP, for a node that receives streams
    #[arg(long, value_name = "HOST:PORT", env = "CROSSTALK_LISTEN_UDP", hide_env = true)]
    pub listen_udp: Option<String>,
    /// Address for AMQP, for the broker
    #[arg(long, value_name = "HOST:PORT", env = "CROSSTALK_LISTEN_AMQP", hide_env = true)]
    pub listen_amqp: Option<String>,
    /// Directory for what must survive a kill of the process [default: crosstalk/NODE, for the broker in the
    /// user's directory for data (~/.local/share), for other nodes in the system's for temporary files]
    #[arg(long, value_name = "DIR", env = "CROSSTALK_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// Started by another process: announces its addresses on standard output, reads the topology from
    /// standard input (with --topology -), and ends when standard input does
    #[arg(long, hide = true)]
    pub managed: bool,
    /// Does something else than running the node
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
}

/// What a node's program does besides running the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum NodeCommand {
    /// Ask the node on this machine whether it and all it needs is there; exit code 0 when so
    Healthcheck {
        /// Keep watching a node that has been ready for so long, for as long again, and end at once when it no
        /// longer is: a check that a container engine repeats every moment then costs next to nothing
        #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_duration)]
        watch: Duration,
    },
    /// Save what is whole of a damaged store, and keep the damaged files; for the broker, while it does not run
    Repair,
}

impl NodeArgs {
    /// Reads the process's arguments; prints help or what is wrong, and exits, where they ask for that.
    pub(super) fn parse_for(spec: &'static NodeSpec) -> Self {
        // What the arguments say of themselves as a group is not what the program is.
        let command = Self::augment_args(Command::new(spec.name)).version(env!("CARGO_PKG_VERSION")).about(spec.about);
        let mut command = command.after_help(format!("{}{ENVIRONMENT}", spec.examples));
        if spec.repair.is_none() {
            command = command.mut_subcommand("repair", |repair| repair.hide(true));
        }
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}
