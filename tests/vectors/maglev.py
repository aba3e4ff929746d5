#!/usr/bin/env python3
"""Reference vectors for the Maglev table.

Writes maglev.json beside this file. Python's standard library is all it needs:

    python3 tests/vectors/maglev.py

The table is built here as the paper has it (Eisenbud et al., NSDI 2016, section 3.4, pseudocode 1) and as plainly as
possible, with XXH64 written out from its specification, so that it shares nothing with the program under test.

Unequal weights: the paper leaves open how turns are spread. Here a backend of weight w is due at the times 1/2w, 3/2w,
5/2w and so on; of those due at the same time the heavier go first, then those whose identity (address and port as bytes)
is smaller.
"""

import heapq
import ipaddress
import itertools
import json
import pathlib
from fractions import Fraction

MASK = (1 << 64) - 1
PRIME_1 = 0x9E3779B185EBCA87
PRIME_2 = 0xC2B2AE3D27D4EB4F
PRIME_3 = 0x165667B19E3779F9
PRIME_4 = 0x85EBCA77C2B2AE63
PRIME_5 = 0x27D4EB2F165667C5

OFFSET_SEED = int.from_bytes(b"offset", "big")
SKIP_SEED = int.from_bytes(b"skip", "big")

# Tables of at most this many slots are written out; of larger ones the digest says enough.
WRITTEN_OUT = 251


def rotate(value, bits):
    return ((value << bits) | (value >> (64 - bits))) & MASK


def xxh64_round(accumulator, lane):
    return rotate((accumulator + lane * PRIME_2) & MASK, 31) * PRIME_1 & MASK


def xxh64(data, seed):
    """XXH64, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md"""
    lanes = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) // 8 * 8, 8)]
    if len(data) >= 32:
        accumulators = [seed + PRIME_1 + PRIME_2 & MASK, seed + PRIME_2 & MASK, seed, seed - PRIME_1 & MASK]
        striped = len(data) // 32 * 4
        for at in range(0, striped, 4):
            for i in range(4):
                accumulators[i] = xxh64_round(accumulators[i], lanes[at + i])
        result = sum(rotate(accumulators[i], bits) for i, bits in enumerate((1, 7, 12, 18))) & MASK
        for accumulator in accumulators:
            result = ((result ^ xxh64_round(0, accumulator)) * PRIME_1 + PRIME_4) & MASK
        lanes = lanes[striped:]
    else:
        result = seed + PRIME_5 & MASK

    result = (result + len(data)) & MASK
    for lane in lanes:
        result = (rotate(result ^ xxh64_round(0, lane), 27) * PRIME_1 + PRIME_4) & MASK
    rest = data[len(data) // 8 * 8 :]
    if len(rest) >= 4:
        word = int.from_bytes(rest[:4], "little")
        result = (rotate(result ^ (word * PRIME_1 & MASK), 23) * PRIME_2 + PRIME_3) & MASK
        rest = rest[4:]
    for byte in rest:
        result = rotate(result ^ (byte * PRIME_5 & MASK), 11) * PRIME_1 & MASK

    for shift, prime in ((33, PRIME_2), (29, PRIME_3)):
        result = (result ^ (result >> shift)) * prime & MASK
    return result ^ (result >> 32)


def identity(backend):
    address = ipaddress.ip_address(backend["address"])
    mapped = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
    return mapped + backend["port"].to_bytes(2, "big")


def turns(backends):
    """Yields the backends in the order of their turns, for ever."""
    heap = [(Fraction(1, 2 * b["weight"]), -b["weight"], identity(b), b["value"]) for b in backends if b["weight"]]
    heapq.heapify(heap)
    while heap:
        time, weight, name, value = heap[0]
        heapq.heapreplace(heap, (time + Fraction(1, -weight), weight, name, value))
        yield name, value


def populate(backends, size):
    entry = [0] * size
    permutation = {
        name: (xxh64(name, OFFSET_SEED) % size, xxh64(name, SKIP_SEED) % (size - 1) + 1)
        for name in map(identity, backends)
    }
    following = dict.fromkeys(permutation, 0)
    for name, value in itertools.islice(turns(backends), size):
        offset, skip = permutation[name]
        while entry[(offset + following[name] * skip) % size]:
            following[name] += 1
        entry[(offset + following[name] * skip) % size] = value
        following[name] += 1
    return entry


def backend(number, address, port=0, weight=100):
    return {"address": address, "port": port, "weight": weight, "value": number}


def backends(count, address, port, weights):
    """`count` backends numbered from 1, with weights taken in turn from `weights`."""
    return [
        backend(i + 1, str(ipaddress.ip_address(address) + i), port, weights[i % len(weights)]) for i in range(count)
    ]


SETS = [
    ("no backend with weight", [7], backends(3, "10.0.0.1", 80, [0])),
    ("one backend", [7, 251, 65537], backends(1, "10.0.0.1", 0, [100])),
    ("two backends", [7, 251, 4099, 65537], backends(2, "10.0.0.1", 8080, [1])),
    ("three backends", [7, 251, 4099, 65537], backends(3, "10.0.0.11", 9999, [100])),
    ("three backends, IPv6, any port", [7, 251, 4099, 65537], backends(3, "2001:db8::1", 0, [100])),
    (
        "one address, three ports",
        [7, 251, 4099],
        [backend(i + 1, "192.0.2.1", port) for i, port in enumerate((80, 443, 65535))],
    ),
    (
        "both families",
        [251, 4099],
        [backend(70000, "10.0.0.255", 53), backend(1, "::1", 53), backend(4294967295, "2001:db8::a00:ff", 53)],
    ),
    ("ten backends", [7, 251, 4099, 65537], backends(10, "10.1.2.250", 443, [100])),
    ("ten backends, unequal weights", [7, 251, 4099, 65537], backends(10, "10.1.2.250", 443, [100, 50, 25, 1, 0])),
    ("ten backends, IPv6, unequal weights", [251, 4099, 65537], backends(10, "fd00::fffe", 443, [3, 2, 2, 7, 11])),
    ("one heavy backend", [251, 4099], backends(10, "10.9.9.1", 0, [65535] + 9 * [1])),
    ("a hundred backends", [4099, 65537], backends(100, "10.0.0.1", 8080, [100])),
    ("a hundred backends, unequal weights", [4099, 65537], backends(100, "10.0.0.1", 8080, [100, 50, 25, 1])),
]


def table(members, size):
    slots = populate(members, size)
    digest = xxh64(b"".join(slot.to_bytes(4, "little") for slot in slots), 0)
    return {
        "size": size,
        "xxh64_of_little_endian_slots": f"{digest:016x}",
        "slots_per_backend": [slots.count(member["value"]) for member in members],
        "slots": slots if size <= WRITTEN_OUT else None,
    }


def main():
    # Two hashes that the authors of XXH64 publish.
    assert xxh64(b"", 0) == 0xEF46DB3751D8E999
    assert xxh64(b"abc", 0) == 0x44BC2CF5AD770999

    vectors = [
        {"name": name, "backends": members, "tables": [table(members, size) for size in sizes]}
        for name, sizes, members in SETS
    ]
    lines = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in vectors)
    pathlib.Path(__file__).with_suffix(".json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
