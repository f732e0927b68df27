//! Loads a model that was put through the API: fetches it or finds it on a volume, opens it, and
//! hands it to the engine.

use super::kept::{Identity, KeepConfig, Put, Stage};
use super::state::App;
use crate::engine::{MaxBatchSize, OwnSettings, Planned, Residency};
use crate::import::{Commit, download};
use crate::models::{self, Loaded};
use fovea_protocol::{Dtype, ModelFile, ModelRequest, ModelSource, Problem, Reason, Task};
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tch::Kind;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Upper bound on the models of one runner.
const MAX_MODELS: usize = 32;

/// Starts to load a model, unless that is under way or done. It replaces a model of the same name
/// once its files are complete.
pub(super) fn put(app: &Arc<App>, name: &str, request: ModelRequest) -> Result<(), Problem> {
    let ModelRequest {
        installation: _,
        epoch: _,
        task,
        source,
        dtype,
        max_batch_size,
    } = request;
    let own = OwnSettings {
        kind: dtype.map(kind),
        max_batch_size: max_batch_size
            .and_then(|pictures| NonZeroUsize::try_from(pictures).ok())
            .map(MaxBatchSize::Fixed),
    };
    let place = Place::of(&app.keep, &source)?;
    let replaced = CancellationToken::new();
    {
        let mut puts = app.kept.lock();
        let identity = Identity::from(&source);
        if let Some(put) = puts.get(name) {
            let engine_failed = || {
                let model = app.engine.model(name).map(|model| model.residency());
                !matches!(model, Some(Residency::Loading | Residency::Ready { .. }))
            };
            let failed = match &put.stage {
                Stage::Fetching => false,
                Stage::Handed => engine_failed(),
                Stage::Failed(_) => true,
            };
            if put.source == identity && put.task == task && put.own == own && !failed {
                return Ok(());
            }
            put.replaced.cancel();
        } else if puts.len() >= MAX_MODELS {
            let why = format!("the runner already has its maximum of {MAX_MODELS} models");
            return Err(Problem::new(Reason::MalformedRequest, why));
        }
        let put = Put {
            source: identity,
            task,
            own,
            stage: Stage::Fetching,
            replaced: replaced.clone(),
        };
        puts.insert(name.to_owned(), put);
    }
    let (app, name) = (Arc::clone(app), name.to_owned());
    let span = tracing::info_span!("model", name);
    let model = Model { name, task, own };
    tokio::spawn(keep(app, model, place, replaced).instrument(span));
    Ok(())
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Float16 => Kind::Half,
    }
}

/// The request without its source.
struct Model {
    name: String,
    task: Task,
    own: OwnSettings,
}

/// The model's folder, and the files to download into it.
struct Place {
    dir: PathBuf,
    files: Vec<ModelFile>,
    /// The commit on the hub that the files belong to, if known.
    commit: Option<Commit>,
}

impl Place {
    fn of(config: &KeepConfig, source: &ModelSource) -> Result<Self, Problem> {
        let refuse = |why: String| Problem::new(Reason::MalformedRequest, why);
        match source {
            ModelSource::Path(path) => {
                let root = (config.models_dir.as_ref()).ok_or_else(|| {
                    refuse("source.path needs a runner with --models-dir".to_owned())
                })?;
                let within = |path: &Path| {
                    (path.components()).all(|part| matches!(part, Component::Normal(_)))
                };
                if path.is_empty() || !within(Path::new(path)) {
                    return Err(refuse(format!(
                        "source.path {path:?} must be a relative path without `.` or `..`"
                    )));
                }
                Ok(Self {
                    dir: root.join(path),
                    files: Vec::new(),
                    commit: None,
                })
            }
            ModelSource::Files { revision, files } => {
                let root = (config.cache_dir.as_ref()).ok_or_else(|| {
                    refuse("source.files needs a runner with --cache-dir".to_owned())
                })?;
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
                let folder: String = (revision.chars())
                    .map(|c| if plain(c) { c } else { '-' })
                    .collect();
                if !(1..=256).contains(&folder.len()) || folder.starts_with('.') {
                    return Err(refuse(
                        "source.revision must have 1 to 256 characters and must not start with a dot".to_owned(),
                    ));
                }
                Ok(Self {
                    dir: root.join(folder),
                    files: files.clone(),
                    commit: (revision.rsplit_once('@')).and_then(|(_, commit)| commit.parse().ok()),
                })
            }
        }
    }
}

/// Downloads and opens the model, and hands it to the engine.
async fn keep(app: Arc<App>, model: Model, place: Place, replaced: CancellationToken) {
    let opened = tokio::select! {
        () = replaced.cancelled() => return,
        opened = open(&app, &model, &place) => opened,
    };
    let name = &model.name;
    let planned = match opened {
        Ok(planned) => planned,
        Err(why) => {
            tracing::error!(why, "the model cannot be loaded");
            app.kept.reach(name, &replaced, Stage::Failed(why));
            return;
        }
    };
    if app.kept.reach(name, &replaced, Stage::Handed) {
        // An error means that the engine has ended, and the process ends with it.
        let _ = app.engine.load(planned).await;
    }
}

async fn open(app: &App, model: &Model, place: &Place) -> Result<Planned, String> {
    let task = model.task;
    if !place.files.is_empty() {
        let authorities = app.authorities.as_ref().map(|each| each.bundle());
        let limits = app.keep.download;
        download(&place.files, &place.dir, limits, authorities.as_ref())
            .await
            .map_err(|error| error.to_string())?;
    }
    let dir = place.dir.clone();
    let (front, loader) = tokio::task::spawn_blocking(move || models::open(&dir))
        .await
        .map_err(|_| "the checkpoint's folder could not be read".to_owned())?
        .map_err(|error| error.to_string())?;
    if front.head.task() != task {
        return Err(format!(
            "the checkpoint is for {:?}, but the request names {task:?}",
            front.head.task()
        ));
    }
    // The digests of all files were checked, so the commit identifies them.
    let loader = match place.commit.clone() {
        None => loader,
        Some(commit) => Box::new(move |placement| {
            let Loaded { model, revision: _ } = loader(placement)?;
            Ok(Loaded {
                model,
                revision: commit.to_string(),
            })
        }),
    };
    Ok(Planned {
        name: model.name.clone(),
        front,
        loader,
        own: model.own,
    })
}
