//! Typed handles of the maps that the XDP program reads and writes.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray},
};
use balancer_common::{
    abi::{Backend, ClientPrefix, CounterLayout, Endpoint, Failures, Load, Pin, Service, SourcePool, arena},
    flow_table, perfect_hash, shortcuts,
    strangers::PLACES,
    token_bucket::TokenBucket,
};

use super::{
    arena::{Arena, Records},
    counters::Counters,
    flow_table::FlowTable,
    memory::Stores,
    name::Name,
    pins::Pins,
    tables::Tables,
};

/// How many entries the maps have room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Remembered flows.
    pub flows: u32,
    /// Remembered clients.
    pub clients: u32,
    /// Service indices, the unused index 0 included.
    pub services: u32,
    /// Backend indices, the unused index 0 included.
    pub backends: u32,
    /// Mappings of full NAT.
    pub mappings: u32,
}

impl Capacity {
    /// The size of the endpoint table. A service may have several ports and each of its backends as many endpoints, so
    /// there are four entries for every service and backend, at most half of which are ever used.
    pub const fn endpoints(self) -> perfect_hash::Geometry {
        let entries = (4 * (self.services + self.backends)).next_power_of_two();
        let entry_bits = entries.trailing_zeros();
        perfect_hash::Geometry::of_bits(entry_bits - 2, entry_bits)
    }

    /// Where counters stand.
    pub(super) const fn counters(self) -> CounterLayout {
        CounterLayout::new(self.backends)
    }

