//! A pool whose runners take time to start, job by job.

use crate::shapes::{Job, Shape};
use fovea_operator::pool::autoscale::Runners;
use fovea_operator::pool::load::Load;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Jobs that a runner takes at once.
pub(crate) const SLOTS: u32 = 4;

/// From the wish for a runner until it serves.
pub(crate) const START_UP: Duration = Duration::from_mins(1);

/// Which part of a runner its jobs share: a job alone on it takes half the time.
const SHARED: f64 = 0.5;

pub(crate) trait Rule {
    /// How many from now on; `None` where nothing is decided.
    fn decide(&mut self, load: &Load, runners: Runners, now: Duration) -> Option<u32>;
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of each job, in the order of their start, in seconds.
    pub(crate) waits: Vec<f64>,
    /// Of runners, also of those that start or leave.
    pub(crate) runner_seconds: u64,
    /// How often the number was changed.
    pub(crate) changes: u32,
    /// By second: runners, and jobs that wait.
    pub(crate) course: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting(Duration),
    Serving,
    /// Takes no more jobs, and goes with its last.
    Leaving,
    Gone,
}

#[derive(Debug)]
struct Runner {
    state: State,
    jobs: u32,
}

#[derive(Default)]
struct Pool {
    runners: Vec<Runner>,
    queue: VecDeque<Job>,
    /// When a job ends, on which runner, and how long it was there.
    ends: BinaryHeap<Reverse<(Duration, usize, Duration)>>,
    ended: u64,
    busy: Duration,
    outcome: Outcome,
}

/// What the rule makes of the load.
pub(crate) fn run(shape: &Shape, mut rule: impl Rule) -> Outcome {
    let mut pool = Pool::default();
    pool.resize(shape.min, Duration::ZERO);
    for runner in &mut pool.runners {
        runner.state = State::Serving;
    }
    let mut jobs = shape.jobs.iter().copied().peekable();
    let mut wanted = shape.min;
    let mut now = Duration::ZERO;
    let end = Duration::from_secs_f64(shape.seconds);
    while now < end || !pool.queue.is_empty() {
        now += Duration::from_secs(1);
        while let Some(job) = jobs.next_if(|job| Duration::from_secs_f64(job.at) <= now) {
            let at = Duration::from_secs_f64(job.at);
            pool.advance(at);
            pool.queue.push_back(job);
            pool.give(at);
        }
        pool.advance(now);
        if let Some(replicas) = rule.decide(&pool.load(), pool.count(), now) {
            pool.outcome.changes += u32::from(replicas != wanted);
            wanted = replicas;
            pool.resize(wanted, now);
        }
        pool.note();
    }
    pool.outcome
}

impl Pool {
    /// Everything that ends or begins to serve up to `now`.
    fn advance(&mut self, now: Duration) {
        while let Some(Reverse((at, on, lasted))) = self.ends.peek().copied() {
            if at > now {
                break;
            }
            self.ends.pop();
            self.ended += 1;
            self.busy += lasted;
            let runner = &mut self.runners[on];
            runner.jobs -= 1;
            if runner.state == State::Leaving && runner.jobs == 0 {
                runner.state = State::Gone;
            }
            self.give(at);
        }
        for runner in &mut self.runners {
            if matches!(runner.state, State::Starting(at) if at <= now) {
                runner.state = State::Serving;
            }
        }
        self.give(now);
    }

    /// Gives waiting jobs to the least loaded runners.
    fn give(&mut self, now: Duration) {
        while !self.queue.is_empty() {
            let serving = self.runners.iter_mut().enumerate();
            let free = serving
                .filter(|(_, runner)| runner.state == State::Serving && runner.jobs < SLOTS)
                .min_by_key(|(_, runner)| runner.jobs);
            let Some((on, runner)) = free else { return };
            let Some(job) = self.queue.pop_front() else {
                return;
            };
            runner.jobs += 1;
            let share = 1.0 - SHARED + SHARED * f64::from(runner.jobs) / f64::from(SLOTS);
            let lasts = Duration::from_secs_f64(job.seconds * share);
            self.ends.push(Reverse((now + lasts, on, lasts)));
            self.outcome
                .waits
                .push((now.as_secs_f64() - job.at).max(0.0));
        }
    }

    /// Starts runners, or lets the least useful go: those that start, then the least loaded.
    fn resize(&mut self, wanted: u32, now: Duration) {
        let mut staying: Vec<usize> = (0..self.runners.len())
            .filter(|each| {
                matches!(
                    self.runners[*each].state,
                    State::Starting(_) | State::Serving
                )
            })
            .collect();
        staying.sort_by_key(|each| {
            let runner = &self.runners[*each];
            (runner.state == State::Serving, runner.jobs)
        });
        let there = u32::try_from(staying.len()).unwrap_or(u32::MAX);
        for leaving in staying
            .into_iter()
            .take(there.saturating_sub(wanted) as usize)
        {
            let runner = &mut self.runners[leaving];
            runner.state = if runner.jobs == 0 {
                State::Gone
            } else {
                State::Leaving
            };
        }
        for _ in there..wanted {
            self.runners.push(Runner {
                state: State::Starting(now + START_UP),
                jobs: 0,
            });
        }
    }

    fn load(&self) -> Load {
        let running = self.runners.iter().map(|runner| runner.jobs).sum();
        Load {
            queued: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            running,
            ended: self.ended,
            busy_seconds: self.busy.as_secs_f64(),
            slots: Some(SLOTS),
            ..Load::default()
        }
    }

    fn count(&self) -> Runners {
        let mut count = Runners::default();
        for runner in &self.runners {
            match runner.state {
                State::Serving => count.ready += 1,
                State::Starting(_) => count.starting += 1,
                State::Leaving | State::Gone => {}
            }
        }
        count
    }

    fn note(&mut self) {
        let there = self.runners.iter().filter(|each| each.state != State::Gone);
        let there = u32::try_from(there.count()).unwrap_or(u32::MAX);
        self.outcome.runner_seconds += u64::from(there);
        let waiting = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.outcome.course.push((there, waiting));
    }
}
