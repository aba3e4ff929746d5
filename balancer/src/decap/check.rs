//! What a backend needs to answer clients directly from the VIP: [`findings`] is a pure function of [`Facts`].

use std::net::IpAddr;

use balancer_common::{encapsulation::Encapsulation, packet::Family};
use clap::ValueEnum;
use serde::Serialize;

use crate::neighbors::AttachedMode;

/// How packets reach this backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Delivery {
    /// By their link-layer address alone.
    Dsr,
    /// Inside an IP packet.
    Ipip,
    /// Inside a datagram of Generic UDP Encapsulation.
    Gue,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The VIP.
    pub vip: IpAddr,
    /// The interface that packets come in by.
    pub interface: String,
    /// How they come; `None` if that is not known.
    pub delivery: Option<Delivery>,
}

/// An interface that has the VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub interface: String,
    /// Bits of the address that say which network it is in.
    pub prefix_length: u8,
}

/// What decides where a program runs that takes packets out of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decapsulation {
    /// `balancer decap` runs on the interface.
    Attached(AttachedMode),
    /// Another XDP program does.
    Occupied,
    /// None does.
    Absent,
}

/// A kernel parameter of IPv4 that counts as the larger of its values for all interfaces and for the one in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Under `conf/all`.
    pub all: u32,
    /// Under the interface's own name.
    pub interface: u32,
}

impl Parameter {
    fn effective(self) -> u32 {
        self.all.max(self.interface)
    }
}

/// What has been found out about the host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which interfaces have the VIP.
    pub owners: Vec<Owner>,
    /// Whether ARP is answered for addresses of other interfaces (`arp_ignore`).
    pub arp_ignore: Parameter,
    /// Which address ARP asks from (`arp_announce`).
    pub arp_announce: Parameter,
    /// Whether a packet has to come in by the interface that answers leave by (`rp_filter`).
    pub rp_filter: Parameter,
    /// Whether packets are taken out of tunnels on the interface.
    pub decapsulation: Decapsulation,
    /// Tunnel interfaces of the kernel that are up.
    pub tunnels: Vec<String>,
    /// Largest IP packet that the interface takes, in bytes.
    pub mtu: u32,
}

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Good to know; nothing has to be done.
    Note,
    /// Clients will not be served before it is mended.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is to be taken.
    pub level: Level,
    /// What it is.
    pub finding: String,
    /// What mends it, most often a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

fn fine(finding: impl Into<String>) -> Finding {
    Finding {
        level: Level::Ok,
        finding: finding.into(),
        mend: None,
    }
}

fn missing(finding: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding {
        level: Level::Missing,
        finding: finding.into(),
        mend: Some(mend.into()),
    }
}

fn note(finding: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding {
        level: Level::Note,
        ..missing(finding, mend)
    }
}

/// Everything that was looked at, in the order in which it is best mended.
pub fn findings(question: &Question, facts: &Facts) -> Vec<Finding> {
    // So that nobody asks for the VIP and is answered before ARP has been told to keep silent.
    let mut findings = Vec::new();
    if question.vip.is_ipv4() {
        findings.push(arp_ignore(facts));
        findings.push(arp_announce(facts));
    }
    findings.push(vip(question, facts));
    if question.vip.is_ipv4() {
        findings.push(rp_filter(question, facts));
    }
    findings.extend(tunnel(question, facts));
    findings
}

fn arp_ignore(facts: &Facts) -> Finding {
    match facts.arp_ignore.effective() {
        0 => missing(
            "the host answers ARP for the VIP, so clients on its network would go to it instead of to the balancer",
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
        ),
        _ => fine("the host does not answer ARP for addresses of other interfaces (arp_ignore)"),
    }
}

fn arp_announce(facts: &Facts) -> Finding {
    match facts.arp_announce.effective() {
        0 | 1 => missing(
            "the host asks ARP from the VIP, so its neighbours would take it for the VIP's owner",
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
        ),
        _ => fine("the host asks ARP from addresses of the interface alone (arp_announce)"),
    }
}

fn vip(question: &Question, facts: &Facts) -> Finding {
    let Question { vip, interface, .. } = question;
    let whole = if vip.is_ipv4() { 32 } else { 128 };
    let on_lo = format!("ip address add {vip}/{whole} dev lo");
    let Some(owner) = facts
        .owners
        .iter()
        .find(|owner| owner.interface == *interface)
        .or_else(|| facts.owners.first())
    else {
        return missing(format!("{vip} is no address of this host"), on_lo);
    };
    let Owner {
        interface: has,
        prefix_length,
    } = owner;
    if has == interface {
        return missing(
            format!("{vip} is an address of {has}, which answers its neighbours' questions for it"),
            format!("ip address del {vip}/{prefix_length} dev {has} && {on_lo}"),
        );
    }
    if has == "lo" && *prefix_length < whole {
        return missing(
            format!("{vip}/{prefix_length} on lo makes every address of that network one of this host"),
            format!("ip address del {vip}/{prefix_length} dev lo && {on_lo}"),
        );
    }
    fine(format!("{vip} is an address of {has}"))
}

fn rp_filter(question: &Question, facts: &Facts) -> Finding {
    let interface = &question.interface;
    match facts.rp_filter.effective() {
        1 => note(
            format!("packets of clients are dropped unless answers to them leave by {interface} too (rp_filter)"),
            format!("if they do not: sysctl -w net.ipv4.conf.{interface}.rp_filter=2"),
        ),
        _ => fine(format!(
            "packets of clients may come in by {interface} wherever answers leave (rp_filter)"
        )),
    }
}

fn tunnel(question: &Question, facts: &Facts) -> Vec<Finding> {
    let interface = &question.interface;
    let encapsulation = match question.delivery {
        Some(Delivery::Dsr) => return Vec::new(),
        Some(Delivery::Ipip) => Some(Encapsulation::Ipip),
        Some(Delivery::Gue) => Some(Encapsulation::Gue),
        None => None,
    };
    let run = format!("balancer decap --interface {interface} --allow BALANCER");
    let taken_out = match facts.decapsulation {
        Decapsulation::Attached(mode) => fine(format!(
            "balancer decap takes packets out of tunnels on {interface} ({mode:?})"
        )),
        _ if !facts.tunnels.is_empty() => note(
            format!("tunnels end in {} of the kernel", facts.tunnels.join(", ")),
            "see to it that it takes packets from the balancers, and set its rp_filter to 0 or 2",
        ),
        Decapsulation::Occupied if encapsulation.is_some() => missing(
            format!("another XDP program is on {interface}, so packets cannot be taken out of tunnels there"),
            format!("remove it, then {run}"),
        ),
        _ if encapsulation.is_some() => missing(format!("nothing takes packets out of tunnels on {interface}"), run),
        _ => note(
            format!("nothing takes packets out of tunnels on {interface}, which ipip and gue need and dsr does not"),
            run,
        ),
    };
    let size = encapsulation.map(|encapsulation| {
        let overhead = encapsulation.overhead(Family::V6);
        note(
            format!(
                "a tunnel adds up to {overhead} bytes, which have to fit into the MTU between balancer and backend \
                 ({interface}: {})",
                facts.mtu
            ),
            format!(
                "raise the MTU there to {} or more, or have clients send less: ip route change default … advmss {}",
                facts.mtu + overhead,
                facts.mtu.saturating_sub(overhead + 60),
            ),
        )
    });
    [Some(taken_out), size].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
