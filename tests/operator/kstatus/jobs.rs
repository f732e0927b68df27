//! Jobs.

use super::*;
use fovea_crds::{InferenceJobStatus, Phase, conditions};

fn has(type_: &str, value: &str) -> impl Fn(&InferenceJobStatus) -> bool {
    move |status| {
        conditions::get(&status.conditions, type_).is_some_and(|found| found.status == value)
    }
}

fn is(phase: Phase) -> impl Fn(&InferenceJobStatus) -> bool {
    move |status| status.phase == phase
}

/// A job for a row of the docs' table: what it does, its name, script and spec, and when its status is as
/// wanted.
struct Case {
    what: &'static str,
    name: &'static str,
    script: &'static str,
    spec: Value,
    wanted: Box<dyn Fn(&InferenceJobStatus) -> bool>,
}

impl Case {
    fn new(
        [what, name, script]: [&'static str; 3],
        spec: Value,
        wanted: impl Fn(&InferenceJobStatus) -> bool + 'static,
    ) -> Self {
        let wanted = Box::new(wanted);
        Self {
            what,
            name,
            script,
            spec,
            wanted,
        }
    }

    fn job(&self) -> Result<InferenceJob> {
        let mut job = Operated::job(self.name, self.script);
        let mut spec = serde_json::to_value(&job.spec)?;
        let fields = self.spec.as_object().context("an object")?.clone();
        spec.as_object_mut().context("an object")?.extend(fields);
        job.spec = serde_json::from_value(spec)?;
        Ok(job)
    }
}

/// The unfinished jobs, then the finished ones.
fn cases() -> [Vec<Case>; 2] {
    const LONG: &str = "wait 60000 caption x";
    let held = json!({"poolRef": {"name": "k-nowhere"}});
    // Nobody writes the status of this one.
    let foreign = json!({"managedBy": "example.com/other"});
    let unfinished = vec![
        Case::new(
            ["new, without a status", "k-new", "caption x"],
            foreign,
            |_| true,
        ),
        Case::new(
            ["no pool accepts it", "k-held", "caption x"],
            held,
            has("Accepted", "False"),
        ),
        Case::new(
            ["waits for a runner", "k-queued", "busy"],
            json!({}),
            has("Accepted", "True"),
        ),
        Case::new(["runs", "k-running", LONG], json!({}), is(Phase::Running)),
        Case::new(
            ["waits for a retry", "k-retried", "problem InferenceFailed"],
            json!({}),
            |status| status.attempts == 1,
        ),
        Case::new(
            ["suspended", "k-suspended", "caption x"],
            json!({"suspend": true}),
            has("Suspended", "True"),
        ),
    ];
    let permanent = "problem InvalidPicture permanent";
    let (succeeded, failed) = (is(Phase::Succeeded), is(Phase::Failed));
    let deadline = json!({"activeDeadlineSeconds": 1});
    let cancelled = json!({"suspend": true, "cancel": true});
    let finished = vec![
        Case::new(
            ["succeeded", "k-succeeded", "caption x"],
            json!({}),
            succeeded,
        ),
        Case::new(["failed", "k-failed", permanent], json!({}), failed),
        Case::new(
            ["ended by a deadline", "k-late", LONG],
            deadline,
            is(Phase::Failed),
        ),
        Case::new(
            ["cancelled before it began", "k-cancelled", "caption x"],
            cancelled,
            is(Phase::Cancelled),
        ),
        Case::new(
            ["cancelled while it ran", "k-aborted", LONG],
            json!({}),
            is(Phase::Cancelled),
        ),
    ];
    [unfinished, finished]
}

#[test]
fn kstatus_sees_every_phase_of_a_job_as_the_docs_say() -> Result<()> {
    Operated::shared(async |operated| {
        let [unfinished, finished] = cases();
        for case in unfinished.iter().chain(&finished) {
            operated.create(&case.job()?).await?;
        }
        let running = is(Phase::Running);
        (operated.status_where("k-aborted", "to run", running)).await?;
        operated.patch("k-aborted", json!({"cancel": true})).await?;
        let mut rows = Vec::new();
        for Case {
            what, name, wanted, ..
        } in unfinished.iter().chain(&finished)
        {
            let status = operated.status_where(name, what, wanted).await?;
            let judged = Judged::of::<InferenceJob>(operated, JOBS, name).await?;
            let phase = status.phase.as_str();
            let (are_true, seen) = (judged.conditions(), &judged.status);
            rows.push(format!("| {what} | {phase} | {are_true} | {seen} |"));
            // kstatus takes the first that is True.
            let both = [conditions::RECONCILING, conditions::STALLED];
            let both = both.map(|type_| conditions::get(&status.conditions, type_).is_some());
            assert_ne!(both, [true, true], "{name}");
            if let Some(failure) = status.failure {
                assert_eq!(judged.message, failure.message);
            }
        }
        for Case { name, .. } in unfinished.iter().filter(|case| case.name != "k-new") {
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
