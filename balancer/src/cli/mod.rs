//! The command line.

mod args;
mod client_address;
mod client_prefix;
mod commands;
mod connection_id;
mod decap;
mod events;
mod failure;
mod flows;
mod orders;
mod text;
mod top;
mod trace;

use std::process::ExitCode;

use clap::Parser as _;

pub use args::Cli;
pub use failure::Failure;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
