//! What cannot work is refused with a line that says why, and leaves nothing behind.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    process::{Command, ExitStatus},
};

use balancer_tests::lab::{Arms, Balancer, Farm, Network, Service, get, program};
use serde_json::Value;

/// Asserts that a daemon has failed with this exit code and one line for each of these.
fn assert_failed((status, output): (ExitStatus, String), code: i32, expected: &[&str]) {
    assert_eq!(status.code(), Some(code), "{output}");
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

fn assert_nothing_is_left(network: &Network, balancer: &Balancer<'_>) {
    for name in &network.interfaces {
        assert_eq!(network.balancer.xdp(name), None, "{name}");
    }
    let pins = &balancer.settings.pin_path;
    assert!(!pins.exists(), "{} is left", pins.display());
    let socket = &balancer.settings.socket;
    assert!(!socket.exists(), "{} is left", socket.display());
}

fn web() -> String {
    Service::tcp("web", Network::VIP, &[80]).backends(1, 8080).to_string()
}

#[test]
fn an_invalid_configuration_is_refused_with_the_place_of_each_mistake() {
    let network = Network::new(Arms::Two, 0);
    let service = "version = 1\n[dataplane]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\n";
    let cases: [(String, &[&str]); 5] = [
        (
            "[dataplane]\ninterfaces = [\"eth0\"]\n".to_owned(),
            &[r#"1:1: the file lacks "version"; add version = 1"#],
        ),
        (
            "version = 1\n[dataplane\n".to_owned(),
            &["2:11: this is not TOML: unclosed table, expected `]`"],
        ),
        (
            "version = 1\n[dataplane]\ninterfaces = \"eth0\"\n".to_owned(),
            &["3:14: interfaces must be an array, not a string; put it in square brackets"],
        ),
        (
            format!("{service}address = \"192.0.2.300\"\nports = [80]\n"),
            &[r#"6:11: address = "192.0.2.300" is not an IP address; write it like "192.0.2.10" or "2001:db8::10""#],
        ),
        (
            format!("{service}address = \"192.0.2.1\"\nports = [0]\nmaglev_size = 10\n"),
            &[
                "7:10: port = 0 is out of range; use 1 to 65535",
                "8:15: maglev_size = 10 is not a prime; use 7 or 11",
            ],
        ),
    ];
    for (text, mistakes) in cases {
        let balancer = Balancer::new(&network.balancer, &network.interfaces, "");
        let file = balancer.config();
        fs::write(&file, text).unwrap();
        let expected: Vec<_> = mistakes
            .iter()
            .map(|mistake| format!("{}:{mistake}", file.display()))
            .collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        assert_failed(balancer.run_to_failure(), 3, &expected);
        let check = balancer.command(&["check", file.to_str().unwrap()]);
        assert_failed((check.status, String::from_utf8(check.stderr).unwrap()), 3, &expected);
        assert_nothing_is_left(&network, &balancer);
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_may_be_meant() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    let file = balancer.config();
    fs::write(
        &file,
        "version = 1\n[dataplane]\ninterfaces = [\"eth0\"]\nxpd_mode = \"auto\"\n",
    )
    .unwrap();
    let (status, told) = balancer.run_to_failure();
    assert_eq!(status.code(), Some(3), "{told}");
    let start = format!(
        r#"{}:4:1: unknown key "xpd_mode" in [dataplane]; did you mean "xdp_mode"?"#,
        file.display()
    );
    assert!(told.starts_with(&start), "{told}");
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn a_configuration_that_is_not_there_is_refused() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    let file = balancer.config();
    fs::remove_file(&file).unwrap();
    let file = file.display();
    let expected =
        format!("{file}: cannot be read (No such file or directory (os error 2)); check the path and its permissions");
    assert_failed(balancer.run_to_failure(), 3, &[&expected]);
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn an_interface_that_does_not_exist_is_refused() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &["eth0", "eth7"], &web());
    let expected = "balancer: dataplane.interfaces: there is no interface eth7; there are eth0, eth1, lo";
    assert_failed(balancer.run_to_failure(), 1, &[expected]);
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn anybody_but_root_is_refused() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &network.interfaces, &web());
    // Nobody can read what is in the home directory of a developer.
    let directory = balancer.directory();
    fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
    let copy = directory.join("balancer");
    fs::copy(program("balancer"), &copy).unwrap();
    let mut command: Command = network.balancer.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy)
        .args(["run", "--config"])
        .arg(balancer.config());
    let expected = "balancer: no permission to use BPF: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
    assert_failed(balancer.run_command_to_failure(&mut command), 1, &[expected]);
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn a_metrics_port_that_is_taken_is_refused() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &network.interfaces, &web());
    let address = balancer.settings.metrics;
    let _taken = network.balancer.enter(|| TcpListener::bind(address)).unwrap();
    let expected = format!(
        "balancer: cannot listen at metrics.listen {address}: choose another address or port: \
         Address already in use (os error 98)"
    );
    assert_failed(balancer.run_to_failure(), 1, &[&expected]);
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn an_interface_with_another_xdp_program_is_refused_and_the_others_are_let_go() {
    let network = Network::new(Arms::Two, 0);
    let balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    let _program = network.balancer.pass("eth1");
    let other = network.balancer.xdp("eth1");
    let id = other.unwrap().id;
    let expected = format!(
        "balancer: eth1: another XDP program (id {id}) is attached: remove it (`ip link set dev eth1 xdp off`, or stop \
         its owner)"
    );
    assert_failed(balancer.run_to_failure(), 1, &[&expected]);
    assert_eq!(network.balancer.xdp("eth0"), None);
    assert_eq!(network.balancer.xdp("eth1"), other);
    assert!(!balancer.settings.pin_path.exists());
}

#[test]
fn pins_outside_of_a_bpf_file_system_are_refused() {
    let network = Network::new(Arms::Two, 0);
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    balancer.settings.pin_path = balancer.directory().join("pins");
    balancer.configure(&web());
    let expected = format!(
        "balancer: dataplane.pin_path {} is not on a BPF file system: choose one under /sys/fs/bpf",
        balancer.settings.pin_path.display()
    );
    assert_failed(balancer.run_to_failure(), 1, &[&expected]);
    assert_nothing_is_left(&network, &balancer);
}

#[test]
fn a_second_daemon_on_the_same_pins_or_socket_is_refused_and_the_first_goes_on() {
    let network = Network::new(Arms::Two, 1);
    let _servers = Farm::http(&network, 8080);
    let first = Balancer::start(&network.balancer, &network.interfaces, &web());
    let pins = first.settings.pin_path.clone();
    let socket = first.settings.socket.clone();
    let programs = [network.balancer.xdp("eth0"), network.balancer.xdp("eth1")];

    let mut second = Balancer::new(&network.balancer, &network.interfaces, "");
    second.settings.metrics = (Ipv4Addr::LOCALHOST, 9311).into();
    let own = (second.settings.pin_path.clone(), second.settings.socket.clone());
    let same_pins = format!(
        "balancer: another daemon owns the data plane at {}: stop it, or give this one its own dataplane.pin_path",
        pins.display()
    );
    let same_socket = format!(
        "balancer: another daemon listens at {}: stop it, or give this one its own control.socket",
        socket.display()
    );
    for (pin_path, socket, expected) in [(pins, own.1, same_pins), (own.0, socket, same_socket)] {
        second.settings.pin_path = pin_path;
        second.settings.socket = socket;
        second.configure(&web());
        assert_failed(second.run_to_failure(), 1, &[&expected]);
    }

    assert_eq!([network.balancer.xdp("eth0"), network.balancer.xdp("eth1")], programs);
    assert_eq!(
        get(&network.client, SocketAddr::from((Network::VIP, 80)), "/")
            .unwrap()
            .status,
        200
    );
    let status: Value = first.json(&["status"]);
    assert_eq!(status["services"], 1);
}

#[test]
fn commands_without_a_daemon_or_about_what_is_not_there_have_codes_of_their_own() {
    let network = Network::new(Arms::Two, 1);
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, &web());
    let code = |balancer: &Balancer<'_>, arguments: &[&str]| {
        let output = balancer.command(arguments);
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert_ne!(output.stderr, b"", "{arguments:?}");
        output.status.code()
    };
    assert_eq!(code(&balancer, &["status"]), Some(4));
    balancer.run();
    assert_eq!(code(&balancer, &["backend", "list", "other"]), Some(5));
    assert_eq!(code(&balancer, &["lookup", "other", "10.1.0.2:40000"]), Some(5));
    assert_eq!(code(&balancer, &["lookup", "web", "[fd00:1::2]:40000"]), Some(2));
    assert_eq!(code(&balancer, &["frobnicate"]), Some(2));
}
