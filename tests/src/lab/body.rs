//! Large bodies, made and checked while they pass.

use std::{
    io::{self, Read},
    net::SocketAddr,
};

use super::{Connection, Namespace};

/// A fixed sequence of bytes without an end, which repeats itself later than anything that is sent here.
#[derive(Clone, Debug)]
pub struct Sequence {
    state: u32,
    /// Bytes of the state that have been handed out.
    used: usize,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            state: 1,
            used: size_of::<u32>(),
        }
    }
}

impl Read for Sequence {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *buffer {
            if self.used == size_of::<u32>() {
                // A linear congruential generator (Knuth, TAOCP volume 2, 3.3.4): its period is 2^32 states.
                self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                self.used = 0;
            }
            *byte = self.state.to_le_bytes()[self.used];
            self.used += 1;
        }
        Ok(buffer.len())
    }
}

/// A checksum: 64-bit FNV-1a.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Takes in everything that `source` still holds, and counts it.
    pub fn update_from(&mut self, mut source: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        loop {
            let length = source.read(&mut buffer)?;
            if length == 0 {
                return Ok(total);
            }
            self.update(&buffer[..length]);
            total += length as u64;
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Sends a body of so many bytes each way over one connection between a client and an HTTP server.
///
/// # Panics
///
/// If anything else arrives.
#[track_caller]
pub fn assert_bodies_arrive_whole(client: &Namespace, server: SocketAddr, length: u64) {
    let mut expected = Checksum::default();
    let bytes = expected.update_from(Sequence::default().take(length));
    assert_eq!(bytes.expect("a sequence can be read"), length);

    let mut connection = Connection::open(client, None, server).expect("the server takes the connection");
    let mut downloaded = Checksum::default();
    let path = format!("/bytes/{length}");
    let body = connection.download(&path);
    let bytes = downloaded.update_from(body.expect("the server sends"));
    assert_eq!(
        (bytes.expect("it is sent to its end"), downloaded),
        (length, expected),
        "{server}"
    );

    let uploaded = connection.upload("/sum", Sequence::default(), length);
    assert_eq!(
        uploaded.expect("the server receives").text(),
        expected.to_string(),
        "{server}"
    );
}
