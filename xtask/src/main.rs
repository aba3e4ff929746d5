//! What a developer runs from the root of the repository: `cargo xtask setup`, `build`, `test`, `demo`, `bench`.
//!
//! Every task starts with the part of the set-up that it needs ([`setup::ensure`]), so none has to be run by hand first.

mod bench;
mod build;
mod demo;
mod privilege;
mod process;
mod setup;
mod test;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

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
    /// Measure the balancer beside what it is compared with
    #[command(disable_help_flag = true)]
    Bench {
        /// What the benchmarks take: `cargo xtask bench --help` lists it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup { tests } => setup::run(if tests { Purpose::Test } else { Purpose::Run }),
        Task::Build { release: _, debug } => build::run(!debug),
        Task::Test => test::run(),
        Task::Demo => demo::run(),
        Task::Bench { arguments } => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
