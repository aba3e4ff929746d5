//! Constant traffic of every kind, watched for harm.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use super::{Connection, Namespace, Reply, Sequence, UdpClient, get, http::connect, load::SetOnDrop};

/// Kept connections that make one request after the other.
const REGULARS: usize = 20;
/// Downloads that take as long as the traffic.
const DOWNLOADS: usize = 4;
const WEB_SOCKETS: usize = 5;
/// Sockets that send datagrams, one after the other.
const UDP_STREAMS: usize = 10;
/// Between two rounds over flows of one kind. A round of newcomers is one connection.
const PAUSE: Duration = Duration::from_millis(4);

/// Where the traffic goes.
#[derive(Clone, Copy, Debug)]
pub struct Servers {
    /// HTTP servers.
    pub http: SocketAddr,
    /// UDP servers.
    pub udp: SocketAddr,
}

/// A flow that broke or changed its backend, or a client that was not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Harm {
    /// The kind of traffic.
    pub kind: &'static str,
    /// The backend that the flow had; empty for a newcomer.
    pub backend: String,
    /// What went wrong.
    pub what: String,
}

/// What traffic went through.
#[derive(Debug)]
pub struct Toll {
    /// Everything that went wrong.
    pub harms: Vec<Harm>,
    /// Connections of newcomers.
    pub newcomers: u64,
    /// Requests, messages, datagrams and pieces of downloads on flows that were there before.
    pub exchanges: u64,
}

impl Toll {
    /// The harm that was done to flows of other backends than this one.
    pub fn beyond(&self, backend: &str) -> Vec<&Harm> {
        self.harms.iter().filter(|harm| harm.backend != backend).collect()
    }
}

/// Sends traffic while `f` runs: newcomers, kept connections, long downloads, web sockets and streams of datagrams. Every
/// flow is there before `f` begins and is used once more when it has ended.
///
/// # Panics
///
/// If `f` does, or if a flow cannot be made before it begins.
pub fn under_load<T>(host: &Namespace, servers: Servers, f: impl FnOnce() -> T) -> (T, Toll) {
    let over = AtomicBool::new(false);
    let (newcomers, exchanges) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let (ready, all_ready) = mpsc::channel();
        let stage = Stage {
            host,
            servers,
            over: &over,
        };
        let end = SetOnDrop(&over);
        let workers = [
            scope.spawn({
                let (newcomers, ready) = (&newcomers, ready.clone());
                move || stage.welcome(newcomers, ready)
            }),
            scope.spawn(stage.keeper::<Regular>(&exchanges, &ready)),
            scope.spawn(stage.keeper::<Download>(&exchanges, &ready)),
            scope.spawn(stage.keeper::<Socket>(&exchanges, &ready)),
            scope.spawn(stage.keeper::<Datagrams>(&exchanges, &ready)),
        ];
        drop(ready);
        let begun = all_ready.iter().take(workers.len()).count();
        assert_eq!(begun, workers.len(), "traffic of every kind flows");
        let result = f();
        drop(end);
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<Harm>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let toll = Toll {
            harms: workers.into_iter().flat_map(join).collect(),
            newcomers: newcomers.load(Ordering::Relaxed),
            exchanges: exchanges.load(Ordering::Relaxed),
        };
        (result, toll)
    })
}

/// Where the workers work, and until when.
#[derive(Clone, Copy)]
struct Stage<'a> {
    host: &'a Namespace,
    servers: Servers,
    over: &'a AtomicBool,
}

