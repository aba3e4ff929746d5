//! What wakes the controller when something is due.

use std::time::Instant;

use tokio::{
    sync::{mpsc, watch},
    time,
};

use super::Input;

/// The controller's end: when it wants to be woken.
pub(super) struct Alarm(watch::Sender<Option<Instant>>);

/// The end that waits for it.
pub struct AlarmClock(watch::Receiver<Option<Instant>>);

impl Alarm {
    /// An alarm that is not set, and its clock.
    pub(super) fn new() -> (Self, AlarmClock) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), AlarmClock(receiver))
    }

    /// Sets the alarm to another time, or to none.
    pub(super) fn set(&self, time: Option<Instant>) {
        self.0.send_replace(time);
    }
}

impl AlarmClock {
    /// Wakes the controller behind `inputs` whenever it wants to be, until it ends.
    pub async fn run(mut self, inputs: mpsc::Sender<Input>) {
        loop {
            let time = *self.0.borrow_and_update();
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() {
                    return;
                },
                () = reached(time) => {
                    // It is set anew by what it causes.
                    if inputs.send(Input::Alarm).await.is_err() || self.0.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_alarm_goes_off_at_the_time_set_last_and_once() {
        let (alarm, clock) = Alarm::new();
        let (inputs, mut inbox) = mpsc::channel(8);
        let task = tokio::spawn(clock.run(inputs));
        let start = time::Instant::now();
        let after = |seconds| Some((start + Duration::from_secs(seconds)).into_std());
        alarm.set(after(5));
        alarm.set(after(9));
        assert!(matches!(inbox.recv().await, Some(Input::Alarm)));
        assert_eq!(start.elapsed().as_secs(), 9);
        assert!(time::timeout(Duration::from_mins(1), inbox.recv()).await.is_err());
        alarm.set(after(3));
        assert!(
            matches!(inbox.recv().await, Some(Input::Alarm)),
            "a time that has passed is now"
        );
        alarm.set(None);
        assert!(time::timeout(Duration::from_mins(1), inbox.recv()).await.is_err());
        drop(alarm);
        task.await.unwrap();
    }
}
