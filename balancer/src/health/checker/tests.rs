use std::{net::Ipv4Addr, sync::Mutex};

use futures_util::future::BoxFuture;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Long enough for whatever is going to happen.
const LONG: Duration = Duration::from_mins(1);

/// What a scripted backend does: how long it takes, and what comes of it.
type Answer = (Duration, Result<(), Failure>);

fn success() -> Answer {
    (Duration::ZERO, Ok(()))
}

fn failure() -> Answer {
    (Duration::ZERO, Err(Failure::Refused))
}

/// When probes started, and of which address.
type Starts = Arc<Mutex<Vec<(SocketAddr, Instant)>>>;

/// A probe that gets its answers from a function of the port.
struct Scripted<F> {
    answer: Arc<F>,
    starts: Starts,
}

impl<F: Fn(u16) -> Answer + Send + Sync> Probe for Scripted<F> {
    fn probe(&self, target: SocketAddr) -> BoxFuture<'_, Result<(), Failure>> {
        self.starts.lock().unwrap().push((target, Instant::now()));
        let (latency, result) = (self.answer)(target.port());
        Box::pin(async move {
            time::sleep(latency).await;
            result
        })
    }
}

/// A checker of scripted backends, to be used with the clock paused.
struct Lab {
    checker: Checker<u16>,
    verdicts: Verdicts<u16>,
    outcomes: mpsc::UnboundedReceiver<(u16, String, Duration)>,
    starts: Starts,
    began: Instant,
}

impl Lab {
    fn new(answer: impl Fn(u16) -> Answer + Send + Sync + 'static) -> Self {
        let starts = Starts::default();
        let answer = Arc::new(answer);
        let probes = {
            let starts = Arc::clone(&starts);
            move |_: &_| -> Box<dyn Probe> {
                Box::new(Scripted {
                    answer: Arc::clone(&answer),
                    starts: Arc::clone(&starts),
                })
            }
        };
        let (observed, outcomes) = mpsc::unbounded_channel();
        let (checker, verdicts) = Checker::with_probes(Box::new(probes), move |key: &u16, outcome| {
            let result = outcome
                .result
                .as_ref()
                .map_or_else(ToString::to_string, |()| "success".to_owned());
            // Nobody may be interested any more.
            let _: Result<_, _> = observed.send((*key, result, outcome.duration));
        });
        Self {
            checker,
            verdicts,
            outcomes,
            starts,
            began: Instant::now(),
        }
    }

    /// Whole milliseconds since the start, which is as fine as the runtime's timers are.
    fn now(&self) -> u128 {
        self.began.elapsed().as_millis()
    }

    /// The next verdict and the time at which it came, in milliseconds; `None` if none ever comes.
    async fn verdict(&mut self) -> Option<(u16, Health, u128)> {
        let verdict = time::timeout(LONG, self.verdicts.recv()).await.ok()??;
        Some((verdict.key, verdict.health, self.now()))
    }

    /// When probes started, in milliseconds.
    fn starts(&self) -> Vec<u128> {
        self.starts
            .lock()
            .unwrap()
            .iter()
            .map(|(_, at)| at.duration_since(self.began).as_millis())
            .collect()
    }
}

