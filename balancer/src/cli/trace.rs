//! `trace`

mod capture;

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;

use self::capture::CaptureFile;
use super::{
    args::{Output, TraceArgs},
    commands::unexpected,
    failure::Failure,
};
use crate::control::{
    client,
    protocol::{PacketDecision, Request, Response, TraceFilter},
};

/// Executes `trace`.
pub(super) fn execute(socket: &Path, args: TraceArgs) -> Result<(), Failure> {
    let output = args.output.output;
    let mut file = args.pcap.as_deref().map(CaptureFile::create).transpose()?;
    let filter = TraceFilter {
        client: args.client.map(|prefix| prefix.0),
        service: args.service,
        backend: args.backend,
        drops: (args.drops || !args.reasons.is_empty()).then_some(args.reasons),
        rate: args.rate,
        capture: file.is_some(),
    };
    let decisions = client::follow(socket, &Request::Trace(filter))?;
    for response in decisions.take(args.count.unwrap_or(usize::MAX)) {
        match response? {
            Response::Decision(mut decision) => {
                if let Some(file) = &mut file {
                    file.add(&decision)?;
                }
                // They are in the file.
                decision.frames = None;
                writeln!(io::stdout(), "{}", line(output, &decision)?)?;
            }
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

fn line(output: Output, decision: &PacketDecision) -> Result<String, Failure> {
    Ok(match output {
        Output::Json => serde_json::to_string(decision).context("cannot write JSON")?,
        Output::Text => text(decision),
    })
}

/// One decision in one line.
fn text(decision: &PacketDecision) -> String {
    let PacketDecision {
        time,
        interface,
        protocol,
        source,
        destination,
        bytes,
        missed,
        ..
    } = decision;
    let missed = match missed {
        0 => String::new(),
        missed => format!("({missed} not shown)\n"),
    };
    let flags = decision.flags.as_ref();
    let flags = flags.map_or_else(String::new, |flags| format!(" [{flags}]"));
    format!(
        "{missed}{time} {interface} {protocol} {source} > {destination}{flags} {bytes} bytes: {}",
        verdict(decision)
    )
}

/// Whose packet it is and what becomes of it.
fn verdict(decision: &PacketDecision) -> String {
    let whose = match (&decision.service, &decision.backend) {
        (Some(service), Some(backend)) => format!("{service}/{backend} "),
        (Some(service), None) => format!("{service} "),
        (None, _) => String::new(),
    };
    let reason = decision.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{whose}{}{reason}", decision.fate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::PacketFate;

    fn decision() -> PacketDecision {
        PacketDecision {
            time: "2026-01-02T03:04:05.678901Z".to_owned(),
            interface: "eth0".to_owned(),
            protocol: "tcp".to_owned(),
            flags: Some("S".to_owned()),
            source: "10.0.0.1:40000".parse().unwrap(),
            destination: "192.0.2.10:80".parse().unwrap(),
            service: Some("web".to_owned()),
            backend: Some("b2".to_owned()),
            fate: PacketFate::Forwarded,
            reason: Some("maglev".to_owned()),
            bytes: 74,
            missed: 0,
            frames: None,
        }
    }

    #[test]
    fn a_line_says_who_what_and_why() {
        let expected = "2026-01-02T03:04:05.678901Z eth0 tcp 10.0.0.1:40000 > 192.0.2.10:80 [S] 74 bytes: web/b2 forwarded (maglev)";
        assert_eq!(text(&decision()), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let decision = PacketDecision {
            flags: None,
            backend: None,
            fate: PacketFate::Dropped,
            reason: Some("no_backend".to_owned()),
            missed: 12,
            ..decision()
        };
        let text = text(&decision);
        assert!(text.starts_with("(12 not shown)\n2026-"), "{text}");
        assert!(
            text.ends_with("> 192.0.2.10:80 74 bytes: web dropped (no_backend)"),
            "{text}"
        );
    }
}
