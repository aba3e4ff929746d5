//! Addresses of the balancer's own that full NAT sends from.

use std::net::IpAddr;

use balancer_common::abi::MAX_SOURCES;

use super::{
    reader::{Distinct, Value},
    report::Read,
    values,
};

/// What the addresses of a file are for. What is sent to a source address is a reply; what is sent to a VIP is not.
#[derive(Default)]
pub(super) struct Uses {
    vips: Distinct<IpAddr>,
    sources: Distinct<IpAddr>,
}

impl Uses {
    /// Takes in a service's VIP.
    pub(super) fn add_vip(&mut self, address: IpAddr, value: &Value<'_>) -> Read<()> {
        let shown = format!("{address} as a source address");
        self.sources
            .exclude(&address, value, shown, "let full NAT send from another address")?;
        self.vips.note(address, value);
        Ok(())
    }

    fn add_source(&mut self, address: IpAddr, value: &Value<'_>) -> Read<()> {
        let shown = format!("{address} as a service's address");
        self.vips.exclude(&address, value, shown, "send from another address")?;
        self.sources.note(address, value);
        Ok(())
    }
}

/// Reads `source_addresses`.
pub(super) fn source_addresses(value: &Value<'_>, uses: &mut Uses) -> Read<Vec<IpAddr>> {
    let mut distinct = Distinct::default();
    let addresses = value.each("source address", |value| {
        let address = value.parsed(values::source_address)?;
        distinct.admit(
            address,
            &value,
            format!("source address {address}"),
            "remove one of the two",
        )?;
        uses.add_source(address, &value)?;
        Ok(address)
    })?;
    for is_v4 in [true, false] {
        let count = addresses.iter().filter(|address| address.is_ipv4() == is_v4).count();
        if count > MAX_SOURCES {
            return Err(value.refuse(format!(
                "source_addresses has {count} addresses of one IP version; use at most {MAX_SOURCES}"
            )));
        }
    }
    Ok(addresses)
}
