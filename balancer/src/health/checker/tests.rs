use std::{
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;

use super::*;
use crate::config;

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

/// What the scripted backends have seen.
#[derive(Default)]
struct Seen {
    /// When probes started.
    starts: Vec<Instant>,
    under_way: usize,
    /// The most that were under way at once.
    peak: usize,
}

/// A probe that gets its answers from a function of the port.
struct Scripted<F> {
    answer: Arc<F>,
    seen: Arc<Mutex<Seen>>,
}

impl<F: Fn(u16) -> Answer + Send + Sync> Probe for Scripted<F> {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        let (latency, result) = (self.answer)(destination.address.port());
        Box::pin(async move {
            let _visit = Visit::begin(&self.seen);
            time::sleep(latency).await;
            result
        })
    }
}

/// A probe that is under way until this is dropped.
struct Visit<'a>(&'a Mutex<Seen>);

impl<'a> Visit<'a> {
    fn begin(seen: &'a Mutex<Seen>) -> Self {
        let mut now = seen.lock().unwrap();
        now.starts.push(Instant::now());
        now.under_way += 1;
        now.peak = now.peak.max(now.under_way);
        Self(seen)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}

/// A probe as it was observed.
struct Observed {
    key: u16,
    result: String,
    duration: u128,
    late: u128,
}

/// A checker of scripted backends, to be used with the clock paused.
struct Lab {
    checker: Checker<u16>,
    verdicts: Verdicts<u16>,
    outcomes: mpsc::UnboundedReceiver<Observed>,
    /// How many probes were made for how many targets.
    made: Arc<AtomicUsize>,
    seen: Arc<Mutex<Seen>>,
    began: Instant,
}

impl Lab {
    fn new(answer: impl Fn(u16) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_room_for(10_000, answer)
    }

    fn with_room_for(max_concurrent: usize, answer: impl Fn(u16) -> Answer + Send + Sync + 'static) -> Self {
        let (seen, made) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicUsize>::default());
        let answer = Arc::new(answer);
        let probes = {
            let (seen, made) = (Arc::clone(&seen), Arc::clone(&made));
            move |_: &_| -> Arc<dyn Probe> {
                made.fetch_add(1, Ordering::Relaxed);
                Arc::new(Scripted {
                    answer: Arc::clone(&answer),
                    seen: Arc::clone(&seen),
                })
            }
        };
        let (observed, outcomes) = mpsc::unbounded_channel();
        let (checker, verdicts) = Checker::with_probes(max_concurrent, Box::new(probes), move |key: &u16, outcome| {
            let result = outcome.result.as_ref();
            // Nobody may be interested any more.
            let _: Result<_, _> = observed.send(Observed {
                key: *key,
                result: result.map_or_else(ToString::to_string, |()| "success".to_owned()),
                duration: outcome.duration.as_millis(),
                late: outcome.late.as_millis(),
            });
        });
        Self {
            checker,
            verdicts,
            outcomes,
            made,
            seen,
            began: Instant::now(),
        }
    }

    /// The next verdict; `None` if none ever comes.
    async fn verdict(&mut self) -> Option<(u16, Health)> {
        let verdict = time::timeout(LONG, self.verdicts.recv()).await.ok()??;
        Some((verdict.key, verdict.health))
    }

    /// How many probes have been observed since this was asked last.
    fn probes(&mut self) -> usize {
        std::iter::from_fn(|| self.outcomes.try_recv().ok()).count()
    }

    /// When probes started, in milliseconds, which is as fine as the runtime's timers are.
    fn starts(&self) -> Vec<u128> {
        let starts = &self.seen.lock().unwrap().starts;
        starts.iter().map(|at| (*at - self.began).as_millis()).collect()
    }
}

