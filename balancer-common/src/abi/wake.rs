//! What the XDP program tells the daemon of suspended backends.

use super::record;

/// A packet has come for a suspended backend.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WakeRequest {
    /// The backend's index.
    pub backend: u32,
    /// The [incarnation](super::Backend::incarnation) of the index that is meant.
    pub incarnation: u32,
}
record!(WakeRequest { backend, incarnation }, 8);

impl WakeRequest {
    /// Reads a record as it comes out of the buffer; `None` if `bytes` are not as many as it has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&backend, rest) = bytes.split_first_chunk::<4>()?;
        let incarnation = rest.try_into().ok()?;
        Some(Self {
            backend: u32::from_ne_bytes(backend),
            incarnation: u32::from_ne_bytes(incarnation),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_from_its_bytes_and_from_no_others() {
        let bytes = [[1, 2, 3, 4], [5, 6, 7, 8]]
            .map(u32::from_ne_bytes)
            .map(u32::to_ne_bytes);
        let bytes = bytes.as_flattened();
        let expected = WakeRequest {
            backend: u32::from_ne_bytes([1, 2, 3, 4]),
            incarnation: u32::from_ne_bytes([5, 6, 7, 8]),
        };
        assert_eq!(WakeRequest::from_bytes(bytes), Some(expected));
        assert_eq!(WakeRequest::from_bytes(&bytes[1..]), None);
        assert_eq!(WakeRequest::from_bytes(&[bytes, &[0]].concat()), None);
    }
}
