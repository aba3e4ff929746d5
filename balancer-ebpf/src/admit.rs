//! Whom services admit.

use balancer_common::{
    DropReason,
    abi::{Address, Limits, Service},
    packet::Headers,
    token_bucket::Rate,
};

use crate::{maps, outcome, select::Purpose};

/// Admits a packet to the service with index `index` by its source.
///
/// # Errors
///
/// If the service's source lists do not admit it.
#[inline(always)]
pub(crate) fn by_source(index: u32, service: &Service, source: Address) -> Result<(), DropReason> {
    match service.source_lists() {
        Some(generation) if !maps::may_use(index, source, generation) => Err(DropReason::SourceDenied),
        _ => Ok(()),
    }
}

/// Admits a packet that begins a flow of the service with index `index`, and takes a token for it unless it is only asked.
///
/// # Errors
///
/// If as many flows have begun as may for now.
#[inline(always)]
pub(crate) fn new_flow(index: u32, service: &Service, headers: &Headers, purpose: Purpose) -> Result<(), DropReason> {
    if !service.has_limits() {
        return Ok(());
    }
    outcome::result(admit_flow(index, &raw const *headers, purpose == Purpose::Ask))
}

/// [`new_flow`] as a function of its own with external linkage, which the verifier checks once for all packets.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn admit_flow(index: u32, headers: *const Headers, ask: bool) -> u32 {
    // SAFETY: the caller passes a reference, and the verifier knows the size of what it points to.
    let Some(headers) = (unsafe { headers.as_ref() }) else {
        return outcome::number(Err(DropReason::Internal));
    };
    outcome::number(spend(index, &maps::service(index).limits(), headers.source, ask))
}

/// Who has no token left is refused before a token of the service is taken, or its flood would take those of all others.
#[inline(always)]
fn spend(index: u32, limits: &Limits, source: Address, ask: bool) -> Result<(), DropReason> {
    let now = maps::coarse_time();
    let is_limited = limits.per_client != Rate::UNLIMITED;
    let client = maps::identify_client(index, source.masked(limits.client_mask));
    if is_limited && !maps::has_token(client, limits.per_client, now) {
        return Err(DropReason::ClientLimited);
    }
    if limits.in_all != Rate::UNLIMITED {
        let has_one = if ask {
            maps::service_has_token(index, limits.in_all, now)
        } else {
            maps::take_of_service(index, limits.in_all, now)
        };
        if !has_one {
            return Err(DropReason::ServiceLimited);
        }
    }
    if is_limited && !ask {
        maps::take_of_client(client, limits.per_client, now);
    }
    Ok(())
}
