//! How many flows may begin.

use core::ptr;

use aya_ebpf::{btf_maps::Array, helpers::bpf_ktime_get_coarse_ns, macros::btf_map};
use balancer_common::{
    abi::Address,
    client_budget::{self, Budget, BudgetSet},
    token_bucket::{Rate, TokenBucket},
};

use super::exchange;

/// Clients of all services, by a hash.
#[btf_map]
static CLIENT_BUDGETS: Array<BudgetSet, { SETS as usize }> = Array::new();
/// By service.
#[btf_map]
static SERVICE_BUDGETS: Array<TokenBucket, 4_096> = Array::new();
/// The secret of the hash. The daemon sets it once.
#[btf_map]
static BUDGET_KEY: Array<[u64; 2], 1> = Array::new();

/// Sets of buckets: room for 131,072 clients whose buckets are not full.
const SETS: u32 = 32_768;

/// How often a token is tried for that other CPUs take at the same time.
const ATTEMPTS: u32 = 4;

/// Nanoseconds of a clock whose steps are the kernel's timer ticks.
#[inline(always)]
pub(crate) fn coarse_time() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// What a client of the service with index `service` is recognised by.
#[inline(always)]
pub(crate) fn identify_client(service: u32, client: Address) -> u64 {
    let key = BUDGET_KEY.get(0).copied().unwrap_or_default();
    client_budget::identify(service, client, key)
}

/// Whether a client has a token at this time.
#[inline(always)]
pub(crate) fn has_token(client: u64, rate: Rate, now: u64) -> bool {
    let Some(set) = CLIENT_BUDGETS.get(client_budget::set_of(client, SETS)) else {
        return true;
    };
    let tokens = set.place(client).tokens.unwrap_or_default();
    tokens.after_taking(rate, now).is_some()
}

/// Takes a client's token at this time, if it has one.
#[inline(always)]
pub(crate) fn take_of_client(client: u64, rate: Rate, now: u64) {
    let Some(set) = CLIENT_BUDGETS.get_ptr_mut(client_budget::set_of(client, SETS)) else {
        return;
    };
    // SAFETY: the entry of an array is there as long as the program. Other CPUs may write it meanwhile, whole words at a time;
    // at worst a client gets what the fullest bucket of the set had, or a token more.
    let set = unsafe { &mut *set };
    let place = set.place(client);
    let Some(budget) = set.budgets.get_mut(place.index) else {
        return;
    };
    if place.tokens.is_some() {
        take(&raw mut budget.tokens, rate, now);
    } else if let Some(tokens) = TokenBucket::default().after_taking(rate, now) {
        *budget = Budget { client, tokens };
    }
}

/// Whether a service has a token at this time.
#[inline(always)]
pub(crate) fn service_has_token(service: u32, rate: Rate, now: u64) -> bool {
    let tokens = SERVICE_BUDGETS.get(service).copied().unwrap_or_default();
    tokens.after_taking(rate, now).is_some()
}

/// Takes a service's token at this time. Returns whether there was one.
#[inline(always)]
pub(crate) fn take_of_service(service: u32, rate: Rate, now: u64) -> bool {
    SERVICE_BUDGETS
        .get_ptr_mut(service)
        .is_none_or(|bucket| take(bucket, rate, now))
}

/// Takes a token of a bucket in a map that other CPUs take from too. Returns whether there was one. Who finds others faster each
/// time gets one more than there was.
#[inline(always)]
fn take(bucket: *mut TokenBucket, rate: Rate, now: u64) -> bool {
    for _ in 0..ATTEMPTS {
        // SAFETY: the callers pass a bucket in a map, and its word is written whole.
        let before = unsafe { ptr::read_volatile(bucket) };
        let Some(after) = before.after_taking(rate, now) else {
            return false;
        };
        // SAFETY: as above.
        if unsafe { exchange(bucket.cast(), before.bits(), after.bits()) } {
            return true;
        }
    }
    true
}
