//! The program `poller`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosstalk_host::node::main(&crosstalk_poller::SPEC, crosstalk_poller::roles)
}
