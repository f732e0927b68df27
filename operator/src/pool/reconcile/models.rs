//! The models' weights: seen in the bucket, or brought there by an import.

use super::{Context, Look, Memory};
use crate::pool::apply::Owned;
use crate::pool::build::import_job::{Import, form_secret, import_job, metadata};
use crate::pool::build::names::TOKEN_VERSION;
use crate::pool::build::network_policy;
use crate::pool::import::{ImportState, state};
use crate::pool::provision::{Resolved, Told, Weights};
use crate::pool::weights::{self, Place, WeightsError, is_commit, place};
use fovea_crds::{ModelSource, PoolModel};
use fovea_store::{MAX_POST_BYTES, ModelPrefix, StoreError};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use std::time::Duration;

/// How often a folder that somebody else is to fill is looked at.
const LOOK_FOR_FOLDER: Duration = Duration::from_secs(20);
/// How long a folder that was whole is taken to be so.
const TRUST_FOLDER: Duration = Duration::from_mins(10);
/// How long it is remembered at all.
const FORGET_FOLDER: Duration = Duration::from_hours(24);
/// How soon what an import before has left behind is looked for again.
const LOOK_FOR_LEFTOVERS: Duration = Duration::from_secs(1);
/// How long a form outlives its Job.
const FORM_SLACK: Duration = Duration::from_hours(1);
/// Types of Secrets whose token may go to a hub. A service account's, or a runner's, has a key
/// `token` too.
const TOKEN_TYPES: [&str; 2] = ["Opaque", "fovea.dev/hub-token"];

/// Why an import cannot begin.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{0}")]
    Kubernetes(#[from] kube::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Key(#[from] fovea_store::InvalidKey),
    #[error("{0} of an import before is still there")]
    Leftover(String),
    #[error("there is no Secret {0:?}, which tokenSecretRef names")]
    NoSecret(String),
    #[error(
        "Secret {0:?} is of type {1}, and only one of type Opaque or fovea.dev/hub-token is shown to a hub"
    )]
    SecretType(String, String),
}

impl Context {
    /// Finds every model's weights, and imports what is missing.
    pub(super) async fn models(&self, look: &mut Look<'_>, memory: &mut Memory) {
        let models = &look.subject.spec.models;
        let sources: Vec<String> = models.iter().filter_map(hub_source).collect();
        memory.commits.retain(|source, _| sources.contains(source));
        let now = look.now;
        memory
            .whole
            .retain(|_, seen| now.duration_since(*seen).unsigned_abs() < FORGET_FOLDER);
        for model in models {
            let source = hub_source(model);
            let known = source
                .as_ref()
                .and_then(|source| commit(look, memory, model, source));
            let Some(mut place) = place(model, known.as_deref()) else {
                continue;
            };
            if let (None, Some(import)) = (&place.weights, place.import.clone()) {
                // Unknown so far: the import tells what the revision stands for.
                let Some(resolved) = self.import(look, model, &import).await else {
                    continue;
                };
                place = weights::place(model, Some(&resolved)).unwrap_or(place);
                memory
                    .commits
                    .extend(source.clone().map(|source| (source, resolved)));
            }
            if let Some(source) = source
                && let Some(commit) = memory.commits.get(&source).cloned().or(known)
            {
                let resolved = Resolved { source, commit };
                look.provision.resolved.insert(model.name.clone(), resolved);
            }
            self.found(look, memory, model, place).await;
        }
    }

