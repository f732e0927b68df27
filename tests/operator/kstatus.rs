//! What tools see that judge and wait by kstatus, with the package and the waiting code of Flux and Helm,
//! and what `kubectl wait` sees. The tables of docs/src/wait.md are what these tests find.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase, RunnerPool, conditions};
use fovea_harness::eventually;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_setup::cache::Cache;
use fovea_setup::go::KSTATUS;
use fovea_tests::Operated;
use fovea_tests::operated::{JOBS, PATIENCE, apply_pool, apply_spec};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Resource};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const DOCS: &str = "docs/src/wait.md";

/// The program around kstatus; the first test that needs it builds it.
fn program() -> Result<PathBuf> {
    let cache = Cache::from_env()?;
    KSTATUS.ensure(&cache)?;
    Ok(KSTATUS.program(&cache, "kstatus"))
}

/// An object as the API server has it, and what kstatus says of it.
struct Judged {
    object: Value,
    status: String,
    message: String,
}

impl Judged {
    async fn of<K>(operated: &Operated, namespace: &str, name: &str) -> Result<Self>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(operated.client.clone(), namespace, &resource);
        let object = serde_json::to_value(api.get(name).await?)?;
        let mut judge = Command::new(program()?)
            .arg("compute")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = judge.stdin.take().context("no stdin")?;
        stdin.write_all(object.to_string().as_bytes()).await?;
        drop(stdin);
        let output = judge.wait_with_output().await?;
        let line = String::from_utf8(output.stdout)?;
        let mut words = line.trim_end().splitn(3, ' ').skip(1).map(str::to_owned);
        Ok(Self {
            object,
            status: words.next().context("no status")?,
            message: words.next().unwrap_or_default(),
        })
    }

    /// The types of the conditions that are True, as the docs write them.
    fn conditions(&self) -> String {
        let all = self.object["status"]["conditions"].as_array();
        let all = all.into_iter().flatten();
        let is_true = all.filter(|each| each["status"] == "True");
        let names = is_true.filter_map(|each| Some(format!("`{}`", each["type"].as_str()?)));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Checks that the docs have a table of these rows.
fn documented(rows: &[String]) -> Result<()> {
    let docs = std::fs::read_to_string(repository().join(DOCS))?;
    let table = rows.join("\n");
    ensure!(docs.contains(&table), "{DOCS} does not have\n{table}");
    Ok(())
}

fn has(type_: &str, value: &str) -> impl Fn(&InferenceJobStatus) -> bool {
    move |status| {
        conditions::get(&status.conditions, type_).is_some_and(|found| found.status == value)
    }
}

fn is(phase: Phase) -> impl Fn(&InferenceJobStatus) -> bool {
    move |status| status.phase == phase
}

#[test]
fn kstatus_sees_every_phase_of_a_job_as_the_docs_say() -> Result<()> {
    Operated::shared(async |operated| {
        let create = async |name: &str, script: &str, spec: Value| {
            let mut job = Operated::job(name, script);
            let mut own = serde_json::to_value(&job.spec)?;
            let fields = spec.as_object().context("an object")?.clone();
            own.as_object_mut().context("an object")?.extend(fields);
            job.spec = serde_json::from_value(own)?;
            operated.create(&job).await
        };
        type Wanted = Box<dyn Fn(&InferenceJobStatus) -> bool>;
        let cases: [(&str, &str, &str, Value, Wanted); 11] = [
            // Nobody writes the status of this one.
            (
                "new, without a status",
                "k-new",
                "",
                json!({"managedBy": "example.com/other"}),
                Box::new(|_| true),
            ),
            (
                "no pool accepts it",
                "k-held",
                "",
                json!({"poolRef": {"name": "k-nowhere"}}),
                Box::new(has("Accepted", "False")),
            ),
            (
                "waits for a runner",
                "k-queued",
                "busy",
                json!({}),
                Box::new(has("Accepted", "True")),
            ),
            (
                "runs",
                "k-running",
                "wait 60000 caption x",
                json!({}),
                Box::new(is(Phase::Running)),
            ),
            (
                "waits for a retry",
                "k-retried",
                "problem InferenceFailed",
                json!({}),
                Box::new(|status| status.attempts == 1),
            ),
            (
                "suspended",
                "k-suspended",
                "",
                json!({"suspend": true}),
                Box::new(has("Suspended", "True")),
            ),
            (
                "succeeded",
                "k-succeeded",
                "caption x",
                json!({}),
                Box::new(is(Phase::Succeeded)),
            ),
            (
                "failed",
                "k-failed",
                "problem InvalidPicture permanent",
                json!({}),
                Box::new(is(Phase::Failed)),
            ),
            (
                "ended by a deadline",
                "k-late",
                "wait 60000 caption x",
                json!({"activeDeadlineSeconds": 1}),
                Box::new(is(Phase::Failed)),
            ),
            (
                "cancelled before it began",
                "k-cancelled",
                "",
                json!({"suspend": true, "cancel": true}),
                Box::new(is(Phase::Cancelled)),
            ),
            (
                "cancelled while it ran",
                "k-aborted",
                "wait 60000 caption x",
                json!({}),
                Box::new(is(Phase::Running)),
            ),
        ];
        for (_, name, script, spec, _) in &cases {
            create(name, script, spec.clone()).await?;
        }
        let mut rows = Vec::new();
        for (what, name, _, _, wanted) in &cases {
            let mut status = operated.status_where(name, what, wanted).await?;
            if *name == "k-aborted" {
                operated.patch(name, json!({"cancel": true})).await?;
                status = operated.ended(name).await?;
            }
            let judged = Judged::of::<InferenceJob>(operated, JOBS, name).await?;
            let phase = status.phase.as_str();
            let (conditions, seen) = (judged.conditions(), &judged.status);
            rows.push(format!("| {what} | {phase} | {conditions} | {seen} |"));
            // kstatus takes the first that is True.
            let decides = |each: &&_| {
                let type_: &str = each;
                [conditions::RECONCILING, conditions::STALLED].contains(&type_)
            };
            let types: Vec<&str> = (status.conditions.iter())
                .map(|each| each.type_.as_str())
                .collect();
            assert!(types.iter().filter(decides).count() <= 1, "{types:?}");
            if let Some(failure) = status.failure {
                assert_eq!(judged.message, failure.message);
            }
        }
        for name in [
            "k-held",
            "k-queued",
            "k-running",
            "k-retried",
            "k-suspended",
        ] {
            operated.patch(name, json!({"cancel": true})).await?;
            operated.ended(name).await?;
        }
        documented(&rows)?;
        operated.judge();
        Ok(())
    })
}

#[test]
fn a_finished_job_that_is_edited_is_current_again_and_keeps_its_end() -> Result<()> {
    Operated::shared(async |operated| {
        let names: Vec<String> = (0..5).map(|number| format!("edited-{number}")).collect();
        let mut ends = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let scripts = ["caption x", "problem InvalidPicture permanent"];
            operated.submit(name, scripts[number % 2]).await?;
            ends.push(operated.ended(name).await?);
        }
        for edit in [
            json!({"ttlSecondsAfterFinished": 3600}),
            json!({"priority": 7, "suspend": true}),
        ] {
            for name in &names {
                operated.patch(name, edit.clone()).await?;
            }
            for (name, end) in names.iter().zip(&mut ends) {
                let generation = operated.jobs.get(name).await?.metadata.generation;
                let seen = operated
                    .status_where(name, "to be observed", |status| {
                        status.observed_generation == generation
                    })
                    .await?;
                end.observed_generation = generation;
                assert_eq!(seen, *end);
                let judged = Judged::of::<InferenceJob>(operated, JOBS, name).await?;
                let succeeded = end.phase == Phase::Succeeded;
                let expected = if succeeded { "Current" } else { "Failed" };
                assert_eq!(judged.status, expected, "{name}: {}", judged.message);
                let condition = if succeeded { "Complete" } else { "Failed" };
                kubectl_wait(operated, name, &format!("condition={condition}")).await?;
            }
        }
        operated.judge();
        Ok(())
    })
}

