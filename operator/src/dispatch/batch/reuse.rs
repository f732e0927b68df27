//! Batches with `spec.reuse`: what the runner of a shard asks, and where it writes new answers.

use super::shard::{Outcome, ShardAttempt};
use crate::reuse::Owner;
use fovea_protocol::{MAX_PART_BYTES, MAX_QUESTIONS, Order, Part, Upload};
use fovea_store::{ObjectKey, PartName, Sha256};

impl ShardAttempt {
    /// `None` while the namespace is not known: then nothing is reused.
    async fn owner(&self) -> Option<Owner> {
        let namespace = self.job.metadata.namespace.clone().unwrap_or_default();
        let uid = self.folders.uid(&namespace).await.ok()?;
        Some(Owner { namespace, uid })
    }

    /// The questions that the runner asks; `None` if it was not told to, or they make no sense.
    pub(super) fn questions(&self, asked: &[String]) -> Option<Vec<Sha256>> {
        if !self.request.reuse || asked.len() > MAX_QUESTIONS {
            return None;
        }
        asked.iter().map(|question| question.parse().ok()).collect()
    }

    /// The order that answers these questions.
    pub(super) async fn answer(&self, questions: Vec<Sha256>) -> Order {
        let answers = match self.owner().await {
            Some(owner) => self.answers.find(&owner, questions).await,
            None => vec![None; questions.len()],
        };
        Order::Answers { answers }
    }

    /// Whether what an announced part says of answers can be so.
    pub(super) fn answers_fit(&self, part: &Part) -> bool {
        let bytes = part.answers.as_ref().map_or(0, |file| file.bytes);
        let has_any = part.reused > 0 || part.answers.is_some();
        part.reused <= part.succeeded && bytes <= MAX_PART_BYTES && (self.request.reuse || !has_any)
    }

    /// Name of the object for an announced part's new answers, and where to write it. `None` if there are
    /// none, or they cannot be kept now.
    pub(super) async fn place_answers(
        &self,
        part: &Part,
        name: PartName,
    ) -> Result<Option<(String, Upload)>, Outcome> {
        let Some(file) = &part.answers else {
            return Ok(None);
        };
        let Some(Owner { namespace, uid }) = self.owner().await else {
            return Ok(None);
        };
        let token = uuid::Uuid::new_v4().simple();
        let name = format!("{}.{name}.{token}", self.request.job);
        let key = ObjectKey::answers(&namespace, &uid, &name);
        let upload = self.upload(key, file.bytes, None).await?;
        Ok(Some((name, upload)))
    }

    /// New answers have been written to the object of this name.
    pub(super) async fn written(&self, name: String) {
        if let Some(owner) = self.owner().await {
            self.answers.written(&owner, name);
        }
    }
}
