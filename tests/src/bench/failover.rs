//! How long it takes from the decision that a backend is down to the first packet that goes elsewhere.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use balancer::{maglev::TableSize, reconcile::DesiredService};
use balancer_common::abi::{BackendFlags, protocol::TCP};

use super::control::{address, numbered, timed};
use crate::packet::{self, Host, Interface, Packet, Room, Transport, service};

/// What is there, and what has its first backend go down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failover {
    /// How many services there are.
    pub(super) services: u32,
    /// How many backends each of them has: the same ones.
    pub(super) backends: u32,
    /// In how many services the backend goes down.
    pub(super) affected: u32,
}

/// How long it took, each time.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// From the first packet elsewhere to the last table's publication, without building them.
    pub(super) publish: Vec<Duration>,
    /// From the decision to the first packet elsewhere.
    pub(super) failover: Vec<Duration>,
}

impl Failover {
    /// Has the backend go down and come up, so many times.
    pub(super) fn measure(self, rounds: usize) -> anyhow::Result<Durations> {
        let room = Room {
            services: self.services.max(1_023),
            backends: (self.services * self.backends).max(1_023),
            ..Room::default()
        };
        let mut durations = None;
        Host::run_with(room, |host| durations = Some(self.play(host, rounds)));
        durations.context("the host has been played")?
    }

    fn play(self, host: &mut Host<'_>, rounds: usize) -> anyhow::Result<Durations> {
        host.serve((0..self.services).map(|number| self.service(number, false)));
        // The last of those that are affected is the last one to be written.
        let packet = client_of_first_backend(host, vip(self.affected - 1))?;
        let mut durations = Durations::default();
        for _ in 0..rounds {
            host.dataplane().take_build_durations();
            let [down, up] = [true, false].map(|down| self.affected(down));
            let (failover, elsewhere) = timed(|| {
                host.stand(&down);
                backend_of(host, &packet)
            });
            ensure!(elsewhere != address(1), "the packet went to a backend that is down");
            let (followed, ()) = timed(|| host.refresh(down));
            let built: Duration = host.dataplane().take_build_durations().iter().sum();
            ensure!(
                elsewhere == backend_of(host, &packet),
                "the packet was sent somewhere else by the table"
            );
            durations.publish.push(followed.saturating_sub(built));
            durations.failover.push(failover);
            host.refresh(up);
        }
        Ok(durations)
    }

    /// The services in which the first backend goes down.
    fn affected(self, down: bool) -> Vec<DesiredService> {
        (0..self.affected).map(|number| self.service(number, down)).collect()
    }

    /// A service, with the first backend up or down.
    fn service(self, number: u32, down: bool) -> DesiredService {
        let mut backends: Vec<_> = (1..=self.backends).map(numbered).collect();
        if let Some(first) = backends.first_mut().filter(|_| down) {
            first.flags = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
        }
        DesiredService {
            table_size: TableSize::new(65_537).expect("65,537 is a prime"),
            ..service(&format!("web-{number}"), vip(number), TCP, &[80], backends)
        }
    }
}

/// A packet that goes to the first backend.
fn client_of_first_backend(host: &mut Host<'_>, vip: IpAddr) -> anyhow::Result<Vec<u8>> {
    (1..=u16::MAX)
        .map(|port| {
            let client = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), port));
            Packet::new(Transport::syn(), client, SocketAddr::new(vip, 80)).frame()
        })
        .find(|frame| backend_of(host, frame) == address(1))
        .context("some client has the first backend")
}

fn backend_of(host: &mut Host<'_>, frame: &[u8]) -> IpAddr {
    let outcome = host.receive(Interface::CLIENTS, frame);
    packet::read(&outcome.frame).destination.ip()
}

fn vip(number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(100, a, b, c).into()
}
