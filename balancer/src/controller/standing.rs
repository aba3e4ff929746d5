//! What each backend of a service may be given, from what the operator wants and what is known of it. Pure functions.
//!
//! | | new clients | known clients, live flows |
//! | --- | --- | --- |
//! | active, not down | yes, by weight | stay |
//! | active, down | no: others stand in for it | as the service's `when_down` says |
//! | active, ejected | no: others stand in for it | flows stay; clients as if it were down |
//! | weight 0, draining | no | stay, unless it is down |
//! | suspended | no | stay; while it is down, their packets wake it |
//! | disabled | no | go elsewhere |
//! | backup, while another can serve | no | stay |
//! | newcomer, while another can serve | no | it has none |
//!
//! One that is ejected serves before nobody does.

use balancer_common::abi::BackendFlags;

use crate::{config::Admin, health::Health};

/// What decides about a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// What the operator wants of it.
    pub(super) admin: Admin,
    /// Its weight.
    pub(super) weight: u32,
    /// Whether it serves only while no other backend can.
    pub(super) backup: bool,
    /// What its health check says.
    pub(super) health: Health,
    /// Whether live traffic speaks against it.
    pub(super) ejected: bool,
    /// Whether it joined a service that others serve, and is not yet known to be reachable and healthy.
    pub(super) newcomer: bool,
}

/// Who takes new clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another circumstance, and all combinations occur"
)]
struct Shift {
    /// Whether it is the backups.
    backups: bool,
    /// Whether newcomers are among them.
    newcomers: bool,
    /// Whether those that are ejected are among them.
    ejected: bool,
    /// Whether those that are down are among them.
    down: bool,
}

/// The weight of each backend of a service in the Maglev table, and what the data plane is to know of it. One that is down or
/// ejected keeps its weight and not its clients: others stand in for it.
///
/// With fewer than `panic_threshold` of those that are to serve up, health is ignored.
pub(super) fn standings(backends: &[Circumstances], panic_threshold: f64) -> Vec<(u32, BackendFlags)> {
    let shift = shift(backends, panic_threshold);
    backends.iter().map(|&backend| standing(backend, shift)).collect()
}

/// What one backend gets while `shift` takes new clients.
fn standing(backend: Circumstances, shift: Shift) -> (u32, BackendFlags) {
    let health = match backend.health {
        Health::Up => BackendFlags::UP,
        Health::Unknown => BackendFlags::default(),
        Health::Down => BackendFlags::DOWN,
    };
    let keeping = health.with(BackendFlags::KEEPS_FLOWS).with(BackendFlags::KEEPS_CLIENTS);
    let down = backend.health == Health::Down;
    let place = if shift.has_place_for(backend) {
        backend.weight
    } else {
        0
    };
    match backend.admin {
        // What goes elsewhere does so whether it is down or not.
        Admin::Disabled if down => (0, BackendFlags::default()),
        Admin::Disabled => (0, health),
        Admin::Active if shift.has(backend) => (backend.weight, keeping),
        Admin::Active | Admin::Draining if down => (place, health.with(BackendFlags::EXPECTED)),
        // One that sleeps does not answer either.
        Admin::Suspended if down => (0, health.with(BackendFlags::SUSPENDED)),
        // Its connections go on as well as they do.
        Admin::Active | Admin::Draining if backend.ejected => {
            let down = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
            (place, health.with(down).with(BackendFlags::KEEPS_FLOWS))
        }
        Admin::Active | Admin::Draining | Admin::Suspended => (0, keeping),
    }
}

/// Who takes new clients: the backends that are no backups, else the backups; those that have proved themselves, else the
/// newcomers; those that are not ejected, else the ejected ones; and the others of the same kind with them if too few of these
/// are up.
fn shift(backends: &[Circumstances], panic_threshold: f64) -> Shift {
    let orders = [(false, false), (true, false), (false, true), (true, true)];
    let shifts = [false, true].into_iter().flat_map(|ejected| {
        orders.map(|(backups, newcomers)| Shift {
            backups,
            newcomers,
            ejected,
            down: false,
        })
    });
    let first = shifts
        .into_iter()
        .find(|shift| backends.iter().any(|&backend| shift.has(backend)));
    let shift = first.unwrap_or(Shift {
        backups: !backends.iter().any(|backend| !backend.backup && backend.may_serve()),
        newcomers: true,
        ejected: true,
        down: false,
    });
    let everyone = Shift {
        newcomers: true,
        ejected: true,
        down: true,
        ..shift
    };
    let count = |shift: Shift| backends.iter().filter(|&&backend| shift.has(backend)).count();
    if share(count(shift), count(everyone)) < panic_threshold {
        everyone
    } else {
        shift
    }
}

