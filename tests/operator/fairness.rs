//! How namespaces share a pool. Its runner takes as long for each job as the job's script says, and says so.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, PoolRef};
use fovea_harness::eventually;
use fovea_tests::operated::{PATIENCE, apply_pool, create_namespace};
use fovea_tests::runner::{Attempt, ScriptedRunner};
use fovea_tests::shared::Shared;
use fovea_tests::{Operated, Options};
use jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;

/// A pool with one runner, and namespaces that send jobs to it.
struct Pool {
    operated: &'static Operated,
    runner: ScriptedRunner,
    name: String,
    /// Namespaces of jobs, by uid.
    jobs: Mutex<HashMap<String, String>>,
}

/// Runs a test on a pool of its own, of one operator. `weights` by the tenants' first names.
fn pool(
    slots: u32,
    fairness: impl FnOnce(&dyn Fn(&str) -> String) -> Value,
    test: impl AsyncFnOnce(&Pool) -> Result<()>,
) -> Result<()> {
    static SHARED: Shared<Operated> = Shared::new();
    let test = async |operated: &'static Operated| {
        let name = format!("fair-{}", uuid::Uuid::new_v4().simple());
        let runner = ScriptedRunner::start(slots).await?;
        let fairness = fairness(&|tenant| format!("{tenant}-{name}"));
        let more = json!({ "fairness": fairness });
        apply_pool(&operated.client, &name, &[&runner.url], &more).await?;
        operated.pool_is_ready(&name).await?;
        let pool = Pool {
            operated,
            runner,
            name,
            jobs: Mutex::default(),
        };
        test(&pool).await?;
        operated.audit.check();
        Ok(())
    };
    SHARED.run(async || Operated::start(Options::default()).await, test)
}

fn equal(_: &dyn Fn(&str) -> String) -> Value {
    json!({})
}

impl Pool {
    fn namespace(&self, tenant: &str) -> String {
        format!("{tenant}-{}", self.name)
    }

    fn jobs(&self, tenant: &str) -> Api<InferenceJob> {
        Api::namespaced(self.operated.client.clone(), &self.namespace(tenant))
    }

    async fn tenants<const N: usize>(&self, tenants: [&str; N]) -> Result<()> {
        for tenant in tenants {
            create_namespace(&self.operated.client, &self.namespace(tenant)).await?;
        }
        Ok(())
    }

    /// Sends so many jobs that take so long.
    async fn submit(&self, tenant: &str, count: usize, millis: u32) -> Result<()> {
        for _ in 0..count {
            let name = format!("job-{}", uuid::Uuid::new_v4().simple());
            let mut job = Operated::job(&name, &format!("wait {millis} caption x"));
            job.spec.pool_ref = Some(PoolRef {
                name: self.name.clone(),
                namespace: Some(fovea_harness::stack::SYSTEM_NAMESPACE.to_owned()),
            });
            let made = self
                .jobs(tenant)
                .create(&PostParams::default(), &job)
                .await?;
            let uid = made.uid().unwrap();
            self.jobs.lock().unwrap().insert(uid, tenant.to_owned());
        }
        Ok(())
    }

    /// Takes the only slot until the others' jobs are there.
    async fn while_busy(&self, submit: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        self.tenants(["first"]).await?;
        self.submit("first", 1, 2500).await?;
        self.attempts("the slot to be taken", |attempts| attempts.len() == 1)
            .await?;
        submit().await?;
        let waiting = self.began();
        ensure!(waiting.len() == 1, "the jobs came too late: {waiting:?}");
        Ok(())
    }

    /// Waits until the attempts are as wanted.
    async fn attempts(&self, what: &str, wanted: impl Fn(&[Attempt]) -> bool) -> Result<()> {
        let found = eventually(what, PATIENCE, async || {
            let attempts = self.runner.attempts();
            let log = self.operated.operator.log_tail();
            ensure!(wanted(&attempts), "{attempts:?}\n{log}");
            Ok(())
        });
        Ok(found.await?)
    }

    /// Waits until so many jobs of the tenant have ended.
    async fn ended(&self, tenant: &str, count: usize) -> Result<()> {
        let jobs = self.jobs(tenant);
        let found = eventually("the jobs to end", PATIENCE, async || {
            let jobs = jobs.list(&ListParams::default()).await?.items;
            let is_done = |job: &&InferenceJob| {
                let status = job.status.as_ref();
                status.is_some_and(|status| status.phase.is_terminal())
            };
            let done = jobs.iter().filter(is_done).count();
            ensure!(done >= count, "{done} of {}", jobs.len());
            Ok(())
        });
        Ok(found.await?)
    }

