//! Where the flood comes from, where it goes, and which CPU it has.

use std::net::{IpAddr, SocketAddr};

use anyhow::ensure;

use super::generator::{Generator, Target};
use crate::{
    bench::{machine, traffic},
    lab::{Arms, Namespace, Network},
};

/// Connections that a backend serves at once: those of all clients and all live ones.
const SERVED_AT_ONCE: usize = 150;

/// Who is flooded.
pub(super) const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 80);

/// The network, with a flooding host at the balancer's `eth2`.
pub(super) struct Stage {
    /// The client, the balancer's host and the backends.
    pub(super) network: Network,
    /// What floods.
    pub(super) generator: Generator,
    /// By the balancer to the service.
    pub(super) here: Target,
    /// To a host that drops everything.
    pub(super) elsewhere: Target,
    /// Where the flood comes from.
    pub(super) flooder: Namespace,
    _sink: Namespace,
    /// The flood's CPU, the last one. Everything else has the others.
    pub(super) cpu: usize,
}

impl Stage {
    /// Makes everything but what balances, and keeps the calling thread and all that it starts off the flood's CPU.
    pub(super) fn new() -> anyhow::Result<Self> {
        let cpus = machine::cpus();
        ensure!(cpus > 1, "the flood takes a CPU of its own, and there is but one");
        let cpu = cpus - 1;
        machine::stay_on(0..cpu)?;
        let network = Network::new(Arms::Two, 2);
        traffic::serve(&network, SERVED_AT_ONCE)?;
        traffic::reuse_ports(&network);
        for (host, interface) in [(&network.balancer, "eth1"), (network.switch(), "balancer")] {
            give_each_cpu_a_queue(host, interface, cpus);
        }
        let flooder = network.another_client();
        let sink = Namespace::new("sink");
        flooder.connect("eth1", &sink, "eth0");

        // Answers go back to where the flood comes from.
        let [a, b, c, d, e, f] = flooder.link("eth0").mac;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        let neighbor = format!("neighbor replace 10.3.0.2 lladdr {mac} nud permanent dev eth2");
        network.balancer.ip(&neighbor);
        network.balancer.ip("route add 198.18.0.0/15 via 10.3.0.2");

        let mut generator = Generator::load()?;
        generator.answer_at(network.switch(), "balancer")?;
        for (host, interface) in [(&flooder, "eth0"), (&flooder, "eth1"), (&sink, "eth0")] {
            generator.swallow_at(host, interface)?;
        }
        let target = |interface, host: &Namespace, neighbor| Target {
            interface: flooder.link(interface).index,
            from: flooder.link(interface).mac,
            to: host.link(neighbor).mac,
            service: SERVICE,
        };
        Ok(Self {
            here: target("eth0", &network.balancer, "eth2"),
            elsewhere: target("eth1", &sink, "eth0"),
            network,
            generator,
            flooder,
            _sink: sink,
            cpu,
        })
    }
}

/// Has every CPU send and receive by a queue of its own, as with hardware that has several: what one CPU is flooded with
/// does not stand in the others' way.
fn give_each_cpu_a_queue(host: &Namespace, interface: &str, cpus: usize) {
    host.run("ethtool", &format!("-L {interface} rx {cpus} tx {cpus}"));
    for cpu in 0..cpus {
        let path = format!("/sys/class/net/{interface}/queues/tx-{cpu}/xps_cpus");
        host.write_system_file(&path, &format!("{:x}", 1_u64 << cpu));
    }
}
