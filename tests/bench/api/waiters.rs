//! Memory of the api per client that waits for a job's events.

use crate::setting::{Service, Setting};
use anyhow::{Context as _, ensure};
use fovea_tests::measure::kib;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

/// Number of streams that are opened at the same time.
const OPENING: usize = 64;

/// Opens that many streams of one job's events, and holds them.
pub(crate) async fn weigh(setting: &Setting, waiters: usize) -> anyhow::Result<()> {
    eprintln!("{waiters} waiting clients");
    let Service { url, .. } = &setting.api;
    let picture = std::fs::read(setting.raw_body())?;
    let job: Value = (setting.http.post(format!("{url}/v1/jobs")))
        .header("content-type", "image/jpeg")
        .body(picture)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let id = job["id"].as_str().context("no id")?;
    let before = setting.api.memory_bytes()?;
    let open = |_| async move {
        let mut stream = (setting.http.get(format!("{url}/v1/jobs/{id}/events")))
            .send()
            .await?
            .error_for_status()?
            .bytes_stream();
        let first = stream.next().await.context("no event")??;
        ensure!(!first.is_empty(), "an empty event");
        anyhow::Ok(stream)
    };
    let streams: Vec<_> = futures::stream::iter(0..waiters)
        .map(open)
        .buffer_unordered(OPENING)
        .try_collect()
        .await?;
    let grown = setting.api.memory_bytes()?.saturating_sub(before);
    println!(
        "\n{} clients wait for events: {:.1} KiB each in the api",
        streams.len(),
        kib(grown, streams.len())
    );
    Ok(())
}
