//! From what the kernel says of routes, interfaces and neighbours to a next hop, or to the reason why there is none.

use std::net::IpAddr;

use balancer_common::abi::{Mac, NextHop};

use super::{
    Interface, Interfaces,
    table::{Neighbor, Resolution},
};

/// What the kernel's routing says of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// Packets leave by an interface, to the gateway or, without one, to the destination itself.
    Unicast {
        /// Index of the interface.
        interface: u32,
        /// The gateway; not always of the destination's family.
        gateway: Option<IpAddr>,
        /// The address of this host that packets carry as their source, if it has one.
        source: Option<IpAddr>,
        /// Largest IP packet that fits, in bytes, where that is not what the interface says.
        mtu: Option<u32>,
    },
    /// The route puts packets into a tunnel of its own.
    Encapsulating,
    /// The destination is an address of this host.
    Local,
    /// The destination stands for several hosts.
    NotUnicast,
    /// Packets are to be discarded silently.
    Blackhole,
    /// Packets are to be answered with "host unreachable".
    Unreachable,
    /// Packets are to be answered with "administratively prohibited".
    Prohibited,
    /// No route matches.
    Missing,
}

/// How packets from this host get to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// Where they leave the host.
    pub next_hop: NextHop,
    /// The address of this host that they carry as their source, if it has one.
    pub source: Option<IpAddr>,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u32,
}

impl Way {
    /// The source of packets to `destination`, for whom they cannot do without.
    pub fn require_source(&self, destination: IpAddr) -> Result<IpAddr, Unreachable> {
        self.source.ok_or(Unreachable::NoSource(destination))
    }
}

/// Why there is no next hop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No route matches.
    #[error("no route to {0}")]
    NoRoute(IpAddr),
    /// Packets to an address of this host don't leave it.
    #[error("{0} is an address of this host")]
    Local(IpAddr),
    /// A broadcast, multicast or anycast address has no next hop of its own.
    #[error("{0} is not the address of a single host")]
    NotUnicast(IpAddr),
    /// The matching route discards packets silently.
    #[error("the route to {0} is a blackhole")]
    Blackhole(IpAddr),
    /// The matching route refuses packets as undeliverable.
    #[error("the route to {0} is of type unreachable")]
    Refused(IpAddr),
    /// The matching route refuses packets as not allowed.
    #[error("the route to {0} is of type prohibit")]
    Prohibited(IpAddr),
    /// The matching route encapsulates packets, which the data plane does not do.
    #[error("the route to {0} leads into a tunnel")]
    Encapsulated(IpAddr),
    /// No address of this host can be the sender of packets, which only those in a tunnel from here need.
    #[error("this host has no address that packets to {0} could come from: set dataplane.tunnel_source")]
    NoSource(IpAddr),
    /// The interface is switched off, has no carrier or has just gone.
    #[error("{interface} is down")]
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// The interface is not an Ethernet interface, so there are no MACs to send with.
    #[error("{interface} is not an ethernet interface")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// The neighbour has been asked for its MAC and may yet answer.
    #[error("the MAC of {address} on {interface} is not known yet")]
    Resolving {
        /// The neighbour: the destination or its gateway.
        address: IpAddr,
        /// Name of the interface it is on.
        interface: String,
    },
    /// The neighbour has been asked for its MAC in vain. It is asked again until it answers.
    #[error("{address} on {interface} does not answer {}", question(.address))]
    Silent {
        /// The neighbour: the destination or its gateway.
        address: IpAddr,
        /// Name of the interface it is on.
        interface: String,
    },
}

/// The protocol that finds out the MAC of `address`.
fn question(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "NDP",
    }
}

/// The neighbour that packets to `destination` are handed to by `route`, if it is one that can be asked for its MAC.
pub(super) fn neighbor(destination: IpAddr, route: Route, interfaces: &Interfaces) -> Result<Neighbor, Unreachable> {
    step(destination, route, interfaces).map(|step| step.neighbor)
}

/// How packets get to `destination` by `route`.
pub(super) fn way(
    destination: IpAddr,
    route: Route,
    interfaces: &Interfaces,
    resolution: impl Fn(Neighbor) -> Resolution,
) -> Result<Way, Unreachable> {
    let Step {
        neighbor,
        interface,
        mac,
        source,
        mtu,
    } = step(destination, route, interfaces)?;
    let address = neighbor.address;
    let interface_name = || interface.name.clone();
    match resolution(neighbor) {
        Resolution::Known(destination) => Ok(Way {
            next_hop: NextHop {
                interface: interface.index,
                destination,
                source: mac,
            },
            source,
            mtu,
        }),
        Resolution::Pending => Err(Unreachable::Resolving {
            address,
            interface: interface_name(),
        }),
        Resolution::Failed => Err(Unreachable::Silent {
            address,
            interface: interface_name(),
        }),
    }
}

/// A way out of the host that lacks only the neighbour's MAC.
struct Step<'a> {
    neighbor: Neighbor,
    interface: &'a Interface,
    mac: Mac,
    source: Option<IpAddr>,
    mtu: u32,
}

