//! The other object: the program that takes packets out of tunnels, on backends.

use anyhow::{Context as _, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{LpmTrie, Map, MapData, MapInfo, PerCpuArray, lpm_trie},
    programs::{Xdp, loaded_programs, xdp::XdpLink},
};
use balancer_common::{abi::Address, decapsulation::Fate};
use ipnet::IpNet;

use super::{
    Attachment,
    attach::attach_new,
    load::{explain_load_error, explain_program_error, loaded, program, require_btf},
    maps::take,
};
use crate::{config::XdpMode, neighbors::Interface};

/// The object, built by the build script.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap"));

/// The program, which other processes recognise by this name.
const PROGRAM: &str = "balancer_decap";

/// Its counters.
const FATES: &str = "FATES";

/// Packets by what became of them.
pub type FateCounts = Vec<(Fate, u64)>;

/// The program on the interfaces of this host. It is taken off them when this goes.
pub struct Decapsulator {
    fates: PerCpuArray<MapData, u64>,
    attachments: Vec<Attachment>,
    _links: Vec<XdpLink>,
    ebpf: Ebpf,
}

impl Decapsulator {
    /// Attaches the program to `interfaces`. It takes packets from addresses in `allowed`, or from all if that is empty.
    pub fn attach(interfaces: &[Interface], mode: XdpMode, allowed: &[IpNet]) -> anyhow::Result<Self> {
        let mut ebpf = load(allowed)?;
        let program = program(&mut ebpf, PROGRAM)?;
        let mut attachments = Vec::new();
        let mut links = Vec::new();
        for interface in interfaces {
            let (link, mode) = attach_new(program, interface, mode)?;
            links.push(link);
            attachments.push(Attachment {
                interface: interface.name.clone(),
                mode,
            });
        }
        Ok(Self {
            fates: take(&mut ebpf, FATES)?,
            attachments,
            _links: links,
            ebpf,
        })
    }

    pub(super) fn program(&self) -> anyhow::Result<&Xdp> {
        loaded(&self.ebpf, PROGRAM)
    }

    /// Where the program is attached.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// What it has counted.
    pub fn counts(&self) -> anyhow::Result<FateCounts> {
        read(&self.fates)
    }
}

fn load(allowed: &[IpNet]) -> anyhow::Result<Ebpf> {
    require_btf()?;
    let mut ebpf = EbpfLoader::new()
        .override_global("RESTRICTED", &u32::from(!allowed.is_empty()), true)
        .map_max_entries("SOURCES", u32::try_from(allowed.len().max(1))?)
        .load(OBJECT)
        .map_err(explain_load_error)?;
    // First of all, as it needs the maps where they are.
    program(&mut ebpf, PROGRAM)?.load().map_err(explain_program_error)?;
    let mut sources: LpmTrie<_, [u8; 16], u8> = take(&mut ebpf, "SOURCES")?;
    for prefix in allowed {
        sources
            .insert(&key(*prefix), 0, 0)
            .with_context(|| format!("cannot allow {prefix}"))?;
    }
    Ok(ebpf)
}

/// A prefix as the program looks for it: of IPv6 addresses, IPv4 ones in their mapped form.
fn key(prefix: IpNet) -> lpm_trie::Key<[u8; 16]> {
    /// Bits in front of the address in the mapped form.
    const MAPPED: u32 = 96;
    let length = u32::from(prefix.prefix_len());
    let length = match prefix {
        IpNet::V4(_) => MAPPED + length,
        IpNet::V6(_) => length,
    };
    lpm_trie::Key::new(length, Address::from(prefix.network()).octets())
}

fn read(fates: &PerCpuArray<MapData, u64>) -> anyhow::Result<FateCounts> {
    Fate::ALL
        .iter()
        .map(|&fate| {
            let counters = fates.get(&(fate as u32), 0)?;
            Ok((fate, counters.iter().sum()))
        })
        .collect()
}

/// What the program on an interface has counted, whoever attached it. `None` if there is none or another one.
pub fn counts_on(interface: &Interface) -> anyhow::Result<Option<FateCounts>> {
    let Some(attached) = interface.xdp else {
        return Ok(None);
    };
    for program in loaded_programs() {
        let program = program.context("cannot list the BPF programs")?;
        if program.id() == attached.id && program.name_as_str() == Some(PROGRAM) {
            let maps = program.map_ids()?.unwrap_or_default();
            return fates_among(&maps)?.map(|fates| read(&fates)).transpose();
        }
    }
    Ok(None)
}

fn fates_among(maps: &[u32]) -> anyhow::Result<Option<PerCpuArray<MapData, u64>>> {
    for &id in maps {
        if MapInfo::from_id(id)?.name_as_str() == Some(FATES) {
            let map = Map::from_map_data(MapData::from_id(id)?)?;
            let fates =
                PerCpuArray::try_from(map).map_err(|error| anyhow!("the counters are of another kind: {error}"))?;
            return Ok(Some(fates));
        }
    }
    Ok(None)
}
