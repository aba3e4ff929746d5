//! What each command does.

use std::{io::Write as _, path::Path};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    args::{Cli, Command, DetachArgs, LogArgs, LogFormat, LookupArgs, Output, PlanArgs, ServiceCommand},
    connection_id::ConnectionId,
    decap, events,
    failure::Failure,
    flows, orders, text, top, trace,
};
use crate::{
    config,
    control::client,
    control::protocol::{ConfigText, Request, Response},
    daemon,
    dataplane::{self, Pins},
};

/// Executes the command.
pub(super) fn execute(cli: Cli) -> Result<(), Failure> {
    let socket = &cli.socket;
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Decap(args) => decap::execute(args),
        Command::Programs(args) => print(args.output, &dataplane::figures()?, |figures| text::programs(figures)),
        Command::Check(args) => check(&args.file),
        Command::Status(args) => match client::ask(socket, &Request::Status)? {
            Response::Status(status) => print(args.output, &status, text::status),
            other => Err(unexpected(&other)),
        },
        Command::Plan(args) => plan(socket, &args),
        Command::Apply(args) => orders::apply(socket, &args.file),
        Command::Reload => orders::reload(socket),
        Command::Export => export(socket),
        Command::Service(command) => service(socket, command),
        Command::Backend(command) => orders::backend(socket, command),
        Command::Flows(command) => flows::execute(socket, command),
        Command::Events(args) => events::execute(socket, &args),
        Command::Lookup(args) => lookup(socket, args),
        Command::Trace(args) => trace::execute(socket, args),
        Command::Top(args) => top::execute(socket, &args),
        Command::Detach(args) => detach(socket, &args),
    }
}

fn run(args: &super::args::RunArgs) -> Result<(), Failure> {
    let loaded = config::load(&args.config)?;
    init_log(&args.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let path = std::path::absolute(&args.config)?;
    Ok(daemon::run(loaded.config, &path)?)
}

/// Begins to log.
pub(super) fn init_log(args: &LogArgs) -> Result<(), Failure> {
    daemon::init_log(&args.filter, args.format == LogFormat::Json).map_err(|error| Failure::Usage(format!("{error:#}")))
}

fn check(file: &Path) -> Result<(), Failure> {
    let loaded = config::load(file)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let services = loaded.config.services.len();
    let backends: usize = loaded
        .config
        .services
        .iter()
        .map(|service| service.backends.len())
        .sum();
    println!("{}: valid: {services} services, {backends} backends", file.display());
    Ok(())
}

fn service(socket: &Path, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::List(args) => match client::ask(socket, &Request::Services)? {
            Response::Services(services) => print(args.output, &services, |services| text::services(services)),
            other => Err(unexpected(&other)),
        },
        ServiceCommand::Show { service, output } => match client::ask(socket, &Request::Service { service })? {
            Response::Service(detail) => print(output.output, &detail, text::service),
            other => Err(unexpected(&other)),
        },
        ServiceCommand::Add(args) => orders::add_service(socket, &args),
        ServiceCommand::Remove { service } => orders::remove_service(socket, service),
    }
}

fn plan(socket: &Path, args: &PlanArgs) -> Result<(), Failure> {
    let request = Request::Plan(read(&args.file)?);
    match client::ask(socket, &request)? {
        Response::Plan(plan) => print(args.output.output, &plan, text::plan),
        other => Err(unexpected(&other)),
    }
}

fn export(socket: &Path) -> Result<(), Failure> {
    match client::ask(socket, &Request::Export)? {
        Response::Export(text) => Ok(write!(std::io::stdout(), "{text}")?),
        other => Err(unexpected(&other)),
    }
}

/// A configuration file to be sent to the daemon.
pub(super) fn read(file: &Path) -> Result<ConfigText, Failure> {
    Ok(ConfigText {
        file: file.display().to_string(),
        text: config::read(file)?,
    })
}

fn lookup(socket: &Path, args: LookupArgs) -> Result<(), Failure> {
    let request = Request::Lookup {
        service: args.service,
        client: args.client.address,
        port: args.client.port,
        connection_id: args.connection_id.map(ConnectionId::into_bytes),
    };
    match client::ask(socket, &request)? {
        Response::Lookup(lookup) => print(args.output.output, &lookup, text::lookup),
        other => Err(unexpected(&other)),
    }
}

/// Asks the daemon to detach; without a daemon, removes what is pinned.
fn detach(socket: &Path, args: &DetachArgs) -> Result<(), Failure> {
    let interfaces = match client::ask(socket, &Request::Detach) {
        Ok(Response::Detached(interfaces)) => interfaces,
        Ok(other) => return Err(unexpected(&other)),
        Err(client::Error::Unreachable { .. }) => {
            let pin_path = daemon::pin_path(socket, args.config.as_deref())?;
            let Some(pins) = Pins::claim_existing(&pin_path)? else {
                println!("nothing to detach: no data plane is pinned at {}", pin_path.display());
                return Ok(());
            };
            pins.remove()?
        }
        Err(error) => return Err(error.into()),
    };
    println!("detached from {}", text::list_or_none(&interfaces));
    Ok(())
}

/// Writes a result to stdout.
pub(super) fn print<T: Serialize>(
    output: Output,
    value: &T,
    as_text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(value).context("cannot write JSON")?,
        Output::Text => as_text(value),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

pub(super) fn unexpected(response: &Response) -> Failure {
    Failure::Other(anyhow::anyhow!("the daemon answered something else: {response:?}"))
}
