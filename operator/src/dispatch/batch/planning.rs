//! The plan of a batch under way: read if there is one, and made if there is none.

use super::run::{BatchRun, Halt, TICK, WAITS};
use super::work::Work;
use crate::batch::plan::{self, Plan, PlanError};
use crate::batch::{above, finish};
use crate::dispatch::folders::FolderError;
use crate::dispatch::wire;
use crate::job::decide::Ending;
use crate::job::status::batch as status;
use backon::BackoffBuilder as _;
use fovea_crds::{Failure, InferenceJob};
use fovea_store::{PartName, StoreError};
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::sleep;

/// Failures of the store after which the status says that it is waited for.
const SHOW_OUTAGE_AFTER: u32 = 3;

impl BatchRun {
    /// What a former leader has done; `None` if there is no plan. Failures of the store are tried again.
    pub(super) async fn done_before(&self, began: Timestamp) -> Option<Work> {
        let mut waits = WAITS.build();
        loop {
            let done = async {
                let Some(plan) = plan::read(&self.store, &self.uid).await? else {
                    return Ok(None);
                };
                let parts = self.store.parts(&self.uid).await?;
                Ok::<_, StoreError>(Some(self.work_of(plan, parts, began)))
            };
            match done.await {
                Ok(work) => return work,
                Err(error) => {
                    tracing::warn!(uid = self.uid, %error, "the batch's plan cannot be read");
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    /// The plan, and the parts that exist. Failures of the store are tried again.
    pub(super) async fn plan(&mut self, began: Timestamp) -> Result<(Plan, Vec<PartName>), Halt> {
        let (mut waits, mut failures) = (WAITS.build(), 0);
        loop {
            if self.wishes.borrow_and_update().is_held() {
                return Err(Halt::Suspended);
            }
            match self.try_plan(began).await {
                Ok(planned) => return Ok(planned),
                Err(NotPlanned::Halted(halt)) => return Err(halt),
                Err(NotPlanned::Not(PlanError::Never(failure))) => {
                    return Err(Halt::End(Ending::Failed(failure)));
                }
                Err(NotPlanned::Not(PlanError::Store(error))) => {
                    tracing::warn!(uid = self.uid, %error, "the batch is not planned yet");
                    failures += 1;
                    // An outage may be short; wrong lists stay.
                    let is_told = matches!(error, StoreError::List(_)) && failures == 1;
                    if is_told || failures == SHOW_OUTAGE_AFTER {
                        self.write_planning(began, Some(&error.to_string())).await?;
                    }
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    async fn try_plan(&mut self, began: Timestamp) -> Result<(Plan, Vec<PartName>), NotPlanned> {
        if let Some(refusal) = self.findings.current().refuses_batches() {
            return Err(PlanError::Store(refusal).into());
        }
        self.check_folder().await?;
        let plan = if let Some(plan) = plan::read(&self.store, &self.uid).await? {
            plan
        } else {
            let written = self.write_planning(began, None).await;
            written.map_err(NotPlanned::Halted)?;
            let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
            let probed = finish::probe(&self.store, &self.uid, namespace).await?;
            probed.map_err(PlanError::Never)?;
            let output = &self.batch()?.output.prefix;
            let checked = above::check_output(&self.store, namespace, output).await?;
            checked.map_err(PlanError::Never)?;
            plan::make(&self.store, self.batch()?, |_| {}).await?
        };
        let parts = self.store.parts(&self.uid).await?;
        Ok((plan, parts))
    }

    /// What plan and output need of the job.
    pub(super) fn batch(&self) -> Result<plan::Batch<'_>, PlanError> {
        let spec = &self.job.spec;
        let missing = || {
            PlanError::Never(Failure {
                reason: "InvalidInput".to_owned(),
                message: "a batch needs spec.output: create a new InferenceJob".to_owned(),
                retryable: false,
            })
        };
        let status = self.job.status.as_ref();
        Ok(plan::Batch {
            uid: &self.uid,
            namespace: self.job.metadata.namespace.as_deref().unwrap_or_default(),
            name: self.job.metadata.name.as_deref().unwrap_or_default(),
            task: wire::task(spec.task),
            model: status.and_then(|status| status.model.as_ref()),
            input: &spec.input,
            output: spec.output.as_ref().ok_or_else(missing)?,
        })
    }

    async fn check_folder(&self) -> Result<(), PlanError> {
        match self.folders.check(&self.job).await {
            Ok(()) => Ok(()),
            Err(FolderError::NotOwned(failure)) => Err(PlanError::Never(failure)),
            Err(FolderError::Store(error)) => Err(PlanError::Store(error)),
            Err(error @ FolderError::Namespace(_)) => {
                Err(PlanError::Store(StoreError::Unavailable(error.to_string())))
            }
        }
    }

    /// Writes that the batch is being planned; `why` it could not be yet.
    async fn write_planning(&mut self, began: Timestamp, why: Option<&str>) -> Result<(), Halt> {
        let pool = self.placement.pool.clone();
        let make =
            |job: &InferenceJob| status::planning(job, &pool, began, why, crate::time::now());
        let written = self.writer.write(self.job.clone(), make).boxed().await;
        self.took(written)
    }
}

/// Why there is no plan.
enum NotPlanned {
    Not(PlanError),
    Halted(Halt),
}

impl<E: Into<PlanError>> From<E> for NotPlanned {
    fn from(error: E) -> Self {
        Self::Not(error.into())
    }
}