    /// Holds on to what is in the bucket; what is not is imported, or told.
    async fn found(
        &self,
        look: &mut Look<'_>,
        memory: &mut Memory,
        model: &PoolModel,
        place: Place,
    ) {
        let Some(weights) = place.weights else {
            return;
        };
        let prefix = match &weights {
            Weights::Bucket {
                prefix,
                revision: _,
            } => prefix.clone(),
            Weights::Volume(_) => {
                look.provision.weights.insert(model.name.clone(), weights);
                return;
            }
        };
        let seen = memory.whole.get(&prefix).copied();
        let fresh = |seen: Timestamp| look.now.duration_since(seen).unsigned_abs() < TRUST_FOLDER;
        if !seen.is_some_and(fresh) {
            match weights::check(&self.store, &prefix).await {
                Ok(()) => {
                    if seen.is_none() {
                        let pool = &look.subject.key.name;
                        tracing::info!(pool, model = model.name, prefix, "weights found");
                    }
                    memory.whole.insert(prefix, look.now);
                }
                // What was there a while ago will be there when the store answers again.
                Err(WeightsError::Store(_)) if seen.is_some() => look.look_after(LOOK_FOR_FOLDER),
                Err(WeightsError::NoManifest(_)) if place.import.is_some() => {
                    if let Some(import) = place.import
                        && self.import(look, model, &import).await.is_some()
                    {
                        let job = import.name();
                        let message = format!(
                            "model {}: Job {job} has ended well, and there is no manifest in {prefix}: was something deleted there? It is imported again once the Job is gone",
                            model.name
                        );
                        look.fault("WeightsMissing", message);
                        look.look_after(LOOK_FOR_FOLDER);
                    }
                    return;
                }
                Err(error) => {
                    let reason = match &error {
                        WeightsError::Store(_) => "StoreUnavailable",
                        WeightsError::NoManifest(_) => "WeightsMissing",
                        WeightsError::BadManifest { .. } | WeightsError::Key(_) => {
                            "WeightsUnusable"
                        }
                    };
                    look.fault(reason, format!("model {}: {error}", model.name));
                    look.look_after(LOOK_FOR_FOLDER);
                    return;
                }
            }
        }
        look.provision.weights.insert(model.name.clone(), weights);
    }

    /// Lets an import go on, or begin; the commit once it is done.
    async fn import(
        &self,
        look: &mut Look<'_>,
        model: &PoolModel,
        import: &Import,
    ) -> Option<String> {
        let (job, has_form, pods) = self.caches.import(&import.name());
        let begun = match state(import, job.as_deref(), &pods) {
            ImportState::Done(Some(commit)) => return Some(commit),
            ImportState::Done(None) => {
                look.fault(
                    "ImportFailed",
                    format!(
                        "model {}: Job {} has ended without telling a commit: delete it, or wait until it is made again",
                        model.name,
                        import.name()
                    ),
                );
                return None;
            }
            ImportState::Failed(_) if self.has_another_token(import, job.as_deref()) => {
                Box::pin(self.forget_import(job.as_deref())).await
            }
            ImportState::Failed(told) => {
                let wait = self.build.config.import_retry_seconds;
                look.fault(
                    told.reason,
                    format!(
                        "model {}: {}; tried again after {wait} s",
                        model.name, told.message
                    ),
                );
                return None;
            }
            ImportState::Running(fault) => {
                if let Some(told) = fault {
                    look.fault(
                        told.reason,
                        format!("model {}: {}", model.name, told.message),
                    );
                }
                match job {
                    Some(job) if !has_form => Box::pin(self.equip(import, &job)).await,
                    _ => Ok(()),
                }
            }
            ImportState::Absent => Box::pin(self.begin(look, import)).await,
        };
        match begun {
            // What the import before owned goes a moment after it.
            Err(ImportError::Leftover(_)) => look.look_after(LOOK_FOR_LEFTOVERS),
            Ok(()) => look.progress(Some(Told {
                reason: "ImportingModel",
                message: format!(
                    "model {}: Job {} brings {}@{} into the bucket",
                    model.name,
                    import.name(),
                    import.repo,
                    import.revision
                ),
            })),
            Err(error) => {
                look.failed = true;
                look.fault("ImportFailed", format!("model {}: {error}", model.name));
            }
        }
        None
    }

    /// Whether the Secret that a failed import was given has changed since, or is there by now.
    fn has_another_token(&self, import: &Import, job: Option<&Job>) -> bool {
        let Some(secret) = &import.token_secret else {
            return false;
        };
        let now = self.caches.token_version(secret);
        let began_by = job.and_then(|job| job.annotations().get(TOKEN_VERSION));
        now.is_some() && began_by.is_some() && now.as_ref() != began_by
    }

