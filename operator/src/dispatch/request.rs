//! The request that an attempt sends to its runner. The only credential in it is a presigned URL for
//! the job's picture.

use super::attempt::Attempt;
use super::folders::FolderError;
use super::wire;
use crate::job::retry::Outcome;
use base64::Engine as _;
use fovea_cluster::NamespaceError;
use fovea_crds::Input;
use fovea_protocol::{InferRequest, Problem, Reason, Source, URL_LIFETIME};
use fovea_store::{ObjectKey, Sha256};

impl Attempt {
    /// Builds the request, with the picture's bytes or a presigned URL. The error is the attempt's
    /// outcome.
    pub(super) async fn request(&self) -> Result<InferRequest, Outcome> {
        let spec = &self.job.spec;
        let status = self.job.status.as_ref();
        Ok(InferRequest {
            installation: self.leader.installation.clone(),
            epoch: self.leader.epoch,
            job: self.job.metadata.uid.clone().unwrap_or_default(),
            attempt: self.number(),
            task: wire::task(spec.task),
            model: self.placement.model.clone(),
            input: self.input().await?,
            parameters: wire::parameters(&spec.parameters),
            deadline_millis: u64::from(spec.attempt_deadline_seconds) * 1000,
            exclusive: status.is_some_and(|status| status.exclusive),
            reuse: spec.reuse,
        })
    }

    /// The attempt's number, from 1; lost runners count as well.
    pub(super) fn number(&self) -> u32 {
        let ended = self.job.status.as_ref().map_or(0, |status| {
            status.attempts.saturating_add(status.interruptions)
        });
        ended.saturating_add(1)
    }

    async fn input(&self) -> Result<fovea_protocol::Input, Outcome> {
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let refused = |why: &dyn std::fmt::Display| {
            Outcome::Problem(Problem::new(
                Reason::InvalidParameters,
                format!("spec.input: {why}"),
            ))
        };
        let input = |source, sha256| fovea_protocol::Input { source, sha256 };
        match &self.job.spec.input {
            Input::Upload { sha256 } => {
                let digest: Sha256 = sha256.parse().map_err(|error| refused(&error))?;
                let uid = self.folders.uid(namespace).await?;
                let key =
                    ObjectKey::upload(namespace, &uid, &digest).map_err(|error| refused(&error))?;
                Ok(input(self.presign(&key).await?, Some(sha256.clone())))
            }
            Input::Object { key } => {
                let key = ObjectKey::data(namespace, key).map_err(|error| refused(&error))?;
                self.folders.check(&self.job).await?;
                Ok(input(self.presign(&key).await?, None))
            }
            Input::Prefix { .. } | Input::Manifest { .. } | Input::Archives { .. } => {
                Err(refused(&"a batch is no single picture"))
            }
            // The cache does not hold inline pictures.
            Input::Inline { .. } => match self.writer.read_inline(&self.job).await {
                Ok(Some(data)) => {
                    let data = base64::engine::general_purpose::STANDARD.encode(data);
                    Ok(input(Source::Data(data), None))
                }
                Ok(None) => Err(Outcome::NotBegun("the job is gone".to_owned())),
                Err(error) => Err(Outcome::NotBegun(error.to_string())),
            },
        }
    }

    /// The URL has to last until the runner's GET begins, which is soon: the runner answers within
    /// [`fovea_protocol::SILENCE_LIMIT`] or is lost, and fetches the picture before anything else.
    async fn presign(&self, key: &ObjectKey) -> Result<Source, Outcome> {
        let signed = self.store.presign_get(key, URL_LIFETIME).await;
        signed.map(Source::Url).map_err(|error| {
            Outcome::Problem(Problem::new(
                Reason::FetchFailed,
                format!("the picture's URL cannot be presigned: {error}"),
            ))
        })
    }
}

impl From<NamespaceError> for Outcome {
    fn from(error: NamespaceError) -> Self {
        Self::NotBegun(error.to_string())
    }
}

impl From<FolderError> for Outcome {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::NotOwned(failure) => Self::Refused(failure),
            FolderError::Store(_) => {
                Self::Problem(Problem::new(Reason::FetchFailed, error.to_string()))
            }
            FolderError::Namespace(error) => error.into(),
        }
    }
}
