//! Single jobs with `spec.reuse`: a job whose question has been answered before in its namespace is not run.

use super::attempt::Attempt;
use super::runners::RunnerClient;
use super::wire;
use crate::job::retry::Success;
use crate::reuse::{Answers, Owner};
use fovea_crds::{Task, Timings};
use fovea_protocol::{Answer, InferRequest};
use std::sync::Arc;

/// The answers of an attempt's namespace.
pub(super) struct Reuse {
    answers: Arc<Answers>,
    owner: Owner,
}

impl Attempt {
    /// `None` if the job does not reuse answers, or its namespace is not known at the moment.
    pub(super) async fn reuse(&self) -> Option<Reuse> {
        if !self.job.spec.reuse {
            return None;
        }
        let namespace = self.job.metadata.namespace.clone().unwrap_or_default();
        let uid = self.folders.uid(&namespace).await.ok()?;
        Some(Reuse {
            answers: Arc::clone(&self.answers),
            owner: Owner { namespace, uid },
        })
    }
}

impl Reuse {
    /// The success of an attempt whose question has been answered before. The runner is only asked what the
    /// question is if there can be an answer.
    pub(super) async fn find(
        &self,
        runner: &RunnerClient,
        task: Task,
        request: &InferRequest,
    ) -> Option<Success> {
        if !self.answers.has_any(&self.owner).await {
            return None;
        }
        let question = match runner.question(request).await {
            Ok(question) => question.parse().ok()?,
            Err(error) => {
                tracing::debug!(%error, "the runner does not say which question a job asks");
                return None;
            }
        };
        let found = self.answers.find(&self.owner, vec![question]).await;
        let Answer { result, model, .. } = found.into_iter().next()??;
        Some(Success {
            result: wire::result(task, result)?,
            model: wire::served_model(model),
            timings: Timings::default(),
            reused: true,
            answered: None,
            cost_micros: None,
        })
    }

    /// Keeps the answer of a job that was run. Its status does not wait for it.
    pub(super) fn keep(&self, success: &Success) {
        if let Some((question, answer)) = success.answered.as_deref() {
            let (question, answer) = (question.clone(), answer.clone());
            self.answers.keep_soon(self.owner.clone(), question, answer);
        }
    }
}
