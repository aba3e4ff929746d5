//! Answers to clients of the control socket.

use std::net::{IpAddr, SocketAddr};

use balancer_common::abi::{Explanation, Reason};
use tokio::sync::oneshot;

use super::{
    Controller, desired,
    resolve::{self, usage},
};
use crate::{
    config::{self, Affinity, Service},
    control::protocol::{Lookup, LookupReason, Order, Refusal, RefusalKind, Request, Response, ServiceDetail},
    dataplane::{Census, FlowCounts, Question},
};

/// The way back to a client.
pub(super) type Reply = oneshot::Sender<Response>;

impl Controller {
    /// Answers a request, at once or when what is remembered has been read.
    pub(super) fn answer(&mut self, request: Request, reply: Reply) {
        match request {
            Request::Services => respond(reply, self.services().map(Response::Services)),
            Request::Lookup {
                service,
                client,
                port,
                connection_id,
            } => respond(reply, self.lookup(&service, client, port, connection_id.as_deref())),
            Request::Export => respond(reply, Ok(Response::Export(self.export()))),
            Request::Flows { filter, limit } => self.list_flows(&filter, limit, reply),
            Request::CountFlows(filter) => self.count_flows(&filter, reply),
            Request::FlushFlows(filter) => self.flush_flows(&filter, reply),
            Request::Order(order @ Order::Migrate { .. }) => self.carry_out_migration(&order, reply),
            // Events whose effect is being counted are among the latest.
            Request::Events | Request::FollowEvents if !self.reader.is_busy() => {
                respond(reply, Ok(self.answer_events()));
            }
            // The controller ends with it, so it is dealt with where it comes in.
            Request::Detach => respond(reply, Ok(Response::Detached(Vec::new()))),
            // The server has the controller begin it.
            Request::Trace(_) => respond(
                reply,
                Err(usage("a trace is followed, not asked for".to_owned()).into()),
            ),
            request => self.count(|controller, census| {
                respond(
                    reply,
                    census.and_then(|census| controller.answer_counted(request, census)),
                );
            }),
        }
    }

    /// Answers a request that takes a count of what is remembered.
    fn answer_counted(&mut self, request: Request, census: &Census) -> anyhow::Result<Response> {
        match request {
            Request::Status => self.status(&census.flows).map(Response::Status),
            Request::Service { service } => self.answer_service(&service, &census.flows),
            Request::Backends { service } => self.answer_backends(service.as_deref(), &census.flows),
            Request::Order(order) => self.carry_out(&order, census).map(Response::Done),
            Request::Apply(text) => self.apply(&text, census).map(Response::Done),
            Request::Plan(text) => self.plan(&text, census).map(Response::Plan),
            Request::Reload => self.reload(census).map(Response::Done),
            Request::Figures => self.figures(census).map(|figures| Response::Figures(Box::new(figures))),
            _ => Ok(self.answer_events()),
        }
    }

    fn answer_events(&self) -> Response {
        Response::Events(self.events.after(0))
    }

    fn answer_service(&self, name: &str, flows: &FlowCounts) -> anyhow::Result<Response> {
        let service = resolve::service(&self.intent.running, name)?;
        Ok(Response::Service(ServiceDetail {
            service: self.service(
                service,
                &self.dataplane.state().index,
                &self.dataplane.service_traffic()?,
            ),
            backends: self.backends(Some(name), flows)?,
            configuration: config::export_service(service),
        }))
    }

    fn answer_backends(&self, service: Option<&str>, flows: &FlowCounts) -> anyhow::Result<Response> {
        if let Some(name) = service {
            resolve::service(&self.intent.running, name)?;
        }
        Ok(Response::Backends(self.backends(service, flows)?))
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
                Some(Reason::Limited) => LookupReason::Limited,
                Some(Reason::Denied) => LookupReason::Denied,
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

/// Gives an answer.
pub(super) fn respond(reply: Reply, answer: anyhow::Result<Response>) {
    let answer = answer.unwrap_or_else(|error| match error.downcast::<Refusal>() {
        Ok(refusal) => Response::Refused(refusal),
        Err(error) => failed(&error),
    });
    // A client that has gone away needs none.
    let _gone: Result<(), Response> = reply.send(answer);
}

pub(super) fn failed(error: &anyhow::Error) -> Response {
    Response::Refused(Refusal {
        kind: RefusalKind::Failed,
        message: format!("{error:#}"),
    })
}
