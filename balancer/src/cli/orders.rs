//! Commands that change what runs.

use std::path::Path;

use anyhow::Context as _;

use super::{
    args::{AddBackendArgs, AddServiceArgs, BackendArgs, BackendCommand},
    commands::{print, read, unexpected},
    failure::Failure,
    text,
};
use crate::{
    config::Admin,
    control::{
        client,
        protocol::{BackendKeys, Order, Request, Response},
    },
};

/// Executes `backend …`.
pub(super) fn backend(socket: &Path, command: BackendCommand) -> Result<(), Failure> {
    let set_admin = |BackendArgs { service, backend }, admin| Order::SetAdmin {
        service,
        backend,
        admin,
    };
    let order = match command {
        BackendCommand::List { service, output } => {
            return match client::ask(socket, &Request::Backends { service })? {
                Response::Backends(backends) => print(output.output, &backends, |backends| text::backends(backends)),
                other => Err(unexpected(&other)),
            };
        }
        BackendCommand::Add(AddBackendArgs {
            service,
            address,
            name,
            weight,
            backup,
            server_id,
        }) => Order::AddBackend {
            service,
            address,
            keys: BackendKeys {
                name,
                weight,
                backup: backup.then_some(true),
                server_id,
            },
        },
        BackendCommand::Remove(BackendArgs { service, backend }) => Order::RemoveBackend { service, backend },
        BackendCommand::Drain(backend) => set_admin(backend, Admin::Draining),
        BackendCommand::Activate(backend) => set_admin(backend, Admin::Active),
        BackendCommand::Disable(backend) => set_admin(backend, Admin::Disabled),
        BackendCommand::Suspend(backend) => set_admin(backend, Admin::Suspended),
        BackendCommand::Migrate {
            service,
            from,
            to,
            flows,
        } => Order::Migrate {
            service,
            from,
            to,
            flows,
        },
        BackendCommand::Weight {
            backend: BackendArgs { service, backend },
            weight,
        } => Order::SetWeight {
            service,
            backend,
            weight,
        },
    };
    give(socket, &Request::Order(order))
}

/// Executes `service add`.
pub(super) fn add_service(socket: &Path, args: &AddServiceArgs) -> Result<(), Failure> {
    let order = Order::AddService {
        name: args.name.clone(),
        text: args.toml().context("cannot write the service as TOML")?,
    };
    give(socket, &Request::Order(order))
}

/// Executes `service remove`.
pub(super) fn remove_service(socket: &Path, service: String) -> Result<(), Failure> {
    give(socket, &Request::Order(Order::RemoveService { service }))
}

/// Executes `apply`.
pub(super) fn apply(socket: &Path, file: &Path) -> Result<(), Failure> {
    give(socket, &Request::Apply(read(file)?))
}

/// Executes `reload`.
pub(super) fn reload(socket: &Path) -> Result<(), Failure> {
    give(socket, &Request::Reload)
}

/// Has the daemon do something, and says what came of it.
fn give(socket: &Path, request: &Request) -> Result<(), Failure> {
    match client::ask(socket, request)? {
        Response::Done(done) => {
            for warning in &done.warnings {
                eprintln!("warning: {warning}");
            }
            println!("{}", done.message);
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}
