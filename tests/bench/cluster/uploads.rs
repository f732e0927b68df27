//! Uploads through the ingress (TLS, Envoy, pods, a token) beside the embedded set-up's (a process
//! on loopback). No runner takes the jobs, so that the service alone is timed.

use crate::Arguments;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::InferenceJob;
use fovea_harness::{Stack, StackOptions, eventually};
use fovea_tests::installed::{PATIENCE, POOL, chart};
use fovea_tests::measure::{median, percentile};
use fovea_tests::pods::picture;
use fovea_tests::{Installed, Visitor};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::time::{Duration, Instant};

/// The compared servers, in the order of the table.
const SIDES: [&str; 2] = [
    "through the ingress, into pods",
    "embedded: a process on loopback",
];

#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn compare(it: &Installed, arguments: &Arguments) -> Result<()> {
    let mut values = it.values();
    values["pools"][POOL]["replicas"] = 0.into();
    // For the weights that follow: all that has ended is kept.
    let kept = arguments.finished + arguments.uploads;
    values["operator"] = json!({"retention": {
        "maxFinishedJobs": kept, "maxFinishedJobsPerNamespace": kept,
    }});
    let values = it.helm.values("uploads", &values)?;
    it.helm_install(&chart(), &[&values]).await?;
    let embedded = Stack::start(StackOptions::default(), |line| eprintln!("{line}")).await?;
    embedded.runner.terminate().await?;

    let token = it.token("default", "uploads", "edit").await?;
    let visitors = [
        it.visitor()?.with_token(token),
        Visitor::plain(embedded.api_url())?,
    ];
    let jobs = [
        it.jobs.clone(),
        Api::default_namespaced(embedded.control_plane.client().await?),
    ];
    let mut turns: Vec<[Measured; SIDES.len()]> = Vec::new();
    for round in 0..=arguments.rounds {
        eprintln!("uploads, turn {round} of {}", arguments.rounds);
        let mut turn = [None; SIDES.len()];
        for step in 0..SIDES.len() {
            let side = (round + step) % SIDES.len();
            turn[side] = Some(upload(&visitors[side], arguments).await?);
            clear(&jobs[side]).await?;
        }
        // The first one warms up.
        if let ([Some(ingress), Some(loopback)], true) = (turn, round > 0) {
            turns.push([ingress, loopback]);
        }
    }
    embedded.stop().await?;
    println!(
        "\n| {} uploads, {} at a time | per second | p50, ms | p99, ms | over embedded |",
        arguments.uploads, arguments.connections
    );
    println!("|---|---|---|---|---|");
    for (side, name) in SIDES.iter().enumerate() {
        let of = |what: fn(&Measured) -> f64| {
            median(turns.iter().map(|turn| what(&turn[side])).collect())
        };
        let ratios = turns
            .iter()
            .map(|turn| turn[side].per_second / turn[1].per_second);
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | **{:.2}** |",
            of(|turn| turn.per_second),
            of(|turn| turn.p50_ms),
            of(|turn| turn.p99_ms),
            median(ratios.collect()),
        );
    }
    Ok(())
}

async fn upload(visitor: &Visitor, arguments: &Arguments) -> Result<Measured> {
    let (picture, _) = picture();
    let begin = Instant::now();
    let one = async |_| {
        let begin = Instant::now();
        let (status, answer) = visitor.submit(&picture, &[]).await?;
        ensure!(status == 202, "{status}: {answer}");
        anyhow::Ok(begin.elapsed())
    };
    let took: Vec<Duration> = stream::iter(0..arguments.uploads)
        .map(one)
        .buffer_unordered(arguments.connections)
        .try_collect()
        .await?;
    let seconds = begin.elapsed().as_secs_f64();
    let took: Vec<f64> = took
        .iter()
        .map(|each| each.as_secs_f64() * 1000.0)
        .collect();
    let count = u32::try_from(arguments.uploads).context("fewer uploads")?;
    Ok(Measured {
        per_second: f64::from(count) / seconds,
        p50_ms: median(took.clone()),
        p99_ms: percentile(took, 99),
    })
}

/// Deletes all jobs, so that every turn starts alike.
async fn clear(jobs: &Api<InferenceJob>) -> Result<()> {
    jobs.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    eventually("the jobs to be gone", PATIENCE, async || {
        let left = jobs
            .list_metadata(&ListParams::default())
            .await?
            .items
            .len();
        ensure!(left == 0, "{left} jobs");
        Ok(())
    })
    .await?;
    Ok(())
}