fn step(destination: IpAddr, route: Route, interfaces: &Interfaces) -> Result<Step<'_>, Unreachable> {
    let (index, gateway, source, mtu) = match route {
        Route::Unicast {
            interface,
            gateway,
            source,
            mtu,
        } => (interface, gateway, source, mtu),
        Route::Encapsulating => return Err(Unreachable::Encapsulated(destination)),
        Route::Local => return Err(Unreachable::Local(destination)),
        Route::NotUnicast => return Err(Unreachable::NotUnicast(destination)),
        Route::Blackhole => return Err(Unreachable::Blackhole(destination)),
        Route::Unreachable => return Err(Unreachable::Refused(destination)),
        Route::Prohibited => return Err(Unreachable::Prohibited(destination)),
        Route::Missing => return Err(Unreachable::NoRoute(destination)),
    };
    let interface = interfaces.by_index(index).ok_or_else(|| Unreachable::InterfaceDown {
        interface: format!("interface {index}"),
    })?;
    if !interface.up {
        return Err(Unreachable::InterfaceDown {
            interface: interface.name.clone(),
        });
    }
    let mac = interface.mac.ok_or_else(|| Unreachable::NotEthernet {
        interface: interface.name.clone(),
    })?;
    Ok(Step {
        neighbor: Neighbor {
            interface: index,
            address: gateway.unwrap_or(destination),
        },
        interface,
        mac,
        source,
        // A route may promise more than the interface takes.
        mtu: mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];

    fn interfaces() -> Interfaces {
        let interface = |index, name: &str, mac, up| Interface {
            xdp: None,
            index,
            name: name.to_owned(),
            mac,
            up,
            mtu: 1_500,
        };
        [
            interface(1, "eth1", Some(OWN), true),
            interface(2, "eth2", Some(OWN), false),
            interface(3, "tun3", None, true),
        ]
        .into_iter()
        .collect()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn out(interface: u32, gateway: Option<&str>) -> Route {
        Route::Unicast {
            interface,
            gateway: gateway.map(address),
            source: None,
            mtu: None,
        }
    }

    #[test]
    fn the_reason_is_told_in_words() {
        let cases = [
            (Route::Missing, Resolution::Pending, "no route to 10.0.0.11"),
            (
                Route::Local,
                Resolution::Pending,
                "10.0.0.11 is an address of this host",
            ),
            (
                Route::NotUnicast,
                Resolution::Pending,
                "10.0.0.11 is not the address of a single host",
            ),
            (
                Route::Blackhole,
                Resolution::Pending,
                "the route to 10.0.0.11 is a blackhole",
            ),
            (
                Route::Unreachable,
                Resolution::Pending,
                "the route to 10.0.0.11 is of type unreachable",
            ),
            (
                Route::Prohibited,
                Resolution::Pending,
                "the route to 10.0.0.11 is of type prohibit",
            ),
            (
                Route::Encapsulating,
                Resolution::Pending,
                "the route to 10.0.0.11 leads into a tunnel",
            ),
            (out(2, None), Resolution::Known(PEER), "eth2 is down"),
            (out(9, None), Resolution::Known(PEER), "interface 9 is down"),
            (
                out(3, None),
                Resolution::Known(PEER),
                "tun3 is not an ethernet interface",
            ),
            (
                out(1, None),
                Resolution::Pending,
                "the MAC of 10.0.0.11 on eth1 is not known yet",
            ),
            (
                out(1, None),
                Resolution::Failed,
                "10.0.0.11 on eth1 does not answer ARP",
            ),
            (
                out(1, Some("10.0.0.1")),
                Resolution::Failed,
                "10.0.0.1 on eth1 does not answer ARP",
            ),
            (
                out(1, Some("fe80::1")),
                Resolution::Failed,
                "fe80::1 on eth1 does not answer NDP",
            ),
        ];
        for (route, resolution, expected) in cases {
            let result = way(address("10.0.0.11"), route, &interfaces(), |_| resolution);
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn packets_go_to_the_gateway_or_else_to_the_destination() {
        let cases = [
            ("10.0.0.11", None, "10.0.0.11"),
            ("10.0.0.11", Some("10.0.0.1"), "10.0.0.1"),
            ("10.0.0.11", Some("fe80::1"), "fe80::1"),
            ("2001:db8::11", None, "2001:db8::11"),
            ("2001:db8::11", Some("fe80::1"), "fe80::1"),
        ];
        for (destination, gateway, expected) in cases {
            let expected = Neighbor {
                interface: 1,
                address: address(expected),
            };
            let route = out(1, gateway);
            assert_eq!(neighbor(address(destination), route, &interfaces()), Ok(expected));

            let only_expected = |neighbor| {
                if neighbor == expected {
                    Resolution::Known(PEER)
                } else {
                    Resolution::Failed
                }
            };
            let way = way(address(destination), route, &interfaces(), only_expected);
            assert_eq!(
                way.map(|way| way.next_hop),
                Ok(NextHop {
                    interface: 1,
                    destination: PEER,
                    source: OWN
                })
            );
        }
    }

    #[test]
    fn the_narrower_of_route_and_interface_decides_what_fits() {
        let source = Some(address("10.0.0.1"));
        for (mtu, expected) in [(None, 1_500), (Some(1_400), 1_400), (Some(9_000), 1_500)] {
            let route = Route::Unicast {
                interface: 1,
                gateway: None,
                source,
                mtu,
            };
            let way = way(address("10.0.0.11"), route, &interfaces(), |_| Resolution::Known(PEER)).unwrap();
            assert_eq!((way.mtu, way.source), (expected, source));
        }
    }

    #[test]
    fn nobody_is_asked_where_no_answer_can_come_from() {
        for route in [Route::Missing, Route::Local, out(2, None), out(3, None), out(9, None)] {
            assert!(
                neighbor(address("10.0.0.11"), route, &interfaces()).is_err(),
                "{route:?}"
            );
        }
    }
}
