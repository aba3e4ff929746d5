//! What a host says of itself.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

use super::check::{Decapsulation, Facts, Owner, Parameter, Question};
use crate::{dataplane::counts_on, neighbors};

/// Finds out what there is to know for the answer to `question`.
pub async fn facts(question: &Question) -> anyhow::Result<Facts> {
    let interfaces = neighbors::interfaces().await?;
    let interface = interfaces.require(&question.interface)?;
    let owners = neighbors::addresses()
        .await?
        .into_iter()
        .filter(|address| address.address == question.vip)
        .filter_map(|address| {
            let interface = interfaces.by_index(address.interface)?;
            Some(Owner {
                interface: interface.name.clone(),
                prefix_length: address.prefix_length,
            })
        })
        .collect();
    let decapsulation = match (interface.xdp, counts_on(interface)?) {
        (Some(program), Some(_)) => Decapsulation::Attached(program.mode),
        (Some(_), None) => Decapsulation::Occupied,
        (None, _) => Decapsulation::Absent,
    };
    let parameter = |name| parameter(name, &question.interface);
    Ok(Facts {
        owners,
        arp_ignore: parameter("arp_ignore")?,
        arp_announce: parameter("arp_announce")?,
        rp_filter: parameter("rp_filter")?,
        decapsulation,
        tunnels: interfaces.tunnels().map(|tunnel| tunnel.name.clone()).collect(),
        mtu: interface.mtu,
    })
}

/// Reads a kernel parameter of IPv4.
fn parameter(name: &str, interface: &str) -> anyhow::Result<Parameter> {
    Ok(Parameter {
        all: value("all", name)?,
        interface: value(interface, name)?,
    })
}

fn value(of: &str, name: &str) -> anyhow::Result<u32> {
    let path = PathBuf::from_iter(["/proc/sys/net/ipv4/conf", of, name]);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = text.trim();
    text.parse()
        .with_context(|| format!("{} holds {text:?} instead of a number", path.display()))
}
