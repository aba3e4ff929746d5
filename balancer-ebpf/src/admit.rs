//! Whom services admit.

use balancer_common::{
    DropReason,
    abi::{Address, Service},
};

use crate::maps;

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
