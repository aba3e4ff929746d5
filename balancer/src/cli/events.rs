//! `events`

use std::{io::Write as _, path::Path};

use anyhow::Context as _;

use super::{
    args::{EventsArgs, Output},
    commands::{print, unexpected},
    failure::Failure,
    text,
};
use crate::control::{
    client,
    protocol::{Event, Request, Response},
};

/// Executes `events`.
pub(super) fn execute(socket: &Path, args: &EventsArgs) -> Result<(), Failure> {
    let output = args.output.output;
    if !args.follow {
        return match client::ask(socket, &Request::Events)? {
            Response::Events(events) => print(output, &events, |events| text::events(events)),
            other => Err(unexpected(&other)),
        };
    }
    for response in client::follow(socket, &Request::FollowEvents)? {
        match response? {
            Response::Event(event) => writeln!(std::io::stdout(), "{}", line(output, &event)?)?,
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

/// One event in one line.
fn line(output: Output, event: &Event) -> Result<String, Failure> {
    Ok(match output {
        Output::Json => serde_json::to_string(event).context("cannot write JSON")?,
        Output::Text => text::event(event),
    })
}
