use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use balancer_common::abi::Address;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Desired, Operation, State, diff, tests},
    *,
};

/// A service with these lists; its index is 1.
fn desired(lists: Option<&Sources>) -> Desired {
    let mut service = tests::service("web", 1, &[80], Vec::new());
    service.source_lists = lists.cloned().map(Arc::new);
    Desired {
        services: vec![service],
    }
}

const INDEX: u32 = 1;

fn operations(state: &State, lists: Option<&Sources>) -> Vec<Operation> {
    diff(state, &desired(lists), tests::LIMITS).unwrap()
}

fn reach(mut state: State, lists: Option<&Sources>) -> State {
    for operation in operations(&state, lists) {
        state.apply(operation);
    }
    state
}

fn generation(state: &State) -> Option<Generation> {
    state.services.get(&INDEX)?.record?.source_lists()
}

/// What a packet meets that goes by the given generation.
fn is_admitted(state: &State, client: IpAddr, generation: Option<Generation>) -> bool {
    let Some(generation) = generation else { return true };
    let client = PrefixKey {
        prefix: ClientPrefix::new(INDEX, Address::from(client)),
        bits: ClientPrefix::BITS,
    };
    let covering = of_service(&state.access, INDEX).filter(|(key, _)| covers(*key, client));
    let (_, access) = covering
        .max_by_key(|(key, _)| key.bits)
        .expect("a prefix covers everybody");
    access.allows(generation)
}

/// What the lists say, in the plainest words.
fn admits(lists: Option<&Sources>, client: IpAddr) -> bool {
    let Some(lists) = lists else { return true };
    let longest = |nets: &[IpNet]| {
        nets.iter()
            .filter(|net| net.contains(&client))
            .map(IpNet::prefix_len)
            .max()
    };
    match (longest(&lists.allow), longest(&lists.deny)) {
        (None, None) => lists.allow.is_empty(),
        (allow, deny) => allow > deny,
    }
}

fn clients(is_v4: bool) -> Vec<IpAddr> {
    let near = |last: u8| -> IpAddr {
        if is_v4 {
            Ipv4Addr::new(10, 0, 0, last).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
        }
    };
    (0..16).chain([200]).map(near).collect()
}

prop_compose! {
    fn lists(is_v4: bool)(
        prefixes in prop::collection::btree_map((0_u8..16, 0_u8..=4), any::<bool>(), 0..8),
        everybody in prop::option::of(any::<bool>()),
    ) -> Sources {
        let mut lists = Sources::default();
        let near = clients(is_v4);
        let whole = if is_v4 { 32 } else { 128 };
        let prefixes = prefixes.into_iter().map(|((number, length), allowed)| (number, whole - 4 + length, allowed));
        for (number, length, allowed) in prefixes.chain(everybody.map(|allowed| (0, 0, allowed))) {
            let net = IpNet::new(near[usize::from(number)], length).unwrap().trunc();
            let taken = lists.allow.contains(&net) || lists.deny.contains(&net);
            if !taken {
                if allowed { &mut lists.allow } else { &mut lists.deny }.push(net);
            }
        }
        lists
    }
}

/// Lists of one IP version, one after the other.
fn histories() -> impl Strategy<Value = (bool, Vec<Option<Sources>>)> {
    any::<bool>().prop_flat_map(|is_v4| (Just(is_v4), vec(prop::option::weighted(0.9, lists(is_v4)), 1..5)))
}

/// The operation as far as a daemon comes that is killed during it: its first `share` elements of a hundred.
fn cut(operation: Operation, share: usize) -> Operation {
    match operation {
        Operation::WriteAccess { mut entries } => {
            entries.truncate(entries.len() * share / 100);
            Operation::WriteAccess { entries }
        }
        Operation::RemoveAccess { mut keys } => {
            keys.truncate(keys.len() * share / 100);
            Operation::RemoveAccess { keys }
        }
        whole => whole,
    }
}

