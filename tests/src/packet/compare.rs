//! What the program did with a frame, against what it should have done.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use balancer::dataplane;
use etherparse::{LinkHeader, NetHeaders, PacketHeaders, TransportHeader};

/// An XDP action (`enum xdp_action` in linux/bpf.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The program failed.
    Aborted,
    /// The frame is dropped.
    Drop,
    /// The kernel gets the frame.
    Pass,
    /// The frame leaves by the interface that it came in by.
    Transmit,
    /// The frame leaves by another interface.
    Redirect,
}

impl From<u32> for Action {
    fn from(action: u32) -> Self {
        match action {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            action => panic!("there is no XDP action {action}"),
        }
    }
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What is done with it.
    pub action: Action,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

impl From<dataplane::Outcome> for Outcome {
    fn from(outcome: dataplane::Outcome) -> Self {
        Self {
            action: outcome.action.into(),
            frame: outcome.packet,
        }
    }
}

impl Outcome {
    /// # Panics
    ///
    /// If the outcome is another one, with the difference.
    #[track_caller]
    pub fn assert(&self, case: &str, action: Action, frame: &[u8]) {
        assert!(
            self.action == action && self.frame == frame,
            "{case}: {:?} instead of {action:?}\n{}",
            self.action,
            difference(frame, &self.frame),
        );
    }
}

/// The header fields and then the rows of bytes in which two frames differ.
fn difference(expected: &[u8], actual: &[u8]) -> String {
    if expected == actual {
        return "the frame is as expected".to_owned();
    }
    let mut text = String::from("- expected\n+ actual\n");
    let (expected_fields, actual_fields) = (fields(expected), fields(actual));
    for (expected, actual) in expected_fields.iter().zip(&actual_fields) {
        if expected != actual {
            write_pair(&mut text, "", expected, actual);
        }
    }
    let rows = expected.len().max(actual.len()).div_ceil(ROW);
    for row in 0..rows {
        let (expected, actual) = (row_of(expected, row), row_of(actual, row));
        if expected != actual {
            write_pair(&mut text, &format!("{:04x}", row * ROW), &hex(expected), &hex(actual));
        }
    }
    text
}

/// Bytes in a row.
const ROW: usize = 16;

fn row_of(frame: &[u8], row: usize) -> &[u8] {
    frame.chunks(ROW).nth(row).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, " {byte:02x}").expect("a string takes any text");
        text
    })
}

fn write_pair(text: &mut String, label: &str, expected: &str, actual: &str) {
    writeln!(text, "- {label}{expected}\n+ {label}{actual}").expect("a string takes any text");
}

/// The fields that are translated, each with its name. What else differs shows in the rows of bytes.
fn fields(frame: &[u8]) -> Vec<String> {
    let Ok(packet) = PacketHeaders::from_ethernet_slice(frame) else {
        return Vec::new();
    };
    let mut fields = Vec::new();
    if let Some(LinkHeader::Ethernet2(link)) = packet.link {
        fields.push(format!("MAC of the receiver: {:02x?}", link.destination));
        fields.push(format!("MAC of the sender: {:02x?}", link.source));
    }
    match packet.net {
        Some(NetHeaders::Ipv4(ip, _)) => {
            fields.push(format!("TTL: {}", ip.time_to_live));
            fields.push(format!("IPv4 checksum: {:04x}", ip.header_checksum));
            fields.push(format!("source: {}", Ipv4Addr::from(ip.source)));
            fields.push(format!("destination: {}", Ipv4Addr::from(ip.destination)));
        }
        Some(NetHeaders::Ipv6(ip, _)) => {
            fields.push(format!("hop limit: {}", ip.hop_limit));
            fields.push(format!("source: {}", Ipv6Addr::from(ip.source)));
            fields.push(format!("destination: {}", Ipv6Addr::from(ip.destination)));
        }
        _ => {}
    }
    let ports_and_checksum = match packet.transport {
        Some(TransportHeader::Tcp(tcp)) => Some((tcp.source_port, tcp.destination_port, tcp.checksum)),
        Some(TransportHeader::Udp(udp)) => Some((udp.source_port, udp.destination_port, udp.checksum)),
        _ => None,
    };
    if let Some((source, destination, checksum)) = ports_and_checksum {
        fields.push(format!("source port: {source}"));
        fields.push(format!("destination port: {destination}"));
        fields.push(format!("TCP or UDP checksum: {checksum:04x}"));
    }
    fields
}
