//! Clients that a service does not admit, and those beside them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Instant,
};

use balancer::control::protocol::{Lookup, LookupReason, Request, Response};
use balancer_tests::{
    lab::{Balancer, Connection, Network, Service, Site, Tracer, eventually, get_from, under_load},
    packet::{Packet, Transport},
};
use socket2::{Domain, Protocol, Socket, Type};

const BACKENDS: u8 = 2;
const VIP: SocketAddr = Site::SERVERS.http;
/// A client that is to be kept out, beside the one that the network has.
const UNWELCOME: Ipv4Addr = Ipv4Addr::new(10, 1, 66, 6);

/// Clients and servers of two kinds.
fn site() -> Site {
    let site = Site::new(BACKENDS);
    let client = &site.network.client;
    client.ip(&format!("address add {UNWELCOME}/16 dev eth0"));
    site
}

/// Whether the unwelcome client gets an answer over a connection from this port. If not, it waits in vain.
fn is_served(site: &Site, port: u16) -> bool {
    get_from(&site.network.client, SocketAddr::from((UNWELCOME, port)), VIP, "/").is_ok()
}

/// A web service and a service of datagrams, with source lists for both.
fn listed(sources: &str) -> String {
    let web = Service::tcp("web", Network::VIP, &[80]).sources(sources);
    let names = Service::udp("names", Network::VIP, &[53]).sources(sources);
    format!(
        "{}{}",
        web.backends(BACKENDS, Site::HTTP),
        names.backends(BACKENDS, Site::UDP)
    )
}

/// Many prefixes beside the one of the unwelcome client, in which nobody is.
fn deny(beside: u32) -> String {
    let nets = (0..beside).map(|number| format!("\"{}/24\"", Ipv4Addr::from(0x1000_0000 + number * 512)));
    let nets: Vec<_> = nets.chain(["\"10.1.66.0/24\"".to_owned()]).collect();
    format!("deny = [{}]", nets.join(", "))
}

/// A file beside the daemon's own.
fn write(balancer: &Balancer<'_>, services: &str) -> PathBuf {
    let own = std::fs::read_to_string(balancer.config()).unwrap();
    balancer.configure(services);
    let path = balancer.directory().join("next.toml");
    std::fs::rename(balancer.config(), &path).unwrap();
    std::fs::write(balancer.config(), own).unwrap();
    path
}

