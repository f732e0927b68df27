//! Cost of finished jobs for an idle operator.

use crate::Arguments;
use fovea_tests::measure::{kib, memory_bytes, processor_ms};
use fovea_tests::{Operated, crowd};
use std::time::Duration;

/// Time over which processor time is counted.
const WATCHED: Duration = Duration::from_secs(20);

/// Compares an operator that has them with one that has none.
pub(crate) async fn weigh(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.idle;
    eprintln!("{count} jobs that have ended");
    let mut operated = Operated::start(arguments.options()).await?;
    let (none, idle) = settle(&operated).await?;
    operated.operator.terminate().await?;
    let finished =
        (0..count).map(|number| Operated::job(&format!("finished-{number}"), "a picture"));
    crowd::create_finished(&operated.jobs, finished).await?;
    operated.operator.restart().await?;
    operated.is_ready().await?;
    // Excludes the work of the start.
    settle(&operated).await?;
    let (all, busy) = settle(&operated).await?;
    println!(
        "\n{count} jobs that have ended: {:.2} KiB each in the operator; processor time in {} s of idleness: {busy:.0} ms, without them {idle:.0} ms",
        kib(all.saturating_sub(none), count),
        WATCHED.as_secs(),
    );
    Ok(())
}

/// Memory, and processor time over [`WATCHED`].
async fn settle(operated: &Operated) -> anyhow::Result<(u64, f64)> {
    let before = processor_ms(operated.operator.pid())?;
    tokio::time::sleep(WATCHED).await;
    let spent = processor_ms(operated.operator.pid())? - before;
    Ok((memory_bytes(operated.operator.pid())?, spent))
}
