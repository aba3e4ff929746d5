use etherparse::ip_number;

use super::*;

#[test]
fn a_payload_length_that_does_not_fit_is_malformed() {
    for sample in [
        Sample::new(Family::V6, ip_number::TCP),
        Sample::new(Family::V6, ip_number::UDP),
    ] {
        let payload = sample.headers().length as u16 - 40;
        // No payload length at all is that of a jumbogram (RFC 2675), which is not supported.
        for length in [0, payload + 1, u16::MAX] {
            let frame = spoiled(&sample, |frame| {
                put(
                    frame,
                    sample.network() + ipv6_field::PAYLOAD_LENGTH,
                    length.to_be_bytes(),
                );
            });
            assert_eq!(parse(frame.as_slice()), malformed(&sample), "{length} bytes");
        }
    }
}

/// One of each kind, where RFC 8200, 4.1 wants it.
fn all_extensions() -> [Extension; 6] {
    [
        Extension::HopByHop(0),
        Extension::Destination(1),
        Extension::Routing {
            segments_left: 0,
            units: 2,
        },
        Extension::ATOMIC_FRAGMENT,
        Extension::Authentication(3),
        Extension::Destination(0),
    ]
}

#[test]
fn extension_headers_are_looked_through_alone_and_together() {
    for protocol in [ip_number::TCP, ip_number::UDP] {
        for extension in all_extensions() {
            assert_parsed(&Sample::extended(protocol, [extension]));
        }
        for count in 2..=6 {
            assert_parsed(&Sample::extended(protocol, &all_extensions()[..count]));
        }
    }
}

#[test]
fn a_longer_chain_than_is_looked_through_is_malformed() {
    for seventh in all_extensions().into_iter().skip(1) {
        let chain = all_extensions().into_iter().chain([seventh]).collect::<Vec<_>>();
        let sample = Sample::extended(ip_number::TCP, chain);
        assert_eq!(parse(sample.frame().as_slice()), malformed(&sample), "{sample:?}");
    }
}

#[test]
fn the_length_unit_of_each_extension_header_is_its_own() {
    for units in [0, 1, 2, 255] {
        for extension in [
            Extension::HopByHop(units),
            Extension::Destination(units),
            Extension::Routing {
                segments_left: 0,
                units,
            },
            // An integrity check value of no words at all is short, but the header says what it is.
            Extension::Authentication(units.min(254)),
        ] {
            assert_parsed(&Sample::extended(ip_number::UDP, [extension]));
        }
    }
}

#[test]
fn the_reserved_byte_of_a_fragment_header_is_not_its_length() {
    let sample = Sample::extended(ip_number::TCP, [Extension::ATOMIC_FRAGMENT]);
    let frame = spoiled(&sample, |frame| frame[sample.network() + 40 + 1] = 0xff);
    assert_eq!(parse(frame.as_slice()), Ok(sample.headers()));
}

#[test]
fn hop_by_hop_options_come_first_or_not_at_all() {
    for first in all_extensions() {
        let sample = Sample::extended(ip_number::TCP, [first, Extension::HopByHop(0)]);
        assert_eq!(parse(sample.frame().as_slice()), malformed(&sample), "{sample:?}");
    }
}

#[test]
fn an_authentication_header_too_short_for_itself_is_malformed() {
    let sample = Sample::extended(ip_number::TCP, [Extension::Authentication(3)]);
    let frame = spoiled(&sample, |frame| frame[sample.network() + 40 + 1] = 0);
    assert_eq!(parse(frame.as_slice()), malformed(&sample));
}

#[test]
fn a_packet_on_a_source_route_to_elsewhere_is_foreign() {
    for segments_left in [1, 255] {
        let routing = Extension::Routing {
            segments_left,
            units: 2,
        };
        for chain in [vec![routing.clone()], vec![Extension::HopByHop(0), routing]] {
            let sample = Sample::extended(ip_number::TCP, chain);
            assert_eq!(parse(sample.frame().as_slice()), FOREIGN, "{sample:?}");
        }
    }
}

#[test]
fn an_extension_header_beyond_the_packet_is_malformed() {
    for extension in all_extensions() {
        let sample = Sample::extended(ip_number::TCP, [extension]);
        for missing in 1..=sample.frame().len() - sample.network() - 40 {
            let frame = spoiled(&sample, |frame| {
                let payload = (frame.len() - sample.network() - 40 - missing) as u16;
                put(
                    frame,
                    sample.network() + ipv6_field::PAYLOAD_LENGTH,
                    payload.to_be_bytes(),
                );
            });
            // Eight bytes of payload are behind the headers; the packet may do without them.
            let expected = if missing <= sample.payload.len() {
                Ok(Headers {
                    length: sample.headers().length - missing as u32,
                    ..sample.headers()
                })
            } else {
                malformed(&sample)
            };
            assert_eq!(
                parse(frame.as_slice()),
                expected,
                "{missing} bytes missing from {sample:?}"
            );
        }
    }
}

#[test]
fn a_packet_of_extension_headers_alone_is_foreign() {
    let sample = Sample::extended(ip_number::IPV6_NO_NEXT_HEADER, all_extensions());
    let frame = spoiled(&sample, |frame| {
        frame.truncate(sample.transport());
        let payload = (frame.len() - sample.network() - 40) as u16;
        put(
            frame,
            sample.network() + ipv6_field::PAYLOAD_LENGTH,
            payload.to_be_bytes(),
        );
    });
    assert_eq!(parse(frame.as_slice()), FOREIGN);
}

#[test]
fn what_only_padding_holds_decides_nothing() {
    // No payload, but padding that would be a fragment, a source route or a foreign protocol.
    let kinds = [
        (ip_number::IPV6_FRAG, [6, 0, 0xff, 0xff, 0, 0, 0, 0]),
        (ip_number::IPV6_ROUTE, [6, 0, 0, 1, 0, 0, 0, 0]),
        (ip_number::IPV6_DEST_OPTIONS, [58, 0, 1, 4, 0, 0, 0, 0]),
    ];
    for (kind, padding) in kinds {
        let sample = Sample::new(Family::V6, ip_number::TCP);
        let frame = spoiled(&sample, |frame| {
            put(frame, sample.network() + ipv6_field::PAYLOAD_LENGTH, [0, 0]);
            frame[sample.network() + ipv6_field::NEXT_HEADER] = kind.0;
            put(frame, sample.network() + 40, padding);
        });
        assert_eq!(parse(frame.as_slice()), malformed(&sample), "{kind:?}");
    }
}

#[test]
fn ipv4_mapped_addresses_are_foreign_on_the_wire() {
    let mapped = Address::v4([192, 0, 2, 10]).octets();
    for sample in [
        Sample::new(Family::V6, ip_number::TCP),
        Sample::new(Family::V6, ip_number::UDP),
    ] {
        for field in [ipv6_field::SOURCE, ipv6_field::DESTINATION] {
            let frame = spoiled(&sample, |frame| put(frame, sample.network() + field, mapped));
            assert_eq!(parse(frame.as_slice()), FOREIGN);
        }
    }
}
