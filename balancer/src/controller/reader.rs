//! Reading what is remembered on a thread of its own: with a million flows it takes so long that a failed backend's clients
//! would notice if the controller waited for it.

use std::{
    mem,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc as channel;

use super::{Controller, Input};
use crate::dataplane::{Census, Memory};

/// A count that took at least so long is used again for a while: the table is so large that a few flows make no difference.
const LONG: Duration = Duration::from_millis(100);

/// For how many times as long as it took.
const REUSE: u32 = 10;

/// What the controller does with something that was read.
type Finish = Box<dyn FnOnce(&mut Controller) + Send>;

/// Something that is read.
type Work = Box<dyn FnOnce() -> Finish + Send>;

/// What waits for a count of what is remembered.
type Waiting = Box<dyn FnOnce(&mut Controller, anyhow::Result<&Census>) + Send>;

/// Something that has been read.
pub struct Reading(Finish);

/// What has been read, on its way to the controller.
pub struct Readings(channel::UnboundedReceiver<Reading>);

impl Readings {
    /// Hands on what has been read until nobody reads any more.
    pub async fn forward(mut self, inputs: channel::Sender<Input>) {
        while let Some(reading) = self.0.recv().await {
            if inputs.send(Input::Read(reading)).await.is_err() {
                return;
            }
        }
    }
}

/// The thread that reads, and those who wait for it.
pub(super) struct Reader {
    work: mpsc::Sender<Work>,
    /// Who waits for a count, and since when, in that order.
    waiting: Vec<(Instant, Waiting)>,
    /// Whether a census has begun.
    is_counting: bool,
    latest: Option<Arc<Counted>>,
}

/// A count with its circumstances.
pub(super) struct Counted {
    census: Census,
    began: Instant,
    /// How much of the CPU it took, which does not depend on what else the host does.
    took: Duration,
}

impl Counted {
    /// What `count` counts from now on.
    pub(super) fn by(count: impl FnOnce() -> anyhow::Result<Census>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let before = cpu_time();
        let census = count()?;
        Ok(Self {
            census,
            began,
            took: cpu_time().saturating_sub(before),
        })
    }

    /// Whether it answers somebody who has asked at this time.
    fn answers(&self, asked: Instant) -> bool {
        let age = asked.saturating_duration_since(self.began);
        age.is_zero() || (self.took >= LONG && age <= self.took * REUSE)
    }
}

/// What this thread has had of the CPU.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl Reader {
    /// Starts the thread. It ends when this goes.
    pub(super) fn start() -> anyhow::Result<(Self, Readings)> {
        let (work, inbox) = mpsc::channel::<Work>();
        let (outbox, readings) = channel::unbounded_channel();
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                for read in inbox {
                    if outbox.send(Reading(read())).is_err() {
                        return;
                    }
                }
            })
            .context("cannot start the reader")?;
        let reader = Self {
            work,
            waiting: Vec::new(),
            is_counting: false,
            latest: None,
        };
        Ok((reader, Readings(readings)))
    }

    /// Whether somebody waits for a count.
    pub(super) const fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Has the next who asks counted for, as what is remembered has been changed.
    pub(super) fn forget(&mut self) {
        self.latest = None;
    }
}

impl Controller {
    /// Has `read` called on the reader's thread with what is remembered, and `then` here with what came of it.
    pub(super) fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(Memory) -> anyhow::Result<T> + Send + 'static,
        then: impl FnOnce(&mut Self, anyhow::Result<T>) + Send + 'static,
    ) {
        let memory = self.dataplane.memory();
        let read = move || -> Finish {
            let result = memory.and_then(read);
            Box::new(move |controller| then(controller, result))
        };
        if self.reader.work.send(Box::new(read)).is_err() {
            tracing::error!("the thread that reads what is remembered has ended");
        }
    }

    /// Has `then` called with how many flows and clients are remembered, at a moment after this one or, if there are very
    /// many, shortly before. Those who wait at the same time share what is counted.
    pub(super) fn count(&mut self, then: impl FnOnce(&mut Self, anyhow::Result<&Census>) + Send + 'static) {
        let now = Instant::now();
        if let Some(latest) = self.reader.latest.clone().filter(|latest| latest.answers(now)) {
            return then(self, Ok(&latest.census));
        }
        self.reader.waiting.push((now, Box::new(then)));
        self.begin_census();
    }

    fn begin_census(&mut self) {
        if mem::replace(&mut self.reader.is_counting, true) {
            return;
        }
        self.read(
            |memory| Counted::by(|| memory.census()),
            |controller, counted| {
                controller.reader.is_counting = false;
                match counted {
                    Ok(counted) => controller.take_count(counted),
                    Err(error) => {
                        for (_, then) in mem::take(&mut controller.reader.waiting) {
                            then(controller, Err(anyhow!("{error:#}")));
                        }
                    }
                }
            },
        );
    }

    /// Answers those who wait for a count. Others that a later one has to answer have theirs begun.
    pub(super) fn take_count(&mut self, counted: Counted) {
        let counted = Arc::new(counted);
        self.reader.latest = Some(Arc::clone(&counted));
        let (answered, left) = mem::take(&mut self.reader.waiting)
            .into_iter()
            .partition(|(asked, _)| counted.answers(*asked));
        self.reader.waiting = left;
        if self.reader.is_busy() {
            // Before those who are answered keep the controller busy.
            self.begin_census();
        }
        for (_, then) in answered {
            then(self, Ok(&counted.census));
        }
    }

    /// Takes in what has been read.
    pub(super) fn take_reading(&mut self, Reading(finish): Reading) {
        finish(self);
    }
}
