//! Jobs as a watch shows them.

use fovea_crds::InferenceJob;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use std::collections::HashMap;
use std::pin::Pin;

/// A watch, after its first list.
pub(crate) struct Watched {
    events: Pin<Box<dyn Stream<Item = Result<Event<InferenceJob>, watcher::Error>>>>,
}

impl Watched {
    pub(crate) async fn start(jobs: &Api<InferenceJob>) -> anyhow::Result<Self> {
        let mut events = watcher(jobs.clone(), watcher::Config::default()).boxed_local();
        while let Some(event) = events.try_next().await? {
            if matches!(event, Event::InitDone) {
                break;
            }
        }
        Ok(Self { events })
    }

    /// Waits until `count` jobs whose names begin with `prefix` have ended; returns how often each one's
    /// status was written.
    pub(crate) async fn ended(&mut self, prefix: &str, count: usize) -> anyhow::Result<Vec<u32>> {
        let (mut versions, mut ended) = (HashMap::new(), 0);
        while ended < count {
            let Some(event) = self.events.try_next().await? else {
                anyhow::bail!("the watch ended");
            };
            let Event::Apply(job) = event else { continue };
            let name = job.name_any();
            if !name.starts_with(prefix) {
                continue;
            }
            let seen: &mut u32 = versions.entry(name).or_default();
            *seen += 1;
            let status = job.status.unwrap_or_default();
            ended += usize::from(status.phase.is_terminal());
        }
        // The first version is the create.
        Ok(versions.into_values().map(|seen| seen - 1).collect())
    }
}
