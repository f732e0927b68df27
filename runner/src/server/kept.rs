//! The models put through the API, and how far each has got.

use crate::engine::OwnSettings;
use crate::fetch::DownloadLimits;
use fovea_protocol::{ModelSource, ModelState, Task};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Where models that are put may come from.
#[derive(Clone, Debug, Default)]
pub struct KeepConfig {
    /// The folder below which `path` sources lie.
    pub models_dir: Option<PathBuf>,
    /// The folder that fetched files are put in.
    pub cache_dir: Option<PathBuf>,
    pub download: DownloadLimits,
}

/// What was put, by name.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<String, Put>>);

#[derive(Debug)]
pub(super) struct Put {
    pub(super) source: Identity,
    pub(super) task: Task,
    pub(super) own: OwnSettings,
    pub(super) stage: Stage,
    /// Set when another source is put under the name.
    pub(super) replaced: CancellationToken,
}

#[derive(Debug, PartialEq)]
pub(super) enum Stage {
    /// The files are not all there yet, or not opened.
    Fetching,
    /// The engine has it, and knows more.
    Handed,
    /// There is nothing to hand to the engine.
    Failed(String),
}

/// What a source is, whatever its URLs were signed with.
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

    /// What is to be said of models that the engine does not know yet, or not any more.
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

    /// Whether this is the latest put under its name; then it has come to `stage`.
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
