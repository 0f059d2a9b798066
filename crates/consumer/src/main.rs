//! The program `consumer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosstalk_host::node::main(&crosstalk_consumer::SPEC, crosstalk_consumer::roles)
}
