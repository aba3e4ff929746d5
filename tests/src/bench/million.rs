//! How long answers and changes take while a million flows are remembered.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use aya::maps::{Array, Map, MapData};
use balancer::control::protocol::{BackendKeys, ConfigText, Order, Request};
use balancer_common::{
    abi::{self, Address, FlowBucket, FlowEntry, FlowKey},
    flow_table::VACANT,
};

use super::control::timed;
use crate::lab::{Arms, Balancer, Network, Service, UdpClient, eventually};

const FLOWS: u32 = 1_000_000;
const BACKENDS: u8 = 10;
/// Flows that are made by packets. The others are copies of them that other clients have.
const ORIGINALS: u32 = 100;
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Network::VIP), 53);

/// What was done, and how long it took each time.
pub(super) type Figures = Vec<(&'static str, Vec<Duration>)>;

/// Measures everything so many times. The flows are counted anew each time, but where that is said.
pub(super) fn run(rounds: usize) -> anyhow::Result<Figures> {
    let network = Network::new(Arms::Two, BACKENDS);
    let names = Service::udp("names", Network::VIP, &[53]).backends(BACKENDS, 5300);
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &names.to_string());
    balancer.settings.max_flows = FLOWS + FLOWS / 2;
    balancer.configure(&names.to_string());
    balancer.run();
    for _ in 0..ORIGINALS {
        UdpClient::new(&network.client, SocketAddr::from((Network::CLIENT, 0)))?.send(VIP, b"who?")?;
    }
    eventually("the data plane remembers the flows", || {
        (balancer.flows() >= u64::from(ORIGINALS) / 2).then_some(())
    });
    multiply(&balancer.settings.pin_path)?;
    let counted = balancer.flows();
    ensure!(counted >= u64::from(FLOWS), "{counted} flows are counted");

    let newcomer = SocketAddr::from((Network::backend(BACKENDS), 5300)).to_string();
    let add = Request::Order(Order::AddBackend {
        service: "names".to_owned(),
        address: newcomer.clone(),
        keys: BackendKeys::default(),
    });
    let remove = Request::Order(Order::RemoveBackend {
        service: "names".to_owned(),
        backend: newcomer,
    });
    let plan = Request::Plan(ConfigText {
        file: "plan".to_owned(),
        text: fs::read_to_string(balancer.config())?.replace("10.2.0.11:", "10.2.0.77:"),
    });
    let mut figures: Figures = [
        "status, 1,000,000 flows",
        "status once more, 1,000,000 flows",
        "plan, 1,000,000 flows",
        "add a backend, 1,000,000 flows",
        "remove a backend, 1,000,000 flows",
        "scrape, 1,000,000 flows",
    ]
    .map(|what| (what, Vec::with_capacity(rounds)))
    .into();
    for _ in 0..rounds {
        for ((what, durations), request) in figures.iter_mut().zip([
            Some(&Request::Status),
            Some(&Request::Status),
            Some(&plan),
            Some(&add),
            Some(&remove),
            None,
        ]) {
            if !what.contains("once more") {
                balancer.forget_counts();
            }
            let started = Instant::now();
            match request {
                Some(request) => drop(balancer.ask(request)),
                None => balancer.scrape("/metrics").map(drop)?,
            }
            durations.push(started.elapsed());
        }
    }
    let restart = |_| {
        timed(|| {
            balancer.stop();
            balancer.run();
        })
        .0
    };
    figures.push(("restart, 1,000,000 flows", (0..rounds).map(restart).collect()));
    let kept = balancer.flows();
    ensure!(kept >= u64::from(FLOWS), "{kept} flows are left after restarts");
    Ok(figures)
}

/// Copies the flows that there are until there are [`FLOWS`] more.
fn multiply(pins: &Path) -> anyhow::Result<()> {
    let path = pins.join(format!("v{}/maps/FLOWS", abi::VERSION));
    let mut table: Array<MapData, FlowBucket> = Array::try_from(Map::Array(MapData::from_pin(path)?))?;
    let buckets: Vec<FlowBucket> = table.iter().collect::<Result<_, _>>()?;
    let entries = buckets.iter().flat_map(|bucket| bucket.entries);
    let originals: Vec<FlowEntry> = entries.filter(|entry| entry.flow.owner != VACANT).collect();
    ensure!(!originals.is_empty(), "no flow is remembered");
    let mut copies = (0..FLOWS).zip(originals.iter().cycle()).map(|(number, original)| {
        let client = IpAddr::from(std::net::Ipv4Addr::from_bits(0x6440_0000 + number));
        let key = FlowKey {
            client: Address::from(client),
            ..original.key
        };
        FlowEntry { key, ..*original }
    });
    // No packet looks for them, so they need not stand where one would.
    for (index, mut bucket) in (0..).zip(buckets) {
        let vacant = bucket.entries.iter_mut().filter(|entry| entry.flow.owner == VACANT);
        for (place, copy) in vacant.zip(&mut copies) {
            *place = copy;
        }
        table.set(index, bucket, 0)?;
    }
    Ok(())
}