/// A target that is probed every second, and whose port is its key.
fn target(key: u16, initial: Health) -> Target<u16> {
    Target {
        key,
        address: (Ipv4Addr::LOCALHOST, key).into(),
        check: HealthCheck {
            probe: config::Probe::Tcp(config::TcpProbe::default()),
            port: None,
            interval: SECOND,
            timeout: 5 * SECOND,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        },
        initial,
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_comes_with_the_probe_that_reaches_the_threshold() {
    let cases = [
        (Health::Unknown, true, Health::Up, 300),
        (Health::Unknown, false, Health::Down, 2300),
        (Health::Up, false, Health::Down, 2300),
        (Health::Down, true, Health::Up, 1300),
    ];
    for (initial, answers, health, at) in cases {
        let mut lab = Lab::new(move |_| (300 * MILLISECOND, if answers { Ok(()) } else { Err(Failure::Refused) }));
        lab.checker.reconcile(vec![target(1, initial)]);
        assert_eq!(lab.verdict().await, Some((1, health, at)), "from {initial:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_says_why() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    let cause = "connection refused, 3 failures in a row".to_owned();
    assert_eq!(
        lab.verdicts.recv().await,
        Some(Verdict {
            key: 1,
            health: Health::Down,
            cause
        })
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_told_again() {
    let mut lab = Lab::new(|port| if port == 1 { success() } else { failure() });
    lab.checker
        .reconcile(vec![target(1, Health::Up), target(2, Health::Down)]);
    assert_eq!(lab.verdict().await, None);
}

#[tokio::test(start_paused = true)]
async fn verdicts_come_in_the_order_in_which_they_are_reached() {
    let mut lab = Lab::new(|port| (u32::from(port) * 100 * MILLISECOND, Ok(())));
    lab.checker
        .reconcile([3, 1, 4, 2].map(|key| target(key, Health::Unknown)).into());
    for key in 1..=4 {
        assert_eq!(lab.verdicts.recv().await.unwrap().key, key);
    }
}

#[tokio::test(start_paused = true)]
async fn no_verdict_is_lost_when_more_come_at_once_than_there_is_room_for() {
    let mut lab = Lab::new(|_| success());
    let count = u16::try_from(2 * WAITING_VERDICTS).unwrap();
    lab.checker
        .reconcile((0..count).map(|key| target(key, Health::Unknown)).collect());
    time::sleep(10 * SECOND).await;
    let mut keys = Vec::new();
    while let Some((key, Health::Up, _)) = lab.verdict().await {
        keys.push(key);
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..count).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_interval_runs_from_start_to_start() {
    let cases = [
        (0, [0, 1000, 2000, 3000]),
        (300, [0, 1000, 2000, 3000]),
        (2500, [0, 2500, 5000, 7500]),
        // Cut off by the timeout.
        (9000, [0, 5000, 10_000, 15_000]),
    ];
    for (latency, expected) in cases {
        let mut lab = Lab::new(move |_| (latency * MILLISECOND, Ok(())));
        lab.checker.reconcile(vec![target(1, Health::Up)]);
        while lab.starts().len() < expected.len() {
            lab.outcomes.recv().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(lab.starts(), expected, "probes that take {latency} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_observed() {
    let mut lab = Lab::new(|port| match port {
        1 => (20 * MILLISECOND, Ok(())),
        2 => (30 * MILLISECOND, Err(Failure::Status(503))),
        _ => (LONG, Ok(())),
    });
    let expected = [(1, "success", 20), (2, "status 503", 30), (3, "timed out", 5000)];
    for (key, result, duration) in expected {
        lab.checker.reconcile(vec![target(key, Health::Unknown)]);
        let (observed, text, took) = lab.outcomes.recv().await.unwrap();
        assert_eq!((observed, text.as_str(), took.as_millis()), (key, result, duration));
    }
}

#[tokio::test(start_paused = true)]
async fn unchanged_targets_go_on_with_their_counts() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    time::sleep(1500 * MILLISECOND).await;
    // What is known now counts as little as the other targets do.
    lab.checker
        .reconcile(vec![target(2, Health::Down), target(1, Health::Unknown)]);
    assert_eq!(lab.verdict().await, Some((1, Health::Down, 2000)));
}

#[tokio::test(start_paused = true)]
async fn changed_targets_start_anew() {
    type Change = fn(&mut Target<u16>);
    let cases: [(&str, Change, u128); 4] = [
        ("address", |target| target.address.set_port(2), 3500),
        ("interval", |target| target.check.interval = 2 * SECOND, 5500),
        ("threshold", |target| target.check.unhealthy_threshold = 2, 2500),
        ("initial alone", |target| target.initial = Health::Unknown, 2000),
    ];
    for (name, change, at) in cases {
        let mut lab = Lab::new(|_| failure());
        lab.checker.reconcile(vec![target(1, Health::Up)]);
        time::sleep(1500 * MILLISECOND).await;
        let mut changed = target(1, Health::Up);
        change(&mut changed);
        lab.checker.reconcile(vec![changed]);
        assert_eq!(lab.verdict().await, Some((1, Health::Down, at)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_target_is_not_probed_any_more() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    time::sleep(1500 * MILLISECOND).await;
    lab.checker.reconcile(vec![]);
    assert_eq!(lab.verdict().await, None);
    assert_eq!(lab.starts(), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_waits_is_void_once_its_target_is_stopped() {
    let mut lab = Lab::new(|_| success());
    lab.checker
        .reconcile(vec![target(1, Health::Unknown), target(2, Health::Unknown)]);
    time::sleep(10 * SECOND).await;
    lab.checker.reconcile(vec![target(2, Health::Unknown)]);
    assert_eq!(lab.verdict().await.map(|(key, ..)| key), Some(2));
    assert_eq!(lab.verdict().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_waits_is_void_once_its_target_is_started_anew() {
    let mut lab = Lab::new(|port| if port == 1 { failure() } else { success() });
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    time::sleep(10 * SECOND).await;
    let mut moved = target(1, Health::Up);
    moved.address.set_port(2);
    lab.checker.reconcile(vec![moved]);
    assert_eq!(lab.verdict().await, None);
}

#[tokio::test(start_paused = true)]
async fn many_targets_start_one_after_the_other() {
    let mut lab = Lab::new(|_| success());
    lab.checker
        .reconcile((0..1000).map(|key| target(key, Health::Up)).collect());
    time::sleep(999 * MILLISECOND).await;
    let mut starts = lab.starts();
    starts.dedup();
    assert!(starts.len() > 500, "1000 probes started at only {} times", starts.len());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_checker_ends_probes_and_verdicts() {
    let mut lab = Lab::new(|_| success());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    time::sleep(1500 * MILLISECOND).await;
    drop(lab.checker);
    assert_eq!(lab.verdicts.recv().await, None);
    time::sleep(LONG).await;
    assert_eq!(lab.starts.lock().unwrap().len(), 2);
}
