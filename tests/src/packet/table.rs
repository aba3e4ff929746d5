//! Which map holds the Maglev table of a service.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::MapData;
use balancer_common::abi;

/// The part of `union bpf_attr` (linux/bpf.h) that a lookup uses.
#[repr(C)]
struct Lookup {
    map: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The kernel's identifier of the map that packets of the service with index `service` find their slots in, if its table is a
/// small one. `pins` is where the data plane is pinned.
pub(super) fn id(pins: &Path, service: u32) -> u32 {
    const LOOKUP_ELEMENT: libc::c_long = 1;
    let path = pins.join(format!("v{}/maps/SMALL_TABLES", abi::VERSION));
    let map = MapData::from_pin(path).expect("the maps are pinned");
    let mut id = 0_u32;
    let mut lookup = Lookup {
        map: map.fd().as_fd().as_raw_fd().unsigned_abs(),
        _padding: 0,
        key: std::ptr::from_ref(&service) as u64,
        value: std::ptr::from_mut(&mut id) as u64,
        flags: 0,
    };
    // SAFETY: key and value are live and of four bytes, as in every array of maps, and the size is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_ELEMENT,
            std::ptr::from_mut(&mut lookup),
            size_of::<Lookup>(),
        )
    };
    assert_eq!(result, 0, "no table: {}", io::Error::last_os_error());
    id
}
