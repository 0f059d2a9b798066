//! The program `producer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosstalk_host::node::main(&crosstalk_producer::SPEC, crosstalk_producer::roles)
}
