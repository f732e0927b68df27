//! A simulated pool for tests.

use super::*;

pub(super) const TICK: Duration = Duration::from_secs(2);

/// Simulation steps between two decisions.
const STEPS: u32 = 10;

pub(super) const HOUR: u32 = 3600;

pub(super) fn wish(
    min: u32,
    max: u32,
    idle_seconds: u32,
    target_queue_seconds: u32,
) -> Autoscaling {
    Autoscaling {
        min,
        max,
        idle_seconds,
        target_queue_seconds,
    }
}

/// Runners whose work is simulated as a continuous quantity, not job by job.
pub(super) struct World {
    scaler: Autoscaler,
    pub(super) wish: Autoscaling,
    now: Instant,
    /// Jobs that one runner takes at once.
    slots: u32,
    /// Duration of a job that is alone on a runner.
    pub(super) job_seconds: f64,
    /// Share of a runner that all its jobs share: 0 for none, 1 for all.
    pub(super) shared: f64,
    pub(super) start_up: Duration,
    ready: u32,
    starting: Vec<Instant>,
    pub(super) there: f64,
    ended: f64,
    busy_seconds: f64,
    pub(super) batch: Batch,
}

/// A batch in the simulated pool. Its pictures and the jobs do not slow each other down.
#[derive(Clone, Copy, Default)]
pub(super) struct Batch {
    pub(super) left: f64,
    /// Shards at once, at most.
    pub(super) parallelism: u32,
    /// Speed of one runner, with any number of shards.
    pub(super) per_second: f64,
    done: f64,
    busy_seconds: f64,
}

/// Shards that one runner takes at once.
const SHARD_SLOTS: u32 = 2;

const SHARD: f64 = 1000.0;

impl Batch {
    pub(super) fn new(pictures: u32, parallelism: u32, per_second: f64) -> Self {
        Self {
            left: pictures.into(),
            parallelism,
            per_second,
            ..Self::default()
        }
    }

    fn runnable(&self) -> u32 {
        whole_runners(self.left / SHARD).min(self.parallelism)
    }

    fn run(&mut self, ready: u32, seconds: f64) {
        let runners = f64::from(ready.min(self.runnable()));
        let done = (runners * self.per_second * seconds).min(self.left);
        self.left -= done;
        self.done += done;
        self.busy_seconds += runners * seconds;
    }
}

impl World {
    pub(super) fn new(wish: Autoscaling, slots: u32, job_seconds: f64) -> Self {
        Self {
            scaler: Autoscaler::default(),
            wish,
            now: Instant::now(),
            slots,
            job_seconds,
            shared: 0.0,
            start_up: Duration::from_mins(1),
            ready: wish.min,
            starting: Vec::new(),
            there: 0.0,
            ended: 0.0,
            busy_seconds: 0.0,
            batch: Batch::default(),
        }
    }

    /// Duration of a job among this many on one runner, in seconds.
    fn seconds_among(&self, jobs: f64) -> f64 {
        self.job_seconds * (1.0 - self.shared + self.shared * jobs.max(1.0))
    }

    /// Jobs per second of one full runner.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.slots) / self.seconds_among(self.slots.into())
    }

    /// Simulates one tick with this arrival rate, and returns the decision after it.
    pub(super) fn tick(&mut self, per_second: f64) -> Decision {
        self.now += TICK;
        let now = self.now;
        self.ready += u32::try_from(self.starting.extract_if(.., |at| *at <= now).count()).unwrap();
        let room = f64::from(self.ready * self.slots);
        for _ in 0..STEPS {
            let seconds = (TICK / STEPS).as_secs_f64();
            self.there += per_second * seconds;
            self.batch.run(self.ready, seconds);
            let running = self.there.min(room);
            if running > 0.0 {
                let each = self.seconds_among(running / f64::from(self.ready));
                let done = running / each * seconds;
                let whole = (self.ended + done).floor() - self.ended.floor();
                self.busy_seconds += whole * each;
                self.ended += done;
                self.there -= done;
            }
        }
        let running = self.there.min(room);
        let load = Load {
            queued: whole_runners(self.there - running),
            running: whole_runners(running),
            ended: u64::from(whole_runners(self.ended.floor())),
            busy_seconds: self.busy_seconds,
            slots: (self.ready > 0 || self.ended > 0.0).then_some(self.slots),
            batch_pictures_left: u64::from(whole_runners(self.batch.left)),
            shards_runnable: self.batch.runnable(),
            shards_running: self.batch.runnable().min(self.ready * SHARD_SLOTS),
            shard_slots: (self.ready > 0).then_some(SHARD_SLOTS),
            batch_pictures_done: u64::from(whole_runners(self.batch.done.floor())),
            batch_busy_seconds: self.batch.busy_seconds,
            ..Load::default()
        };
        let starting = u32::try_from(self.starting.len()).unwrap();
        let runners = Runners {
            ready: self.ready,
            starting,
            failing: 0,
        };
        let decision = self.scaler.decide(&self.wish, &load, runners, now);
        while self.ready + u32::try_from(self.starting.len()).unwrap() > decision.replicas {
            if self.starting.pop().is_none() {
                self.ready -= 1;
            }
        }
        while self.ready + u32::try_from(self.starting.len()).unwrap() < decision.replicas {
            self.starting.push(now + self.start_up);
        }
        decision
    }

    /// Simulates this many seconds, and returns the desired number of runners at each tick.
    pub(super) fn run(&mut self, seconds: u32, per_second: impl Fn(u32) -> f64) -> Vec<u32> {
        let ticks = 0..seconds / 2;
        ticks
            .map(|tick| self.tick(per_second(tick * 2)).replicas)
            .collect()
    }
}

pub(super) fn changes(wanted: &[u32]) -> usize {
    wanted.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
