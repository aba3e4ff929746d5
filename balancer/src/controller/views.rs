//! What the data plane shows of itself.

use balancer_common::{
    DropReason, Event,
    abi::{self, Traffic},
};

use super::{Controller, desired};
use crate::{
    config::{Admin, Backend, Service},
    control::protocol::{
        BackendCounts, BackendView, DataplaneView, Failures, Figures, InterfaceView, ServiceView, Status,
    },
    dataplane::{Census, FlowCounts},
    health::Health,
    reconcile::Index,
};

/// Every figure of one moment, for the metrics.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The daemon and its data plane.
    pub status: Status,
    /// The services.
    pub services: Vec<ServiceView>,
    /// The backends.
    pub backends: Vec<BackendView>,
    /// Dropped packets by reason.
    pub drops: Vec<(DropReason, u64)>,
    /// How often each event has happened.
    pub events: Vec<(Event, u64)>,
    /// Flows that were forgotten to make room for others.
    pub evictions: u64,
}

impl Controller {
    pub(super) fn snapshot(&mut self, census: &Census) -> anyhow::Result<Snapshot> {
        let flows = &census.flows;
        Ok(Snapshot {
            status: self.status(flows)?,
            services: self.services()?,
            backends: self.backends(None, flows)?,
            drops: self.dataplane.drops()?,
            events: self.dataplane.events()?,
            evictions: self.dataplane.event(Event::FlowEvicted)?,
        })
    }

    pub(super) fn figures(&mut self, census: &Census) -> anyhow::Result<Figures> {
        let Snapshot {
            status,
            services,
            backends,
            drops,
            evictions,
            ..
        } = self.snapshot(census)?;
        let drops = drops.into_iter().filter(|(_, packets)| *packets > 0);
        Ok(Figures {
            status,
            services,
            backends,
            drops: drops
                .map(|(reason, packets)| (reason.label().to_owned(), packets))
                .collect(),
            evictions,
        })
    }

    pub(super) fn status(&mut self, flows: &FlowCounts) -> anyhow::Result<Status> {
        let program_id = self.dataplane.program_id()?;
        let interfaces = self.dataplane.attachments().iter();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            dataplane: DataplaneView {
                interfaces: interfaces
                    .map(|attachment| InterfaceView {
                        name: attachment.interface.clone(),
                        mode: attachment.mode,
                        program_id,
                    })
                    .collect(),
                generation: self.dataplane.generation(),
                flows: flows.total,
                max_flows: self.dataplane.max_flows(),
            },
            services: self.intent.running.services.len(),
            backends: self.backend_counts(),
        })
    }

    fn backend_counts(&self) -> BackendCounts {
        let mut counts = BackendCounts {
            hot: self.hot.len(),
            ..BackendCounts::default()
        };
        for (service, backend) in desired::backends(&self.intent.running) {
            counts.total += 1;
            counts.draining += usize::from(backend.admin == Admin::Draining);
            if self.is_up(service, backend) {
                counts.up += 1;
            } else {
                counts.down += 1;
            }
        }
        counts
    }

    pub(super) fn services(&self) -> anyhow::Result<Vec<ServiceView>> {
        let known = &self.dataplane.state().index;
        let traffic = self.dataplane.service_traffic()?;
        let services = self.intent.running.services.iter();
        Ok(services.map(|service| self.service(service, known, &traffic)).collect())
    }

    /// One service, where `traffic` is that of all by index.
    pub(super) fn service(&self, service: &Service, known: &Index, traffic: &[Traffic]) -> ServiceView {
        let index = known.services.get(service.name.as_str());
        let traffic = index
            .and_then(|&index| traffic.get(index as usize))
            .copied()
            .unwrap_or_default();
        let up = service.backends.iter().filter(|backend| self.is_up(service, backend));
        ServiceView {
            name: service.name.clone(),
            address: service.address,
            ports: service.ports.clone(),
            protocol: service.protocol,
            forwarding: service.forwarding,
            affinity: service.affinity,
            backends: service.backends.len(),
            backends_up: up.count(),
            packets: traffic.packets,
            bytes: traffic.bytes,
            new_flows: traffic.new_flows,
            reply_packets: traffic.reply_packets,
            reply_bytes: traffic.reply_bytes,
        }
    }

    /// The backends of one service, or of all.
    pub(super) fn backends(&self, service: Option<&str>, flows: &FlowCounts) -> anyhow::Result<Vec<BackendView>> {
        let known = &self.dataplane.state().index;
        let traffic = self.dataplane.backend_traffic()?;
        desired::backends(&self.intent.running)
            .filter(|(of, _)| service.is_none_or(|name| of.name == name))
            .map(|(service, backend)| {
                let index = desired::backend_index(known, service, backend).unwrap_or(0);
                let traffic = traffic.get(index as usize).copied().unwrap_or_default();
                let way = desired::tunnelled_way(&self.intent.running, service, backend, &self.knowledge);
                Ok(BackendView {
                    service: service.name.clone(),
                    name: backend.name.clone(),
                    address: backend.endpoint(),
                    weight: backend.weight,
                    admin: backend.admin,
                    health: self.knowledge.health(service, backend),
                    ejected: self.knowledge.is_ejected(service, backend),
                    failures: self.failures(service, index)?,
                    flows: self.flows_of_index(index, flows),
                    packets: traffic.packets,
                    bytes: traffic.bytes,
                    new_flows: traffic.new_flows,
                    reply_packets: traffic.reply_packets,
                    reply_bytes: traffic.reply_bytes,
                    share: self.dataplane.share(index),
                    hot: self.hot.contains(&index),
                    unreachable: way.and_then(Result::err).map(|unreachable| unreachable.to_string()),
                })
            })
            .collect()
    }

    /// How often a backend has failed clients, where that is counted.
    fn failures(&self, service: &Service, index: u32) -> anyhow::Result<Option<Failures>> {
        let watched = service.passive.map(|_| self.dataplane.failures(index)).transpose()?;
        Ok(watched.map(|abi::Failures { refused, unanswered }| Failures { refused, unanswered }))
    }

    /// The live flows of the backend that has this index.
    pub(super) fn flows_of_index(&self, index: u32, flows: &FlowCounts) -> u64 {
        self.dataplane.owner(index).map_or(0, |owner| flows.of(owner))
    }

    fn is_up(&self, service: &Service, backend: &Backend) -> bool {
        self.knowledge.health(service, backend) != Health::Down
    }
}
