//! Fovea on the object stores that people have, each a real server: `make test-stores`. MinIO and VersityGW are
//! part of `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod bucket;
mod checks;
mod known;
mod page;
mod speed;
mod survey;

use anyhow::{Context as _, Result, ensure};
use fovea_harness::ObjectStore;

/// Names of stores, separated by commas; all by default.
const STORES: &str = "FOVEA_STORES";

async fn carries_everything(store: ObjectStore) -> Result<()> {
    let faults = Box::pin(survey::survey(store)).await?;
    let unexpected = known::unexpected(store, &faults);
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fovea_works_on_minio() -> Result<()> {
    carries_everything(ObjectStore::Minio).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fovea_works_on_versitygw() -> Result<()> {
    carries_everything(ObjectStore::VersityGw).await
}

fn chosen() -> Result<Vec<ObjectStore>> {
    let names = std::env::var(STORES).unwrap_or_default();
    let names = names.split([',', ' ']).filter(|name| !name.is_empty());
    let named = |name| ObjectStore::named(name).with_context(|| format!("{STORES}: {name:?}"));
    let chosen: Vec<_> = names.map(named).collect::<Result<_>>()?;
    Ok(if chosen.is_empty() {
        ObjectStore::ALL.into()
    } else {
        chosen
    })
}

/// Also measures them, and writes the tables of docs/src/stores.md.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute or two for each store: make test-stores"]
async fn every_store_does_what_the_docs_say() -> Result<()> {
    let mut unexpected = Vec::new();
    for store in chosen()? {
        let faults = match Box::pin(survey::survey(store)).await {
            Ok(faults) => faults,
            Err(error) => {
                unexpected.push(format!("{}: {error:#}", store.title()));
                continue;
            }
        };
        unexpected.extend(known::unexpected(store, &faults));
        page::write_works(store, &faults)?;
        match Box::pin(speed::measure(store)).await {
            Ok(measured) => page::write_speed(store, &measured)?,
            Err(error) => unexpected.push(format!("{}, measured: {error:#}", store.title())),
        }
    }
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
