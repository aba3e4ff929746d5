#!/usr/bin/env python3
"""A corpus of frames for the parser, made by scapy.

Writes frames.txt beside this file, a name and the bytes in hexadecimal per line:

    /usr/bin/python3 tests/vectors/frames.py
"""

import logging
import pathlib

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, IPOption_RR, TCPerror, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether, GRE
from scapy.packet import Raw

LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.1.0.2", dst="192.0.2.10", id=0x1234, ttl=57)
V6 = IPv6(src="fd00:1::2", dst="2001:db8::10", hlim=57, tc=0x2E, fl=0x12345)
DATA = Raw(b"affinity")
OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


def tcp(flags, options=()):
    return TCP(sport=40000, dport=80, seq=1, ack=2, flags=flags, options=list(options))


UDP_HEADER = UDP(sport=40000, dport=443)
QUIC_SHORT = Raw(bytes([0x41, 0x07, 10, 2, 0, 11]) + bytes(range(32)))
QUIC_LONG = Raw(bytes([0xC3, 0, 0, 0, 1, 8]) + bytes(range(40)))
LONG = Raw(bytes(range(200)))


def both(name, payload):
    yield f"{name}-v4", LINK / V4 / payload
    yield f"{name}-v6", LINK / V6 / payload


def frames():
    for flags in ["S", "SA", "A", "PA", "FA", "R", "RA", "SEC", ""]:
        yield from both(f"tcp-{flags or 'none'}", tcp(flags, OPTIONS if "S" in flags else ()) / DATA)
    for name, payload in [("udp", DATA), ("udp-empty", Raw(b"")), ("quic-short", QUIC_SHORT), ("quic-long", QUIC_LONG)]:
        yield from both(name, UDP_HEADER / payload)
    yield "udp-unchecked-v4", LINK / V4 / UDP(sport=40000, dport=443, chksum=0) / DATA
    for name, tags in [("vlan", Dot1Q(vlan=7)), ("qinq", Dot1AD(vlan=7) / Dot1Q(vlan=8)), ("vlans-3", Dot1Q() / Dot1Q() / Dot1Q())]:
        yield f"{name}-v4", LINK / tags / V4 / tcp("A") / DATA
        yield f"{name}-v6", LINK / tags / V6 / UDP_HEADER / DATA
    yield "options-v4", LINK / IP(src="10.1.0.2", dst="192.0.2.10", options=[IPOption_RR(routers=["0.0.0.0"] * 3)]) / tcp("A") / DATA
    hop, destination = IPv6ExtHdrHopByHop(options=PadN(optdata=b"\0" * 4)), IPv6ExtHdrDestOpt(options=PadN(optdata=b"\0" * 4))
    yield "hop-by-hop-v6", LINK / V6 / hop / tcp("A") / DATA
    yield "destination-v6", LINK / V6 / destination / UDP_HEADER / DATA
    yield "routing-v6", LINK / V6 / IPv6ExtHdrRouting(addresses=["fd00::1"], segleft=0) / tcp("A") / DATA
    yield "routing-on-the-way-v6", LINK / V6 / IPv6ExtHdrRouting(addresses=["fd00::1"], segleft=1) / tcp("A") / DATA
    yield "chain-v6", LINK / V6 / hop / destination / IPv6ExtHdrFragment(id=5) / destination / tcp("A") / DATA
    for number, piece in enumerate(fragment(V4 / UDP_HEADER / LONG, fragsize=96)):
        yield f"fragment-{number}-v4", LINK / piece
    for number, (offset, more) in enumerate([(0, 1), (12, 1), (24, 0)]):
        yield f"fragment-{number}-v6", LINK / V6 / IPv6ExtHdrFragment(nh=17, id=7, offset=offset, m=more) / bytes(UDP_HEADER / LONG)[offset * 8 : offset * 8 + 96]
    quoted4 = IPerror(src="192.0.2.10", dst="10.1.0.2") / TCPerror(sport=80, dport=40000) / DATA
    for name, kind, code in [("unreachable", 3, 1), ("too-big", 3, 4), ("exceeded", 11, 0), ("parameter", 12, 0)]:
        yield f"icmp-{name}-v4", LINK / V4 / ICMP(type=kind, code=code, nexthopmtu=1300) / quoted4
    quoted6 = IPv6(src="2001:db8::10", dst="fd00:1::2") / UDP(sport=443, dport=40000) / DATA
    for name, message in [("unreachable", ICMPv6DestUnreach(code=4)), ("too-big", ICMPv6PacketTooBig(mtu=1300)), ("exceeded", ICMPv6TimeExceeded())]:
        yield f"icmp-{name}-v6", LINK / V6 / message / quoted6
    yield "ping-v4", LINK / V4 / ICMP(id=1, seq=2) / DATA
    yield "ping-v6", LINK / V6 / ICMPv6EchoRequest(id=1, seq=2, data=b"affinity")
    yield "arp", LINK / ARP(hwsrc="02:00:00:00:00:01", psrc="10.1.0.2", pdst="10.1.0.1")
    yield "neighbor-v6", LINK / V6 / ICMPv6ND_NS(tgt="fd00:1::1")
    yield "gre-v4", LINK / V4 / GRE() / IP() / tcp("A")
    yield "ipip-v4", LINK / V4 / IP(src="10.0.0.1", dst="10.0.0.2") / tcp("A") / DATA
    yield "6in4", LINK / V4 / V6 / tcp("A") / DATA


def main():
    lines = [f"{name} {bytes(frame).hex()}\n" for name, frame in frames()]
    (pathlib.Path(__file__).parent / "frames.txt").write_text("".join(lines))


main()
