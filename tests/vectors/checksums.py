#!/usr/bin/env python3
"""Has scapy check the checksums of captured packets.

Every checksum in a packet is left out, those of packets inside it included, and the packet built again by scapy: it has to
come out as it was. Writes JSON: how many packets and checksums there were, and the packets that came out otherwise.

    /usr/bin/python3 tests/vectors/checksums.py CAPTURE
"""

import collections
import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.fields import BitField, ByteField, ShortField
from scapy.layers.inet import IP, UDP, ICMPerror, TCPerror, UDPerror
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, bind_layers
from scapy.utils import PcapReader

GUE_PORT = 6080
# Of what an error quotes the end is cut off, and with it what the checksum covers.
CUT_OFF = (TCPerror, UDPerror, ICMPerror)


class GUE(Packet):
    """Generic UDP Encapsulation, version 0 (draft-ietf-intarea-gue)."""

    fields_desc = [
        BitField("version", 0, 2),
        BitField("control", 0, 1),
        BitField("hlen", 0, 5),
        ByteField("proto", 4),
        ShortField("flags", 0),
    ]


bind_layers(UDP, GUE, dport=GUE_PORT)
bind_layers(GUE, IP, proto=4)
bind_layers(GUE, IPv6, proto=41)


def layers(packet):
    while packet:
        yield packet
        packet = packet.payload


def check(data):
    """Returns the names of the layers whose checksums were built again, and whether all came out as they were."""
    packet = Ether(data)
    rebuilt = []
    fragment = False
    for layer in layers(packet):
        if isinstance(layer, IP) and (layer.frag or layer.flags.MF) or layer.name == "IPv6 Extension Header - Fragment Header":
            fragment = True
        field = next((name for name in ("chksum", "cksum") if name in layer.fields), None)
        if field is None or isinstance(layer, CUT_OFF) or fragment and not isinstance(layer, IP):
            continue
        # A UDP datagram over IPv4 may be without (RFC 768).
        if isinstance(layer, UDP) and layer.fields[field] == 0:
            continue
        rebuilt.append(layer.name)
        delattr(layer, field)
    return rebuilt, bytes(packet) == data


def main(path):
    packets = 0
    checksums = collections.Counter()
    wrong = []
    with PcapReader(path) as reader:
        for packet in reader:
            packets += 1
            names, right = check(bytes(packet.original))
            checksums.update(names)
            if not right:
                wrong.append(bytes(packet.original).hex())
    json.dump({"packets": packets, "checksums": checksums, "wrong": wrong}, sys.stdout)


main(sys.argv[1])
