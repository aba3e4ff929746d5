//! Measures the balancer, to be started by `cargo xtask bench`.

use std::process::ExitCode;

use balancer_tests::bench;
use clap::Parser as _;

fn main() -> ExitCode {
    match bench::run(&bench::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
