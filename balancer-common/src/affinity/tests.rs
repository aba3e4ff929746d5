use super::*;

fn phase(packets: &[(Sender, u8)]) -> Phase {
    let [(_, first), rest @ ..] = packets else {
        panic!("a flow has a first packet")
    };
    rest.iter()
        .fold(Phase::first(protocol::TCP, *first), |phase, &(sender, flags)| {
            phase.after(sender, flags)
        })
}

#[test]
fn a_connection_is_followed_from_its_first_packet_to_its_end() {
    use Sender::{Backend, Client};
    let opened = [(Client, tcp::SYN), (Backend, tcp::SYN | tcp::ACK), (Client, tcp::ACK)];
    for (packets, stage) in [
        (&[][..], Stage::Open),
        (&[(Client, tcp::FIN | tcp::ACK)], Stage::HalfClosed),
        (&[(Backend, tcp::FIN | tcp::ACK)], Stage::HalfClosed),
        (&[(Backend, tcp::FIN | tcp::ACK), (Client, tcp::ACK)], Stage::HalfClosed),
        (
            &[(Client, tcp::FIN | tcp::ACK), (Backend, tcp::FIN | tcp::ACK)],
            Stage::Closed,
        ),
        (
            &[
                (Client, tcp::FIN | tcp::ACK),
                (Backend, tcp::FIN | tcp::ACK),
                (Client, tcp::ACK),
            ],
            Stage::Closed,
        ),
        (&[(Backend, tcp::RST)], Stage::Closed),
        (&[(Client, tcp::RST)], Stage::Closed),
        (&[(Client, tcp::RST), (Backend, tcp::ACK)], Stage::Closed),
        (&[(Client, tcp::RST), (Client, tcp::ACK)], Stage::Open),
        (&[(Backend, tcp::RST), (Client, tcp::ACK)], Stage::Closed),
    ] {
        let packets = [&opened, packets].concat();
        assert_eq!(phase(&packets).stage(), stage, "{packets:?}");
    }
}

#[test]
fn a_flow_is_open_with_its_second_packet_or_when_it_is_met_in_its_middle() {
    assert_eq!(Phase::first(protocol::TCP, tcp::SYN).stage(), Stage::Opening);
    assert_eq!(Phase::first(protocol::TCP, tcp::ACK).stage(), Stage::Open);
    assert_eq!(Phase::first(protocol::TCP, tcp::RST).stage(), Stage::Closed);
    let datagram = Phase::first(protocol::UDP, 0);
    assert_eq!(datagram.stage(), Stage::Opening);
    assert_eq!(datagram.after(Sender::Client, 0).stage(), Stage::Open);
    assert_eq!(datagram.after(Sender::Backend, 0).stage(), Stage::Open);
    let repeated = Phase::first(protocol::TCP, tcp::SYN).after(Sender::Client, tcp::SYN);
    assert_eq!(repeated.stage(), Stage::Opening);
}

#[test]
fn a_connection_is_refused_by_a_reset_that_is_the_backends_first_answer() {
    use Sender::{Backend, Client};
    let refusal = tcp::RST | tcp::ACK;
    for (packets, flags, refused) in [
        (&[(Client, tcp::SYN)][..], refusal, true),
        (&[(Client, tcp::SYN), (Client, tcp::SYN)], refusal, true),
        (&[(Client, tcp::SYN)], tcp::SYN | tcp::ACK, false),
        (&[(Client, tcp::SYN), (Backend, tcp::SYN | tcp::ACK)], refusal, false),
        (&[(Client, tcp::SYN), (Backend, refusal)], refusal, false),
        (&[(Client, tcp::SYN), (Client, tcp::RST)], refusal, false),
        // It is met in its middle.
        (&[(Client, tcp::ACK)], refusal, false),
    ] {
        assert_eq!(phase(packets).is_refused_by(flags), refused, "{packets:?} {flags:#x}");
    }
}

