//! Three hosts in network namespaces: the one under test and a neighbour on each of its interfaces.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, UdpSocket},
    os::fd::AsFd as _,
    panic,
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use balancer_common::abi::NextHop;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long to wait for what must happen. Less than the time between two complete readings of the kernel's state, so
/// that those do not stand in for notifications.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The next hop of what the near neighbour answers for.
pub(crate) const VIA_NEAR: NextHop = NextHop {
    interface: 10,
    destination: [2, 0, 0, 0, 1, 2],
    source: [2, 0, 0, 0, 1, 1],
};

/// The next hop of what the far neighbour answers for.
pub(crate) const VIA_FAR: NextHop = NextHop {
    interface: 20,
    destination: [2, 0, 0, 0, 2, 2],
    source: [2, 0, 0, 0, 2, 1],
};

/// The hosts, as drawn in the test that uses them.
pub(crate) struct Lab {
    pub(crate) host: Namespace,
    pub(crate) near: Namespace,
    far: Namespace,
}

impl Lab {
    /// Runs `scenario` on the host under test, on a thread and a Tokio runtime of its own.
    pub(crate) fn run(scenario: impl AsyncFnOnce(&Lab) + Send) {
        let lab = Self::build();
        lab.host.within(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(scenario(&lab));
        });
    }

    fn build() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // The process's number comes first, as other test processes remove what those that have gone left over.
        let namespace = |role| Namespace::create(format!("blt-{}-nb{number}-{role}", process::id()));
        let lab = Self {
            host: namespace("host"),
            near: namespace("near"),
            far: namespace("far"),
        };
        lab.host.ip("link set lo up");
        for (network, peer) in [(1, &lab.near), (2, &lab.far)] {
            let interface = format!("eth{}", network - 1);
            lab.host.ip(&format!(
                "link add {interface} index {network}0 address 02:00:00:00:0{network}:01 type veth \
                 peer name eth0 address 02:00:00:00:0{network}:02 netns {}",
                peer.name
            ));
            for (end, interface, last) in [(peer, "eth0", 2), (&lab.host, interface.as_str(), 1)] {
                end.ip(&format!("address add 10.{network}.0.{last}/24 dev {interface}"));
                end.ip(&format!("address add fd0{network}::{last}/64 dev {interface}"));
                end.ip(&format!("link set {interface} up"));
            }
        }
        lab
    }
}

/// A network namespace, deleted when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn create(name: String) -> Self {
        ip(&["netns", "add", &name], "");
        let namespace = Self { name };
        // Addresses are usable at once instead of after a second of listening for duplicates.
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0");
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace
    }

    /// Runs `ip` here with arguments separated by spaces. Returns what it prints.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let own = ["-netns", &self.name];
        ip(&own.into_iter().chain(arguments.split(' ')).collect::<Vec<_>>(), "")
    }

    /// Runs `ip` here once for many commands.
    pub(crate) fn ip_batch(&self, commands: &[String]) {
        ip(&["-netns", &self.name, "-batch", "-"], &commands.join("\n"));
    }

    /// Sets a kernel parameter, named by its path.
    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        self.within(|| fs::write(format!("/proc/sys/{path}"), value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Has the kernel give up on neighbours that do not answer, and doubt those that do, sooner than it would.
    pub(crate) fn hurry(&self) {
        for family in ["ipv4", "ipv6"] {
            for (parameter, value) in [
                ("retrans_time_ms", "50"),
                ("mcast_solicit", "1"),
                ("ucast_solicit", "1"),
                ("delay_first_probe_time", "0"),
                ("base_reachable_time_ms", "100"),
            ] {
                self.sysctl(&format!("net/{family}/neigh/eth0/{parameter}"), value);
            }
        }
    }

    /// Sends a packet to `destination`, before which that is asked for its MAC.
    pub(crate) fn say_hello(&self, destination: &str) {
        let destination: IpAddr = destination.parse().unwrap();
        self.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"hello", (destination, 9)).unwrap();
        });
    }

    /// Runs `action` on a thread in this namespace.
    pub(crate) fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                action()
            });
            inside.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "delete", &self.name]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} is left over", self.name);
        }
    }
}

fn ip(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "ip {arguments:?}: {status}");
    String::from_utf8(stdout).unwrap()
}