impl Shift {
    /// Whether the backend is one of those that take new clients but for what is known against it.
    fn has_place_for(self, backend: Circumstances) -> bool {
        let all = Self {
            ejected: true,
            down: true,
            ..self
        };
        all.has(backend)
    }

    fn has(self, backend: Circumstances) -> bool {
        backend.may_serve()
            && backend.backup == self.backups
            && (self.newcomers || !backend.newcomer)
            && (self.ejected || !backend.ejected)
            && (self.down || backend.health != Health::Down)
    }
}

impl Circumstances {
    /// Whether the operator lets it take new clients.
    fn may_serve(self) -> bool {
        self.admin == Admin::Active && self.weight > 0
    }
}

#[expect(clippy::cast_precision_loss, reason = "a service has far fewer than 2^52 backends")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEPS: BackendFlags = BackendFlags::KEEPS_FLOWS.with(BackendFlags::KEEPS_CLIENTS);

    #[test]
    fn every_state_of_a_backend_beside_one_that_serves() {
        use Admin::{Active, Disabled, Draining, Suspended};
        use Health::{Down, Unknown, Up};
        let (up, asleep) = (BackendFlags::UP, BackendFlags::SUSPENDED);
        let down = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
        // Admin, weight, health, whether it is a backup, a newcomer; then weight and flags.
        let cases = [
            (Active, 7, Up, false, false, 7, KEEPS.with(up)),
            (Active, 7, Unknown, false, false, 7, KEEPS),
            (Active, 7, Down, false, false, 7, down),
            (Active, 0, Up, false, false, 0, KEEPS.with(up)),
            (Active, 0, Unknown, false, false, 0, KEEPS),
            (Active, 0, Down, false, false, 0, down),
            (Draining, 7, Up, false, false, 0, KEEPS.with(up)),
            (Draining, 7, Unknown, false, false, 0, KEEPS),
            (Draining, 7, Down, false, false, 0, down),
            (Suspended, 7, Up, false, false, 0, KEEPS.with(up)),
            (Suspended, 7, Unknown, false, false, 0, KEEPS),
            (Suspended, 7, Down, false, false, 0, BackendFlags::DOWN.with(asleep)),
            (Disabled, 7, Up, false, false, 0, up),
            (Disabled, 7, Unknown, false, false, 0, BackendFlags::default()),
            (Disabled, 7, Down, false, false, 0, BackendFlags::default()),
            (Active, 7, Up, true, false, 0, KEEPS.with(up)),
            (Active, 7, Down, true, false, 0, down),
            (Draining, 7, Up, true, false, 0, KEEPS.with(up)),
            (Active, 7, Unknown, false, true, 0, KEEPS),
            (Active, 7, Up, false, true, 0, KEEPS.with(up)),
        ];
        for (admin, weight, health, backup, newcomer, expected, flags) in cases {
            let backend = Circumstances {
                admin,
                weight,
                backup,
                health,
                ejected: false,
                newcomer,
            };
            let standings = standings(&[SERVES, backend], 0.0);
            assert_eq!(standings[1], (expected, flags), "{backend:?}");
            assert_eq!(standings[0], (100, KEEPS.with(up)), "beside {backend:?}");
        }
    }

    const SERVES: Circumstances = Circumstances {
        admin: Admin::Active,
        weight: 100,
        backup: false,
        health: Health::Up,
        ejected: false,
        newcomer: false,
    };

    /// A backend for each word: `up`, `down`, `out` for one that is ejected, `new`, `drain` and these with `b-` in front for a backup.
    fn backends(words: &str) -> Vec<Circumstances> {
        let backend = |word: &str| {
            let (backup, word) = word.strip_prefix("b-").map_or((false, word), |word| (true, word));
            let of = |admin, health, newcomer| Circumstances {
                admin,
                backup,
                health,
                newcomer,
                ..SERVES
            };
            match word {
                "up" => of(Admin::Active, Health::Up, false),
                "out" => Circumstances {
                    ejected: true,
                    ..of(Admin::Active, Health::Up, false)
                },
                "down" => of(Admin::Active, Health::Down, false),
                "new" => of(Admin::Active, Health::Unknown, true),
                "new-down" => of(Admin::Active, Health::Down, true),
                "drain" => of(Admin::Draining, Health::Up, false),
                _ => unreachable!("no backend is called {word}"),
            }
        };
        words.split_whitespace().map(backend).collect()
    }

    #[test]
    fn who_takes_new_clients() {
        // The backends, the panic threshold, and whether each takes new clients.
        let cases = [
            ("up up", 0.0, "yes yes"),
            ("up down", 0.0, "yes no"),
            ("down down", 0.0, "no no"),
            // Backups.
            ("up b-up", 0.0, "yes no"),
            ("down b-up", 0.0, "no yes"),
            ("drain b-up", 0.0, "no yes"),
            ("b-up b-up", 0.0, "yes yes"),
            ("down b-down", 0.0, "no no"),
            ("down b-up b-down", 0.0, "no yes no"),
            // Newcomers.
            ("up new", 0.0, "yes no"),
            ("down new", 0.0, "no yes"),
            ("new new", 0.0, "yes yes"),
            ("drain new", 0.0, "no yes"),
            ("down new b-up", 0.0, "no no yes"),
            ("down new b-down b-new", 0.0, "no yes no no"),
            ("down b-new", 0.0, "no yes"),
            // Ejected.
            ("up out", 0.0, "yes no"),
            ("out out", 0.0, "yes yes"),
            ("down out", 0.0, "no yes"),
            ("out b-up", 0.0, "no yes"),
            ("out b-down", 0.0, "yes no"),
            ("out new", 0.0, "no yes"),
            ("up out out", 0.5, "yes yes yes"),
            // Too few are up.
            ("up down down", 0.33, "yes no no"),
            ("up down down", 0.34, "yes yes yes"),
            ("up down down drain", 0.34, "yes yes yes no"),
            ("up down down b-up", 0.5, "yes yes yes no"),
            ("down down", 0.1, "yes yes"),
            ("down down b-up", 0.5, "no no yes"),
            ("down down b-down", 0.5, "yes yes no"),
            ("down down b-up b-down b-down", 0.5, "no no yes yes yes"),
            ("up new new-down", 0.9, "yes yes yes"),
            ("up up", 1.0, "yes yes"),
            ("drain drain", 1.0, "no no"),
            ("", 1.0, ""),
        ];
        for (words, threshold, expected) in cases {
            let standings = standings(&backends(words), threshold);
            let taken: Vec<_> = standings
                .iter()
                .map(|&standing| if takes_clients(standing) { "yes" } else { "no" })
                .collect();
            assert_eq!(taken.join(" "), expected, "{words} below {threshold}");
        }
    }

    fn takes_clients((weight, flags): (u32, BackendFlags)) -> bool {
        weight > 0 && flags.contains(BackendFlags::KEEPS_CLIENTS)
    }

    #[test]
    fn one_that_fails_keeps_its_place_while_others_of_its_kind_serve() {
        // The backends, and whether each has slots.
        let cases = [
            ("up down out", "yes yes yes"),
            ("down down", "yes yes"),
            ("up down b-down", "yes yes no"),
            ("down b-up b-down", "no yes yes"),
            ("up new-down", "yes no"),
            ("down new new-down", "yes yes yes"),
        ];
        for (words, expected) in cases {
            let standings = standings(&backends(words), 0.0);
            let placed = standings
                .iter()
                .map(|(weight, _)| if *weight > 0 { "yes" } else { "no" });
            assert_eq!(placed.collect::<Vec<_>>().join(" "), expected, "{words}");
        }
    }

    #[test]
    fn flows_stay_with_a_down_backend_while_health_is_ignored() {
        let standings = standings(&backends("up down down"), 0.5);
        assert_eq!(standings[1], (100, KEEPS.with(BackendFlags::DOWN)));
    }

    #[test]
    fn one_that_is_ejected_keeps_its_flows_but_not_its_clients() {
        let standings = standings(&backends("up out"), 0.0);
        let down = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
        assert_eq!(
            standings[1],
            (100, BackendFlags::UP.with(BackendFlags::KEEPS_FLOWS).with(down))
        );
    }

    fn circumstances() -> impl Strategy<Value = Circumstances> {
        let admin = prop::sample::select(vec![Admin::Active, Admin::Draining, Admin::Disabled, Admin::Suspended]);
        let health = prop::sample::select(vec![Health::Up, Health::Down, Health::Unknown]);
        (admin, 0_u32..3, health, any::<[bool; 3]>()).prop_map(
            |(admin, weight, health, [backup, ejected, newcomer])| Circumstances {
                admin,
                weight,
                backup,
                health,
                ejected,
                newcomer,
            },
        )
    }

    proptest! {
        #[test]
        fn somebody_serves_whenever_somebody_can_and_nobody_whom_the_operator_excludes(
            backends in prop::collection::vec(circumstances(), 0..6),
            threshold in 0.0..=1.0,
        ) {
            let standings = standings(&backends, threshold);
            let can = backends.iter().any(|backend| backend.may_serve() && backend.health != Health::Down);
            let serves = standings.iter().copied().any(takes_clients);
            prop_assert!(serves || !can);
            for (backend, (weight, flags)) in backends.iter().zip(&standings) {
                prop_assert!(*weight == 0 || (*weight == backend.weight && backend.admin == Admin::Active));
                let fails = backend.health == Health::Down || backend.ejected;
                prop_assert!(*weight == 0 || flags.contains(KEEPS) || fails);
            }
        }
    }
}