async fn kubectl_wait(operated: &Operated, name: &str, what: &str) -> Result<()> {
    let (job, what) = (format!("ij/{name}"), format!("--for={what}"));
    let wait = ["wait", "-n", JOBS, &job, &what, "--timeout=30s"];
    let waited = operated.control_plane.kubectl(&wait).await?;
    waited.success(&what)?;
    Ok(())
}

/// Waits for an object as a tool does; its error, if it ends with one.
async fn wait_as(
    operated: &Operated,
    tool: &str,
    timeout: &str,
    object: [&str; 3],
) -> Result<Result<(), String>> {
    let output = Command::new(program()?)
        .args([tool, timeout])
        .args(object)
        .env("KUBECONFIG", operated.control_plane.kubeconfig())
        .output()
        .await?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8(output.stderr)?))
}

#[test]
fn flux_helm_and_kubectl_wait_until_a_job_has_ended_and_say_how() -> Result<()> {
    Operated::shared(async |operated| {
        let job = |name| ["InferenceJob", JOBS, name];
        operated
            .submit("waited-well", "wait 1500 caption x")
            .await?;
        operated
            .submit("waited-ill", "wait 1500 problem InvalidPicture permanent")
            .await?;
        let mut late = Operated::job("waited-late", "wait 60000 caption x");
        late.spec.active_deadline_seconds = Some(2);
        operated.create(&late).await?;
        let wait = async |tool, name| wait_as(operated, tool, "60s", job(name)).await;
        let (flux, helm, ..) = tokio::try_join!(
            wait("flux", "waited-well"),
            wait("helm", "waited-well"),
            kubectl_wait(operated, "waited-well", "condition=Complete"),
            kubectl_wait(operated, "waited-ill", "condition=Failed"),
            kubectl_wait(operated, "waited-late", "jsonpath={.status.completionTime}"),
        )?;
        assert_eq!((flux, helm), (Ok(()), Ok(())));
        for name in ["waited-ill", "waited-late"] {
            for tool in ["flux", "helm"] {
                let error = wait(tool, name).await?.expect_err(name);
                ensure!(error.contains("Failed"), "{tool} {name}: {error}");
                ensure!(!error.contains("deadline exceeded"), "{tool}: {error}");
            }
        }
        operated
            .submit("waited-long", "wait 60000 caption x")
            .await?;
        let long = |tool| wait_as(operated, tool, "3s", job("waited-long"));
        let (flux, helm) = tokio::try_join!(long("flux"), long("helm"))?;
        for error in [flux, helm] {
            let error = error.expect_err("it runs");
            ensure!(error.contains("InProgress"), "{error}");
        }
        operated
            .patch("waited-long", json!({"cancel": true}))
            .await?;
        for tool in ["flux", "helm"] {
            assert_eq!(wait(tool, "waited-long").await?, Ok(()));
        }
        Ok(())
    })
}

