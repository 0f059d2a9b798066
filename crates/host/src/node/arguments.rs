//! The arguments that every node takes. It does not know what follows from them.

use std::{path::PathBuf, time::Duration};

use clap::{
    Arg, Args, Command, FromArgMatches, Subcommand,
    builder::{Resettable, TypedValueParser as _, ValueParser},
};
use crosstalk_contract::units::parse_duration;

use super::{NodeSpec, data};
use crate::{config::Sources, topology::PORT_BASE_DEFAULT};

const ENVIRONMENT: &str = "\
Any option that the command config prints can also be set by environment, such as
CROSSTALK_LOG_FORMAT=json. What is logged: RUST_LOG (default: our own lines at info).
Once it runs: curl its address.";

/// How a node is started.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// File of options that override the compiled-in ones; the command config prints all that concern this node
    #[arg(long, value_name = "FILE", env = "CROSSTALK_CONFIG")]
    pub config: Option<PathBuf>,
    /// One option, such as log.format=json; may be given several times, and wins over file and environment
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
    /// Address for UDP; by default the node's own in the topology
    #[arg(long, value_name = "HOST:PORT", env = "CROSSTALK_LISTEN_UDP", hide_env = true)]
    pub listen_udp: Option<String>,
    /// Address for AMQP; by default the broker's own in the topology
    #[arg(long, value_name = "HOST:PORT", env = "CROSSTALK_LISTEN_AMQP", hide_env = true)]
    pub listen_amqp: Option<String>,
    /// Directory for what must survive a kill of the process
    #[arg(long, value_name = "DIR", env = "CROSSTALK_DATA")]
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
#[derive(Debug, Clone, Subcommand)]
pub enum NodeCommand {
    /// Print the options that concern this node: what they mean, their bounds, their values in effect
    ///
    /// What it prints can be kept as a file, changed, and given back with --config.
    Config {
        /// File of options that override the compiled-in ones
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// One option, such as log.format=json; may be given several times
        #[arg(long, value_name = "SECTION.OPTION=VALUE")]
        set: Vec<String>,
    },
    /// Ask the node on this machine whether it and all it needs is there; exit code 0 when so
    ///
    /// It asks the address of --listen or CROSSTALK_LISTEN over HTTP (/readyz); without one, the node's own address in
    /// the topology, which --topology and --port-base before the command say.
    Healthcheck {
        /// Where the node listens for HTTP, as it was told when it was started
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Keep watching a node that has been ready for so long, for as long again, and end at once when it no
        /// longer is: a check that a container engine repeats every moment then costs next to nothing
        #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_duration)]
        watch: Duration,
    },
    /// Save what is whole of a damaged store, and keep the damaged files; while the node does not run
    Repair {
        /// Directory with the store
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

impl NodeArgs {
    /// Where options come from; a command may name another file and more options.
    pub(super) fn sources(&self, file: Option<&PathBuf>, set: &[String]) -> Sources {
        Sources {
            file: file.or(self.config.as_ref()).cloned(),
            environment: Sources::variables(std::env::vars_os()),
            flags: [&self.set, set].concat(),
        }
    }

    /// Reads the process's arguments; prints help or what is wrong, and exits, where they ask for that.
    pub(super) fn parse_for(spec: &'static NodeSpec) -> Self {
        // What the arguments say of themselves as a group is not what the program is.
        let command = Self::augment_args(Command::new(spec.name)).version(env!("CARGO_PKG_VERSION")).about(spec.about);
        let matches = Self::fit(command, spec).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Adapts a command that takes these arguments to one node: what the node does not have is neither shown nor taken.
    #[must_use]
    pub fn fit(command: Command, spec: &'static NodeSpec) -> Command {
        let mut command = command.after_help(format!("{}{ENVIRONMENT}", spec.examples));
        for (has, name, what) in [(spec.udp, "listen_udp", "UDP socket"), (spec.amqp, "listen_amqp", "AMQP listener")] {
            if !has {
                command = command.mut_arg(name, |arg| refused(arg, format!("the {} has no {what}", spec.name)));
            }
        }
        let default = format!("[default: {}]", data::described(spec));
        let with_default = |data: Arg| {
            let about = data.get_help().cloned().unwrap_or_default();
            data.help(format!("{about} {default}"))
        };
        let command = command.mut_arg("data", with_default);
        command.mut_subcommand("repair", |repair| repair.hide(spec.repair.is_none()).mut_arg("data", with_default))
    }
}

/// An argument that is refused with a reason. A variable for it may be meant for another node.
fn refused(arg: Arg, reason: String) -> Arg {
    let refuse = clap::builder::StringValueParser::new().try_map(move |_| Err::<String, _>(reason.clone()));
    arg.hide(true).env(Resettable::Reset).value_parser(ValueParser::new(refuse))
}
