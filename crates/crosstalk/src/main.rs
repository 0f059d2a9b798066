//! The program `crosstalk`: starts a local cluster, shows what it can do, carries files through it, and runs
//! each node under the node's own name. It composes; what nodes do stands in their crates.
#![expect(clippy::print_stderr, reason = "a command line speaks to people")]

mod arguments;
mod cluster;
mod commands;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use crosstalk_host::{NodeArgs, node};

use self::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let Arguments { command, up } = arguments();
    match command {
        Some(Command::Broker(args)) => node::run(&crosstalk_broker::SPEC, args, crosstalk_broker::roles),
        Some(Command::Producer(args)) => node::run(&crosstalk_producer::SPEC, args, crosstalk_producer::roles),
        Some(Command::Consumer(args)) => node::run(&crosstalk_consumer::SPEC, args, crosstalk_consumer::roles),
        Some(Command::Poller(args)) => node::run(&crosstalk_poller::SPEC, args, crosstalk_poller::roles),
        Some(Command::Streamer(args)) => node::run(&crosstalk_streamer::SPEC, args, crosstalk_streamer::roles),
        None => commands::run(commands::up(up)),
        Some(Command::Up(up)) => commands::run(commands::up(up)),
        Some(Command::Tour(tour)) => commands::run(commands::tour(tour)),
        Some(Command::Send(send)) => commands::run(commands::send(send)),
        Some(Command::Recv(recv)) => commands::run(commands::recv(recv)),
        Some(Command::Config(sources)) => commands::run(commands::config(sources)),
    }
}

/// What this process was asked for; prints help or what is wrong, and exits, where the arguments ask for that.
fn arguments() -> Arguments {
    let nodes = [
        &crosstalk_broker::SPEC,
        &crosstalk_producer::SPEC,
        &crosstalk_consumer::SPEC,
        &crosstalk_poller::SPEC,
        &crosstalk_streamer::SPEC,
    ];
    let command = nodes.into_iter().fold(Arguments::command(), |command, spec| {
        command.mut_subcommand(spec.name, |node| NodeArgs::fit(node, spec))
    });
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
