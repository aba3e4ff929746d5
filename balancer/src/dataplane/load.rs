//! Loading the eBPF object: its maps from their pins where these exist, its programs through the verifier.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapInfo, ProgramArray},
    programs::{ProgramError, Xdp},
};
use balancer_common::flow_table;

use super::{
    clock::TimerTick,
    maps::{Capacity, PINNED, STRANGERS, STRANGERS_PIN, open_or_make},
    packet_log, permission,
    pins::Pins,
};

/// The eBPF object, built by the build script.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/balancer-ebpf"));

/// Type information of the running kernel, which the verifier needs.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// How long a backend has to answer a request for a connection. Clients repeat it after a second (RFC 6298), so this tells
/// them from those that do so at once, to make a backend look bad.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// The program that is attached.
pub(super) const BALANCER: &str = "balancer";
/// The program that it ends by for packets that are not like nearly all. The one that tells is attached in its place.
pub(super) const ANY_PACKET: &str = "any_packet";
/// The map through which it does so.
const PROGRAMS: &str = "PROGRAMS";
/// The program that answers where a packet would go.
pub(super) const EXPLAIN: &str = "explain";

/// Loads maps and programs. Nothing is attached.
pub(super) fn load(pins: &Pins, capacity: Capacity) -> anyhow::Result<Ebpf> {
    require_btf()?;
    check_sizes(pins, capacity)?;
    let mut ebpf = load_programs(pins, capacity, Telling::Nothing, &[BALANCER, ANY_PACKET, EXPLAIN])?;
    provide_calls(&mut ebpf)?;
    Ok(ebpf)
}

/// Loads the program for any packet once more, so that it tells what it decides. Nothing is attached.
pub(super) fn load_tracing(pins: &Pins, capacity: Capacity) -> anyhow::Result<Ebpf> {
    load_programs(pins, capacity, Telling::Decisions, &[ANY_PACKET])
}

/// Whether programs tell what they decide.
#[derive(Clone, Copy)]
enum Telling {
    Nothing = 0,
    Decisions = 1,
}

fn load_programs(pins: &Pins, capacity: Capacity, telling: Telling, programs: &[&str]) -> anyhow::Result<Ebpf> {
    let geometry = capacity.endpoints();
    let counters = capacity.counters();
    let flow_pages = flow_table::Geometry::of(capacity.flows).pages;
    let flow_secret = flow_secret(pins)?;
    let timer = TimerTick::of_kernel()?;
    let lifetimes = timer.lifetimes();
    let answer_time = timer.units(ANSWER_TIME);
    let packet_log = packet_log::level();
    let trace = telling as u32;
    let paths: Vec<_> = PINNED.iter().map(|name| (*name, pins.map(name))).collect();
    let mut loader = EbpfLoader::new();
    loader
        .override_global("ENDPOINT_BUCKET_MASK", &geometry.bucket_mask, true)
        .override_global("ENDPOINT_ENTRY_SHIFT", &geometry.entry_shift, true)
        .override_global("OPENING_LIFETIME", &lifetimes.opening, true)
        .override_global("HALF_CLOSED_LIFETIME", &lifetimes.half_closed, true)
        .override_global("CLOSED_LIFETIME", &lifetimes.closed, true)
        .override_global("COUNTERS_OF_CPU", &counters.of_cpu, true)
        .override_global("FLOW_PAGES", &flow_pages, true)
        .override_global("FLOW_SECRET", &flow_secret, true)
        .override_global("TRACE", &trace, true)
        .override_global("ANSWER_TIME", &answer_time, true)
        .override_global(aya_log::LEVEL, &packet_log, true);
    let strangers = pins.map(STRANGERS_PIN);
    loader.allow_unsupported_maps();
    loader.map_pin_path(STRANGERS, strangers.as_path());
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    for (name, entries) in capacity.sizes() {
        loader.map_max_entries(name, entries);
    }
    let mut ebpf = loader.load(OBJECT).map_err(explain_load_error)?;
    for name in programs {
        program(&mut ebpf, name)?.load().map_err(explain_program_error)?;
    }
    Ok(ebpf)
}

/// What decides where flows stand in their table. It is made with the table and stays as long.
fn flow_secret(pins: &Pins) -> anyhow::Result<u64> {
    let mut secret = open_or_make(&pins.map("FLOW_SECRET"), 1)?;
    if secret.get(&0, 0)? == 0 {
        // A new one has keys that nobody can foresee, and is never zero in fact.
        secret.set(0, RandomState::new().hash_one(()) | 1, 0)?;
    }
    Ok(secret.get(&0, 0)?)
}

/// Sets the program that the attached one ends by when a packet takes it that far. It is pinned with the map.
fn provide_calls(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let called = program(ebpf, ANY_PACKET)?.fd()?.try_clone()?;
    let map = ebpf
        .map_mut(PROGRAMS)
        .context("the eBPF object has no map of programs")?;
    ProgramArray::try_from(map)?.set(0, &called, 0)?;
    Ok(())
}

/// Sees to it that the kernel has type information of itself.
pub(super) fn require_btf() -> anyhow::Result<()> {
    ensure!(
        Path::new(KERNEL_BTF).exists(),
        "this kernel has no BTF ({KERNEL_BTF} is missing): use one built with CONFIG_DEBUG_INFO_BTF=y"
    );
    Ok(())
}

/// One of the object's programs.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the eBPF object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// One of the object's programs, to be run and not changed.
pub(super) fn loaded<'a>(ebpf: &'a Ebpf, name: &str) -> anyhow::Result<&'a Xdp> {
    let program = ebpf
        .program(name)
        .with_context(|| format!("the eBPF object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A pinned map keeps its size; the configuration may have changed since.
fn check_sizes(pins: &Pins, capacity: Capacity) -> anyhow::Result<()> {
    for (name, wanted) in capacity.sizes() {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let found = MapInfo::from_pin(&path)
            .with_context(|| format!("cannot open the pinned map {}", path.display()))?
            .max_entries();
        if found != wanted {
            bail!(
                "the pinned map {} has {found} entries, the configuration asks for {wanted}: put dataplane.max_flows, \
                 max_clients, max_services, max_backends and max_mappings back as they were, or `balancer detach` first, which \
                 forgets every flow",
                path.display()
            );
        }
    }
    Ok(())
}

pub(super) fn explain_load_error(error: EbpfError) -> anyhow::Error {
    let io_error = match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => Some(io_error),
        EbpfError::MapError(MapError::SyscallError(error)) => Some(&error.io_error),
        _ => None,
    };
    match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => permission::missing(),
        Some(io::ErrorKind::OutOfMemory) => {
            anyhow!("the kernel has not enough memory for the maps: lower dataplane.max_flows")
        }
        _ => anyhow::Error::new(error).context("cannot load the eBPF object"),
    }
}

pub(super) fn explain_program_error(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!("verifier log: {verifier_log}");
            anyhow::Error::new(io_error)
                .context("the kernel's verifier refuses the XDP program: is the kernel at least 6.12?")
        }
        error => anyhow::Error::new(error).context("cannot load the XDP program"),
    }
}
