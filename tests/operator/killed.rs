//! The operator is killed right after each kind of write: with the next leader every job ends as if it
//! had not been.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJobStatus, Phase, RunnerPool, Task};
use fovea_harness::{Process, eventually, stack};
use fovea_store::{ObjectKey, Part, Store};
use fovea_tests::batches::{Written, batch, each_once, prefix, put_all};
use fovea_tests::operated::{JOBS, PATIENCE};
use fovea_tests::pods::store;
use fovea_tests::{Operated, Options};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::path::Path;

/// The failpoints, by their names in `operator/src/kill_points.rs`.
mod points {
    pub(super) const LEASE_CREATED: &str = "lease-created";
    pub(super) const LEASE_TAKEN: &str = "lease-taken";
    pub(super) const LEASE_RENEWED: &str = "lease-renewed";
    pub(super) const LEASE_RELEASED: &str = "lease-released";
    pub(super) const POOL_STATUS: &str = "pool-status";
    pub(super) const JOB_CONDITION: &str = "job-condition";
    pub(super) const JOB_RUNNING: &str = "job-running";
    pub(super) const JOB_WAITING: &str = "job-waiting";
    pub(super) const RESULT_STORED: &str = "result-stored";
    pub(super) const JOB_SUCCEEDED: &str = "job-succeeded";
    pub(super) const JOB_FAILED: &str = "job-failed";
    pub(super) const CALLBACK_RECORDED: &str = "callback-recorded";
    pub(super) const JOB_DELETED: &str = "job-deleted";
    pub(super) const BATCH_ITEMS_WRITTEN: &str = "batch-items-written";
    pub(super) const BATCH_PLANNED: &str = "batch-planned";
    pub(super) const BATCH_PART_WRITTEN: &str = "batch-part-written";
    pub(super) const BATCH_PART_COPIED: &str = "batch-part-copied";
    pub(super) const BATCH_SUCCESS_WRITTEN: &str = "batch-success-written";
}

/// How a test reaches a failpoint, and how it detects that.
struct Scene<'a> {
    operated: &'a Operated,
    leases: Api<Lease>,
    store: Store,
    point: &'a str,
}

#[tokio::test]
async fn after_a_kill_at_any_write_the_next_leader_continues_from_there() -> Result<()> {
    let options = Options::default().short_lease();
    let operated = Operated::start(options.clone()).await?;
    operated.operator.terminate().await?;
    let failpoints = stack::find("fovea-operator-failpoints")?;
    for point in &every_point(&operated, &failpoints).await? {
        eprintln!("killed after {point}");
        let scene = Scene {
            leases: Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE),
            store: store(&operated.minio).await?,
            operated: &operated,
            point,
        };
        scene.prepare().await?;
        let held = Options {
            program: Some(failpoints.clone()),
            env: vec![("FAILPOINTS".to_owned(), format!("{point}=pause"))],
            ..options.clone()
        };
        let victim = operated.another_operator(&held, None).await?;
        scene.play(&victim).await?;
        victim.kill().await?;
        let heir = operated.another_operator(&options, None).await?;
        scene.ends_well(&heir).await?;
        ensure!(heir.terminate().await?.success(), "{}", heir.log_tail());
    }
    operated.judge();
    Ok(())
}

/// The failpoints that the program lists in its log, so that each is tested.
async fn every_point(operated: &Operated, failpoints: &Path) -> Result<Vec<String>> {
    let options = Options {
        program: Some(failpoints.to_owned()),
        ..Options::default()
    };
    let program = operated.another_operator(&options, None).await?;
    let found = eventually("the points", PATIENCE, async || {
        let log = program.log_tail();
        let (_, points) = log.split_once("points=[").context("no list yet")?;
        let (points, _) = points.split_once(']').context("an incomplete list")?;
        let names = points
            .split(", ")
            .map(|name| name.trim_matches('"').to_owned());
        anyhow::Ok(names.collect())
    });
    let points = found.await?;
    program.terminate().await?;
    Ok(points)
}