    /// Whose jobs began, in order.
    fn began(&self) -> Vec<String> {
        let attempts = self.runner.attempts();
        attempts
            .iter()
            .map(|attempt| self.tenant(attempt))
            .collect()
    }

    fn tenant(&self, attempt: &Attempt) -> String {
        let jobs = self.jobs.lock().unwrap();
        jobs.get(&attempt.job).cloned().unwrap_or_default()
    }

    fn attempts_of(&self, tenant: &str) -> Vec<Attempt> {
        let mut attempts = self.runner.attempts();
        attempts.retain(|attempt| self.tenant(attempt) == tenant);
        attempts
    }
}

/// How many of the attempts were running at this time.
fn running(attempts: &[Attempt], at: Timestamp) -> usize {
    let is_running =
        |each: &&Attempt| each.began <= at && each.ended.is_none_or(|ended| ended > at);
    attempts.iter().filter(is_running).count()
}

/// The most attempts that were running at once.
fn at_once(attempts: &[Attempt]) -> usize {
    let counts = attempts.iter().map(|each| running(attempts, each.began));
    counts.max().unwrap_or(0)
}

#[test]
fn jobs_that_cost_twenty_times_as_much_have_fewer_turns() -> Result<()> {
    pool(1, equal, async |pool| {
        pool.tenants(["large", "light"]).await?;
        pool.while_busy(async || {
            pool.submit("large", 12, 600).await?;
            pool.submit("light", 24, 30).await
        })
        .await?;
        pool.ended("light", 24).await?;
        let began = pool.began();
        let last = began.iter().rposition(|tenant| tenant == "light").unwrap();
        let large = began[..last].iter().filter(|tenant| *tenant == "large");
        let large = large.count();
        assert!(
            (1..=4).contains(&large),
            "{large} of 12 before the last of 24"
        );
        Ok(())
    })
}

#[test]
fn weights_divide_the_turns_of_jobs_that_cost_the_same() -> Result<()> {
    let weights = |namespace: &dyn Fn(&str) -> String| {
        let mut weights = serde_json::Map::new();
        weights.insert(namespace("heavy"), json!(3));
        json!({ "weights": weights })
    };
    pool(1, weights, async |pool| {
        pool.tenants(["heavy", "plain"]).await?;
        pool.while_busy(async || {
            pool.submit("plain", 16, 20).await?;
            pool.submit("heavy", 20, 20).await
        })
        .await?;
        let enough = |attempts: &[Attempt]| attempts.len() > 20;
        pool.attempts("21 attempts", enough).await?;
        let began = pool.began();
        let heavy = began[1..21].iter().filter(|tenant| *tenant == "heavy");
        let heavy = heavy.count();
        assert!((13..=17).contains(&heavy), "{heavy} of 20: {began:?}");
        Ok(())
    })
}

#[test]
fn no_more_jobs_of_a_namespace_run_at_once_than_max_in_flight() -> Result<()> {
    let two = |_: &dyn Fn(&str) -> String| json!({"maxInFlight": 2});
    pool(6, two, async |pool| {
        pool.tenants(["many", "few"]).await?;
        pool.submit("few", 2, 3000).await?;
        pool.submit("many", 6, 300).await?;
        pool.ended("many", 6).await?;
        pool.ended("few", 2).await?;
        assert_eq!(at_once(&pool.attempts_of("many")), 2);
        assert_eq!(at_once(&pool.runner.attempts()), 4);
        Ok(())
    })
}

#[test]
fn costly_jobs_take_all_slots_alone_and_leave_half_of_them_beside_light_ones() -> Result<()> {
    pool(4, equal, async |pool| {
        pool.tenants(["large", "light"]).await?;
        pool.submit("large", 20, 1000).await?;
        pool.ended("large", 1).await?;
        assert_eq!(at_once(&pool.attempts_of("large")), 4, "it is alone");
        pool.submit("light", 1, 20).await?;
        pool.ended("light", 1).await?;
        let after = pool.attempts_of("light")[0].ended.unwrap();
        let later = || {
            let mut large = pool.attempts_of("large");
            large.retain(|attempt| attempt.began > after);
            large
        };
        let mut lights = 1;
        while later().len() < 4 {
            lights += 1;
            pool.submit("light", 1, 20).await?;
            pool.ended("light", lights).await?;
        }
        let large = pool.attempts_of("large");
        let beside: Vec<_> = (later().iter())
            .map(|attempt| running(&large, attempt.began))
            .collect();
        assert!(beside.iter().all(|count| *count <= 2), "{beside:?}");
        Ok(())
    })
}
