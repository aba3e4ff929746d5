use proptest::prelude::*;

use super::*;
use crate::abi::Address;

fn key(number: u32) -> FlowKey {
    FlowKey {
        client: Address::v4(number.to_be_bytes()),
        service: 1,
        client_port: [0x9c, 0x40],
        service_port: [0, 80],
    }
}

/// How many of `flows` flows find room in a table for `room` of them, all entries equally wanted.
fn remembered(room: u32, flows: u32) -> u32 {
    let geometry = Geometry::of(room);
    let mut taken = vec![0_u32; geometry.buckets() as usize];
    let mut remembered = 0;
    for number in 0..flows {
        let places = geometry.places(&key(number), 0x0123_4567_89ab_cdef);
        let [first, second] = places.map(|place| {
            (0..FlowBucket::ENTRIES as u32).fold(Room::NONE, |room, entry| {
                let is_free = entry >= taken[place as usize];
                room.or(entry, if is_free { Readiness::FREE } else { Readiness::NONE })
            })
        });
        let (place, room) = if prefers_second(first, second) {
            (places[1], second)
        } else {
            (places[0], first)
        };
        if room.readiness > Readiness::NONE {
            taken[place as usize] += 1;
            remembered += 1;
        }
    }
    remembered
}

#[test]
fn as_many_flows_as_there_is_to_be_room_for_find_it() {
    const ROOM: u32 = 1 << 18;
    for (flows, at_most_one_in) in [(ROOM / 2, 20_000), (ROOM, 400)] {
        let lost = flows - remembered(ROOM, flows);
        assert!(lost * at_most_one_in <= flows, "{lost} of {flows}");
    }
}

#[test]
fn most_flows_stand_in_their_first_bucket() {
    const ROOM: u32 = 1 << 16;
    let geometry = Geometry::of(ROOM);
    let mut taken = vec![0_u32; geometry.buckets() as usize];
    let mut in_first = 0;
    for number in 0..ROOM / 2 {
        let places = geometry.places(&key(number), 7);
        let [first, second] = places.map(|place| Room {
            readiness: Readiness(Readiness::FREE.0 + 2 - taken[place as usize].min(2)),
            entry: 0,
        });
        let chosen = usize::from(prefers_second(first, second));
        taken[places[chosen] as usize] += 1;
        in_first += u32::from(chosen == 0);
    }
    assert!(in_first * 10 > ROOM / 2 * 9, "{in_first} of {}", ROOM / 2);
}

#[test]
fn what_nobody_needs_goes_before_what_has_not_begun_and_that_before_what_is_in_use() {
    let now = Tick::from_bits(1 << 20);
    let opening = Phase::default();
    let open = opening.after(affinity::Sender::Client, affinity::tcp::ACK);
    let of = |phase, units, may_displace| Readiness::of(phase, now.before(units), now, 1_000, may_displace);
    let in_order = [
        Readiness::NONE,
        of(open, 0, true),
        of(open, 999, true),
        of(opening, 0, false),
        of(opening, 999, true),
        of(open, 1_001, false),
    ];
    assert!(in_order.is_sorted_by(|one, other| one < other), "{in_order:?}");
    assert_eq!(of(open, 999, false), Readiness::NONE);
    assert_eq!(of(opening, 1_001, true), Readiness::FREE);
    for (number, readiness) in in_order.into_iter().enumerate() {
        assert_eq!(readiness.is_displacement(), number < 5, "{readiness:?}");
    }
    assert!(!Readiness::SAME.is_displacement());
}

/// An entry with a flow that has just begun, by its key the seventh.
fn entry(owner: Owner, last_seen: Tick) -> FlowEntry {
    FlowEntry {
        key: key(7),
        flow: Flow {
            owner,
            last_seen,
            phase: Phase::default(),
            _padding: 0,
            _reserved: 0,
        },
    }
}

#[test]
fn an_entry_makes_room_by_whose_it_is() {
    let now = Tick::from_bits(1 << 20);
    let owner = Owner {
        backend: 3,
        incarnation: 1,
    };
    let long_ago = now.before(1_001);
    for (entry, asked, expected) in [
        (entry(VACANT, now), 7, Readiness::FREE),
        (entry(CLAIMED, long_ago), 7, Readiness::NONE),
        (entry(owner, long_ago), 7, Readiness::SAME),
        (entry(owner, long_ago), 8, Readiness::FREE),
        (entry(owner, now), 8, Readiness(Readiness::OPENING + 1)),
    ] {
        let found = Readiness::of_entry(&entry, key(asked).words(), now, |_| 1_000, false);
        assert_eq!(found, expected, "{entry:?}");
    }
}

#[test]
fn no_bucket_is_preferred_to_one_with_an_entry_to_spare() {
    let taken = Owner {
        backend: 1,
        incarnation: 1,
    };
    let bucket = |owners: [Owner; 3]| FlowBucket {
        entries: owners.map(|owner| entry(owner, Tick::default())),
        _padding: [0; 8],
    };
    let room_of = |bucket: &FlowBucket| {
        (0..).zip(&bucket.entries).fold(Room::NONE, |room, (number, entry)| {
            room.or(
                number,
                Readiness::of_entry(entry, key(8).words(), Tick::default(), |_| 1, true),
            )
        })
    };
    let owners = [VACANT, CLAIMED, taken];
    let all = owners.map(|first| owners.map(|second| owners.map(|third| bucket([first, second, third]))));
    let all: Vec<_> = all.as_flattened().as_flattened().to_vec();
    for one in &all {
        let is_vacant = one.entries.map(|entry| entry.flow.owner == VACANT);
        let first_vacant = (0..)
            .zip(is_vacant)
            .find_map(|(number, is_vacant)| is_vacant.then_some(number));
        let to_spare = is_vacant.into_iter().filter(|&is_vacant| is_vacant).count() > 1;
        assert_eq!(spare_entry(one), first_vacant.filter(|_| to_spare), "{is_vacant:?}");
        for other in all.iter().filter(|_| to_spare) {
            assert!(!prefers_second(room_of(one), room_of(other)), "{one:?} {other:?}");
        }
    }
}

#[test]
fn the_same_flow_is_overwritten_wherever_there_is_room() {
    let empty = (0..3).fold(Room::NONE, |room, entry| room.or(entry, Readiness::FREE));
    let same = Room::NONE
        .or(0, Readiness::FREE)
        .or(1, Readiness::SAME)
        .or(2, Readiness::FREE);
    assert_eq!((same.readiness, same.entry), (Readiness::SAME, 1));
    assert!(prefers_second(empty, same));
    assert!(!prefers_second(same, empty));
}

proptest! {
    #[test]
    fn a_flow_has_two_buckets_of_the_table(
        room in 0..=1_u32 << 27, number in any::<u32>(), secret in any::<u64>(),
    ) {
        let geometry = Geometry::of(room);
        let [first, second] = geometry.places(&key(number), secret);
        prop_assert_ne!(first, second);
        prop_assert!(first < geometry.buckets() && second < geometry.buckets());
    }

    #[test]
    fn rooms_travel_as_numbers(readiness in any::<u32>(), entry in any::<u32>()) {
        let room = Room { readiness: Readiness::from_bits(readiness), entry };
        prop_assert_eq!(Room::from_bits(room.to_bits()), room);
    }
}