#[track_caller]
fn succeed(balancer: &Balancer<'_>, arguments: &[&str]) {
    let output = balancer.command(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
}

fn apply(balancer: &Balancer<'_>, services: &str) {
    let file = write(balancer, services);
    succeed(balancer, &["apply", file.to_str().unwrap()]);
}

fn lookup(balancer: &Balancer<'_>, client: Ipv4Addr) -> Lookup {
    let request = Request::Lookup {
        service: "web".to_owned(),
        client: client.into(),
        port: Some(50_000),
        connection_id: None,
    };
    match balancer.ask(&request) {
        Response::Lookup(lookup) => lookup,
        other => panic!("{other:?} is no answer to a lookup"),
    }
}

fn denied(balancer: &Balancer<'_>) -> u64 {
    balancer.metric("balancer_drops_total{reason=\"source_denied\"}")
}

#[test]
fn a_client_is_kept_out_and_let_in_again_while_others_notice_nothing() {
    let site = site();
    let open = listed("deny = [\"203.0.113.0/24\"]");
    let mut balancer = site.start(&open);
    let ((), toll) = under_load(&site.network.client, Site::SERVERS, || {
        let mut kept =
            Connection::open(&site.network.client, Some(SocketAddr::from((UNWELCOME, 40_000))), VIP).unwrap();
        kept.get("/").unwrap();

        apply(&balancer, &listed(&deny(20_000)));
        let before = denied(&balancer);
        assert!(!is_served(&site, 40_001));
        assert!(denied(&balancer) > before);
        assert_eq!(lookup(&balancer, UNWELCOME).reason, LookupReason::Denied);
        assert_eq!(lookup(&balancer, UNWELCOME).backend, None);
        assert_eq!(lookup(&balancer, Network::CLIENT).reason, LookupReason::Maglev);
        let exported = String::from_utf8(balancer.command(&["export"]).stdout).unwrap();
        assert!(exported.contains("\"10.1.66.0/24\""));

        // Of what was applied, a daemon that comes back knows, and meanwhile the data plane does.
        balancer.kill();
        assert!(!is_served(&site, 40_002));
        balancer.run();
        assert_eq!(lookup(&balancer, UNWELCOME).reason, LookupReason::Denied);

        // The longer prefix lets it in, and its old connection with it.
        let exception = format!("{}\nallow = [\"0.0.0.0/0\", \"{UNWELCOME}/32\"]", deny(19_000));
        balancer.configure(&listed(&exception));
        succeed(&balancer, &["reload"]);
        kept.get("/").unwrap();
        assert!(is_served(&site, 40_003));

        for beside in [5, 4_000, 0, 4_001] {
            balancer.configure(&listed(&deny(beside)));
            succeed(&balancer, &["reload"]);
            assert_eq!(lookup(&balancer, UNWELCOME).reason, LookupReason::Denied);
            balancer.configure(&open);
            succeed(&balancer, &["reload"]);
            assert!(is_served(&site, 40_004));
        }
    });
    assert_eq!(toll.harms, []);
    assert!(toll.newcomers > 10 && toll.exchanges > 100, "{toll:?}");
}

/// A SYN from the unwelcome client, without what is below TCP.
fn request(port: u16) -> Vec<u8> {
    let packet = Packet::new(Transport::syn(), SocketAddr::from((UNWELCOME, port)), VIP);
    packet.frame()[packet.transport()..].to_vec()
}

#[test]
fn a_flood_from_one_client_is_held_back_while_another_connects_freely() {
    const RATE: u64 = 500;
    const BURST: u64 = 1_000;
    const FLOOD: usize = 20_000;
    let site = site();
    let limits = format!("new_flows_per_client = {{ rate = {RATE}, burst = {BURST} }}");
    let web = Service::tcp("web", Network::VIP, &[80])
        .limits(&limits)
        .backends(BACKENDS, Site::HTTP);
    let names = Service::udp("names", Network::VIP, &[53])
        .limits(&limits)
        .backends(BACKENDS, Site::UDP);
    let balancer = site.start(&format!("{web}{names}"));
    let limited = "balancer_drops_total{reason=\"client_limited\"}";
    let socket = site
        .network
        .client
        .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)));
    let socket = socket.unwrap();
    socket.bind(&SocketAddr::from((UNWELCOME, 0)).into()).unwrap();
    let (seconds, toll) = under_load(&site.network.client, Site::SERVERS, || {
        let mut ports = 10_000..;
        let mut send = |count| {
            for port in ports.by_ref().take(count) {
                socket
                    .send_to(&request(port), &SocketAddr::from((Network::VIP, 0)).into())
                    .unwrap();
            }
        };
        let begun = Instant::now();
        send(FLOOD);
        eventually("an answer that nothing more may begin", || {
            send(FLOOD / 40);
            let reason = lookup(&balancer, UNWELCOME).reason;
            (reason == LookupReason::Limited).then_some(())
        });
        assert_eq!(lookup(&balancer, Network::CLIENT).reason, LookupReason::Maglev);
        begun.elapsed().as_secs() + 1
    });
    assert_eq!(toll.harms, []);
    assert!(toll.newcomers > 10 && toll.exchanges > 100, "{toll:?}");
    // Whatever of the flood has got as far as the balancer.
    let refused = balancer.metric(limited);
    assert!(refused > FLOOD as u64 / 2, "{refused} of {FLOOD}");
    // The other client has some connections beside its newcomers'.
    let begun = balancer.metric("balancer_service_new_flows_total{service=\"web\"}");
    let most = BURST + RATE * seconds + toll.newcomers + 200;
    assert!(begun <= most, "{begun} flows in {seconds} s");
}

#[test]
fn a_trace_tells_who_is_kept_out() {
    let site = site();
    let balancer = site.start(&listed(&deny(0)));
    let tracer = Tracer::start(&balancer, &["--reason", "source_denied"]);
    assert!(!is_served(&site, 40_000));
    let told = tracer.told(1);
    assert_eq!(told[0]["service"], "web");
    assert_eq!(told[0]["source"], format!("{UNWELCOME}:40000"));
    assert_eq!(told[0]["fate"], "dropped");
    tracer.end();
}
