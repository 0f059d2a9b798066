//! The program `broker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosstalk_host::node::main(&crosstalk_broker::SPEC, crosstalk_broker::roles)
}
