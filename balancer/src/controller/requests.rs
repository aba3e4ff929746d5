//! Answers to clients of the control socket.

use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::{Explanation, Reason};

use super::{
    Controller, desired,
    resolve::{self, usage},
};
use crate::{
    config::{self, Affinity, Service},
    control::protocol::{Lookup, LookupReason, Refusal, RefusalKind, Request, Response, ServiceDetail},
    dataplane::Question,
};

impl Controller {
    pub(super) fn answer(&mut self, request: Request) -> Response {
        let answer = match request {
            Request::Status => self.answer_status(),
            Request::Services => self.services().map(Response::Services),
            Request::Service { service } => self.answer_service(&service),
            Request::Backends { service } => self.answer_backends(service.as_deref()),
            Request::Lookup {
                service,
                client,
                port,
                connection_id,
            } => self.lookup(&service, client, port, connection_id.as_deref()),
            Request::Order(order) => self.carry_out(&order).map(Response::Done),
            Request::Apply(text) => self.apply(&text).map(Response::Done),
            Request::Plan(text) => self.plan(&text).map(Response::Plan),
            Request::Reload => self.reload().map(Response::Done),
            Request::Export => Ok(Response::Export(self.export())),
            Request::Flows { filter, limit } => self.list_flows(&filter, limit).map(Response::Flows),
            Request::CountFlows(filter) => self.count_flows(&filter).map(Response::FlowCount),
            Request::FlushFlows(filter) => self.flush_flows(&filter).map(Response::Flushed),
            // The controller ends with it, so it is dealt with where it comes in.
            Request::Detach => Ok(Response::Detached(Vec::new())),
            Request::Events | Request::FollowEvents => Ok(Response::Events(self.events.after(0))),
            // The server has the controller begin it.
            Request::Trace(_) => Err(usage("a trace is followed, not asked for".to_owned()).into()),
        };
        answer.unwrap_or_else(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => Response::Refused(refusal),
            Err(error) => failed(&error),
        })
    }

    fn answer_status(&mut self) -> anyhow::Result<Response> {
        let flows = self.dataplane.flow_counts()?;
        Ok(Response::Status(self.status(&flows)?))
    }

    fn answer_service(&self, name: &str) -> anyhow::Result<Response> {
        let service = resolve::service(&self.intent.running, name)?;
        let flows = self.dataplane.flow_counts()?;
        Ok(Response::Service(ServiceDetail {
            service: self.service(service, &self.dataplane.state().index())?,
            backends: self.backends(Some(name), &flows)?,
            configuration: config::export_service(service),
        }))
    }

    fn answer_backends(&self, service: Option<&str>) -> anyhow::Result<Response> {
        if let Some(name) = service {
            resolve::service(&self.intent.running, name)?;
        }
        let flows = self.dataplane.flow_counts()?;
        Ok(Response::Backends(self.backends(service, &flows)?))
    }

    fn lookup(
        &mut self,
        name: &str,
        client: IpAddr,
        port: Option<u16>,
        connection_id: Option<&[u8]>,
    ) -> anyhow::Result<Response> {
        let service = resolve::service(&self.intent.running, name)?.clone();
        check_lookup(&service, client, port, connection_id)?;
        let asked = SocketAddr::new(client, port.unwrap_or(0));
        let explanation = self.explain_any_port(&service, asked, connection_id)?;
        let backend = self
            .dataplane
            .state()
            .backends
            .get(&explanation.backend)
            .map(|entry| entry.record);
        let backend = backend.and_then(|record| {
            service
                .backends
                .iter()
                .find(|backend| desired::has_identity(backend, record.address, record.port))
        });
        Ok(Response::Lookup(Lookup {
            service: service.name.clone(),
            client: port.map_or_else(|| client.to_string(), |_| asked.to_string()),
            backend: backend.map(|backend| backend.name.clone()),
            address: backend.map(config::Backend::endpoint),
            reason: match Reason::from_u32(explanation.reason) {
                Some(Reason::Flow) => LookupReason::Flow,
                Some(Reason::Maglev) => LookupReason::Maglev,
                Some(Reason::Affinity) => LookupReason::Affinity,
                Some(Reason::Pin) => LookupReason::Pin,
                Some(Reason::Connection) => LookupReason::ConnectionId,
                Some(Reason::NoBackend | Reason::NoService) | None => LookupReason::NoBackend,
            },
            slot: explanation.slot,
            slots: service.maglev_size.slots(),
        }))
    }

    /// Asks the data plane about each port of the service until one has a flow of the client; else the first port's
    /// answer counts, which is every port's.
    fn explain_any_port(
        &mut self,
        service: &Service,
        client: SocketAddr,
        connection_id: Option<&[u8]>,
    ) -> anyhow::Result<Explanation> {
        let protocol = desired::protocol_number(service.protocol);
        let any = [1];
        let ports: &[u16] = if service.ports.is_empty() { &any } else { &service.ports };
        let mut first = None;
        for &port in ports {
            let explanation = self.dataplane.explain(Question {
                client,
                service: SocketAddr::new(service.address, port),
                protocol,
                connection_id,
            })?;
            if Reason::from_u32(explanation.reason) == Some(Reason::Flow) {
                return Ok(explanation);
            }
            first.get_or_insert(explanation);
        }
        Ok(first.unwrap_or_default())
    }
}

fn check_lookup(
    service: &Service,
    client: IpAddr,
    port: Option<u16>,
    connection_id: Option<&[u8]>,
) -> Result<(), Refusal> {
    if client.is_ipv4() != service.address.is_ipv4() {
        return Err(usage(format!(
            "{client} cannot be a client of {}, whose address is {}",
            service.name, service.address
        )));
    }
    if connection_id.is_some() && service.affinity != Affinity::QuicCid {
        return Err(usage(format!(
            "{} does not look at connection IDs: leave it out, or give the service affinity = \"quic-cid\"",
            service.name
        )));
    }
    if port.is_none() && connection_id.is_none() && service.affinity != Affinity::ClientIp {
        let example = SocketAddr::new(client, 40_000);
        return Err(usage(format!(
            "the affinity of {} counts the client's port as well: name it, for example {example}",
            service.name
        )));
    }
    Ok(())
}

pub(super) fn failed(error: &anyhow::Error) -> Response {
    Response::Refused(Refusal {
        kind: RefusalKind::Failed,
        message: format!("{error:#}"),
    })
}