#[test]
fn an_answer_is_overdue_until_there_is_one_and_that_says_nothing_of_the_stage() {
    let asked = Phase::first(protocol::TCP, tcp::SYN);
    assert!(asked.awaits_answer() && !asked.is_overdue());
    let overdue = asked.overdue().after(Sender::Client, tcp::SYN);
    assert!(overdue.awaits_answer() && overdue.is_overdue());
    assert_eq!(overdue.stage(), Stage::Opening);
    let answered = overdue.after(Sender::Backend, tcp::SYN | tcp::ACK);
    assert!(!answered.awaits_answer());
    assert_eq!(answered.stage(), Stage::Opening);
    assert!(!Phase::first(protocol::TCP, tcp::ACK).awaits_answer());
}

#[test]
fn an_idle_flow_lives_as_long_as_its_phase_allows_and_never_longer_than_one_in_use() {
    let lifetimes = Lifetimes {
        opening: 60,
        half_closed: 300,
        closed: 10,
    };
    let open = Phase::first(protocol::TCP, tcp::ACK);
    let half_closed = open.after(Sender::Client, tcp::FIN);
    for (phase, lifetime) in [
        (Phase::first(protocol::TCP, tcp::SYN), 60),
        (open, 1_000),
        (half_closed, 300),
        (half_closed.after(Sender::Backend, tcp::FIN), 10),
    ] {
        assert_eq!(lifetimes.of(phase, 1_000), lifetime, "{phase:?}");
        assert_eq!(lifetimes.of(phase, 5), 5, "{phase:?}");
    }
}

#[test]
fn what_is_idle_for_longer_than_its_lifetime_is_forgotten() {
    let now = Tick::from_jiffies(1_000 << Tick::SHIFT);
    assert!(is_remembered(now, now, 0));
    assert!(is_remembered(now, now.before(10), 10));
    assert!(!is_remembered(now, now.before(11), 10));
}

#[test]
fn what_a_remembered_backend_means_follows_from_its_flags() {
    use Memory::{Client, Flow};
    let none = BackendFlags::default();
    let (flows, clients) = (BackendFlags::KEEPS_FLOWS, BackendFlags::KEEPS_CLIENTS);
    let down = BackendFlags::DOWN.with(BackendFlags::EXPECTED);
    for (memory, flags, when_down, expected) in [
        (Flow, flows, WhenDown::Drop, Standing::Serves),
        (Flow, clients, WhenDown::Drop, Standing::Gone),
        (Client, flows, WhenDown::Drop, Standing::Gone),
        (Client, clients, WhenDown::Drop, Standing::Serves),
        (Flow, flows.with(down), WhenDown::Reject, Standing::Serves),
        (Flow, down, WhenDown::Reassign, Standing::Gone),
        (Client, down, WhenDown::Reject, Standing::Reject),
        (Client, down, WhenDown::Drop, Standing::Drop),
        (Flow, BackendFlags::DOWN, WhenDown::Reject, Standing::Gone),
        (Client, BackendFlags::SUSPENDED, WhenDown::Reject, Standing::Wake),
        (Flow, down.with(BackendFlags::SUSPENDED), WhenDown::Drop, Standing::Wake),
        (Flow, none, WhenDown::Reject, Standing::Gone),
    ] {
        assert_eq!(
            standing(memory, flags, when_down),
            expected,
            "{memory:?} {flags:?} {when_down:?}"
        );
    }
}

#[test]
fn what_stays_open_is_open_and_does_not_change() {
    let mut stays = 0;
    for (bits, flags) in (0..=u8::MAX).flat_map(|bits| (0..=u8::MAX).map(move |flags| (bits, flags))) {
        let phase = Phase(bits);
        if phase.stays_open(flags) {
            stays += 1;
            assert_eq!(phase.stage(), Stage::Open, "{bits:#x} {flags:#x}");
            assert_eq!(phase.after(Sender::Client, flags), phase, "{bits:#x} {flags:#x}");
        }
    }
    assert!(stays > 0);
    let used = phase(&[
        (Sender::Client, tcp::SYN),
        (Sender::Backend, tcp::SYN | tcp::ACK),
        (Sender::Client, tcp::ACK),
    ]);
    assert!(used.stays_open(tcp::ACK));
    assert!(!used.stays_open(tcp::ACK | tcp::FIN) && !used.stays_open(tcp::RST) && !used.stays_open(tcp::SYN));
}
