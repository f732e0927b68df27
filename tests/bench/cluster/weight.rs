//! Memory and processor time of operator and api at rest, without jobs and with many finished ones.

use crate::Arguments;
use anyhow::{Context as _, Result};
use fovea_tests::measure::{kib, memory_bytes, process_in_pod, processor_ms};
use fovea_tests::{Installed, crowd, jobs};
use kube::ResourceExt as _;
use kube::api::ListParams;
use std::time::Duration;

/// Time over which processor time is counted.
const WATCHED: Duration = Duration::from_secs(20);

struct Reading {
    name: String,
    bytes: u64,
    spent_ms: f64,
}

pub(crate) async fn weigh(it: &Installed, arguments: &Arguments) -> Result<()> {
    let none = read(it).await?;
    let finished = |number| jobs::inline(&format!("finished-{number}"), b"a picture");
    let finished = (0..arguments.finished).map(finished);
    eprintln!("{} jobs that have ended", arguments.finished);
    // Nobody ends them but this program.
    it.scale("fovea-operator", 0).await?;
    crowd::create_finished(&it.jobs, finished).await?;
    it.scale("fovea-operator", 2).await?;
    // Excludes the work of the start.
    read(it).await?;
    let all = read(it).await?;
    println!(
        "\n| pod, at rest | memory, MiB | with {} finished jobs, MiB | processor in {} s, ms | with them, ms |",
        arguments.finished,
        WATCHED.as_secs()
    );
    println!("|---|---|---|---|---|");
    for (before, after) in none.iter().zip(&all) {
        println!(
            "| {} | {:.1} | {:.1} | {:.0} | {:.0} |",
            before.name,
            kib(before.bytes, 1024),
            kib(after.bytes, 1024),
            before.spent_ms,
            after.spent_ms
        );
    }
    Ok(())
}

/// Reads each pod of operator and api.
async fn read(it: &Installed) -> Result<Vec<Reading>> {
    let mut found = Vec::new();
    for component in ["operator", "api"] {
        let labels = format!("app.kubernetes.io/component={component}");
        for pod in it.pods.list(&ListParams::default().labels(&labels)).await? {
            let uid = pod.uid().context("a uid")?;
            let program = format!("fovea-{component}");
            found.push((component, process_in_pod(&uid, &program)?));
        }
    }
    let spent = |pids: &[(&str, u32)]| -> Result<Vec<f64>> {
        pids.iter().map(|(_, pid)| processor_ms(*pid)).collect()
    };
    let before = spent(&found)?;
    tokio::time::sleep(WATCHED).await;
    let after = spent(&found)?;
    let readings = found.iter().zip(before).zip(after);
    readings
        .map(|(((component, pid), before), after)| {
            Ok(Reading {
                name: (*component).to_owned(),
                bytes: memory_bytes(*pid)?,
                spent_ms: after - before,
            })
        })
        .collect()
}
