//! `flows …`

use clap::{Args, Subcommand};

use super::{ClientAddress, OutputArgs};

/// What can be done with remembered flows.
#[derive(Debug, Subcommand)]
pub enum FlowsCommand {
    /// List flows.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many to list at most.
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        limit: usize,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Count flows.
    Count {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget flows. Their next packets go where a new client's would.
    Flush {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Which flows; all unless something is given.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only those of this service.
    pub service: Option<String>,
    /// Only those of this client.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub client: Option<ClientAddress>,
    /// Only those of this backend: its name, or its address with or without port.
    #[arg(long, value_name = "ADDR")]
    pub backend: Option<String>,
}
