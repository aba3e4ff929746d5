//! What client commands and daemon say to each other: one JSON document per line, a request and its response.
//!
//! The views are also what `-o json` prints, so their keys are part of the command line's surface.

mod event;
mod figures;
mod flows;
mod order;
mod plan;
mod trace;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    config::{self, Admin, Affinity, ConfigError, Forwarding, Loaded, Protocol},
    health::Health,
    neighbors::AttachedMode,
};

pub use event::{Change, Effect, Event, EventKind};
pub use figures::Figures;
pub use flows::{FlowCount, FlowCountView, FlowFilter, FlowList, FlowView};
pub use order::{BackendKeys, Done, Order};
pub use plan::{BackendName, Plan, PlannedService};
pub use trace::{PacketDecision, PacketFate, PacketFrames, TraceFilter};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// How the daemon and its data plane are.
    Status,
    /// Every service.
    Services,
    /// One service.
    Service {
        /// Its name.
        service: String,
    },
    /// The backends of one service, or of all.
    Backends {
        /// The service's name.
        service: Option<String>,
    },
    /// Where a client's packets go.
    Lookup {
        /// The service's name.
        service: String,
        /// The client's address.
        client: IpAddr,
        /// The client's port, if it is known.
        port: Option<u16>,
        /// The QUIC connection ID that the packet carries behind a short header, if it does.
        connection_id: Option<Vec<u8>>,
    },
    /// A change at run time.
    Order(Order),
    /// To make a configuration everything that runs.
    Apply(ConfigText),
    /// What [applying](Self::Apply) a configuration would change.
    Plan(ConfigText),
    /// To read the daemon's own configuration file again.
    Reload,
    /// The effective configuration.
    Export,
    /// Remembered flows.
    Flows {
        /// Which.
        filter: FlowFilter,
        /// How many of them at most.
        limit: usize,
    },
    /// How many flows are remembered.
    CountFlows(FlowFilter),
    /// To forget flows.
    FlushFlows(FlowFilter),
    /// Everything that is counted.
    Figures,
    /// The latest changes of state.
    Events,
    /// The latest changes of state, and then each further one as it comes, until the client closes the connection.
    FollowEvents,
    /// Decisions about single packets, each as it is made, until the client closes the connection.
    Trace(TraceFilter),
    /// To take the data plane off its interfaces and end.
    Detach,
}

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// The file, as the client calls it.
    pub file: String,
    /// What it says.
    pub text: String,
}

