//! What the kernel says of network interfaces.

use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};
use std::collections::HashMap;

use anyhow::Context as _;
use balancer_common::abi::Mac;
use serde::{Deserialize, Serialize};

/// A network interface of this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index: never 0, and not used again while the interface lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC; `None` where it is not an Ethernet interface.
    pub mac: Option<Mac>,
    /// Whether it has been switched on and has a carrier.
    pub up: bool,
    /// Largest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// The XDP program that runs on it.
    pub xdp: Option<XdpProgram>,
    /// Whether packets that come in by it have been taken out of others.
    pub tunnel: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's identifier of the program.
    pub id: u32,
    /// Where in the receive path it runs.
    pub mode: AttachedMode,
}

/// Where in the receive path an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachedMode {
    /// In the driver or in the interface's hardware.
    Native,
    /// On the socket buffer.
    Generic,
}

/// The network interfaces of this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(HashMap<u32, Interface>);

impl Interfaces {
    /// The interface with this index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.0.get(&index)
    }

    /// The interface with this name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.0.values().find(|interface| interface.name == name)
    }

    /// The interfaces with these names.
    ///
    /// # Errors
    ///
    /// If there is none of one of the names.
    pub fn named(&self, names: &[String]) -> anyhow::Result<Vec<Interface>> {
        names.iter().map(|name| self.require(name).cloned()).collect()
    }

    /// The interface with this name.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn require(&self, name: &str) -> anyhow::Result<&Interface> {
        self.by_name(name)
            .with_context(|| format!("there is no interface {name}; there are {}", self.names().join(", ")))
    }

    /// Those where tunnels end, and that are up.
    pub fn tunnels(&self) -> impl Iterator<Item = &Interface> {
        self.0.values().filter(|interface| interface.tunnel && interface.up)
    }

    /// All, in the order of their names.
    pub fn into_vec(self) -> Vec<Interface> {
        let mut interfaces: Vec<_> = self.0.into_values().collect();
        interfaces.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        interfaces
    }

    /// The names of all, in alphabetical order.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.values().map(|interface| interface.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Notes what the kernel says of an interface now. Returns whether that is news.
    pub(super) fn observe(&mut self, interface: Interface) -> bool {
        let news = self.0.get(&interface.index) != Some(&interface);
        self.0.insert(interface.index, interface);
        news
    }

    /// Notes that an interface has gone. Returns whether that is news.
    pub(super) fn forget(&mut self, index: u32) -> bool {
        self.0.remove(&index).is_some()
    }
}

impl FromIterator<Interface> for Interfaces {
    fn from_iter<T: IntoIterator<Item = Interface>>(interfaces: T) -> Self {
        Self(
            interfaces
                .into_iter()
                .map(|interface| (interface.index, interface))
                .collect(),
        )
    }
}

/// The name of the interface with this index, or its number if it has gone.
pub fn interface_name(index: u32) -> String {
    let name = socket(AddressFamily::UNIX, SocketType::DGRAM, None).and_then(|any| index_to_name(any, index));
    name.unwrap_or_else(|_gone| index.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> Interface {
        Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            mtu: 1_500,
            xdp: None,
            tunnel: false,
        }
    }

    #[test]
    fn tunnels_are_told_apart_while_they_are_up() {
        let tunnel = Interface {
            index: 3,
            name: "tunl0".to_owned(),
            mac: None,
            tunnel: true,
            ..eth0()
        };
        let idle = Interface {
            index: 4,
            up: false,
            ..tunnel.clone()
        };
        let interfaces: Interfaces = [idle, tunnel.clone(), eth0()].into_iter().collect();
        assert_eq!(interfaces.tunnels().collect::<Vec<_>>(), [&tunnel]);
    }

    #[test]
    fn an_interface_is_found_by_name_and_by_index() {
        let interfaces: Interfaces = [eth0()].into_iter().collect();
        assert_eq!(interfaces.by_index(2), Some(&eth0()));
        assert_eq!(interfaces.by_name("eth0"), Some(&eth0()));
        assert_eq!(interfaces.by_index(3), None);
        assert_eq!(interfaces.by_name("eth1"), None);
    }

    #[test]
    fn only_what_differs_is_news() {
        let changes: [fn(&mut Interface); 4] = [
            |interface| interface.up = false,
            |interface| interface.mtu = 9_000,
            |interface| interface.mac = Some([2, 0, 0, 0, 0, 9]),
            |interface| interface.name = "wan".to_owned(),
        ];
        for change in changes {
            let mut interfaces: Interfaces = [eth0()].into_iter().collect();
            assert!(!interfaces.observe(eth0()));
            let mut interface = eth0();
            change(&mut interface);
            assert!(interfaces.observe(interface.clone()), "{interface:?}");
            assert!(!interfaces.observe(interface));
        }
    }

    #[test]
    fn an_interface_goes_once() {
        let mut interfaces: Interfaces = [eth0()].into_iter().collect();
        assert!(interfaces.forget(2));
        assert!(!interfaces.forget(2));
        assert_eq!(interfaces.by_name("eth0"), None);
    }
}
