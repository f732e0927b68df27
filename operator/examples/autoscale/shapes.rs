//! The loads: when jobs arrive, and how long each takes.

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::f64::consts::TAU;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;

/// Seconds that a job takes on a full runner, on average.
pub(crate) const JOB_SECONDS: f64 = 8.0;

pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// How long it lasts, in seconds.
    pub(crate) seconds: f64,
    /// In the order of their arrival.
    pub(crate) jobs: Vec<Job>,
    /// The fewest runners that the pool is to have.
    pub(crate) min: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// When it arrives, in seconds.
    pub(crate) at: f64,
    /// How long it takes on a full runner, in seconds.
    pub(crate) seconds: f64,
}

pub(crate) fn all() -> anyhow::Result<Vec<Shape>> {
    let between = |at: f64, from: f64, to: f64| (from * MINUTE..to * MINUTE).contains(&at);
    Ok(vec![
        shape(
            "step",
            "Step: 0.5 to 6 jobs a second for half an hour",
            HOUR,
            1,
            |at| {
                if between(at, 10.0, 40.0) { 6.0 } else { 0.5 }
            },
        ),
        shape(
            "ramp",
            "Ramp: 0.5 to 10 jobs a second in half an hour, and back",
            1.25 * HOUR,
            1,
            |at| {
                let from_top = (at - 37.5 * MINUTE).abs() / (30.0 * MINUTE);
                (10.0 - 9.5 * from_top).max(0.5)
            },
        ),
        shape(
            "bursts",
            "Bursts: 400 jobs within 20 seconds every 20 minutes, nothing between",
            2.0 * HOUR,
            0,
            |at| {
                if (at + 15.0 * MINUTE) % (20.0 * MINUTE) < 20.0 {
                    20.0
                } else {
                    0.0
                }
            },
        ),
        shape(
            "sawtooth",
            "Sawtooth: 1 to 6 jobs a second, every ten minutes anew",
            2.0 * HOUR,
            1,
            |at| 1.0 + 5.0 * (at % (10.0 * MINUTE)) / (10.0 * MINUTE),
        ),
        shape(
            "day",
            "Day: 0.1 to 3 jobs a second over 24 hours",
            24.0 * HOUR,
            0,
            |at| 1.55 - 1.45 * (TAU * at / (24.0 * HOUR)).cos(),
        ),
        recorded()?,
    ])
}

/// Random arrivals with this average rate per second.
fn shape(
    name: &'static str,
    title: &'static str,
    seconds: f64,
    min: u32,
    per_second: impl Fn(f64) -> f64,
) -> Shape {
    let mut chance = Chance::new();
    let mut jobs = Vec::new();
    let mut at = 0.0;
    while at < seconds {
        let rate = per_second(at);
        // No further than a second at a time, since the rate changes.
        let next = chance.exponential(1.0 / rate.max(1e-9));
        at += next.min(1.0);
        if next <= 1.0 && at < seconds {
            jobs.push(chance.job(at));
        }
    }
    Shape {
        name,
        title,
        seconds,
        jobs,
        min,
    }
}

/// An hour of a service, as it was.
fn recorded() -> anyhow::Result<Shape> {
    const STEP: f64 = 10.0;
    let lines = include_str!("recorded.csv").lines();
    let counts = lines.filter(|line| !line.starts_with('#')).skip(1);
    let mut chance = Chance::new();
    let mut jobs = Vec::new();
    let mut begin = 0.0;
    for count in counts {
        let count: u32 = count.parse().context("recorded.csv holds a count a line")?;
        for each in 0..count {
            jobs.push(chance.job(begin + STEP * f64::from(each) / f64::from(count)));
        }
        begin += STEP;
    }
    Ok(Shape {
        name: "recorded",
        title: "Recorded: an hour of a code completion service",
        seconds: begin,
        jobs,
        min: 1,
    })
}

struct Chance(StdRng);

impl Chance {
    fn new() -> Self {
        Self(StdRng::seed_from_u64(7))
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.0.random::<f64>()).ln()
    }

    /// Between half and one and a half times the average.
    fn job(&mut self, at: f64) -> Job {
        let seconds = JOB_SECONDS * (0.5 + self.0.random::<f64>());
        Job { at, seconds }
    }
}
