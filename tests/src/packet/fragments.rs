//! Packets in pieces.

use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, ip_number};

/// Divides the packet in a frame whose IP header, without extension headers, is at `network` into fragments that carry `size`
/// bytes each, a multiple of eight, and the rest.
///
/// # Panics
///
/// If there is no such packet in it.
pub fn fragments(frame: &[u8], network: usize, size: usize) -> Vec<Vec<u8>> {
    assert_eq!(size % 8, 0, "a fragment's offset counts in eight bytes");
    let (link, packet) = frame.split_at(network);
    let is_v4 = packet[0] >> 4 == 4;
    let header_len = if is_v4 {
        usize::from(packet[0] & 0x0f) * 4
    } else {
        Ipv6Header::LEN
    };
    let pieces: Vec<_> = packet[header_len..].chunks(size).collect();
    let fragment = |(index, piece): (usize, &&[u8])| {
        let more = index + 1 < pieces.len();
        let offset = u16::try_from(index * size / 8).expect("the packet is not too long");
        let offset = IpFragOffset::try_new(offset).expect("the packet is not too long");
        let header = if is_v4 {
            let (mut header, _) = Ipv4Header::from_slice(packet).expect("an IPv4 packet");
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = offset;
            header.set_payload_len(piece.len()).expect("it became shorter");
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        } else {
            let (mut header, _) = Ipv6Header::from_slice(packet).expect("an IPv6 packet");
            let fragment = Ipv6FragmentHeader::new(header.next_header, offset, more, 0x1234_5678);
            header.next_header = ip_number::IPV6_FRAG;
            header
                .set_payload_length(Ipv6FragmentHeader::LEN + piece.len())
                .expect("it became shorter");
            [header.to_bytes().to_vec(), fragment.to_bytes().to_vec()].concat()
        };
        [link, &header, piece].concat()
    };
    pieces.iter().enumerate().map(fragment).collect()
}