impl Scene<'_> {
    async fn prepare(&self) -> Result<()> {
        if self.point == points::LEASE_CREATED {
            let leases = &self.leases;
            leases
                .delete("fovea-operator", &DeleteParams::default())
                .await?;
        }
        Ok(())
    }

    /// Makes the victim reach its failpoint, and waits until its write is visible.
    async fn play(&self, victim: &Process) -> Result<()> {
        let (operated, name) = (self.operated, self.point);
        match self.point {
            points::LEASE_CREATED | points::LEASE_TAKEN => {
                self.lease_where(is_held).await?;
                // It holds the Lease and is held itself: these points are in this program.
                ensure!(
                    !victim.log_tail().contains("leading"),
                    "{}",
                    victim.log_tail()
                );
                Ok(())
            }
            points::LEASE_RENEWED => {
                self.lease_where(|lease| is_held(lease) && lease.renew_time > lease.acquire_time)
                    .await
            }
            points::LEASE_RELEASED => {
                self.lease_where(is_held).await?;
                // It is held at its point till its time to stop is over.
                victim.terminate().await?;
                self.lease_where(|lease| !is_held(lease)).await
            }
            points::POOL_STATUS => {
                operated.add_pool(name).await?;
                let pools: Api<RunnerPool> =
                    Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
                let written = eventually("the pool's status", PATIENCE, async || {
                    let pool = pools.get(name).await?;
                    ensure!(pool.written_status().is_some(), "{}", victim.log_tail());
                    Ok(())
                });
                Ok(written.await?)
            }
            points::JOB_CONDITION => {
                let mut job = Operated::job(name, "caption x");
                job.spec.suspend = true;
                operated.create(&job).await?;
                self.status(|status| !status.conditions.is_empty()).await
            }
            points::JOB_RUNNING => {
                operated.submit(name, "wait 3000 caption x").await?;
                self.status(|status| status.phase == Phase::Running).await
            }
            points::JOB_WAITING => {
                operated.submit(name, "close\ncaption x").await?;
                self.status(|status| status.next_attempt_time.is_some())
                    .await
            }
            points::RESULT_STORED => {
                let mut job = Operated::job(name, "labels 3000");
                job.spec.task = Task::ImageClassification;
                let uid = operated
                    .create(&job)
                    .await?
                    .metadata
                    .uid
                    .unwrap_or_default();
                let key = ObjectKey::result(JOBS, &uid)?;
                let kept = eventually("the result", PATIENCE, async || {
                    ensure!(
                        self.store.modified(&key).await?.is_some(),
                        "it is not there"
                    );
                    Ok(())
                });
                Ok(kept.await?)
            }
            points::JOB_SUCCEEDED => {
                operated.submit(name, "caption x").await?;
                self.status(|status| status.phase == Phase::Succeeded).await
            }
            points::JOB_FAILED => {
                operated.submit(name, "problem InvalidPicture").await?;
                self.status(|status| status.phase == Phase::Failed).await
            }
            points::CALLBACK_RECORDED => {
                let mut job = Operated::job(name, "caption x");
                job.spec.callback = serde_json::from_value(json!({"url": "https://127.0.0.1/"}))?;
                operated.create(&job).await?;
                self.status(|status| status.callback.is_some()).await
            }
            points::JOB_DELETED => {
                let mut job = Operated::job(name, "caption x");
                job.spec.ttl_seconds_after_finished = Some(0);
                operated.create(&job).await?;
                self.is_gone().await
            }
            points::BATCH_ITEMS_WRITTEN => self.batch("plan/").await,
            points::BATCH_PLANNED => self.batch("plan.json").await,
            points::BATCH_PART_WRITTEN => self.batch("parts/").await,
            points::BATCH_PART_COPIED => self.batch("part-").await,
            points::BATCH_SUCCESS_WRITTEN => self.batch("_SUCCESS.json").await,
            other => anyhow::bail!("there is no scene for {other}: write one"),
        }
    }

    /// Waits for the end of the job, or of a new one.
    async fn ends_well(&self, heir: &Process) -> Result<()> {
        let (operated, name) = (self.operated, self.point);
        if name == points::JOB_CONDITION {
            operated.patch(name, json!({"suspend": false})).await?;
        }
        if name == points::JOB_DELETED {
            self.is_gone().await?;
        } else if operated.jobs.get_opt(name).await?.is_some() {
            let status = operated.ended(name).await?;
            let phase = match name {
                points::JOB_FAILED => Phase::Failed,
                _ => Phase::Succeeded,
            };
            assert_eq!(
                (status.phase, status.attempts),
                (phase, 1),
                "{name}: {status:?}"
            );
            if let Some(output) = &status.output {
                let written = Written::read(&self.store, JOBS, output).await?;
                ensure!(written.success.is_some(), "{written:?}");
                each_once(&written.rows()?, pictures(name))?;
            }
        }
        let after = format!("after-{name}");
        operated.submit(&after, "caption x").await?;
        let status = operated.ended(&after).await?;
        ensure!(status.phase == Phase::Succeeded, "{}", heir.log_tail());
        Ok(())
    }

    /// Creates a batch, and waits until it has an object whose name begins so, in its folder or in its output.
    async fn batch(&self, begin: &str) -> Result<()> {
        let name = self.point;
        let objects = pictures(name).map(|key| (key, b"picture".to_vec()));
        put_all(&self.store, JOBS, objects).await?;
        let output = format!("{name}-out");
        let job = batch(name, Task::ImageToText, prefix(name), &output);
        let uid = self.operated.create(&job).await?.uid().context("no uid")?;
        let written = eventually(begin, PATIENCE, async || {
            let page = self.store.list(Part::System, None, None).await?;
            let own = page.objects.iter().filter_map(|listed| {
                let (key, _) = listed.object.as_ref()?;
                key.as_str().strip_prefix(&format!("system/{uid}/"))
            });
            let mut output = self.store.list_data(JOBS, &format!("{output}/{uid}"))?;
            let output = output.next().await?.unwrap_or_default();
            let output = output
                .iter()
                .filter_map(|object| object.key.rsplit('/').next());
            let all: Vec<&str> = own.chain(output).collect();
            ensure!(all.iter().any(|name| name.starts_with(begin)), "{all:?}");
            Ok(())
        });
        Ok(written.await?)
    }

    async fn status(&self, wanted: impl Fn(&InferenceJobStatus) -> bool) -> Result<()> {
        let status = self.operated.status_where(self.point, "to change", wanted);
        status.await.map(drop)
    }

    async fn is_gone(&self) -> Result<()> {
        let gone = eventually("the job to be gone", PATIENCE, async || {
            let found = self.operated.jobs.get_opt(self.point).await?;
            ensure!(found.is_none(), "it is there");
            Ok(())
        });
        Ok(gone.await?)
    }

    async fn lease_where(&self, wanted: impl Fn(&LeaseSpec) -> bool) -> Result<()> {
        let found = eventually("the lease", PATIENCE, async || {
            let lease = self.leases.get("fovea-operator").await?;
            let spec = lease.spec.unwrap_or_default();
            ensure!(wanted(&spec), "{spec:?}");
            Ok(())
        });
        Ok(found.await?)
    }
}

/// The pictures of a batch.
fn pictures(batch: &str) -> impl Iterator<Item = String> {
    (0..3).map(move |number| format!("{batch}/{number}.jpg"))
}

fn is_held(lease: &LeaseSpec) -> bool {
    lease
        .holder_identity
        .as_deref()
        .is_some_and(|holder| !holder.is_empty())
}