const POOL: &str = "RunnerPool";

/// Waits until kstatus sees a pool so, and the message is as wanted.
async fn pool_is(operated: &Operated, name: &str, status: &str, says: &str) -> Result<Judged> {
    let what = format!("{name} to be {status}: {says}");
    let found = eventually(&what, PATIENCE, async || {
        let judged = Judged::of::<RunnerPool>(operated, SYSTEM_NAMESPACE, name).await?;
        ensure!(
            judged.status == status && judged.message.contains(says),
            "{}: {}\n{}\n{}",
            judged.status,
            judged.message,
            judged.object["status"],
            operated.operator.log_tail()
        );
        Ok(judged)
    });
    Ok(found.await?)
}

/// Lets a pool's conditions be of long ago, as if its faults had stood for long.
async fn age(operated: &Operated, name: &str) -> Result<()> {
    let params = PatchParams::default();
    let aged = eventually("a status to be aged", PATIENCE, async || {
        let pool = operated.pools.get(name).await?;
        let mut status = pool.status.context("no status")?;
        for condition in &mut status.conditions {
            condition.last_transition_time.0 = jiff::Timestamp::UNIX_EPOCH;
        }
        let patch = json!({
            "metadata": {"resourceVersion": pool.metadata.resource_version},
            "status": {"conditions": status.conditions},
        });
        let patched = (operated.pools).patch_status(name, &params, &Patch::Merge(patch));
        patched.await?;
        Ok(())
    });
    Ok(aged.await?)
}

