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
    curves::{Curves, Panel},
    machine,
    output::Output,
    packet::{Harness, Sample, Subject},
    progress::Progress,
    report::Report,
    statistics::Summary,
    svg::Heading,
};
use crate::packet::{Host, Interface, Room, Transport, backend, service};

const SERVICES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const BACKENDS: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const FLOWS: [u32; 5] = [1 << 10, 1 << 13, 1 << 17, 1 << 20, 1 << 24];
/// How many times as long a packet may take with the most services and backends as with the least, and what is the most.
const BEARABLE: f64 = 1.3;
const MOST: u32 = 10_000;
/// Clients of the service whose backends are counted: more than there are slots, so that every backend gets packets.
const CLIENTS: u32 = 1 << 20;
const PACKETS: u32 = 50_000;

/// What is there more and more of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Dimension {
    /// Packets go to all of them.
    Services,
    /// Packets go to one of them.
    IdleServices,
    Backends,
    Flows,
}

/// One point of a curve.
#[derive(Debug, Serialize)]
struct Point {
    dimension: Dimension,
    number: u32,
    nanoseconds: Summary,
    /// Memory of all maps.
    megabytes: f64,
}

/// Runs the benchmark.
pub(super) fn run(rounds: usize, output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("scale");
    let mut points = Vec::new();
    for dimension in Dimension::ALL {
        for number in dimension.numbers() {
            progress.show(&format!("{number} {}", dimension.name()));
            points.push(measure(dimension, number, rounds).with_context(|| format!("{number} {}", dimension.name()))?);
        }
    }
    drop(progress);
    show(&Report::new("scale", rounds, points), output)
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
            let mut times = [const { Vec::new() }; 2];
            for _ in 0..rounds {
                let subjects = [Subject::Nothing, Subject::Balancer];
                for (times, subject) in times.iter_mut().zip(subjects) {
                    times.push(harness.run(subject, &sample, ingress, PACKETS)?);
                }
            }
            let [nothing, balancer] = times.map(Summary::of);
            Ok(Point {
                dimension,
                number,
                nanoseconds: balancer.above(nothing),
                megabytes: machine::megabytes_of_maps()?,
            })
        })());
    });
    measured.context("the host has been played")?
}

impl Dimension {
    const ALL: [Self; 4] = [Self::Services, Self::IdleServices, Self::Backends, Self::Flows];

    const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::IdleServices => "services, one in use",
            Self::Backends => "backends",
            Self::Flows => "flows",
        }
    }

    const fn numbers(self) -> [u32; 5] {
        match self {
            Self::Services | Self::IdleServices => SERVICES,
            Self::Backends => BACKENDS,
            Self::Flows => FLOWS,
        }
    }

    fn room(self, number: u32) -> Room {
        let room = Room::default();
        match self {
            Self::Services | Self::IdleServices => Room {
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
            Self::Services | Self::IdleServices => (0..number)
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

    /// Packets to one service after the other, or of one client after the other. They can be numbered up to a power of two.
    fn sample(self, number: u32) -> Sample {
        let service = SocketAddr::new(vip(0), 80);
        match self {
            Self::Services => Sample::requests_to_neighbours(Transport::ack(), service).of_flows(1 << number.ilog2()),
            Self::IdleServices | Self::Backends => Sample::request(Transport::ack(), service).of_flows(CLIENTS),
            Self::Flows => Sample::request(Transport::ack(), service).of_flows(number),
        }
    }
}

/// Prints, writes and draws it.
fn show(report: &Report<Point>, output: &Output) -> anyhow::Result<()> {
    let header = ["", "ns per packet: median (minimum)", "× the first", "MB of maps"];
    report.show(output, &header, |point| {
        let Summary { median, minimum, .. } = point.nanoseconds;
        vec![
            format!("{} {}", point.number, point.dimension.name()),
            format!("{median:.0} ({minimum:.0})"),
            format!("{:.2}", growth(&report.figures, point)),
            format!("{:.0}", point.megabytes),
        ]
    })?;
    for dimension in [Dimension::Services, Dimension::IdleServices, Dimension::Backends] {
        let most = report
            .figures
            .iter()
            .find(|point| point.dimension == dimension && point.number == MOST);
        let growth = most.map_or(f64::NAN, |point| growth(&report.figures, point));
        println!(
            "{}: a packet with {MOST} takes × {growth:.2} of that with {}; × {BEARABLE} is bearable",
            dimension.name(),
            dimension.numbers()[0]
        );
    }
    report.draw(output, &drawing(report).svg())
}

/// How many times as long a packet takes as with the least of what there is more of here. The minima are compared: the two
/// were not measured in turn, and what disturbs one does not disturb the other.
fn growth(points: &[Point], point: &Point) -> f64 {
    let first = points.iter().find(|first| first.dimension == point.dimension);
    first.map_or(f64::NAN, |first| point.nanoseconds.minimum / first.nanoseconds.minimum)
}

fn drawing(report: &Report<Point>) -> Curves {
    let curves = |value: &dyn Fn(&Point) -> f64| {
        let curve = |dimension| {
            let points = report.figures.iter().filter(|point| point.dimension == dimension);
            points.map(|point| (f64::from(point.number), value(point))).collect()
        };
        Dimension::ALL.map(curve).to_vec()
    };
    Curves {
        heading: Heading {
            title: "Cost of a packet, and memory, as there is more of everything".to_owned(),
            subtitle: format!(
                "{}; IP in IP; services and backends with tracking \"changes\", flows with \"full\"",
                report.machine()
            ),
            series: Dimension::ALL.map(|dimension| dimension.name().to_owned()).to_vec(),
        },
        panels: vec![
            Panel {
                label: "a packet, × that with the least".to_owned(),
                curves: curves(&|point| growth(&report.figures, point)),
                mark: Some(BEARABLE),
            },
            Panel {
                label: "megabytes of maps".to_owned(),
                curves: curves(&|point| point.megabytes),
                mark: None,
            },
        ],
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
