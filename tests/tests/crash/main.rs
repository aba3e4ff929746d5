//! A daemon that is killed while it applies a configuration: the next one completes it, and nobody notices.

mod held;
mod moment;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Servers, Service, under_load};
use held::{Held, View};
use moment::{Moment, Names};

const HTTP: u16 = 8080;
const UDP: u16 = 5300;
const BACKENDS: u8 = 3;
const SERVERS: Servers = Servers {
    http: SocketAddr::new(IpAddr::V4(Network::VIP), 80),
    udp: SocketAddr::new(IpAddr::V4(Network::VIP), 53),
};
/// Services beside those with traffic that a file has: half of them come, half of them go with the next file.
const CROWD: u32 = 20;
/// Backends of each of them.
const COMPANIONS: u16 = 20;
/// How many backends come, and how many go.
const MOVING: usize = CROWD as usize / 2 * COMPANIONS as usize;

/// When the daemon is killed.
const MOMENTS: [Moment; 8] = [
    Moment::After(Duration::from_millis(2)),
    Moment::BackendCame(0),
    Moment::BackendCame(MOVING / 3),
    Moment::BackendCame(MOVING - 1),
    Moment::ServiceCame(0),
    Moment::ServiceWent(0),
    Moment::BackendWent(0),
    Moment::BackendWent(MOVING / 2),
];

/// The two configurations that follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

impl Version {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The services of the configuration, those with traffic first. Their tables change too.
    fn services(self) -> String {
        let (weight, first) = match self {
            Self::First => (100, 0),
            Self::Second => (30, CROWD / 2),
        };
        // The clients with traffic are in neither.
        let denied: Vec<_> = (0..3_000_u32)
            .map(|number| Ipv4Addr::from(0x1000_0000 + (number + first) * 512))
            .map(|net| format!("\"{net}/24\""))
            .chain((0..first / 2).map(|last| format!("\"203.0.113.{last}/32\"")))
            .collect();
        let web = Service::tcp("web", Network::VIP, &[80])
            .key("tracking = \"changes\"")
            .sources(&format!("deny = [{}]", denied.join(", ")));
        let names = Service::udp("names", Network::VIP, &[53]);
        let mut text = format!("{}{}", web.backends(BACKENDS, HTTP), names.backends(BACKENDS, UDP))
            .replace("name = \"b1\"", &format!("name = \"b1\"\nweight = {weight}"));
        text.extend((first..first + CROWD).map(|number| bystander(number).to_string()));
        text.replace("-0\"\n", &format!("-0\"\nweight = {weight}\n"))
    }
}

/// A service without traffic, with backends that are ports of the three hosts.
fn bystander(number: u32) -> Service {
    let name = format!("s{number:02}");
    let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
    let service = Service::tcp(&name, vip, &[80, 443]).key("maglev_size = 251");
    (0..COMPANIONS).fold(service, |service, companion| {
        let host = Network::backend(u8::try_from(companion % u16::from(BACKENDS)).expect("few hosts"));
        service.backend(&format!("{name}-{companion}"), &format!("{host}:{}", 9_000 + companion))
    })
}

/// Writes a file for `apply`.
fn write(balancer: &Balancer<'_>, version: Version) -> PathBuf {
    let path = balancer.directory().join("next.toml");
    balancer.configure(&version.services());
    fs::rename(balancer.config(), &path).expect("the directory can be written to");
    balancer.configure(&Version::First.services());
    path
}

#[test]
fn a_daemon_that_starts_completes_what_another_was_killed_in_the_middle_of() {
    let network = Network::new(Arms::Two, BACKENDS);
    let (_http, _udp) = (Farm::http(&network, HTTP), Farm::udp(&network, UDP));
    let mut balancer = Balancer::start(&network.balancer, &network.interfaces, &Version::First.services());

    // What each version looks like where nothing went wrong.
    let apply = |balancer: &Balancer<'_>, version| {
        let file = write(balancer, version);
        let output = balancer.command(&["apply", &file.display().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        View::of(balancer)
    };
    let second = apply(&balancer, Version::Second);
    let first = apply(&balancer, Version::First);
    assert_ne!(first, second);
    let view = |version| if version == Version::First { &first } else { &second };
    balancer.stop();
    let held = Held::by(&balancer);
    balancer.run();

    let mut running = Version::First;
    let (middles, toll) = under_load(&network.client, SERVERS, || {
        let mut middles = 0;
        for moment in MOMENTS {
            let names = Names::open(&balancer.settings.pin_path);
            let next = write(&balancer, running.other());
            let before = names.read();
            moment.kill_during(&mut balancer, &next, &names, &before);
            let moved = names.read().differences(&before);
            middles += usize::from(moved > 0 && moved < 2 * (MOVING + CROWD as usize / 2));

            balancer.run();
            let now = View::of(&balancer);
            // What was written down before the kernel was told is what counts.
            let reached = if moved > 0 || now == *view(running.other()) {
                running.other()
            } else {
                running
            };
            assert_eq!(now, *view(reached), "{moment:?}");
            running = reached;
        }
        middles
    });
    assert_eq!(toll.harms, []);
    assert!(middles >= 4, "{middles} of {} kills hit the middle", MOMENTS.len());

    if running == Version::Second {
        apply(&balancer, Version::First);
    }
    balancer.stop();
    assert_eq!(Held::by(&balancer), held);
}
