//! Backends that can be stopped and started again as something else, and what health checks make of them.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use balancer::{
    config::{self, HealthCheck},
    health::{Checker, Destination, Health, Target, Verdict, Verdicts},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time,
};

/// For what comes: more than it takes on a loaded machine.
const AMPLE: Duration = Duration::from_mins(1);
/// Probes at once.
const ROOM: usize = 100;

/// A backend on a port of its own, which it keeps while it is stopped and started.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Backend {
    pub(crate) async fn start<F>(behavior: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let mut backend = Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            serving: None,
        };
        backend.become_one_that(behavior).await;
        backend
    }

    /// Deals with connections in this way from now on, and ends those that it has.
    pub(crate) async fn become_one_that<F>(&mut self, behavior: impl Fn(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.serving = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(behavior(stream));
            }
        }));
    }

    /// Refuses connections from now on.
    pub(crate) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            assert!(serving.await.unwrap_err().is_cancelled());
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// The health check that these lines of `[service.health]` ask for.
pub(crate) fn check(lines: &str) -> HealthCheck {
    let text = format!(
        "version = 1\n\
         dataplane.interfaces = ['lo']\n\
         [[service]]\n\
         name = 'web'\n\
         address = '192.0.2.10'\n\
         ports = [80]\n\
         [service.health]\n\
         {lines}\n"
    );
    let loaded = config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    loaded.config.services[0].health.clone().unwrap()
}

/// What a probe came to: the text of its failure.
pub(crate) type Outcome = Result<(), String>;

/// The health check of one target.
pub(crate) struct Watch {
    _checker: Checker<()>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    verdicts: Verdicts<()>,
}

impl Watch {
    pub(crate) fn start(lines: &str, address: SocketAddr) -> Self {
        let (seen, outcomes) = mpsc::unbounded_channel();
        let (mut checker, verdicts) = Checker::new(ROOM, move |(): &(), outcome| {
            let result = outcome.result.as_ref().copied().map_err(ToString::to_string);
            // Nobody may be interested any more.
            let _: Result<_, _> = seen.send(result);
        });
        checker.reconcile(vec![Target {
            key: (),
            destination: Destination {
                backend: "backend".to_owned(),
                address,
                mark: None,
            },
            check: check(lines),
            initial: Health::Unknown,
            downs: Vec::new(),
        }]);
        Self {
            _checker: checker,
            outcomes,
            verdicts,
        }
    }

    /// What the next probe comes to.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let outcome = time::timeout(AMPLE, self.outcomes.recv()).await;
        outcome.expect("a probe should have ended by now").unwrap()
    }

    /// The next verdict, and the outcomes before it that nobody has asked for.
    pub(crate) async fn verdict(&mut self) -> (Verdict<()>, Vec<Outcome>) {
        let verdict = time::timeout(AMPLE, self.verdicts.recv()).await;
        let verdict = verdict.expect("a verdict should have come by now").unwrap();
        // An outcome is observed before its verdict is issued.
        let outcomes = std::iter::from_fn(|| self.outcomes.try_recv().ok()).collect();
        (verdict, outcomes)
    }
}

/// What one probe comes to.
pub(crate) async fn probe(lines: &str, address: SocketAddr) -> Outcome {
    Watch::start(lines, address).outcome().await
}
