//! Imports: the Job, its network policy, and the Secret with its upload form.

use super::Applied;
use crate::pool::applier::Owned;
use crate::pool::build::import_job::{Import, form_secret, import_job, metadata};
use crate::pool::build::names::{AUTHORITIES, TOKEN_VERSION};
use crate::pool::build::network_policy;
use crate::pool::message::Message;
use crate::pool::reconcile::Context;
use crate::pool::reconcile::observe::Observed;
use crate::pool::reconcile::plan::{ImportStep, PlannedImport, earliest};
use fovea_store::{MAX_POST_BYTES, ModelPrefix, StoreError};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use std::time::Duration;

/// How soon an import is tried again while objects of an earlier one are being deleted.
const RETRY_LEFTOVER: Duration = Duration::from_secs(1);
/// How long a form is valid beyond its Job's deadline.
const FORM_SLACK: Duration = Duration::from_hours(1);
/// Types of Secrets whose token may be sent to a hub. A service account's, or a runner's, has a key
/// `token` too.
const TOKEN_TYPES: [&str; 2] = ["Opaque", "fovea.dev/hub-token"];

#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{0}")]
    Kubernetes(#[from] kube::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Key(#[from] fovea_store::InvalidKey),
    #[error("{0} of an earlier import still exists")]
    Leftover(String),
    #[error("there is no Secret {0:?}, which tokenSecretRef names")]
    NoSecret(String),
    #[error(
        "Secret {0:?} has type {1}; only Secrets of type Opaque or fovea.dev/hub-token are sent to a hub"
    )]
    SecretType(String, String),
}

impl Context {
    pub(super) async fn apply_import(
        &self,
        observed: &Observed<'_>,
        planned: PlannedImport,
        applied: &mut Applied,
    ) {
        let PlannedImport {
            model,
            import: found,
            step,
        } = planned;
        let (import, job) = (&found.import, found.job.as_deref());
        let result = match (step, job) {
            (ImportStep::Wait, _) | (ImportStep::Equip | ImportStep::Restart, None) => Ok(()),
            (ImportStep::Create, _) => Box::pin(self.create_import(observed, import)).await,
            (ImportStep::Equip, Some(job)) => {
                Box::pin(self.equip_import(observed, import, job)).await
            }
            (ImportStep::Restart, Some(job)) => Box::pin(self.delete_import(job)).await,
        };
        match result {
            // It goes a moment after the Job that owns it.
            Err(ImportError::Leftover(_)) => {
                earliest(&mut applied.due, observed.after(RETRY_LEFTOVER));
            }
            Ok(()) => {
                let (job, repo, revision) = (import.name(), &import.repo, &import.revision);
                let message =
                    format!("model {model}: Job {job} copies {repo}@{revision} into the bucket");
                let message = Message::new("ImportingModel", message);
                applied.progressing.get_or_insert(message);
            }
            Err(error) => applied.fail("ImportFailed", format!("model {model}: {error}")),
        }
    }

    /// Deletes a failed import, so that another begins at once.
    async fn delete_import(&self, job: &Job) -> Result<(), ImportError> {
        let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: job.uid(),
            resource_version: None,
        });
        tracing::info!(
            job = name,
            "the Secret with the hub's token, or the certificate authorities, have changed: importing anew"
        );
        match jobs.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn create_import(
        &self,
        observed: &Observed<'_>,
        import: &Import,
    ) -> Result<(), ImportError> {
        let namespace = &observed.subject.key.namespace;
        let mut job = import_job(&observed.subject, import, &self.build);
        if let Some(fingerprint) = observed.trusted.fingerprint() {
            (job.annotations_mut()).insert(AUTHORITIES.to_owned(), fingerprint);
        }
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
        // An existing Job is equipped already, or the watch reports it soon.
        if let Some(job) = created(jobs.create(&PostParams::default(), &job).await)? {
            tracing::info!(
                job = job.name_any(),
                repo = import.repo,
                revision = import.revision,
                "importing a model"
            );
            self.equip_import(observed, import, &job).await?;
        }
        Ok(())
    }

    /// Creates the network policy and then the form, without which the Job's pod cannot start.
    async fn equip_import(
        &self,
        observed: &Observed<'_>,
        import: &Import,
        job: &Job,
    ) -> Result<(), ImportError> {
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
        let secret = form_secret(
            metadata(&namespace, import),
            owner.clone(),
            &form,
            &observed.trusted,
            &self.build,
        );
        made_for(&secrets, &secret, uid).await
    }
}

/// Creates an object that the Job with this uid owns, unless it exists.
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

/// `None`: it exists already.
fn created<K>(result: kube::Result<K>) -> kube::Result<Option<K>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
        Err(error) => Err(error),
    }
}
