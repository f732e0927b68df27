//! The floor: GETs of the same objects, and nothing else.

use anyhow::{Context as _, ensure};
use fovea_harness::stack::JOB_NAMESPACE;
use fovea_store::{ObjectKey, Store};
use futures::{StreamExt as _, TryStreamExt as _};
use std::time::{Duration, Instant};

/// Objects per second by one client with so many connections; signing is not timed.
pub(crate) async fn per_second(
    store: &Store,
    keys: impl IntoIterator<Item = String>,
    connections: usize,
) -> anyhow::Result<f64> {
    let mut urls = Vec::new();
    for key in keys {
        let key = ObjectKey::data(JOB_NAMESPACE, &key)?;
        urls.push(store.presign_get(&key, Duration::from_hours(1)).await?);
    }
    let count = u32::try_from(urls.len()).context("too many")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    let gets = futures::stream::iter(urls).map(|url| {
        let client = client.clone();
        async move {
            let body = client
                .get(url)
                .send()
                .await?
                .error_for_status()?
                .bytes()
                .await?;
            ensure!(!body.is_empty(), "an empty picture");
            Ok(())
        }
    });
    gets.buffer_unordered(connections)
        .try_collect::<()>()
        .await?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}
