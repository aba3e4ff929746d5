//! What a packet and the tables cost as services, backends and flows become more.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use balancer::{
    maglev::TableSize,
    reconcile::{DesiredBackend, DesiredService},
};
use balancer_common::abi::{Forwarding, Tracking, protocol::TCP};
use serde::Serialize;

use super::{
    chart::{Chart, Group},
    machine::{self, Machine},
    output::{Output, print_table},
    packet::{Harness, Sample, Subject},
    progress::Progress,
    statistics::Summary,
};
use crate::packet::{Host, Interface, Room, Transport, backend, service};

const SERVICES: [u32; 5] = [1, 16, 256, 1_024, 8_192];
const BACKENDS: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const FLOWS: [u32; 5] = [1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 23];
/// Clients of the service whose backends are counted: more than there are slots, so that every backend gets packets.
const CLIENTS: u32 = 1 << 20;
const PACKETS: u32 = 50_000;

/// What is there more and more of.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Dimension {
    Services,
    Backends,
    Flows,
}

/// One point of a curve.
#[derive(Debug, Serialize)]
struct Point {
    dimension: Dimension,
    number: u32,
    nanoseconds: Summary,
    /// The median as a multiple of the stateless encapsulation's, measured in turn.
    multiple: f64,
    /// Memory of all maps.
    megabytes: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    machine: Machine,
    rounds: usize,
    points: Vec<Point>,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("scale");
    let mut points = Vec::new();
    for (dimension, numbers) in [
        (Dimension::Services, SERVICES),
        (Dimension::Backends, BACKENDS),
        (Dimension::Flows, FLOWS),
    ] {
        for number in numbers {
            progress.show(&format!("{number} {}", dimension.name()));
            points.push(measure(dimension, number, rounds).with_context(|| format!("{number} {}", dimension.name()))?);
        }
    }
    drop(progress);
    let report = Report {
        benchmark: "scale",
        machine: Machine::this(),
        rounds,
        points,
    };
    report.show(output)
}

fn measure(dimension: Dimension, number: u32, rounds: usize) -> anyhow::Result<Point> {
    let room = dimension.room(number);
    let mut measured = None;
    Host::run_with(room, |host| {
        measured = Some((|| {
            machine::stay_on_one_cpu()?;
            host.serve(dimension.services(number));
            let mut harness = Harness::load(host.dataplane().program_id()?)?;
            let sample = dimension.sample(number);
            let ingress = Interface::BACKENDS.index;
            harness.run(Subject::Balancer, &sample, ingress, 2 * sample.flows())?;
            let mut times = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                let subjects = [Subject::Nothing, Subject::Encapsulation, Subject::Balancer];
                for (times, subject) in times.iter_mut().zip(subjects) {
                    times.push(harness.run(subject, &sample, ingress, PACKETS)?);
                }
            }
            let [nothing, encapsulation, balancer] = times.map(Summary::of);
            let nanoseconds = balancer.above(nothing);
            Ok(Point {
                dimension,
                number,
                nanoseconds,
                multiple: nanoseconds.median / encapsulation.above(nothing).median,
                megabytes: machine::megabytes_of_maps()?,
            })
        })());
    });
    measured.context("the host has been played")?
}

impl Dimension {
    const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Backends => "backends",
            Self::Flows => "flows",
        }
    }

    fn room(self, number: u32) -> Room {
        let room = Room::default();
        match self {
            Self::Services => Room {
                services: number.max(room.services),
                backends: number.max(room.backends),
                ..room
            },
            Self::Backends => Room {
                backends: number.max(room.backends),
                ..room
            },
            Self::Flows => Room {
                flows: number + number / 4,
                ..room
            },
        }
    }

    fn services(self, number: u32) -> Vec<DesiredService> {
        match self {
            Self::Services => (0..number)
                .map(|number| DesiredService {
                    forwarding: Forwarding::Ipip,
                    tracking: Tracking::Changes,
                    ..service(
                        &format!("service-{number}"),
                        vip(number),
                        TCP,
                        &[80],
                        [numbered(number)],
                    )
                })
                .collect(),
            Self::Backends => vec![large("web", Tracking::Changes, number, 655_373)],
            Self::Flows => vec![large("web", Tracking::Full, 100, 65_537)],
        }
    }

    /// Packets to one service after the other, or of one client after the other.
    fn sample(self, number: u32) -> Sample {
        let service = SocketAddr::new(vip(0), 80);
        match self {
            Self::Services => Sample::requests_to_neighbours(Transport::ack(), service).of_flows(number),
            Self::Backends => Sample::request(Transport::ack(), service).of_flows(CLIENTS),
            Self::Flows => Sample::request(Transport::ack(), service).of_flows(number),
        }
    }
}

impl Report {
    fn show(&self, output: &Output) -> anyhow::Result<()> {
        let rows: Vec<Vec<String>> = self
            .points
            .iter()
            .map(|point| {
                let Summary { median, minimum, .. } = point.nanoseconds;
                vec![
                    format!("{} {}", point.number, point.dimension.name()),
                    format!("{median:.0} ({minimum:.0})"),
                    format!("× {:.1}", point.multiple),
                    format!("{:.0}", point.megabytes),
                ]
            })
            .collect();
        let header = ["", "ns per packet: median (minimum)", "× encapsulation", "MB of maps"];
        print_table(&header.map(str::to_owned), &rows);
        println!("{}", self.machine.describe());
        output.json("scale", self)?;
        let group = |point: &Point| Group {
            label: format!("{} {}", point.number, point.dimension.name()),
            values: vec![Some(point.multiple)],
        };
        let chart = Chart {
            title: "Cost of a packet as there is more of everything".to_owned(),
            subtitle: format!(
                "{}; IP in IP; services and backends with tracking \"changes\", flows with \"full\"",
                self.machine.describe()
            ),
            series: vec!["× stateless encapsulation".to_owned()],
            groups: self.points.iter().map(group).collect(),
            mark: None,
        };
        output.svg("scale", &chart.svg())
    }
}

fn large(name: &str, tracking: Tracking, backends: u32, slots: u32) -> DesiredService {
    DesiredService {
        forwarding: Forwarding::Ipip,
        tracking,
        table_size: TableSize::new(slots).expect("the size is a prime"),
        ..service(name, vip(0), TCP, &[80], (0..backends).map(numbered))
    }
}

/// The number is the end of the address.
fn vip(number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(100, a, b, c).into()
}

fn numbered(number: u32) -> DesiredBackend {
    let [_, a, b, c] = number.to_be_bytes();
    let address = Ipv4Addr::new(10, 64 | a, b, c);
    backend(SocketAddr::new(address.into(), 8080))
}
