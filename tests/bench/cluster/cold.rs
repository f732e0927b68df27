//! From `helm install` to the first caption.

use crate::Arguments;
use anyhow::{Result, ensure};
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Installed;
use fovea_tests::installed::{PATIENCE, RELEASE, chart};
use fovea_tests::measure::median;
use fovea_tests::pods::picture;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::time::Instant;

/// Names of the measured times, each since the start.
const MARKS: [&str; 3] = [
    "helm has returned, all pods of operator and api being ready",
    "the pool is Ready: its runner has four models resident",
    "the first picture, uploaded through the ingress, has its caption",
];

pub(crate) async fn time(it: &Installed, arguments: &Arguments) -> Result<()> {
    let mut marks: [Vec<f64>; MARKS.len()] = Default::default();
    let token = it.token("default", "bench", "edit").await?;
    let visitor = it.visitor()?.with_token(token);
    let chart = chart();
    let mut values = it.values();
    // The pool has a mark of its own.
    values["poolsJob"] = json!({"waitSeconds": 0});
    let values = it.helm.values("cold", &values)?;
    for round in 0..arguments.rounds {
        eprintln!("helm install, turn {} of {}", round + 1, arguments.rounds);
        let begin = Instant::now();
        it.helm_install(&chart, &[&values]).await?;
        marks[0].push(begin.elapsed().as_secs_f64());
        it.pool_is_ready().await?;
        marks[1].push(begin.elapsed().as_secs_f64());
        let (picture, caption) = picture();
        let job = visitor.submitted_and_ended(&picture, &[]).await?;
        ensure!(job["result"]["caption"] == caption, "{job}");
        marks[2].push(begin.elapsed().as_secs_f64());
        it.jobs
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        away(it).await?;
    }
    println!(
        "\n| from helm install on, median of {} | seconds |",
        arguments.rounds
    );
    println!("|---|---|");
    for (mark, seconds) in MARKS.iter().zip(marks) {
        println!("| {mark} | {:.1} |", median(seconds));
    }
    Ok(())
}

async fn away(it: &Installed) -> Result<()> {
    let uninstall = ["uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--wait"];
    it.helm.run(&uninstall).await?;
    eventually("the release's pods to be gone", PATIENCE, async || {
        let left = it.pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} pods");
        Ok(())
    })
    .await?;
    Ok(())
}
