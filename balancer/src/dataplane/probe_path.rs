//! The programs by which health probes take the way of clients' packets. They go with the daemon, which alone probes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use aya::programs::{
    SchedClassifier,
    tc::{SchedClassifierLink, TcAttachType},
};
use rustix::net::{
    AddressFamily, SocketType,
    netdevice::{index_to_name, name_to_index},
    socket,
};

use super::{Dataplane, load::explain_program_error};

/// For probes that leave, and for answers that have come in.
const PROGRAMS: [(&str, TcAttachType); 2] = [("probe_out", TcAttachType::Egress), ("probe_in", TcAttachType::Ingress)];

/// Interfaces by which probes leave.
#[derive(Clone, Debug)]
pub struct ProbeInterfaces<'a> {
    /// Some by name.
    pub names: &'a [String],
    /// Some by index.
    pub indices: BTreeSet<u32>,
}

/// Where the programs are attached, by interface index.
#[derive(Default)]
pub(super) struct ProbePath(BTreeMap<u32, [SchedClassifierLink; 2]>);

impl Dataplane {
    /// Has marked probes take the way of clients' packets on these interfaces, and on no others.
    pub fn lay_probe_path(&mut self, interfaces: Option<ProbeInterfaces<'_>>) -> anyhow::Result<()> {
        let Some(ProbeInterfaces { names, mut indices }) = interfaces else {
            self.probe_path = ProbePath::default();
            return Ok(());
        };
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        // One that is gone has no probes either.
        indices.extend(names.iter().filter_map(|name| name_to_index(&socket, name).ok()));
        self.probe_path.0.retain(|index, _| indices.contains(index));
        for index in indices {
            if !self.probe_path.0.contains_key(&index) {
                let name = index_to_name(&socket, index)
                    .with_context(|| format!("there is no interface with the index {index}"))?;
                let links = self.attach_probe_programs(&name);
                let links =
                    links.with_context(|| format!("probes cannot take the way of clients' packets on {name}"))?;
                self.probe_path.0.insert(index, links);
            }
        }
        Ok(())
    }

    fn attach_probe_programs(&mut self, interface: &str) -> anyhow::Result<[SchedClassifierLink; 2]> {
        let [out, into] = PROGRAMS;
        // Answers are expected before anything is asked.
        let into = self.attach_probe_program(into, interface)?;
        Ok([self.attach_probe_program(out, interface)?, into])
    }

    fn attach_probe_program(
        &mut self,
        (name, hook): (&str, TcAttachType),
        interface: &str,
    ) -> anyhow::Result<SchedClassifierLink> {
        let program = self
            .ebpf
            .program_mut(name)
            .with_context(|| format!("the eBPF object has no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into()?;
        if program.fd().is_err() {
            program.load().map_err(explain_program_error)?;
        }
        let link = program.attach(interface, hook)?;
        Ok(program.take_link(link)?)
    }
}
