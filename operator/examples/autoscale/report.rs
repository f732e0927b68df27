//! The files below docs/src: a plot for each load, and the table in autoscaling.md.

use crate::peer::{Horizontal, Own};
use crate::plot::{Line, svg};
use crate::pool::{Outcome, SLOTS, run};
use crate::shapes::{self, Shape};
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- from here on by `make generate` -->\n";
const END: &str = "<!-- to here -->\n";

pub(crate) struct File {
    path: PathBuf,
    text: String,
}

impl File {
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        fs::write(&self.path, &self.text)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }

    pub(crate) fn compare(&self) -> anyhow::Result<()> {
        let found = fs::read_to_string(&self.path).unwrap_or_default();
        let path = self.path.display();
        ensure!(
            found == self.text,
            "{path} is not current: run `make generate`"
        );
        Ok(())
    }
}

pub(crate) fn files(docs: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut table = String::from(
        "| load | rule | median wait | 95% wait at most | runner hours | of the least possible | changes |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut plots = String::new();
    for shape in shapes::all()? {
        let rules = [
            ("ours", run(&shape, Own::new(shape.min))),
            ("HPA", run(&shape, Horizontal::default())),
        ];
        let least = least_runner_seconds(&shape);
        for (rule, outcome) in &rules {
            table.push_str(&row(&shape, rule, outcome, least));
        }
        let [(_, ours), (_, peer)] = &rules;
        files.push(File {
            path: docs.join(format!("autoscaling/{}.svg", shape.name)),
            text: plot(&shape, ours, peer),
        });
        let (title, name) = (shape.title, shape.name);
        let _ = writeln!(plots, "\n![{title}](autoscaling/{name}.svg)");
    }
    let path = docs.join("autoscaling.md");
    let page = fs::read_to_string(&path).context("docs/src/autoscaling.md cannot be read")?;
    let (before, rest) = page
        .split_once(BEGIN)
        .context("docs/src/autoscaling.md has lost its mark")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/src/autoscaling.md has lost its mark")?;
    let text = format!("{before}{BEGIN}{table}{plots}{END}{after}");
    files.push(File { path, text });
    Ok(files)
}

/// Of runners that are there when they are needed, and full.
fn least_runner_seconds(shape: &Shape) -> f64 {
    let work: f64 = shape.jobs.iter().map(|job| job.seconds).sum();
    work / f64::from(SLOTS)
}

fn row(shape: &Shape, rule: &str, outcome: &Outcome, least: f64) -> String {
    let mut waits = outcome.waits.clone();
    waits.sort_by(f64::total_cmp);
    let wait = |percent| {
        waits
            .get(waits.len() * percent / 100)
            .copied()
            .unwrap_or(0.0)
    };
    let (half, most) = (wait(50), wait(95));
    let spent = seconds(outcome.runner_seconds);
    let (hours, times, changes) = (spent / 3600.0, spent / least, outcome.changes);
    let name = shape.name;
    format!(
        "| {name} | {rule} | {half:.1} s | {most:.1} s | {hours:.1} | {times:.2} | {changes} |\n"
    )
}

fn plot(shape: &Shape, ours: &Outcome, peer: &Outcome) -> String {
    let line = |label, colour, values| Line {
        label,
        colour,
        values,
    };
    let runners = |outcome: &Outcome| outcome.course.iter().map(|each| each.0.into()).collect();
    let waiting = |outcome: &Outcome| outcome.course.iter().map(|each| each.1.into()).collect();
    let (blue, orange) = ("#1f6fb4", "#d9730d");
    let above = [
        line("busy, at least", "#999", least_by_minute(shape)),
        line("HPA", orange, runners(peer)),
        line("ours", blue, runners(ours)),
    ];
    let below = [
        line("HPA", orange, waiting(peer)),
        line("ours", blue, waiting(ours)),
    ];
    svg(
        shape.title,
        [("runners:", &above), ("jobs that wait:", &below)],
    )
}

/// Runners that the arriving jobs would keep busy, averaged over a minute.
fn least_by_minute(shape: &Shape) -> Vec<f64> {
    let mut jobs = shape.jobs.iter().peekable();
    let mut values = Vec::new();
    let mut end = 0.0;
    while end < shape.seconds {
        end += 60.0;
        let mut work = 0.0;
        while let Some(job) = jobs.next_if(|job| job.at < end) {
            work += job.seconds;
        }
        values.extend([work / f64::from(SLOTS) / 60.0; 60]);
    }
    values
}

fn seconds(whole: u64) -> f64 {
    f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
}
