//! Every map of the data plane, private to this module, behind functions that say what is asked of it.

mod access;
mod answers;
mod arena;
mod budgets;
mod counters;
mod flows;
mod mappings;
mod strangers;
mod trace;

use core::{arch::asm, ptr};

use aya_ebpf::{
    Global,
    btf_maps::{Array, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, lpm_trie},
    helpers::bpf_jiffies64,
    macros::btf_map,
    programs::XdpContext,
};
use balancer_common::{
    DropReason, Event,
    abi::{
        Address, Client, ClientKey, ClientPrefix, EndpointKey, Failures, FirstFragment, FragmentKey, MappingKey,
        NeighborRequest, Owner, Pin, Probed, ROUTE_CACHE, ReverseFlow, ReverseKey, Route, Tick, WakeRequest,
    },
    affinity::Lifetimes,
    perfect_hash::{self, Geometry},
};

use crate::failures::Failure;

pub(crate) use access::may_use;
pub(crate) use answers::{limit, may_answer, note_limit, sum};
pub(crate) use arena::{backend, copied, has_arena, previous_table, route_epoch, service, slot, table};
pub(crate) use budgets::{coarse_time, has_token, identify_client, service_has_token, take_of_client, take_of_service};
pub(crate) use counters::counters;
pub(crate) use flows::{advance, flow, flow_at_once, load, remember_flow, remember_new_flow};
pub(crate) use mappings::{Passage, add_mapping, mapping, passage, remember_source, source, source_pool, take_over};
pub(crate) use strangers::{may_be_backend, may_be_vip};
pub(crate) use trace::{capture, is_traced, tell_capture, tell_decision, trace_budget, trace_filter};

// The sizes below are placeholders: the loader sets those that the configuration asks for.

