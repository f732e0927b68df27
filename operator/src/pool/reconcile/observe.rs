//! Step 1: what the watches' caches, the dispatcher and earlier reconciles say about one pool.
//! Reads memory only.

use super::Memory;
use crate::pool::authorities::Trusted;
use crate::pool::build::Subject;
use crate::pool::build::import_job::Import;
use crate::pool::build::names::{AUTHORITIES, TOKEN_VERSION};
use crate::pool::caches::{Caches, Children};
use crate::pool::import::{ImportState, state};
use crate::pool::load::{Load, Loads};
use crate::pool::message::Message;
use crate::pool::validate;
use crate::pool::weights::{Location, WeightsError, is_commit, locate};
use crate::time::later;
use fovea_crds::{ModelSource, PoolModel, RunnerPool};
use fovea_store::ClockSkew;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) struct Observed<'a> {
    pub(crate) pool: &'a RunnerPool,
    pub(crate) subject: Subject<'a>,
    pub(crate) now: Timestamp,
    /// The same moment on the monotonic clock.
    pub(crate) instant: Instant,
    /// `None` until the dispatcher has reported on the pool.
    pub(crate) load: Option<Load>,
    pub(crate) children: Children,
    /// The certificate authorities of store and hub.
    pub(crate) trusted: Trusted,
    /// Reasons why no pods can be made from the spec.
    pub(crate) refusals: Vec<Message>,
    /// Models with a source; none where the spec is refused or the pool is external.
    pub(crate) models: Vec<ObservedModel<'a>>,
    /// Faults of pods that do not start; filled in by [`inspect`](super::Context::inspect).
    pub(crate) start_faults: Vec<Message>,
    /// Between the API server's clock and the object store's; filled in by [`inspect`](super::Context::inspect).
    pub(crate) store_skew: Option<ClockSkew>,
}

pub(crate) struct ObservedModel<'a> {
    pub(crate) model: &'a PoolModel,
    /// `<repo>@<revision>`, for a model of the hub.
    pub(crate) source: Option<String>,
    /// What the revision was resolved to.
    pub(crate) commit: Option<String>,
    pub(crate) location: Location,
    pub(crate) import: Option<ObservedImport>,
    /// The folder in the bucket; filled in by [`inspect`](super::Context::inspect).
    pub(crate) folder: Folder,
}

/// A model's folder in the bucket.
#[derive(Debug)]
pub(crate) enum Folder {
    /// Not checked: there is none, or its name is not known yet.
    Unknown,
    Complete,
    /// It was complete a while ago; the store does not answer now.
    Unconfirmed,
    Unusable(WeightsError),
}

/// The Job that imports a model.
#[derive(Clone)]
pub(crate) struct ObservedImport {
    pub(crate) import: Import,
    pub(crate) state: ImportState,
    pub(crate) job: Option<Arc<Job>>,
    pub(crate) has_form: bool,
    /// Whether the hub's token or the certificate authorities have changed since the Job was created.
    pub(crate) access_changed: bool,
}

impl Observed<'_> {
    pub(crate) fn after(&self, wait: Duration) -> Timestamp {
        later(self.now, wait)
    }
}

pub(crate) fn observe<'a>(
    caches: &Caches,
    loads: &Loads,
    memory: &Memory,
    trusted: Trusted,
    pool: &'a RunnerPool,
    (now, instant): (Timestamp, Instant),
) -> Observed<'a> {
    let subject = Subject::of(pool);
    let has_pods = pool.spec.external.is_none();
    let refusals = if has_pods {
        validate::refusals(&pool.spec)
    } else {
        Vec::new()
    };
    let mut models = Vec::new();
    if has_pods && refusals.is_empty() {
        let with_source = pool.spec.models.iter();
        let trusted = trusted.fingerprint();
        models
            .extend(with_source.filter_map(|model| {
                observe_model(caches, memory, trusted.as_deref(), pool, model)
            }));
    }
    Observed {
        load: loads.get(&subject.key).cloned(),
        children: caches.children(&subject),
        trusted,
        pool,
        subject,
        now,
        instant,
        refusals,
        models,
        start_faults: Vec::new(),
        store_skew: None,
    }
}

fn observe_model<'a>(
    caches: &Caches,
    memory: &Memory,
    trusted: Option<&str>,
    pool: &RunnerPool,
    model: &'a PoolModel,
) -> Option<ObservedModel<'a>> {
    let source = hub_source(model);
    let mut commit = source
        .as_ref()
        .and_then(|source| known_commit(pool, memory, model, source));
    let models = &pool.spec.models;
    let mut location = locate(models, model, commit.as_deref())?;
    let mut import = observe_import(caches, trusted, &location);
    // A finished import has resolved the revision to a commit.
    if location.weights.is_none()
        && let Some(ImportState::Done(Some(imported))) = import.as_ref().map(|each| &each.state)
    {
        commit = Some(imported.clone());
        location = locate(models, model, commit.as_deref()).unwrap_or(location);
        import = observe_import(caches, trusted, &location);
    }
    Some(ObservedModel {
        model,
        source,
        commit,
        location,
        import,
        folder: Folder::Unknown,
    })
}

/// `trusted`: fingerprint of the certificate authorities.
fn observe_import(
    caches: &Caches,
    trusted: Option<&str>,
    location: &Location,
) -> Option<ObservedImport> {
    let import = location.import.clone()?;
    let (job, has_form, pods) = caches.import(&import.name());
    let token = import.token_secret.as_ref();
    let version = token.and_then(|secret| caches.token_version(secret));
    let noted = |key: &str| job.as_ref()?.annotations().get(key);
    let used = noted(TOKEN_VERSION);
    let token_changed = version.is_some() && used.is_some() && version.as_ref() != used;
    let others_trusted = job.is_some() && noted(AUTHORITIES).map(String::as_str) != trusted;
    Some(ObservedImport {
        state: state(&import, job.as_deref(), &pods),
        access_changed: token_changed || others_trusted,
        import,
        job,
        has_form,
    })
}

/// `<repo>@<revision>`, for a model of the hub.
fn hub_source(model: &PoolModel) -> Option<String> {
    match model.source.as_ref()? {
        ModelSource::HuggingFace {
            repo,
            revision,
            token_secret_ref: _,
        } => Some(format!("{repo}@{revision}")),
        ModelSource::Object { .. } | ModelSource::Volume { .. } | ModelSource::Image { .. } => None,
    }
}

/// The commit of a source: the revision itself, or as resolved by an earlier reconcile or leader.
fn known_commit(
    pool: &RunnerPool,
    memory: &Memory,
    model: &PoolModel,
    source: &str,
) -> Option<String> {
    if let Some(revision) = source.rsplit('@').next().filter(|text| is_commit(text)) {
        return Some(revision.to_owned());
    }
    if let Some(known) = memory.commits.get(source) {
        return Some(known.clone());
    }
    let mut models = pool.written_status()?.models.iter();
    let recorded = models.find(|each| each.name == model.name)?;
    let same = recorded.source.as_deref() == Some(source);
    let commit = recorded.commit.clone();
    commit.filter(|commit| same && is_commit(commit))
}
