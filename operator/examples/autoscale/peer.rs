//! The two rules.

use crate::pool::{Rule, SLOTS};
use fovea_crds::Autoscaling;
use fovea_operator::pool::autoscale::{Autoscaler, Runners};
use fovea_operator::pool::load::Load;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most runners that either may have.
pub(crate) const MAX: u32 = 40;

/// The operator's own rule, which decides every two seconds.
pub(crate) struct Own {
    scaler: Autoscaler,
    wish: Autoscaling,
    begin: Instant,
}

impl Own {
    pub(crate) fn new(min: u32) -> Self {
        Self {
            scaler: Autoscaler::default(),
            wish: Autoscaling {
                min,
                max: MAX,
                idle_seconds: 300,
                target_queue_seconds: 30,
            },
            begin: Instant::now(),
        }
    }
}

impl Rule for Own {
    fn decide(&mut self, load: &Load, runners: Runners, now: Duration) -> Option<u32> {
        let decision = || {
            self.scaler
                .decide(&self.wish, load, runners, self.begin + now)
        };
        now.as_secs()
            .is_multiple_of(2)
            .then(decision)
            .map(|decision| decision.replicas)
    }
}

/// What a `HorizontalPodAutoscaler` does by default with the runners' utilisation, of which 70% is
/// its target: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>
#[derive(Default)]
pub(crate) struct Horizontal {
    /// Busy parts of the ready runners, of the last seconds.
    busy: VecDeque<f64>,
    desired: VecDeque<(Duration, u32)>,
}

impl Horizontal {
    const TARGET: f64 = 0.7;
    const EVERY_SECONDS: u64 = 15;
    const TOLERANCE: f64 = 0.1;
    const WINDOW: Duration = Duration::from_mins(5);

    fn desired(busy: f64, runners: Runners) -> u32 {
        let Runners {
            ready, starting, ..
        } = runners;
        let (ready, all) = (f64::from(ready), f64::from(ready + starting));
        let ratio = busy / Self::TARGET;
        let needed = if ratio > 1.0 {
            // Starting runners count as idle.
            let damped = ratio * ready / all;
            if damped > 1.0 + Self::TOLERANCE {
                damped * all
            } else {
                all
            }
        } else if ratio < 1.0 - Self::TOLERANCE {
            ratio * ready
        } else {
            all
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few runners"
        )]
        let needed = needed.ceil() as u32;
        needed
    }
}

impl Rule for Horizontal {
    fn decide(&mut self, load: &Load, runners: Runners, now: Duration) -> Option<u32> {
        let room = f64::from((runners.ready * SLOTS).max(1));
        self.busy
            .push_back((f64::from(load.running) / room).min(1.0));
        if self.busy.len() > 15 {
            self.busy.pop_front();
        }
        if !now.as_secs().is_multiple_of(Self::EVERY_SECONDS) {
            return None;
        }
        let busy = self.busy.iter().sum::<f64>() / 15.0;
        let there = runners.ready + runners.starting;
        let desired = Self::desired(busy, runners).min((there + 4).max(2 * there));
        // It has no zero.
        let desired = desired.clamp(1, MAX);
        self.desired.push_back((now, desired));
        while self
            .desired
            .front()
            .is_some_and(|(then, _)| now.saturating_sub(*then) > Self::WINDOW)
        {
            self.desired.pop_front();
        }
        let highest = self.desired.iter().map(|(_, desired)| *desired).max();
        Some(desired.max(there.min(highest.unwrap_or(desired))))
    }
}