#[btf_map]
static FAILURES: Array<Failures, 16_384> = Array::new();
#[btf_map]
static REVERSE_FLOWS: LruHashMap<ReverseKey, ReverseFlow, 1_048_576> = LruHashMap::new();
#[btf_map]
static CLIENTS: LruHashMap<ClientKey, Client, 262_144> = LruHashMap::new();
#[btf_map]
static PINS: LpmTrie<ClientPrefix, Pin, 65_536> = LpmTrie::new();
#[btf_map]
static WOKEN: Array<Tick, 16_384> = Array::new();
#[btf_map]
static WAKE_REQUESTS: RingBuf<WakeRequest, 4_096> = RingBuf::new();
#[btf_map]
static DROPS: PerCpuArray<u64, { DropReason::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static FIRST_FRAGMENTS: LruHashMap<FragmentKey, FirstFragment, 16_384> = LruHashMap::new();
#[btf_map]
static EVENTS: PerCpuArray<u64, { Event::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static ROUTES: PerCpuArray<Route, { ROUTE_CACHE as usize }> = PerCpuArray::new();
#[btf_map]
static NEIGHBOR_REQUESTS: RingBuf<NeighborRequest, 4_096> = RingBuf::new();
/// By the ends of the answers.
#[btf_map]
static PROBED: LruHashMap<MappingKey, Probed, 65_536> = LruHashMap::new();
/// The one for any packet.
#[btf_map]
static PROGRAMS: ProgramArray<1> = ProgramArray::new();

// The loader sets these too. None may begin as a value that the program has a reference to somewhere, such as zero: the
// linker takes equal constants for one, and what the loader sets would change both.

#[unsafe(no_mangle)]
static ENDPOINT_BUCKET_MASK: Global<u32> = Global::new(0x3fff);
#[unsafe(no_mangle)]
static ENDPOINT_ENTRY_SHIFT: Global<u32> = Global::new(16);
#[unsafe(no_mangle)]
static OPENING_LIFETIME: Global<u32> = Global::new(u32::MAX);
#[unsafe(no_mangle)]
static HALF_CLOSED_LIFETIME: Global<u32> = Global::new(u32::MAX);
#[unsafe(no_mangle)]
static CLOSED_LIFETIME: Global<u32> = Global::new(u32::MAX);
#[unsafe(no_mangle)]
static ANSWER_TIME: Global<u32> = Global::new(u32::MAX);

/// Ends this program by the one for any packet. Returns only if there is none.
#[inline(always)]
pub(crate) fn call_for_any_packet(context: &XdpContext) {
    // SAFETY: nothing in this program has to be dropped.
    unsafe { PROGRAMS.tail_call(context, 0) };
}

/// This moment.
#[inline(always)]
pub(crate) fn now() -> Tick {
    // SAFETY: the helper takes nothing and changes nothing.
    Tick::from_jiffies(unsafe { bpf_jiffies64() })
}

/// How long flows are remembered that are not in use.
#[inline(always)]
pub(crate) fn lifetimes() -> Lifetimes {
    Lifetimes {
        opening: OPENING_LIFETIME.load(),
        half_closed: HALF_CLOSED_LIFETIME.load(),
        closed: CLOSED_LIFETIME.load(),
    }
}

/// How long a backend has to answer a request before another one says that it has not.
#[inline(always)]
pub(crate) fn answer_time() -> u32 {
    ANSWER_TIME.load()
}

/// The service or backend index that `key` stands for.
#[inline(always)]
pub(crate) fn endpoint(key: &EndpointKey) -> Option<u32> {
    arena::shortcut(key).target_of(key).or_else(|| any_endpoint(key))
}

/// The same of one that has no shortcut.
#[inline(always)]
fn any_endpoint(key: &EndpointKey) -> Option<u32> {
    let geometry = Geometry {
        bucket_mask: ENDPOINT_BUCKET_MASK.load(),
        entry_shift: ENDPOINT_ENTRY_SHIFT.load(),
    };
    let hash = key.hash();
    let seed = arena::endpoint_seed(geometry.bucket(hash));
    if seed == perfect_hash::EMPTY {
        return None;
    }
    arena::endpoint_entry(geometry.entry(hash, seed)).target_of(key)
}

/// Keeps the compiler from seeing what a number was computed from: from checking that in its place, which tells the verifier
/// nothing, or from making a branch of the computation.
#[inline(always)]
fn opaque(mut number: u64) -> u64 {
    // SAFETY: the instruction copies a register to itself.
    unsafe {
        asm!("{number} = {number}", number = inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}

/// What is at the end of a reference, as if it had just been written by somebody else: the verifier, which follows each way
/// to here on its own as long as it knows what was written on it, then takes up all of them as one.
#[inline(always)]
pub(crate) fn anew<T>(written: &mut T) {
    // SAFETY: the instruction copies a register to itself. That it changes no memory is not told on purpose.
    unsafe {
        asm!("{written} = {written}", written = in(reg) ptr::from_mut(written), options(nostack, preserves_flags));
    }
}

/// Counts a failure of a backend.
#[inline(always)]
pub(crate) fn count_failure(backend: u32, failure: Failure) {
    if let Some(failures) = FAILURES.get_ptr_mut(backend) {
        let count = match failure {
            // SAFETY: the entry of an array is there as long as the program.
            Failure::Refused => unsafe { &raw mut (*failures).refused },
            // SAFETY: as above.
            Failure::Unanswered => unsafe { &raw mut (*failures).unanswered },
        };
        // SAFETY: as above.
        unsafe { add(count, 1) };
    }
}

/// Adds to a word that other CPUs may add to at the same time. `core` has no atomic addition for this target, which has no
/// compare and swap.
///
/// # Safety
///
/// The word has to be in a map.
#[inline(always)]
unsafe fn add(word: *mut u64, more: u64) {
    // SAFETY: the instruction adds to the word and changes nothing else; the rest is the caller's promise.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {more}",
            word = in(reg) word,
            more = in(reg) more,
            options(nostack),
        );
    }
}

/// Writes `new` to a word that other CPUs may write at the same time, if it still is `old`. Returns whether it was. `core` has
/// no such operation for this target.
///
/// # Safety
///
/// The word has to be in a map.
#[inline(always)]
unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: the instruction compares and writes the word and changes nothing else; the rest is the caller's promise.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") old => found,
            options(nostack),
        );
    }
    found == old
}

