//! The end of a batch under way: its parts are copied to the output, and its last status is written.

use super::run::{BatchRun, COPY_LIMIT, Halt, TICK, WAITS, describe};
use super::work::Work;
use crate::batch::finish;
use crate::batch::plan::PlanError;
use crate::job::status::batch as status;
use crate::job::write::Written;
use backon::BackoffBuilder as _;
use fovea_crds::{BatchOutput, Failure, InferenceJob};
use fovea_store::StoreError;
use futures::FutureExt as _;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Time for which the store may refuse the output before the batch fails.
const REFUSED_LIMIT: Duration = Duration::from_mins(10);

impl BatchRun {
    /// Copies the parts to the output, again until the store takes them. An error is final.
    pub(super) async fn output(
        &mut self,
        work: &mut Work,
        complete: bool,
    ) -> Result<BatchOutput, Failure> {
        let (mut waits, mut refused, mut shown) = (WAITS.build(), None, false);
        loop {
            match self.try_output(work, complete).await {
                Ok(output) => return Ok(output),
                Err(PlanError::Never(failure)) => return Err(failure),
                Err(PlanError::Store(error)) => {
                    let since = *refused.get_or_insert_with(Instant::now);
                    if !error.is_refusal() {
                        refused = None;
                    } else if since.elapsed() >= REFUSED_LIMIT
                        || matches!(error, StoreError::Config(_))
                    {
                        return Err(Failure {
                            reason: status::OUTPUT_NOT_WRITTEN.to_owned(),
                            message: format!("the object store refuses the output: {error}"),
                            retryable: true,
                        });
                    }
                    if complete && !shown {
                        shown = true;
                        self.write_copying(work, &error.to_string()).await;
                    }
                    tracing::warn!(uid = self.uid, %error, "the batch's parts are not copied yet");
                    sleep(waits.next().unwrap_or(TICK)).await;
                }
            }
        }
    }

    async fn try_output(&self, work: &mut Work, complete: bool) -> Result<BatchOutput, PlanError> {
        let undescribed = work.progress.undescribed(usize::MAX);
        let described = describe(self.store.clone(), self.uid.clone(), undescribed).await;
        work.describe(described)?;
        let parts = work.progress.parts();
        let finished = finish::finish(&self.store, self.batch()?, &work.plan, &parts, complete);
        Ok(finished.boxed().await?)
    }

    /// Writes that the parts cannot be copied yet. What else the write finds shows itself at the next one.
    async fn write_copying(&mut self, work: &mut Work, why: &str) {
        let numbers = work.numbers();
        let make = |job: &InferenceJob| status::copying(job, &numbers, why, crate::time::now());
        let written = self.writer.write(self.job.clone(), make).boxed().await;
        let _ = self.took(written);
    }

    pub(super) async fn succeed(&self, work: &mut Work, output: BatchOutput) -> Written {
        let (numbers, began) = (work.numbers(), work.began);
        let pool = &self.placement.pool;
        let make = |job: &InferenceJob| {
            status::succeeded(
                job,
                pool,
                began,
                &numbers,
                output.clone(),
                crate::time::now(),
            )
        };
        self.writer.write(self.job.clone(), make).boxed().await
    }

    /// Writes how the batch ends, or pauses, before it is done. `work`: what was done until then.
    pub(super) async fn halted(&mut self, halt: Halt, work: Option<Work>) -> Written {
        let ending = match halt {
            Halt::Drop => return Written::Unchanged,
            Halt::Written(written) => return written,
            Halt::Suspended => {
                let numbers = work.map(|mut work| work.numbers());
                let make =
                    |job: &InferenceJob| status::paused(job, numbers.as_ref(), crate::time::now());
                return self.writer.write(self.job.clone(), make).boxed().await;
            }
            Halt::End(ending) => ending,
        };
        let (mut numbers, mut output) = (None, None);
        if let Some(mut work) = work {
            work.progress.stop();
            if work.progress.has_parts() {
                let copied = timeout(COPY_LIMIT, self.output(&mut work, false)).await;
                output = copied.ok().and_then(Result::ok);
            }
            numbers = Some(work.numbers());
        }
        let make = |job: &InferenceJob| {
            let (numbers, output) = (numbers.as_ref(), output.clone());
            status::ended(job, numbers, output, &ending, crate::time::now())
        };
        self.writer.write(self.job.clone(), make).boxed().await
    }
}