impl<'a> Stage<'a> {
    /// Has one client come after the other.
    fn welcome(self, newcomers: &AtomicU64, ready: Sender<()>) -> Vec<Harm> {
        let mut harms = Vec::new();
        let mut ready = Some(ready);
        loop {
            let last = self.over.load(Ordering::Relaxed);
            if let Err(error) = get(self.host, self.servers.http, "/").and_then(|reply| server(&reply)) {
                harms.push(Harm {
                    kind: "newcomer",
                    backend: String::new(),
                    what: error.to_string(),
                });
            }
            newcomers.fetch_add(1, Ordering::Relaxed);
            tell(&mut ready);
            if last {
                return harms;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Keeps flows of one kind in use, and begins a new one for each that breaks.
    fn keeper<F: Flow>(self, exchanges: &'a AtomicU64, ready: &Sender<()>) -> impl FnOnce() -> Vec<Harm> + Send + 'a {
        let mut ready = Some(ready.clone());
        move || {
            let open = || {
                let mut flow = F::open(self.host, self.servers)?;
                flow.exchange().map(|backend| (flow, backend.unwrap_or_default()))
            };
            let opened: io::Result<Vec<_>> = (0..F::COUNT).map(|_| open()).collect();
            let mut flows = opened.unwrap_or_else(|error| panic!("a {} cannot begin: {error}", F::KIND));
            let mut harms = Vec::new();
            tell(&mut ready);
            loop {
                let last = self.over.load(Ordering::Relaxed);
                for (flow, backend) in &mut flows {
                    let what = match flow.exchange() {
                        Ok(Some(other)) if other != *backend => format!("{other} answered"),
                        Ok(_) => {
                            exchanges.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        Err(error) => error.to_string(),
                    };
                    harms.push(Harm {
                        kind: F::KIND,
                        backend: backend.clone(),
                        what,
                    });
                    if let Ok(opened) = open() {
                        (*flow, *backend) = opened;
                    }
                }
                if last {
                    return harms;
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Says once that a worker's flows are there.
fn tell(ready: &mut Option<Sender<()>>) {
    if let Some(ready) = ready.take() {
        // Nobody waits any more if another worker could not begin.
        let _told: Result<_, _> = ready.send(());
    }
}

/// A flow that is used for long.
trait Flow: Sized {
    const KIND: &'static str;
    const COUNT: usize;

    fn open(host: &Namespace, servers: Servers) -> io::Result<Self>;

    /// Uses it once. Returns who answered, if the answer says that.
    fn exchange(&mut self) -> io::Result<Option<String>>;
}

struct Regular(Connection);

impl Flow for Regular {
    const KIND: &'static str = "kept connection";
    const COUNT: usize = REGULARS;

    fn open(host: &Namespace, servers: Servers) -> io::Result<Self> {
        Connection::open(host, None, servers.http).map(Self)
    }

    fn exchange(&mut self) -> io::Result<Option<String>> {
        self.0.get("/").and_then(|reply| server(&reply)).map(Some)
    }
}

struct Download {
    body: Box<dyn io::Read + Send>,
    expected: Sequence,
    /// Who sends it, until that is told.
    backend: Option<String>,
}

impl Download {
    /// Longer than any test.
    const LENGTH: u64 = 1 << 40;
    /// What is read of it at a time.
    const PIECE: usize = 1 << 14;
}

impl Flow for Download {
    const KIND: &'static str = "download";
    const COUNT: usize = DOWNLOADS;

    fn open(host: &Namespace, servers: Servers) -> io::Result<Self> {
        let mut connection = Connection::open(host, None, servers.http)?;
        let backend = server(&connection.get("/")?)?;
        Ok(Self {
            body: Box::new(connection.into_download(&format!("/bytes/{}", Self::LENGTH))?),
            expected: Sequence::default(),
            backend: Some(backend),
        })
    }

    fn exchange(&mut self) -> io::Result<Option<String>> {
        let (mut piece, mut expected) = ([0; Self::PIECE], [0; Self::PIECE]);
        self.body.read_exact(&mut piece)?;
        self.expected.read_exact(&mut expected)?;
        if piece == expected {
            Ok(self.backend.take())
        } else {
            Err(io::Error::other("other bytes came than were sent"))
        }
    }
}

struct Socket(WebSocket<TcpStream>);

impl Flow for Socket {
    const KIND: &'static str = "web socket";
    const COUNT: usize = WEB_SOCKETS;

    fn open(host: &Namespace, servers: Servers) -> io::Result<Self> {
        let stream = host.enter(|| connect(None, servers.http))?;
        let (socket, _response) =
            tungstenite::client(format!("ws://{}/socket", servers.http), stream).map_err(io::Error::other)?;
        Ok(Self(socket))
    }

    fn exchange(&mut self) -> io::Result<Option<String>> {
        self.0.send(Message::text("who?")).map_err(io::Error::other)?;
        let answer = self.0.read().map_err(io::Error::other)?;
        answer
            .into_text()
            .map(|name| Some(name.to_string()))
            .map_err(io::Error::other)
    }
}

struct Datagrams {
    client: UdpClient,
    server: SocketAddr,
}

impl Flow for Datagrams {
    const KIND: &'static str = "stream of datagrams";
    const COUNT: usize = UDP_STREAMS;

    fn open(host: &Namespace, servers: Servers) -> io::Result<Self> {
        let any: IpAddr = match servers.udp.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Ok(Self {
            client: UdpClient::new(host, SocketAddr::new(any, 0))?,
            server: servers.udp,
        })
    }

    fn exchange(&mut self) -> io::Result<Option<String>> {
        let answer = self.client.ask(self.server, b"who?")?;
        Ok(answer.split(' ').next().map(str::to_owned))
    }
}

fn server(reply: &Reply) -> io::Result<String> {
    let body: Value = serde_json::from_slice(&reply.body)?;
    match (reply.status, body["server"].as_str()) {
        (200, Some(name)) => Ok(name.to_owned()),
        (status, _) => Err(io::Error::other(format!("status {status}"))),
    }
}
