//! `decap …`: what runs on backends.

use std::net::IpAddr;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use ipnet::IpNet;

use super::{
    args::{LogArgs, OutputArgs},
    commands::{init_log, print},
    failure::Failure,
};
use crate::{
    config::XdpMode,
    decap::{
        self, Options, Status,
        check::{Delivery, Finding, Level, Question, findings},
    },
};

/// Flags of `decap`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DecapArgs {
    #[command(subcommand)]
    command: Option<DecapCommand>,
    /// An interface that packets from balancers come in by. May be given several times.
    #[arg(long = "interface", value_name = "NAME", required = true)]
    interfaces: Vec<String>,
    /// Where in the receive path to look at packets.
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    xdp_mode: XdpMode,
    /// Addresses that tunnels may begin at, those of the balancers: `10.0.0.1` or `10.0.0.0/24`. May be given several
    /// times. Packets from elsewhere are dropped; without any, packets from everywhere are taken.
    #[arg(long = "allow", value_name = "PREFIX", value_parser = prefix)]
    allowed: Vec<IpNet>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum DecapCommand {
    /// Show what became of packets that came in tunnels, on one interface or on all.
    Show {
        /// An interface. May be given several times.
        #[arg(long = "interface", value_name = "NAME")]
        interfaces: Vec<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Tell what this host lacks for answering clients directly, as backends of `dsr`, `ipip` and `gue` services do.
    ///
    /// One line for each thing that was looked at, with what mends it. Exits with 1 if something is missing.
    Check {
        /// The VIP.
        #[arg(long)]
        vip: IpAddr,
        /// The interface that packets from balancers come in by.
        #[arg(long, value_name = "NAME")]
        interface: String,
        /// How the service forwards packets.
        #[arg(long, value_enum)]
        forwarding: Option<Delivery>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Executes the command.
pub(super) fn execute(args: DecapArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match args.command {
        Some(DecapCommand::Show { interfaces, output }) => {
            let statuses = runtime.block_on(decap::status(&interfaces))?;
            print(output.output, &statuses, |statuses| show(statuses))
        }
        Some(DecapCommand::Check {
            vip,
            interface,
            forwarding,
            output,
        }) => {
            let question = Question {
                vip,
                interface,
                delivery: forwarding,
            };
            let facts = runtime.block_on(decap::facts(&question))?;
            let findings = findings(&question, &facts);
            print(output.output, &findings, |findings| lines(findings))?;
            if findings.iter().any(|finding| finding.level == Level::Missing) {
                return Err(Failure::Lacking);
            }
            Ok(())
        }
        None => {
            init_log(&args.log)?;
            runtime.block_on(decap::run(&Options {
                interfaces: args.interfaces,
                xdp_mode: args.xdp_mode,
                allowed: args.allowed,
            }))?;
            Ok(())
        }
    }
}

/// A prefix, or an address for itself alone.
fn prefix(text: &str) -> Result<IpNet, String> {
    match (text.parse(), text.parse::<IpAddr>()) {
        (Ok(prefix), _) => Ok(prefix),
        (Err(_), Ok(address)) => Ok(address.into()),
        (Err(_), Err(_)) => Err("not an address or prefix; write it like 10.0.0.1 or 10.0.0.0/24".to_owned()),
    }
}

fn show(statuses: &[Status]) -> String {
    if statuses.is_empty() {
        return "packets are taken out of tunnels nowhere on this host".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["INTERFACE", "FATE", "PACKETS", "MEANING"]);
    for status in statuses {
        for fate in &status.packets {
            table.add_row([&status.interface, fate.fate, &fate.packets.to_string(), fate.meaning]);
        }
    }
    table.to_string()
}

fn lines(findings: &[Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(line).collect();
    lines.join("\n")
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Missing => "missing",
    };
    match &finding.mend {
        Some(mend) => format!("{level:<8} {}: {mend}", finding.finding),
        None => format!("{level:<8} {}", finding.finding),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{super::Cli, *};

    #[test]
    fn an_address_is_a_prefix_of_itself() {
        assert_eq!(prefix("10.0.0.1"), Ok("10.0.0.1/32".parse().unwrap()));
        assert_eq!(prefix("2001:db8::1"), Ok("2001:db8::1/128".parse().unwrap()));
        assert_eq!(prefix("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        for text in ["", "10.0.0", "10.0.0.0/33", "eth0"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_runs_shows_or_checks() {
        let valid = |arguments: &str| {
            let words = ["balancer", "decap"].into_iter().chain(arguments.split_whitespace());
            Cli::try_parse_from(words).is_ok()
        };
        assert!(valid("--interface eth0"));
        assert!(valid(
            "--interface eth0 --interface eth1 --allow 10.0.0.1 --xdp-mode native"
        ));
        assert!(!valid(""), "an interface has to be named");
        assert!(!valid("--interface eth0 --allow somewhere"));
        assert!(valid("show"));
        assert!(valid("show --interface eth0 -o json"));
        assert!(valid("check --vip 192.0.2.10 --interface eth0"));
        assert!(valid(
            "check --vip 2001:db8::10 --interface eth0 --forwarding gue -o json"
        ));
        assert!(!valid("check --interface eth0"));
    }

    #[test]
    fn a_finding_is_a_line_with_its_mend() {
        let finding = Finding {
            level: Level::Missing,
            finding: "192.0.2.10 is no address of this host".to_owned(),
            mend: Some("ip address add 192.0.2.10/32 dev lo".to_owned()),
        };
        assert_eq!(
            line(&finding),
            "missing  192.0.2.10 is no address of this host: ip address add 192.0.2.10/32 dev lo"
        );
    }
}
