//! What the kernel tells about a host's interface.

use serde_json::Value;

use super::Namespace;

/// An interface, and what has passed it.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Packets that it has received.
    pub received: u64,
    /// Packets that it has sent.
    pub sent: u64,
}

impl Namespace {
    /// An interface of this host.
    ///
    /// # Panics
    ///
    /// If there is none with this name.
    pub fn link(&self, name: &str) -> Link {
        let links = self.ip_json(&format!("-statistics link show dev {name}"));
        read(&links[0]).unwrap_or_else(|| panic!("`ip` does not tell all of {name}: {links}"))
    }
}

fn read(link: &Value) -> Option<Link> {
    let packets = |way| link["stats64"][way]["packets"].as_u64();
    let mut mac = [0; 6];
    let mut parts = link["address"].as_str()?.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(Link {
        index: link["ifindex"].as_u64()?.try_into().ok()?,
        mac,
        received: packets("rx")?,
        sent: packets("tx")?,
    })
}
