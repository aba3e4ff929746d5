//! The data plane's own answer to where a packet would go.

use super::{Tick, record};

/// Why a packet goes where it goes.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No service has the packet's destination.
    NoService = 0,
    /// The flow is remembered.
    Flow = 1,
    /// The flow is new, and the service's Maglev table says so.
    Maglev = 2,
    /// No backend may take the packet.
    NoBackend = 3,
    /// The flow is new, and its client is remembered.
    Affinity = 4,
    /// The flow is new, and its client is pinned.
    Pin = 5,
    /// The packet's QUIC connection ID names the backend.
    Connection = 6,
    /// The service's source lists do not admit the client.
    Denied = 7,
    /// As many new flows of the client or of the service have begun as may for now.
    Limited = 8,
}

impl Reason {
    /// The reason with the given number.
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::NoService),
            1 => Some(Self::Flow),
            2 => Some(Self::Maglev),
            3 => Some(Self::NoBackend),
            4 => Some(Self::Affinity),
            5 => Some(Self::Pin),
            6 => Some(Self::Connection),
            7 => Some(Self::Denied),
            8 => Some(Self::Limited),
            _ => None,
        }
    }
}

/// What the `explain` program writes over the packet that it was asked about. Integers are in the host's order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Explanation {
    /// A [`Reason`].
    pub reason: u32,
    /// The service's index.
    pub service: u32,
    /// The backend's index; 0 where there is none.
    pub backend: u32,
    /// The slot of the Maglev table that the client's hash falls on.
    pub slot: u32,
    /// When the explanation was given.
    pub moment: Tick,
}
record!(
    Explanation {
        reason,
        service,
        backend,
        slot,
        moment
    },
    20
);

impl Explanation {
    /// Bytes of the record.
    pub const LEN: usize = size_of::<Self>();

    /// The record as it is written over the packet.
    #[inline(always)]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let words = [self.reason, self.service, self.backend, self.slot, self.moment.bits()];
        let (chunks, _) = bytes.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_ne_bytes();
        }
        bytes
    }

    /// Reads the record back; `None` if `bytes` are too few.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.first_chunk::<{ Self::LEN }>()?.as_chunks();
        let &[reason, service, backend, slot, moment] = words else {
            return None;
        };
        Some(Self {
            reason: u32::from_ne_bytes(reason),
            service: u32::from_ne_bytes(service),
            backend: u32::from_ne_bytes(backend),
            slot: u32::from_ne_bytes(slot),
            moment: Tick::from_bits(u32::from_ne_bytes(moment)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_its_number_says() {
        for reason in [
            Reason::NoService,
            Reason::Flow,
            Reason::Maglev,
            Reason::NoBackend,
            Reason::Affinity,
            Reason::Pin,
            Reason::Connection,
            Reason::Denied,
            Reason::Limited,
        ] {
            assert_eq!(Reason::from_u32(reason as u32), Some(reason));
        }
        assert_eq!(Reason::from_u32(9), None);
        assert_eq!(Reason::from_u32(u32::MAX), None);
    }

    #[test]
    fn the_bytes_are_those_of_the_record() {
        let explanation = Explanation {
            reason: Reason::Maglev as u32,
            service: 0x0102_0304,
            backend: u32::MAX,
            slot: 65_536,
            moment: Tick::from_bits(77),
        };
        let bytes = explanation.to_bytes();
        let words = [2_u32, 0x0102_0304, u32::MAX, 65_536, 77].map(u32::to_ne_bytes);
        assert_eq!(bytes, *words.as_flattened());
        assert_eq!(Explanation::from_bytes(&bytes), Some(explanation));
    }

    #[test]
    fn what_follows_the_record_does_not_matter_and_too_little_is_none() {
        let bytes = [7; Explanation::LEN + 1];
        assert_eq!(
            Explanation::from_bytes(&bytes),
            Explanation::from_bytes(&bytes[..Explanation::LEN])
        );
        for length in 0..Explanation::LEN {
            assert_eq!(Explanation::from_bytes(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn nothing_known_is_no_service() {
        assert_eq!(Reason::from_u32(Explanation::default().reason), Some(Reason::NoService));
    }
}
