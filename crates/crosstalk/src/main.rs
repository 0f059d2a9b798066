//! The program `crosstalk`: starts a local cluster, shows what it can do, carries files through it, and runs
//! each node under the node's own name. It composes; what nodes do stands in their crates.
#![expect(clippy::print_stderr, reason = "a command line speaks to people")]

mod arguments;
mod cluster;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;
use crosstalk_host::node;

use self::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let Arguments { command, up } = Arguments::parse();
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
