//! What a developer runs from the root of the repository: `cargo xtask setup`, `build`, `test`, `demo`.
//!
//! Every task starts with the part of the set-up that it needs ([`setup::ensure`]), so none has to be run by hand first.

mod build;
mod demo;
mod privilege;
mod process;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::setup::Purpose;

/// Sets up, builds, tests and shows the balancer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing for building and running the balancer
    Setup {
        /// Also install what only the tests need
        #[arg(long)]
        tests: bool,
    },
    /// Build the balancer: one binary, target/release/balancer, with the eBPF programs inside
    Build {
        /// Optimise, as it does anyway unless told otherwise
        #[arg(long)]
        release: bool,
        /// Don't optimise; the binary is then target/debug/balancer
        #[arg(long, conflicts_with = "release")]
        debug: bool,
    },
    /// Run every check: format, lints, unit tests, packet tests in the kernel, end-to-end tests
    Test,
    /// Show real traffic through the balancer across network namespaces, and check what is claimed of it
    Demo,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup { tests } => setup::run(if tests { Purpose::Test } else { Purpose::Run }),
        Task::Build { release: _, debug } => build::run(!debug),
        Task::Test => test::run(),
        Task::Demo => demo::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
