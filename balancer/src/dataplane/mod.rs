//! The data plane in the kernel: loading, pinning, attaching and the maps. The only module that knows aya.

mod apply;
mod arena;
mod attach;
mod blocks;
mod clock;
mod counters;
mod decap;
mod explain;
mod figures;
mod flow_table;
mod judge;
mod load;
mod maps;
mod memory;
mod name;
mod packet_log;
mod permission;
mod pins;
mod probe_path;
mod read;
mod requests;
mod run;
mod shared;
mod sweep;
mod syscall;
mod table_places;
mod tables;
mod trace;

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use balancer_common::abi::{NeighborRequest, WakeRequest};
use rustix::rand::{GetRandomFlags, getrandom};

pub use attach::Attachment;
pub use clock::TimerTick;
pub use decap::{Decapsulator, FateCounts, counts_on};
pub use explain::Question;
pub use figures::{Figures, figures};
pub use maps::Capacity;
pub use memory::{Census, FlowCounts, Memory};
pub use packet_log::PacketLog;
pub use permission::require_permission;
pub use pins::Pins;
pub use probe_path::ProbeInterfaces;
pub use requests::{NeighborRequests, WakeRequests};
pub use run::Outcome;
pub use sweep::Swept;
pub use tables::Division;
pub use trace::{Decisions, Frames, Trace, Traced};

use arena::Arena;

use crate::{
    config::{self, XdpMode},
    neighbors::Interface,
    perfect_hash,
    reconcile::{Limits, State},
    shortcuts::Shortcuts,
    strangers::Strangers,
};

/// The data plane of one daemon.
pub struct Dataplane {
    pins: Pins,
    ebpf: Ebpf,
    tracing: Option<trace::Tracing>,
    maps: maps::Maps,
    capacity: Capacity,
    state: State,
    endpoints: perfect_hash::Table,
    strangers: Strangers,
    shortcuts: Shortcuts,
    attachments: Vec<Attachment>,
    generation: u64,
    probe_path: probe_path::ProbePath,
}

/// Chooses the secret of a hash, unless it has been chosen.
fn keep_secret(key: &mut Array<MapData, [u64; 2]>) -> anyhow::Result<()> {
    if key.get(&0, 0)? == [0; 2] {
        let mut bytes = [0; 16];
        getrandom(&mut bytes, GetRandomFlags::empty()).context("the kernel gives no random bytes")?;
        let (words, _) = bytes.as_chunks();
        let secret = [0, 1].map(|index| words.get(index).map_or(0, |word| u64::from_ne_bytes(*word)));
        key.set(0, secret, 0)?;
    }
    Ok(())
}

impl Dataplane {
    /// Opens the data plane that is pinned where the configuration says, or makes it. Nothing is attached yet, and what
    /// is attached already goes on forwarding as before.
    ///
    /// # Errors
    ///
    /// If another daemon owns the pins, the kernel refuses, or the pinned maps have another size than configured.
    pub fn open(config: &config::Dataplane) -> anyhow::Result<Self> {
        let pins = Pins::claim(&config.pin_path)?;
        let capacity = Capacity {
            flows: config.max_flows,
            clients: config.max_clients,
            services: config.max_services + 1,
            backends: config.max_backends + 1,
            mappings: config.max_mappings,
        };
        let arena = Arena::open(&pins.map("ARENA"))?;
        let mut ebpf = load::load(&pins, capacity)?;
        let mut maps = maps::Maps::take(&mut ebpf, &arena, &pins, capacity)?;
        keep_secret(&mut maps.budget_key)?;
        let endpoints = read::endpoints(&mut maps, capacity)?;
        let strangers = read::strangers(&mut maps, &endpoints)?;
        let shortcuts = read::shortcuts(&maps, &endpoints)?;
        let state = read::state(&maps, &endpoints)?;
        let generation = maps.generation.get(&0, 0)?;
        Ok(Self {
            pins,
            ebpf,
            tracing: None,
            maps,
            capacity,
            state,
            endpoints,
            strangers,
            shortcuts,
            attachments: Vec::new(),
            generation,
            probe_path: probe_path::ProbePath::default(),
        })
    }

    /// Attaches the program to `interfaces` and to no others.
    pub fn attach(&mut self, interfaces: &[Interface], mode: XdpMode) -> anyhow::Result<()> {
        let program = trace::attached(&mut self.ebpf, self.tracing.as_mut())?;
        self.attachments = attach::attach_all(program, &self.pins, interfaces, mode)?;
        Ok(())
    }

    /// Reads back what the maps hold.
    fn read_back(&mut self) -> anyhow::Result<()> {
        self.endpoints = read::endpoints(&mut self.maps, self.capacity)?;
        self.strangers = read::strangers(&mut self.maps, &self.endpoints)?;
        self.shortcuts = read::shortcuts(&self.maps, &self.endpoints)?;
        self.state = read::state(&self.maps, &self.endpoints)?;
        Ok(())
    }

    /// Takes the data plane off its interfaces and out of the kernel. Returns the interfaces.
    pub fn detach(self) -> anyhow::Result<Vec<String>> {
        self.pins.remove()
    }

    /// Where the program is attached.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// The kernel's identifier of the program that is attached.
    pub fn program_id(&mut self) -> anyhow::Result<u32> {
        Ok(trace::attached(&mut self.ebpf, self.tracing.as_mut())?.info()?.id())
    }

    /// What the maps hold.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// How many indices there are.
    pub const fn limits(&self) -> Limits {
        Limits {
            services: self.capacity.services,
            backends: self.capacity.backends,
        }
    }

    /// How many flows there is room for.
    pub const fn max_flows(&self) -> u32 {
        self.capacity.flows
    }

    /// What the program asks to have resolved. To be called in a Tokio runtime, and once.
    pub fn take_neighbor_requests(&mut self) -> anyhow::Result<NeighborRequests> {
        let buffer = maps::take(&mut self.ebpf, "NEIGHBOR_REQUESTS")?;
        NeighborRequests::new(buffer, NeighborRequest::from_bytes).context("cannot watch what the XDP program asks for")
    }

    /// What the program tells of packets for suspended backends. To be called in a Tokio runtime, and once.
    pub fn take_wake_requests(&mut self) -> anyhow::Result<WakeRequests> {
        let buffer = maps::take(&mut self.ebpf, "WAKE_REQUESTS")?;
        WakeRequests::new(buffer, WakeRequest::from_bytes).context("cannot watch what the XDP program tells")
    }

    /// What the program logs of single packets. To be called in a Tokio runtime, and once.
    pub fn take_packet_log(&mut self) -> anyhow::Result<PacketLog> {
        PacketLog::new(&mut self.ebpf)
    }
}
