//! `flows …`

use std::path::Path;

use serde_json::json;

use super::{
    args::{FilterArgs, FlowsCommand},
    commands::{print, unexpected},
    failure::Failure,
    text,
};
use crate::control::{
    client,
    protocol::{FlowFilter, Request, Response},
};

/// Executes `flows …`.
pub(super) fn execute(socket: &Path, command: FlowsCommand) -> Result<(), Failure> {
    match command {
        FlowsCommand::List { filter, limit, output } => {
            let filter = filter.into();
            match client::ask(socket, &Request::Flows { filter, limit })? {
                Response::Flows(list) => {
                    print(output.output, &list.flows, |flows| text::flows(flows))?;
                    if list.total > list.flows.len() as u64 {
                        eprintln!("{} of {} flows; --limit shows more", list.flows.len(), list.total);
                    }
                    Ok(())
                }
                other => Err(unexpected(&other)),
            }
        }
        FlowsCommand::Count { filter, output } => match client::ask(socket, &Request::CountFlows(filter.into()))? {
            Response::FlowCount(count) => print(output.output, &count, text::flow_count),
            other => Err(unexpected(&other)),
        },
        FlowsCommand::Flush { filter, output } => match client::ask(socket, &Request::FlushFlows(filter.into()))? {
            Response::Flushed(flushed) => print(output.output, &json!({ "flushed": flushed }), |_| {
                format!("forgot {flushed} flows")
            }),
            other => Err(unexpected(&other)),
        },
    }
}

impl From<FilterArgs> for FlowFilter {
    fn from(args: FilterArgs) -> Self {
        Self {
            service: args.service,
            client: args.client.map(|client| client.address),
            port: args.client.and_then(|client| client.port),
            backend: args.backend,
        }
    }
}