    /// The maps whose size follows from the configuration.
    pub(super) fn sizes(self) -> [(&'static str, u32); 9] {
        [
            ("FAILURES", self.backends),
            ("FLOWS", flow_table::Geometry::of(self.flows).buckets()),
            ("REVERSE_FLOWS", self.flows),
            ("CLIENTS", self.clients),
            ("WOKEN", self.backends),
            ("SOURCES", self.mappings),
            ("MAPPINGS", self.mappings),
            ("SOURCE_POOLS", self.services),
            ("SERVICE_BUDGETS", self.services),
        ]
    }
}

/// The section of a variable that the program shares with the daemon, by which the map is called that holds it, and what the map is
/// pinned as, since no pin may have a dot in its name.
pub(super) const STRANGERS: &str = ".bss.strangers";
pub(super) const STRANGERS_PIN: &str = "STRANGERS";

/// Every other map of the eBPF object; all are pinned.
pub(super) const PINNED: [&str; 32] = [
    "ARENA",
    "FAILURES",
    "FLOWS",
    "REVERSE_FLOWS",
    "CLIENTS",
    "PINS",
    "ACCESS",
    "CLIENT_BUDGETS",
    "SERVICE_BUDGETS",
    "BUDGET_KEY",
    "WOKEN",
    "WAKE_REQUESTS",
    "SOURCES",
    "MAPPINGS",
    "TAKEOVERS",
    "PASSAGE",
    "SOURCE_POOLS",
    "DROPS",
    "FIRST_FRAGMENTS",
    "EVENTS",
    "ANSWER_BUDGETS",
    "BEGINNING",
    "LIMIT",
    "ROUTES",
    "NEIGHBOR_REQUESTS",
    "PROBED",
    "PROGRAMS",
    "TRACE_FILTER",
    "TRACE_BUDGET",
    "TRACED",
    "DECISIONS",
    "CAPTURES",
];

/// Handles of the maps.
pub(super) struct Maps {
    pub(super) endpoint_seeds: Records<u32>,
    pub(super) endpoints: Records<Endpoint>,
    pub(super) shortcuts: Records<Endpoint>,
    pub(super) strangers: Array<MapData, [u8; PLACES]>,
    pub(super) services: Records<Service>,
    pub(super) service_names: Array<MapData, Name>,
    pub(super) counters: Counters,
    pub(super) tables: Tables,
    pub(super) backends: Records<Backend>,
    pub(super) backend_names: Array<MapData, Name>,
    pub(super) loads: Records<Load>,
    pub(super) failures: Array<MapData, Failures>,
    /// Shared with those who read on other threads.
    pub(super) memory: Arc<Stores>,
    pub(super) pins: LpmTrie<MapData, ClientPrefix, Pin>,
    /// Not typed: it is read and written many elements at a time.
    pub(super) access: MapData,
    /// How many flows of each service may begin.
    pub(super) service_budgets: Array<MapData, TokenBucket>,
    /// The secret of the hash by which clients find their budgets.
    pub(super) budget_key: Array<MapData, [u64; 2]>,
    pub(super) source_pools: HashMap<MapData, u32, SourcePool>,
    pub(super) drops: PerCpuArray<MapData, u64>,
    pub(super) events: PerCpuArray<MapData, u64>,
    pub(super) route_epoch: Records<u32>,
    pub(super) generation: Array<MapData, u64>,
}

impl Maps {
    /// Takes the maps of a loaded object, and opens or makes those that only the daemon knows.
    pub(super) fn take(ebpf: &mut Ebpf, arena: &Arc<Arena>, pins: &Pins, capacity: Capacity) -> anyhow::Result<Self> {
        Ok(Self {
            endpoint_seeds: arena
                .records(&arena::ENDPOINT_SEEDS, capacity.endpoints().buckets())?
                .with_memory()?,
            endpoints: arena
                .records(&arena::ENDPOINTS, capacity.endpoints().entries())?
                .with_memory()?,
            shortcuts: arena.records(&arena::SHORTCUTS, shortcuts::PLACES)?.with_memory()?,
            strangers: take(ebpf, STRANGERS)?,
            services: arena.records(&arena::SERVICES, capacity.services)?.with_memory()?,
            service_names: open_or_make(&pins.map("SERVICE_NAMES"), capacity.services)?,
            counters: Counters::open(arena, capacity)?,
            tables: Tables::open(arena, capacity.services)?,
            backends: arena.records(&arena::BACKENDS, capacity.backends)?.with_memory()?,
            backend_names: open_or_make(&pins.map("BACKEND_NAMES"), capacity.backends)?,
            loads: arena.records(&arena::LOADS, capacity.backends)?.with_memory()?,
            failures: take(ebpf, "FAILURES")?,
            memory: Arc::new(Stores {
                flows: FlowTable::of(open(&pins.map("FLOWS"))?.fd(), capacity.flows)
                    .context("cannot map the flow table")?,
                clients: open(&pins.map("CLIENTS"))?,
            }),
            pins: take(ebpf, "PINS")?,
            access: open(&pins.map("ACCESS"))?,
            service_budgets: take(ebpf, "SERVICE_BUDGETS")?,
            budget_key: take(ebpf, "BUDGET_KEY")?,
            source_pools: take(ebpf, "SOURCE_POOLS")?,
            drops: take(ebpf, "DROPS")?,
            events: take(ebpf, "EVENTS")?,
            route_epoch: arena.records(&arena::ROUTE_EPOCH, 1)?.with_memory()?,
            generation: open_or_make(&pins.map("GENERATION"), 1)?,
        })
    }
}

/// Takes one map out of a loaded object.
pub(super) fn take<T>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the eBPF object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name} is not of the expected kind"))
}

/// Opens a pinned map.
pub(super) fn open(path: &Path) -> anyhow::Result<MapData> {
    MapData::from_pin(path).with_context(|| format!("cannot open the pinned map {}", path.display()))
}

/// Opens a pinned map of a kind.
pub(super) fn open_as<T>(pins: &Pins, name: &str) -> anyhow::Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = Map::from_map_data(open(&pins.map(name))?)?;
    T::try_from(map).with_context(|| format!("map {name} is not of the expected kind"))
}

/// Opens the pinned array at `path`, or makes and pins it.
pub(super) fn open_or_make<V: Pod>(path: &Path, entries: u32) -> anyhow::Result<Array<MapData, V>> {
    if !path.exists() {
        let array: Array<MapData, V> =
            Array::create(entries, 0).with_context(|| format!("cannot make the map {}", path.display()))?;
        array
            .pin(path)
            .with_context(|| format!("cannot pin {}", path.display()))?;
    }
    Ok(Array::try_from(Map::from_map_data(open(path)?)?)?)
}
