//! From an operator's start to its first dispatch, among many unfinished jobs.

use crate::Arguments;
use anyhow::anyhow;
use fovea_harness::eventually;
use fovea_tests::operated::PATIENCE;
use fovea_tests::{Operated, crowd};
use std::time::Instant;

/// Times the operator's start with many unfinished jobs.
pub(crate) async fn time(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.idle;
    eprintln!("a restart with {count} unfinished jobs");
    let mut operated = Operated::start(arguments.options()).await?;
    operated.operator.terminate().await?;
    let jobs = (0..count).map(|number| Operated::job(&format!("waiting-{number}"), "a picture"));
    crowd::create(&operated.jobs, jobs).await?;
    let began = Instant::now();
    operated.operator.restart().await?;
    let first = eventually("the first attempt", PATIENCE, async || {
        let attempts = operated.runner.attempts();
        (attempts.first().cloned()).ok_or_else(|| anyhow!("none yet"))
    });
    first.await?;
    println!(
        "\na restart with {count} unfinished jobs: {:.1} s to the first dispatch",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