/// A target that is probed every second, and whose port is its key.
fn target(key: u16, initial: Health) -> Target<u16> {
    Target {
        key,
        destination: Destination {
            backend: format!("backend-{key}"),
            address: (Ipv4Addr::LOCALHOST, key).into(),
            mark: None,
        },
        check: HealthCheck {
            via: config::Via::Address,
            probe: config::Probe::Tcp(config::TcpProbe::default()),
            port: None,
            interval: SECOND,
            interval_down: SECOND,
            timeout: 5 * SECOND,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            flap_limit: 0,
            flap_window: SECOND,
        },
        initial,
        downs: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_comes_with_the_probe_that_reaches_the_threshold() {
    let cases = [
        (Health::Unknown, true, Health::Up, 1),
        (Health::Unknown, false, Health::Down, 3),
        (Health::Up, false, Health::Down, 3),
        (Health::Down, true, Health::Up, 2),
    ];
    for (initial, answers, health, probes) in cases {
        let latency = 300 * MILLISECOND;
        let mut lab = Lab::new(move |_| (latency, if answers { Ok(()) } else { Err(Failure::Refused) }));
        lab.checker.reconcile(vec![target(1, initial)]);
        assert_eq!(lab.verdict().await, Some((1, health)), "from {initial:?}");
        assert_eq!(lab.probes(), probes, "from {initial:?}");
        let most = SECOND * u32::try_from(probes).unwrap() + latency;
        assert!(lab.began.elapsed() <= most, "from {initial:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_says_why() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    let cause = "connection refused ×3".to_owned();
    assert_eq!(
        lab.verdicts.recv().await,
        Some(Verdict {
            key: 1,
            health: Health::Down,
            damped: false,
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
    while let Some((key, Health::Up)) = lab.verdict().await {
        keys.push(key);
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..count).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_interval_runs_from_start_to_start() {
    let cases = [
        (0, 1000),
        (300, 1000),
        (2500, 2500),
        // Cut off by the timeout.
        (9000, 5000),
    ];
    for (latency, expected) in cases {
        let mut lab = Lab::new(move |_| (latency * MILLISECOND, Ok(())));
        lab.checker.reconcile(vec![target(1, Health::Up)]);
        for _ in 0..6 {
            lab.outcomes.recv().await.unwrap();
        }
        let gaps: Vec<_> = lab.starts().windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The first few take the target to its place.
        let (first, rest) = gaps.split_at(2);
        assert!(first.iter().all(|gap| *gap <= expected), "{gaps:?}");
        assert!(rest.iter().all(|gap| *gap == expected), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_probed_at_an_interval_of_its_own() {
    let mut lab = Lab::new(|_| failure());
    let mut target = target(1, Health::Up);
    target.check.interval_down = 10 * SECOND;
    lab.checker.reconcile(vec![target]);
    assert_eq!(lab.verdict().await, Some((1, Health::Down)));
    let down = lab.starts().len();
    for _ in 0..down + 3 {
        lab.outcomes.recv().await.unwrap();
    }
    let starts = lab.starts();
    assert!(starts[down] - starts[down - 1] <= 10_000, "{starts:?}");
    assert_eq!(starts[down + 1] - starts[down], 10_000, "{starts:?}");
    assert_eq!(starts[down + 2] - starts[down + 1], 10_000, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_are_under_way_than_there_is_room_for() {
    let mut lab = Lab::with_room_for(3, |_| (10 * MILLISECOND, Ok(())));
    lab.checker
        .reconcile((0..100).map(|key| target(key, Health::Unknown)).collect());
    for _ in 0..100 {
        assert!(matches!(lab.verdict().await, Some((_, Health::Up))));
    }
    assert_eq!(lab.seen.lock().unwrap().peak, 3);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_is_not_taken_off_the_time_to_answer() {
    let mut lab = Lab::with_room_for(1, |_| (4500 * MILLISECOND, Ok(())));
    lab.checker
        .reconcile((0..10).map(|key| target(key, Health::Unknown)).collect());
    for number in 0..10 {
        let observed = lab.outcomes.recv().await.unwrap();
        assert_eq!((observed.result.as_str(), observed.duration), ("success", 4500));
        assert!(observed.late + 1000 >= number * 4500, "{} ms late", observed.late);
    }
}

#[tokio::test(start_paused = true)]
async fn equal_checks_share_a_probe() {
    let mut lab = Lab::new(|_| success());
    let targets = |count| (0..count).map(|key| target(key, Health::Unknown)).collect();
    lab.checker.reconcile(targets(10));
    lab.checker.reconcile(targets(20));
    assert_eq!(lab.made.load(Ordering::Relaxed), 1);
    let mut other = target(99, Health::Unknown);
    other.check.timeout = SECOND;
    lab.checker.reconcile(vec![other]);
    assert_eq!(lab.made.load(Ordering::Relaxed), 2);
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
        let observed = lab.outcomes.recv().await.unwrap();
        assert_eq!(
            (observed.key, observed.result.as_str(), observed.duration),
            (key, result, duration)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unchanged_targets_go_on_with_their_counts() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    lab.outcomes.recv().await.unwrap();
    // What is known now counts as little as the other targets do.
    lab.checker
        .reconcile(vec![target(2, Health::Down), target(1, Health::Unknown)]);
    assert_eq!(lab.verdict().await, Some((1, Health::Down)));
    let further = std::iter::from_fn(|| lab.outcomes.try_recv().ok());
    assert_eq!(further.filter(|observed| observed.key == 1).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn changed_targets_start_anew() {
    type Change = fn(&mut Target<u16>);
    let cases: [(&str, Change, usize); 6] = [
        ("address", |target| target.destination.address.set_port(2), 3),
        ("mark", |target| target.destination.mark = Some(1), 3),
        ("interval", |target| target.check.interval = 2 * SECOND, 3),
        (
            "interval while down",
            |target| target.check.interval_down = 2 * SECOND,
            3,
        ),
        ("threshold", |target| target.check.unhealthy_threshold = 2, 2),
        ("initial alone", |target| target.initial = Health::Unknown, 2),
    ];
    for (name, change, probes) in cases {
        let mut lab = Lab::new(|_| failure());
        lab.checker.reconcile(vec![target(1, Health::Up)]);
        lab.outcomes.recv().await.unwrap();
        let mut changed = target(1, Health::Up);
        change(&mut changed);
        lab.checker.reconcile(vec![changed]);
        assert_eq!(lab.verdict().await, Some((1, Health::Down)), "{name}");
        assert_eq!(lab.probes(), probes, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_target_is_not_probed_any_more() {
    let mut lab = Lab::new(|_| failure());
    lab.checker.reconcile(vec![target(1, Health::Up)]);
    lab.outcomes.recv().await.unwrap();
    lab.checker.reconcile(vec![]);
    assert_eq!(lab.verdict().await, None);
    assert_eq!(lab.starts().len(), 1);
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
    moved.destination.address.set_port(2);
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
    lab.outcomes.recv().await.unwrap();
    drop(lab.checker);
    assert_eq!(lab.verdicts.recv().await, None);
    time::sleep(LONG).await;
    assert_eq!(lab.seen.lock().unwrap().starts.len(), 1);
}
