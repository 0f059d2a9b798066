//! The program `streamer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosstalk_host::node::main(&crosstalk_streamer::SPEC, crosstalk_streamer::roles)
}