/// Where a client's new flows go, if it is remembered.
#[inline(always)]
pub(crate) fn client(key: &ClientKey) -> Option<&'static mut Client> {
    // SAFETY: the kernel keeps the memory of an entry for the whole run of the program, even if another CPU removes it.
    // Another CPU may write it meanwhile, whole words at a time, and any of the values is as good as another.
    CLIENTS.get_ptr_mut(key).map(|client| unsafe { &mut *client })
}

/// Remembers where a client's new flows go.
#[inline(always)]
pub(crate) fn remember_client(key: &ClientKey, client: &Client) {
    let _full: Result<(), i32> = CLIENTS.insert(key, client, 0);
}

/// What a client of a service is pinned to: the pin with the longest prefix.
#[inline(always)]
pub(crate) fn pin(service: u32, client: Address) -> Option<&'static Pin> {
    PINS.get(&lpm_trie::Key::new(
        ClientPrefix::BITS,
        ClientPrefix::new(service, client),
    ))
}

/// Tells the daemon that a packet has come for a suspended backend, once for every unit of the clock.
#[inline(always)]
pub(crate) fn request_wake(owner: Owner) {
    let Some(woken) = WOKEN.get_ptr_mut(owner.backend) else {
        return;
    };
    let now = now();
    // SAFETY: any CPU may write the word at any time; at worst the daemon is told twice.
    if unsafe { *woken } != now {
        // SAFETY: as above.
        unsafe { *woken = now };
        let request = WakeRequest {
            backend: owner.backend,
            incarnation: owner.incarnation,
        };
        let _full: Result<(), i32> = WAKE_REQUESTS.output(request, 0);
    }
}

/// Which service port a reply belongs to, if it is remembered.
#[inline(always)]
pub(crate) fn reverse_flow(key: &ReverseKey) -> Option<ReverseFlow> {
    // SAFETY: as in `client`.
    unsafe { REVERSE_FLOWS.get(key) }.copied()
}

/// Remembers which service port the replies of a flow belong to.
#[inline(always)]
pub(crate) fn remember_reverse_flow(key: &ReverseKey, flow: ReverseFlow) {
    let _full: Result<(), i32> = REVERSE_FLOWS.insert(key, flow, 0);
}

/// What the first fragment of a packet has shown, if it is remembered.
#[inline(always)]
pub(crate) fn first_fragment(key: &FragmentKey) -> Option<FirstFragment> {
    // SAFETY: as in `client`.
    unsafe { FIRST_FRAGMENTS.get(key) }.copied()
}

/// Remembers what the first fragment of a packet shows.
#[inline(always)]
pub(crate) fn remember_first_fragment(key: &FragmentKey, first: &FirstFragment) {
    let _full: Result<(), i32> = FIRST_FRAGMENTS.insert(key, first, 0);
}

/// Whom a probe has asked whose answers have these ends.
#[inline(always)]
pub(crate) fn probed(answer: &MappingKey) -> Option<Probed> {
    // SAFETY: as in `client`.
    unsafe { PROBED.get(answer) }.copied()
}

/// Remembers whom a probe asks.
#[inline(always)]
pub(crate) fn remember_probed(answer: &MappingKey, probed: &Probed) {
    let _full: Result<(), i32> = PROBED.insert(answer, probed, 0);
}

/// Counts a dropped packet.
#[inline(always)]
pub(crate) fn count_drop(reason: DropReason) {
    if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: a program is neither preempted by another on its CPU nor calls this twice for one index.
        unsafe { *count += 1 };
    }
}

/// Counts something that the data plane did.
#[inline(always)]
pub(crate) fn count_event(event: Event) {
    if let Some(count) = EVENTS.get_ptr_mut(event as u32) {
        // SAFETY: as in `count_drop`.
        unsafe { *count += 1 };
    }
}

/// An entry of this CPU's route cache, to be read and replaced.
#[inline(always)]
pub(crate) fn cached_route(index: u32) -> Option<&'static mut Route> {
    // SAFETY: as in `count_drop`.
    ROUTES.get_ptr_mut(index).map(|route| unsafe { &mut *route })
}

/// Asks the daemon to have a neighbour resolved. When the buffer is full it has been asked often enough.
#[inline(always)]
pub(crate) fn request_neighbor(request: &NeighborRequest) {
    let _full: Result<(), i32> = NEIGHBOR_REQUESTS.output(request, 0);
}