impl ConfigText {
    /// Validates it.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        config::parse(&self.text, &self.file)
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "response", content = "content")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Services`].
    Services(Vec<ServiceView>),
    /// To [`Request::Service`].
    Service(ServiceDetail),
    /// To [`Request::Backends`].
    Backends(Vec<BackendView>),
    /// To [`Request::Lookup`].
    Lookup(Lookup),
    /// To [`Request::Order`], [`Request::Apply`] and [`Request::Reload`].
    Done(Done),
    /// To [`Request::Plan`].
    Plan(Plan),
    /// To [`Request::Export`]: a configuration file.
    Export(String),
    /// To [`Request::Flows`].
    Flows(FlowList),
    /// To [`Request::CountFlows`].
    FlowCount(FlowCount),
    /// To [`Request::FlushFlows`]: how many.
    Flushed(u64),
    /// To [`Request::Figures`].
    Figures(Box<Figures>),
    /// To [`Request::Events`].
    Events(Vec<Event>),
    /// To [`Request::FollowEvents`], again and again.
    Event(Event),
    /// To [`Request::Trace`], again and again.
    Decision(PacketDecision),
    /// To [`Request::Detach`]: the interfaces.
    Detached(Vec<String>),
    /// The request cannot be granted.
    Refused(Refusal),
}

/// Why a request cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason and what to do about it.
    pub message: String,
}

/// Kinds of reasons, which clients tell apart by their exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// There is no service or backend of that name.
    NotFound,
    /// The request itself is at fault.
    Usage,
    /// The configuration is not valid. The message has a line for each problem, with its place.
    InvalidConfig,
    /// The daemon or the kernel failed.
    Failed,
}

/// The daemon and its data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The data plane.
    pub dataplane: DataplaneView,
    /// Number of services.
    pub services: usize,
    /// Backends by state.
    pub backends: BackendCounts,
}

/// The data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataplaneView {
    /// Where it is attached.
    pub interfaces: Vec<InterfaceView>,
    /// Number of changes that were made to it.
    pub generation: u64,
    /// Remembered flows.
    pub flows: u64,
    /// Flows that there is room for.
    pub max_flows: u32,
}

/// An interface with the XDP program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Where in the receive path the program runs.
    pub mode: AttachedMode,
    /// The kernel's identifier of the program.
    pub program_id: u32,
}

/// Backends by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounts {
    /// All of them.
    pub total: usize,
    /// Those that are up, or whose health is not known yet.
    pub up: usize,
    /// Those that are down.
    pub down: usize,
    /// Those that are being drained.
    pub draining: usize,
    /// Those that carry well more than their share of the flows.
    pub hot: usize,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Its ports; none means every port.
    pub ports: Vec<u16>,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// How packets reach a backend.
    pub forwarding: Forwarding,
    /// What decides where a client goes.
    pub affinity: Affinity,
    /// Number of backends.
    pub backends: usize,
    /// Number of backends that are up, or whose health is not known yet.
    pub backends_up: usize,
    /// Packets forwarded from clients.
    pub packets: u64,
    /// Bytes of IP packets forwarded from clients.
    pub bytes: u64,
    /// Flows that began.
    pub new_flows: u64,
    /// Packets returned to clients.
    pub reply_packets: u64,
    /// Bytes of IP packets returned to clients.
    pub reply_bytes: u64,
}

/// A service with everything about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// The service as in the list.
    pub service: ServiceView,
    /// Its backends as in their list.
    pub backends: Vec<BackendView>,
    /// It in the form of a configuration file.
    pub configuration: String,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// The service's name.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its address, with its port if it has one of its own.
    pub address: String,
    /// Its configured weight.
    pub weight: u32,
    /// What the operator wants of it.
    pub admin: Admin,
    /// Whether it is up: down if its health check or live traffic says so.
    pub health: Health,
    /// Whether live traffic has taken it out of service.
    pub ejected: bool,
    /// How often it has failed clients, if that is watched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failures: Option<Failures>,
    /// Remembered flows.
    pub flows: u64,
    /// Packets forwarded to it.
    pub packets: u64,
    /// Bytes of IP packets forwarded to it.
    pub bytes: u64,
    /// Flows that began.
    pub new_flows: u64,
    /// Packets that it returned.
    pub reply_packets: u64,
    /// Bytes of IP packets that it returned.
    pub reply_bytes: u64,
    /// Its share of new clients, 0 to 1.
    pub share: f64,
    /// Whether it carries well more than its share of the service's flows.
    pub hot: bool,
    /// Why its packets cannot leave the host, if they cannot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unreachable: Option<String>,
}

/// How often a backend has failed clients in live traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Connections that it has refused.
    pub refused: u64,
    /// Connections that it has not answered in time.
    pub unanswered: u64,
}

/// Where a client's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The service's name.
    pub service: String,
    /// The client as it was asked for.
    pub client: String,
    /// The backend's name.
    pub backend: Option<String>,
    /// The backend's address, with its port if it has one of its own.
    pub address: Option<String>,
    /// Why.
    pub reason: LookupReason,
    /// The slot of the Maglev table that the client's hash falls on.
    pub slot: u32,
    /// Slots of the table.
    pub slots: u32,
}

/// Why a client's packets go where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupReason {
    /// The flow is remembered.
    Flow,
    /// The flow is new, and its client is remembered.
    Affinity,
    /// The flow is new, and its client is pinned.
    Pin,
    /// The flow is new, and the Maglev table says so.
    Maglev,
    /// The QUIC connection ID names the backend.
    ConnectionId,
    /// No backend may take it.
    NoBackend,
    /// The service's source lists do not admit the client.
    Denied,
    /// As many new flows of the client or of the service have begun as may for now.
    Limited,
}
