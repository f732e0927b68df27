//! The models put through the API, and how far each has got.

use crate::engine::OwnSettings;
use crate::import::DownloadLimits;
use fovea_protocol::{ModelSource, ModelState, Task};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Sources that `PUT /v1/models/{name}` may use.
#[derive(Clone, Debug, Default)]
pub struct KeepConfig {
    /// Root of `path` sources; without it they are refused.
    pub models_dir: Option<PathBuf>,
    /// Root of downloaded files; without it `files` sources are refused.
    pub cache_dir: Option<PathBuf>,
    pub download: DownloadLimits,
}

#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<String, Put>>);

#[derive(Debug)]
pub(super) struct Put {
    pub(super) source: Identity,
    pub(super) task: Task,
    pub(super) own: OwnSettings,
    pub(super) stage: Stage,
    /// Cancelled when a later request takes the name.
    pub(super) replaced: CancellationToken,
}

#[derive(Debug, PartialEq)]
pub(super) enum Stage {
    /// The runner downloads or opens the files.
    Fetching,
    /// Handed to the engine, which reports the state from now on.
    Handed,
    /// Failed before the engine received it.
    Failed(String),
}

/// Identifies a source regardless of its URLs' signatures.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Path(String),
    Files(Vec<(String, u64, String)>),
}

impl From<&ModelSource> for Identity {
    fn from(source: &ModelSource) -> Self {
        match source {
            ModelSource::Path(path) => Self::Path(path.clone()),
            ModelSource::Files { files, .. } => Self::Files(
                (files.iter())
                    .map(|file| (file.path.clone(), file.bytes, file.sha256.clone()))
                    .collect(),
            ),
        }
    }
}

impl Kept {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Put>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The states of models that the engine does not report.
    pub(super) fn states(&self) -> Vec<ModelState> {
        let state = |(name, put): (&String, &Put)| {
            let failure = match &put.stage {
                Stage::Handed => return None,
                Stage::Fetching => None,
                Stage::Failed(why) => Some(why.clone()),
            };
            Some(ModelState {
                name: name.clone(),
                task: put.task,
                revision: String::new(),
                ready: false,
                failure,
            })
        };
        self.lock().iter().filter_map(state).collect()
    }

    /// Sets the stage, and returns true, if the request is still the latest for its name.
    pub(super) fn reach(&self, name: &str, replaced: &CancellationToken, stage: Stage) -> bool {
        let mut puts = self.lock();
        match puts.get_mut(name) {
            Some(put) if !replaced.is_cancelled() => {
                put.stage = stage;
                true
            }
            _ => false,
        }
    }
}