#[test]
fn kstatus_sees_every_state_of_a_pool_as_the_docs_say() -> Result<()> {
    Operated::shared(async |operated| {
        let volume = json!({"models": [{
            "name": "m", "task": "image-classification", "source": {"volume": {"path": "m"}},
        }]});
        let claim = json!({"cacheVolume": {"persistentVolumeClaim": {"claimName": "weights"}}});
        let apply = async |name: &str, more: &Value| {
            apply_spec(&operated.pools, name, volume.clone(), more).await
        };
        let mut rows = Vec::new();
        let mut row = |what: &str, judged: &Judged| {
            let (conditions, seen) = (judged.conditions(), &judged.status);
            rows.push(format!("| {what} | {conditions} | {seen} |"));
        };

        // The operator reconciles pools of its own namespace only.
        let elsewhere: Api<RunnerPool> = Api::namespaced(operated.client.clone(), JOBS);
        let pod_less = json!({"template": claim});
        apply_spec(&elsewhere, "k-new", volume.clone(), &pod_less).await?;
        let new = Judged::of::<RunnerPool>(operated, JOBS, "k-new").await?;
        row("new, without a status", &new);
        apply("k-starting", &pod_less).await?;
        let starting = pool_is(operated, "k-starting", "InProgress", "0 of 1").await?;
        row("its runners start", &starting);
        row(
            "its runners serve",
            &pool_is(operated, "default", "Current", "").await?,
        );
        let none = json!({"template": claim, "replicas": 0});
        apply("k-none", &none).await?;
        let none = pool_is(operated, "k-none", "Current", "").await?;
        row("`replicas: 0`, or scaled to zero", &none);

        let unreachable = &["http://127.0.0.1:9"];
        apply_pool(&operated.client, "k-gone", unreachable, &json!({})).await?;
        let fault = "http://127.0.0.1:9: ";
        let early = pool_is(operated, "k-gone", "InProgress", fault).await?;
        row("it has had a fault for less than 2 minutes", &early);
        let long = wait_as(operated, "helm", "2s", [POOL, SYSTEM_NAMESPACE, "k-gone"]).await?;
        ensure!(long.unwrap_err().contains("InProgress"));
        age(operated, "k-gone").await?;
        let late = pool_is(operated, "k-gone", "Failed", fault).await?;
        row("it has had a fault for longer", &late);
        let mut class = claim.clone();
        class["priorityClassName"] = json!("system-node-critical");
        apply("k-refused", &json!({"template": class})).await?;
        let refused = pool_is(operated, "k-refused", "Failed", "priorityClassName").await?;
        row("its spec is refused", &refused);

        for tool in ["flux", "helm"] {
            let wait =
                async |name| wait_as(operated, tool, "30s", [POOL, SYSTEM_NAMESPACE, name]).await;
            assert_eq!(wait("default").await?, Ok(()));
            for name in ["k-gone", "k-refused"] {
                let error = wait(name).await?.expect_err(name);
                ensure!(error.contains("Failed"), "{tool} {name}: {error}");
                ensure!(!error.contains("deadline exceeded"), "{tool}: {error}");
            }
        }

        // An edit that may help is waited for, although the fault stood for long.
        let url = operated.runner.url.as_str();
        apply_pool(&operated.client, "k-gone", &[url], &json!({})).await?;
        let object = [POOL, SYSTEM_NAMESPACE, "k-gone"];
        assert_eq!(wait_as(operated, "helm", "30s", object).await?, Ok(()));
        documented(&rows)?;
        for name in ["k-gone", "k-refused", "k-none", "k-starting"] {
            operated
                .pools
                .delete(name, &DeleteParams::default())
                .await?;
        }
        Ok(())
    })
}