    /// Deletes an import that has failed, so that another begins at once.
    async fn forget_import(&self, job: Option<&Job>) -> Result<(), ImportError> {
        let Some(job) = job else {
            return Ok(());
        };
        let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: job.uid(),
            resource_version: None,
        });
        tracing::info!(
            job = name,
            "the Secret with the hub's token has changed: importing anew"
        );
        match jobs.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn begin(&self, look: &Look<'_>, import: &Import) -> Result<(), ImportError> {
        let namespace = &look.subject.key.namespace;
        let mut job = import_job(look.subject, import, &self.build);
        if let Some(name) = &import.token_secret {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let found = secrets.get_opt(name).await?;
            let found = found.ok_or_else(|| ImportError::NoSecret(name.clone()))?;
            let version = found.resource_version().unwrap_or_default();
            (job.annotations_mut()).insert(TOKEN_VERSION.to_owned(), version);
            let kind = found.type_.unwrap_or_default();
            if !TOKEN_TYPES.contains(&kind.as_str()) {
                return Err(ImportError::SecretType(name.clone(), kind));
            }
        }
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        // Who made it before has equipped it, or the watch will tell of it.
        if let Some(job) = created(jobs.create(&PostParams::default(), &job).await)? {
            tracing::info!(
                job = job.name_any(),
                repo = import.repo,
                revision = import.revision,
                "importing a model"
            );
            self.equip(import, &job).await?;
        }
        Ok(())
    }

    /// What the Job's pod waits for: its policy, and then the form, without which it cannot start.
    async fn equip(&self, import: &Import, job: &Job) -> Result<(), ImportError> {
        let namespace = job.namespace().unwrap_or_default();
        let Some(owner) = job.controller_owner_ref(&()) else {
            return Ok(());
        };
        let mut policy =
            network_policy::imports(metadata(&namespace, import), &import.name(), &self.build);
        policy.metadata.owner_references = Some(vec![owner.clone()]);
        let policies: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), &namespace);
        let uid = &owner.uid;
        made_for(&policies, &policy, uid).await?;
        let (account, name) = import.repo.split_once('/').unwrap_or_default();
        let prefix = ModelPrefix::new(account, name)?;
        let lifetime =
            Duration::from_secs(self.build.config.import_deadline_seconds.into()) + FORM_SLACK;
        let form = self
            .store
            .presign_post(&prefix, MAX_POST_BYTES, lifetime)
            .await?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let secret = form_secret(metadata(&namespace, import), owner.clone(), &form);
        made_for(&secrets, &secret, uid).await
    }
}

/// Creates what the Job with this uid owns, where it is not there yet.
async fn made_for<K: Owned>(api: &Api<K>, object: &K, uid: &str) -> Result<(), ImportError> {
    if created(api.create(&PostParams::default(), object).await)?.is_some() {
        return Ok(());
    }
    let name = object.name_any();
    let there = api.get_opt(&name).await?;
    let is_ours = |there: &K| there.owner_references().iter().any(|each| each.uid == uid);
    if there.is_some_and(|there| is_ours(&there)) {
        Ok(())
    } else {
        Err(ImportError::Leftover(name))
    }
}

/// `None`: it was there already.
fn created<K>(result: kube::Result<K>) -> kube::Result<Option<K>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
        Err(error) => Err(error),
    }
}

/// `<repo>@<revision>`, for a model of the hub.
fn hub_source(model: &PoolModel) -> Option<String> {
    match model.source.as_ref()? {
        ModelSource::HuggingFace {
            repo,
            revision,
            token_secret_ref: _,
        } => Some(format!("{repo}@{revision}")),
        ModelSource::Object { .. } | ModelSource::Volume { .. } => None,
    }
}

/// What a revision is known to stand for: by itself, from before, or from the pool's status.
fn commit(look: &Look<'_>, memory: &Memory, model: &PoolModel, source: &str) -> Option<String> {
    if let Some(revision) = source.rsplit('@').next().filter(|text| is_commit(text)) {
        return Some(revision.to_owned());
    }
    if let Some(known) = memory.commits.get(source) {
        return Some(known.clone());
    }
    let status = look.pool.status.as_ref()?;
    let told = status.models.iter().find(|each| each.name == model.name)?;
    let same = told.source.as_deref() == Some(source);
    told.commit
        .clone()
        .filter(|commit| same && is_commit(commit))
}
