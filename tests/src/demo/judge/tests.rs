use std::time::Instant;

use super::*;
use crate::demo::attempt::Visit;

/// A client was answered by a server that remembers so many visits.
fn answer(server: &str, visits: u32) -> Attempt {
    let client = "10.1.2.1:1024".parse().unwrap();
    let server = server.to_owned();
    Attempt {
        client,
        began: Instant::now(),
        ended: Instant::now(),
        outcome: Ok(Visit { server, client, visits }),
    }
}

/// A client was not.
fn refusal() -> Attempt {
    Attempt {
        outcome: Err("connection refused".to_owned()),
        ..answer("", 0)
    }
}

#[test]
fn each_takes_all_to_hold_and_some_to_be_there() {
    assert_eq!(each([Ok(()), Ok(())]), Ok(()));
    assert_eq!(each([Ok(()), Err("why".to_owned()), Ok(())]), Err("why".to_owned()));
    assert!(each([]).is_err());
}

#[test]
fn a_difference_is_told() {
    assert_eq!(same(&1, &1), Ok(()));
    assert_eq!(same(&1, &2), Err("1, not 2".to_owned()));
}

#[test]
fn backends_are_to_be_near_the_shares_that_are_due() {
    for (answers, shares, holds) in [
        ([100, 110, 90], [1.0 / 3.0; 3], true),
        ([150, 75, 75], [1.0 / 3.0; 3], false),
        ([150, 75, 75], [0.5, 0.25, 0.25], true),
        ([150, 150, 0], [1.0 / 3.0; 3], false),
        ([0, 0, 0], [1.0 / 3.0; 3], false),
    ] {
        assert_eq!(near(answers, shares).is_ok(), holds, "{answers:?} for {shares:?}");
    }
}

#[test]
fn a_failure_is_told_with_its_client_and_no_request_proves_nothing() {
    assert_eq!(all_answered(&[answer("alpha", 1), answer("beta", 1)]), Ok(()));
    let told = all_answered(&[answer("alpha", 1), refusal()]).unwrap_err();
    assert_eq!(told, "10.1.2.1:1024: connection refused");
    assert!(all_answered(&[]).is_err());
}

#[test]
fn one_memory_is_one_server_that_counts_on() {
    for (attempts, holds) in [
        (vec![answer("alpha", 1), answer("alpha", 2), answer("alpha", 3)], true),
        (vec![answer("alpha", 7), answer("alpha", 8)], true),
        (vec![answer("alpha", 1), answer("beta", 2)], false),
        (vec![answer("alpha", 1), answer("alpha", 1)], false),
        (vec![answer("alpha", 1), answer("alpha", 3)], false),
        (vec![answer("alpha", 1), refusal(), answer("alpha", 2)], false),
        (vec![answer("alpha", 1)], false),
        (vec![], false),
    ] {
        assert_eq!(one_memory(&attempts).is_ok(), holds, "{attempts:?}");
    }
}

#[test]
fn a_backend_turns_by_the_probe_that_makes_the_threshold_full() {
    for (looks, holds) in [
        (vec![(false, 0), (false, 1), (false, 2), (true, 3)], true),
        // Probes from before do not count.
        (vec![(false, 4), (false, 6), (true, 7)], true),
        // Counted, but without effect yet.
        (vec![(false, 0), (false, 3), (true, 3)], true),
        // A look may miss the moment by a probe.
        (vec![(false, 0), (false, 2), (true, 4)], true),
        (vec![(false, 0), (false, 1), (true, 2)], false),
        (vec![(false, 0), (false, 4), (true, 4)], false),
        (vec![(false, 0), (false, 3)], false),
        (vec![(true, 3)], false),
        (vec![], false),
    ] {
        assert_eq!(turned_at(3, &looks).is_ok(), holds, "{looks:?}");
    }
}
