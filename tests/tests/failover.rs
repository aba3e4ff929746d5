//! How soon packets go elsewhere once a probe has failed. The time is printed; whether it is short is for people to judge.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Namespace, Network, Service, eventually};

const BACKENDS: u8 = 2;
/// The backend whose probes fail.
const VICTIM: u8 = 1;
/// Where servers answer probes.
const PROBES: u16 = 9000;
/// The port of the first service; the others have the next ones.
const FIRST: u16 = 10_000;
/// How many services are watched.
const WATCHED: u16 = 4;
/// For an answer: longer than it takes, shorter than what is measured matters.
const PATIENCE: Duration = Duration::from_millis(20);

/// Answers the probes of every service, whose path names it.
#[derive(Default)]
struct ProbeServer {
    failing: AtomicBool,
    asked: Mutex<HashSet<u16>>,
    /// When the first failure was sent, by service.
    failed: Mutex<HashMap<u16, Instant>>,
    over: AtomicBool,
}

impl ProbeServer {
    fn listen(host: &Namespace) -> TcpListener {
        host.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PROBES)))
            .unwrap()
    }

    fn serve(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            // A probe that has been given up is none.
            let _given_up = stream.and_then(|stream| self.answer(stream));
        }
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let path = request.split(' ').nth(1).unwrap_or_default();
        let service = path.trim_start_matches('/').parse().unwrap_or_default();
        self.asked.lock().unwrap().insert(service);
        let failing = self.failing.load(Ordering::Relaxed);
        let status = if failing { "503 Failing" } else { "200 Well" };
        if failing {
            self.failed.lock().unwrap().entry(service).or_insert_with(Instant::now);
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    }
}

/// Ends the thread of a probe server, however the test ends.
struct End<'a> {
    server: &'a ProbeServer,
    host: &'a Namespace,
    address: SocketAddr,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.server.over.store(true, Ordering::Relaxed);
        // It looks up when somebody comes.
        let _refused = self.host.enter(|| TcpStream::connect(self.address));
    }
}

/// A client of a service, who is served by the victim.
struct Client(UdpSocket);

impl Client {
    fn of(network: &Network, service: u16) -> Self {
        eventually("the victim serves a client", || {
            let socket = network.client.enter(|| UdpSocket::bind((Network::CLIENT, 0))).unwrap();
            socket.connect((Network::VIP, FIRST + service)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let client = Self(socket);
            (client.who()? == Network::backend_name(VICTIM)).then_some(client)
        })
    }

    /// Who answers.
    fn who(&self) -> Option<String> {
        self.0.send(b"who?").ok()?;
        let mut answer = [0; 128];
        let length = self.0.recv(&mut answer).ok()?;
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        Some(text.split(' ').next()?.to_owned())
    }

    /// When somebody else than the victim answers.
    fn elsewhere(&self) -> Instant {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let now = Instant::now();
            assert!(now < deadline, "packets still go to the victim");
            if self.who().is_some_and(|name| name != Network::backend_name(VICTIM)) {
                return now;
            }
        }
    }
}

/// Fails the probes of the victim in all of `count` services, and returns how long each client waited after the failure of
/// its service's probe.
fn measure(count: u16) -> Vec<Duration> {
    let network = Network::new(Arms::Two, BACKENDS);
    let _servers = Farm::udp(&network, 5353);
    let mut services = String::new();
    for service in 0..count {
        let check = format!(
            "kind = \"http\"\nport = {PROBES}\npath = \"/{service}\"\ninterval = \"5s\"\ntimeout = \"4s\"\nunhealthy_threshold = 1"
        );
        let service = Service::udp(&format!("s{service}"), Network::VIP, &[FIRST + service])
            .backends(BACKENDS, 5353)
            .health(&check);
        let text = service.to_string().replace("protocol", "maglev_size = 1009\nprotocol");
        services.write_str(&text).unwrap();
    }
    let hosts = &network.backends;
    let servers: Vec<ProbeServer> = hosts.iter().map(|_| ProbeServer::default()).collect();
    let listeners: Vec<TcpListener> = hosts.iter().map(ProbeServer::listen).collect();
    thread::scope(|scope| {
        let servers_and_listeners = servers.iter().zip(&listeners);
        let _ends: Vec<End<'_>> = (0..)
            .zip(servers_and_listeners)
            .map(|(number, (server, listener))| {
                scope.spawn(|| server.serve(listener));
                End {
                    server,
                    host: &hosts[usize::from(number)],
                    address: SocketAddr::new(Network::backend(number).into(), PROBES),
                }
            })
            .collect();
        let _balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
        eventually("every service has been probed", || {
            servers
                .iter()
                .all(|server| server.asked.lock().unwrap().len() == usize::from(count))
                .then_some(())
        });
        let watched = (0..count).step_by(usize::from((count / WATCHED).max(1)));
        let victim = &servers[usize::from(VICTIM)];
        let mut watching = Vec::new();
        for service in watched {
            let client = Client::of(&network, service);
            watching.push(scope.spawn(move || (service, client.elsewhere())));
        }
        victim.failing.store(true, Ordering::Relaxed);
        let delays = watching.into_iter().map(|client| {
            let (service, elsewhere) = client.join().unwrap();
            elsewhere.saturating_duration_since(victim.failed.lock().unwrap()[&service])
        });
        delays.collect()
    })
}

#[test]
fn packets_go_elsewhere_once_a_probe_has_failed() {
    println!("one service: {:.1?}", measure(1));
}

#[test]
fn packets_go_elsewhere_once_the_probes_of_many_services_have_failed() {
    println!("1,000 services that share the backend: {:.1?}", measure(1_000));
}
