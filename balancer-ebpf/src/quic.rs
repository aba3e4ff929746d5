//! Which backend a QUIC packet goes to by its connection ID.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use balancer_common::{
    DropReason,
    abi::{AffinityKind, EndpointKey, Owner, Reason, Tracking},
    affinity::Memory,
    packet::{Headers, Piece},
    quic,
};
use network_types::udp::UdpHdr;

use crate::{
    maps, outcome,
    packet::XdpPacket,
    select::{self, Purpose, Selection},
};

/// Selects the backend that the connection ID of a packet to the service with index `service` names. Returns whether it names
/// one that may serve.
///
/// # Errors
///
/// Why the named backend does not get the packet, nor another one.
#[inline(always)]
pub(crate) fn select(
    packet: &XdpPacket<'_>,
    headers: &Headers,
    service: u32,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<bool, DropReason> {
    let ask = purpose == Purpose::Ask;
    match quic_select(packet.context(), headers, service, ask, selection) {
        NONE => Ok(false),
        number => outcome::result(number).map(|()| true),
    }
}

/// Stands for no outcome: the connection ID names nobody.
const NONE: u32 = u32::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn quic_select(
    context: *mut xdp_md,
    headers: *const Headers,
    service: u32,
    ask: bool,
    selection: *mut Selection,
) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let (Some(headers), Some(selection)) = (unsafe { headers.as_ref() }, unsafe { selection.as_mut() }) else {
        return outcome::number(Err(DropReason::Internal));
    };
    let purpose = if ask { Purpose::Ask } else { Purpose::Forward };
    match by_connection(&XdpPacket::new(&context), headers, service, purpose, selection) {
        Ok(true) => outcome::number(Ok(())),
        Ok(false) => NONE,
        Err(reason) => outcome::number(Err(reason)),
    }
}

#[inline(always)]
fn by_connection(
    packet: &XdpPacket<'_>,
    headers: &Headers,
    index: u32,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<bool, DropReason> {
    let service = maps::service(index);
    if service.affinity() != AffinityKind::QuicCid || headers.fragment.piece == Piece::Later {
        return Ok(false);
    }
    let payload = headers.transport as usize + UdpHdr::LEN;
    let named = quic::server_id(packet, payload, service.connection_ids())
        .and_then(|id| maps::endpoint(&EndpointKey::server(index, id)));
    let Some(backend) = named else {
        return Ok(false);
    };
    let owner = Owner {
        backend,
        incarnation: maps::backend(backend).incarnation,
    };
    selection.index = select::standing_of(owner, Memory::Flow, service, purpose)?;
    if selection.index == 0 {
        return Ok(false);
    }
    selection.reason = Reason::Connection;
    // Its replies and packets with long headers are to find the flow, which belongs to another backend after the client has
    // taken over an address of somebody else's.
    if service.tracking() == Tracking::Full {
        let known = maps::flow(&select::flow_key(index, headers));
        selection.begins_flow = known.is_none();
        selection.note_flow = match known {
            Some(flow) if flow.owner == owner => {
                if purpose == Purpose::Forward {
                    select::keep_flow(flow, headers, maps::now());
                }
                false
            }
            _ => true,
        };
    }
    Ok(true)
}
