//! `backend …`

use clap::{Args, Subcommand};

use super::OutputArgs;

/// What can be done with backends. All but `list` outlives a restart.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// List the backends, of one service or of all.
    List {
        /// The service's name.
        service: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a backend. It gets clients as soon as it is reachable and its health check succeeds.
    Add(AddBackendArgs),
    /// Remove a backend. Its clients and live flows go to others at once; drain it first to spare them.
    Remove(BackendArgs),
    /// Give a backend no new clients; it keeps those that it has.
    Drain(BackendArgs),
    /// Let a backend serve again.
    Activate(BackendArgs),
    /// Give a backend nothing; its clients and live flows go to others at once.
    Disable(BackendArgs),
    /// Let a backend sleep: it gets no new clients, keeps those that it has, and its health does not count.
    Suspend(BackendArgs),
    /// Let the clients of one backend belong to another. New clients are not concerned: drain the one to spare it those.
    Migrate {
        /// The service's name.
        service: String,
        /// Whose clients: a backend's name, or its address with or without port.
        from: String,
        /// Whose they are to be.
        to: String,
        /// Move TCP connections that are open as well. They break unless the backends share their state.
        #[arg(long)]
        flows: bool,
    },
    /// Change a backend's share of new clients.
    Weight {
        #[command(flatten)]
        backend: BackendArgs,
        /// The weight: 100 unless changed; 0 takes no new clients.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=65_535))]
        weight: u32,
    },
}

/// A backend.
#[derive(Debug, Args)]
pub struct BackendArgs {
    /// The service's name.
    pub service: String,
    /// The backend's name, or its address with or without port.
    #[arg(value_name = "ADDR")]
    pub backend: String,
}

/// Flags of `backend add`.
#[derive(Debug, Args)]
pub struct AddBackendArgs {
    /// The service's name.
    pub service: String,
    /// The backend's address; the port may be left out where the client's is to be kept.
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// Its name; its address unless given.
    #[arg(long)]
    pub name: Option<String>,
    /// Its share of new clients relative to the other backends; 100 unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65_535))]
    pub weight: Option<u32>,
    /// Let it serve only while no other backend can.
    #[arg(long)]
    pub backup: bool,
    /// What it calls itself in QUIC connection IDs; the last bytes of its address unless given.
    #[arg(long, value_name = "HEX")]
    pub server_id: Option<String>,
}
