//! What full NAT remembers.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use balancer_common::{
    abi::{FlowKey, Mapping, MappingKey, NextHop, Source, SourcePool},
    packet::{Headers, Ports},
    translate::Ends,
};

use crate::select::Selection;

#[btf_map]
static SOURCES: LruHashMap<FlowKey, Source, 262_144> = LruHashMap::new();
#[btf_map]
static MAPPINGS: LruHashMap<MappingKey, Mapping, 262_144> = LruHashMap::new();
/// Takeovers that are going on, at most one on each CPU.
#[btf_map]
static TAKEOVERS: HashMap<MappingKey, u32, 4_096> = HashMap::new();
/// By service index. Elements are made when they are written, so that a packet finds the old pool or the new one, whole.
#[btf_map]
static SOURCE_POOLS: HashMap<u32, SourcePool, 4_096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[btf_map]
static PASSAGE: PerCpuArray<Passage, 1> = PerCpuArray::new();

/// What is known of the packet that this CPU translates, if it is not a common one. The stack has no room for it.
#[repr(C)]
pub(crate) struct Passage {
    /// The ends between balancer and backend.
    pub(crate) key: MappingKey,
    /// The mapping that the packet's flow would have if it were new.
    pub(crate) own: Mapping,
    /// What is to be remembered of the flow's source.
    pub(crate) source: Source,
    /// What the packet's ends are to be.
    pub(crate) ends: Ends,
    /// The headers of an answer to the packet that an ICMP error quotes.
    pub(crate) answer: Headers,
    /// The flow of that answer, if it is one to a service.
    pub(crate) flow: FlowKey,
    /// Which backend that answer would go to.
    pub(crate) selection: Selection,
    /// Where a reply leaves the host.
    pub(crate) next_hop: NextHop,
    /// The service that a reply is of.
    pub(crate) service: u32,
    /// The backend that a reply is from.
    pub(crate) backend: u32,
}

impl Passage {
    /// Has the packet's ends be those between balancer and backend, for the way to the backend.
    #[inline(always)]
    pub(crate) const fn take_ends_of_key(&mut self) {
        let key = &self.key;
        self.ends = Ends {
            source: key.source,
            destination: key.backend,
            ports: Ports {
                source: key.source_port,
                destination: key.backend_port,
            },
        };
    }
}

/// This CPU's passage, which holds what the last packet left there.
#[inline(always)]
pub(crate) fn passage() -> Option<&'static mut Passage> {
    // SAFETY: a program is neither preempted by another on its CPU nor holds this twice.
    PASSAGE.get_ptr_mut(0).map(|passage| unsafe { &mut *passage })
}

/// What new flows of the service with this index may have as their source.
#[inline(always)]
pub(crate) fn source_pool(service: u32) -> Option<&'static SourcePool> {
    // SAFETY: the daemon replaces a pool as a whole, and the old one stays until every packet has passed.
    unsafe { SOURCE_POOLS.get(service) }
}

/// The source that a flow had last.
#[inline(always)]
pub(crate) fn source(flow: &FlowKey) -> Option<&'static Source> {
    // SAFETY: should the element be given to another flow meanwhile, its mapping will tell.
    unsafe { SOURCES.get(flow) }
}

/// Remembers which source a flow has. A table that cannot take it costs a search at the next packet.
#[inline(always)]
pub(crate) fn remember_source(flow: &FlowKey, source: &Source) {
    let _full: Result<(), i32> = SOURCES.insert(flow, source, 0);
}

/// The mapping of these ends, to be read and touched.
#[inline(always)]
pub(crate) fn mapping(ends: &MappingKey) -> Option<&'static mut Mapping> {
    // SAFETY: CPUs that touch it at the same time write the same second, and each side's byte is that side's.
    MAPPINGS.get_ptr_mut(ends).map(|mapping| unsafe { &mut *mapping })
}

/// Gives these ends to a flow, unless another has them.
#[inline(always)]
pub(crate) fn add_mapping(ends: &MappingKey, mapping: &Mapping) -> bool {
    MAPPINGS.insert(ends, mapping, u64::from(BPF_NOEXIST)).is_ok()
}

/// Takes these ends away from the flow that had them, if `is_free` says so, and gives them to another. Of several CPUs
/// that want to at once, one does.
#[inline(always)]
pub(crate) fn take_over(ends: &MappingKey, mapping: &Mapping, is_free: impl FnOnce(&Mapping) -> bool) -> bool {
    if TAKEOVERS.insert(ends, 1, u64::from(BPF_NOEXIST)).is_err() {
        return false;
    }
    // Whoever was faster has let go again, and what is there now is not free any more.
    let taken = self::mapping(ends).is_some_and(|present| is_free(present)) && {
        let _gone: Result<(), i32> = MAPPINGS.remove(ends);
        add_mapping(ends, mapping)
    };
    let _done: Result<(), i32> = TAKEOVERS.remove(ends);
    taken
}
