//! Shows the balancer at work, to be started by `cargo xtask demo`.

use std::process::ExitCode;

use balancer_tests::demo;

fn main() -> ExitCode {
    demo::run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