proptest! {
    #[test]
    fn all_of_a_new_set_comes_to_count_at_once((is_v4, history) in histories(), share in 0_usize..=100) {
        let mut state = reach(State::default(), None);
        let mut old = None;
        for new in &history {
            let new = new.as_ref();
            // What packets go by that are under way when the record is written.
            let noted = generation(&state);
            let (mut has_turned, mut has_settled) = (false, false);
            for operation in operations(&state, new) {
                has_turned |= matches!(operation, Operation::WriteService { .. });
                has_settled |= operation == Operation::Settle;
                for operation in [cut(operation.clone(), share), operation] {
                    let shown = operation.to_string();
                    state.apply(operation);
                    for client in clients(is_v4) {
                        let expected = admits(if has_turned { new } else { old }, client);
                        prop_assert_eq!(is_admitted(&state, client, generation(&state)), expected, "{} {}", shown, client);
                        if !has_settled {
                            prop_assert_eq!(is_admitted(&state, client, noted), admits(old, client), "{} {}", shown, client);
                        }
                    }
                }
            }
            prop_assert_eq!(operations(&state, new), Vec::new());
            for client in clients(is_v4) {
                prop_assert_eq!(is_admitted(&state, client, generation(&state)), admits(new, client));
            }
            old = new;
        }
    }

    #[test]
    fn what_was_cut_short_is_completed_and_nothing_is_left_over(
        (is_v4, history) in histories(),
        (step, share) in (0_usize..6, 0_usize..=100),
    ) {
        let mut state = reach(State::default(), None);
        for lists in &history {
            let mut begun = operations(&state, lists.as_ref());
            begun.truncate(step);
            if let Some(last) = begun.pop() {
                begun.push(cut(last, share));
            }
            let present = generation(&state);
            let admitted = |state: &State| -> Vec<_> {
                clients(is_v4).into_iter().map(|client| is_admitted(state, client, present)).collect()
            };
            let before = admitted(&state);
            for operation in begun {
                state.apply(operation);
            }
            if generation(&state) == present {
                prop_assert_eq!(admitted(&state), before);
            }
        }
        let last = history.last().unwrap().as_ref();
        let state = reach(state, last);
        prop_assert_eq!(&state.access, &reach(State::default(), last).access);
        for client in clients(is_v4) {
            prop_assert_eq!(is_admitted(&state, client, generation(&state)), admits(last, client));
        }
    }
}

fn sources(allow: &[&str], deny: &[&str]) -> Sources {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Sources {
        allow: nets(allow),
        deny: nets(deny),
    }
}

#[test]
fn one_prefix_more_is_one_entry_more_whatever_the_lists_hold() {
    let many: Vec<_> = (0..200).map(|number| format!("203.0.{number}.0/24")).collect();
    let deny: Vec<_> = many.iter().map(String::as_str).collect();
    let state = reach(State::default(), Some(&sources(&[], &deny[..199])));
    let (mut written, mut removed) = (0, 0);
    for operation in operations(&state, Some(&sources(&[], &deny))) {
        match operation {
            Operation::WriteAccess { entries } => written += entries.len(),
            Operation::RemoveAccess { keys } => removed += keys.len(),
            _ => {}
        }
    }
    assert_eq!((written, removed), (2, 0), "once for either set");
}

#[test]
fn what_changes_nothing_for_anybody_turns_nothing() {
    let state = reach(State::default(), Some(&sources(&[], &["10.0.0.0/8"])));
    let same = sources(&[], &["10.0.0.0/8", "10.1.0.0/16"]);
    let operations = operations(&state, Some(&same));
    assert!(
        !operations
            .iter()
            .any(|operation| matches!(operation, Operation::WriteService { .. })),
        "{operations:?}"
    );
    assert_eq!(generation(&reach(state.clone(), Some(&same))), generation(&state));
}

#[test]
fn a_service_that_goes_leaves_no_prefix_behind() {
    let state = reach(State::default(), Some(&sources(&["10.0.0.0/8"], &[])));
    assert!(!state.access.is_empty());
    let mut gone = state;
    for operation in diff(&gone, &Desired::default(), tests::LIMITS).unwrap() {
        gone.apply(operation);
    }
    assert!(gone.access.is_empty());
}
