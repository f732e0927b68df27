//! Jobs that a tool has created again, without their statuses.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase, conditions};
use fovea_harness::{eventually, stack};
use fovea_tests::console::{self, Command, Environment, Page};
use fovea_tests::operated::PATIENCE;
use fovea_tests::{Operated, Options, crowd};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

const FINISHED: usize = 1000;

/// Annotates a job as a restored one.
pub(crate) async fn restored(operated: &Operated, name: &str, value: &str) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"fovea.dev/restored": value}}});
    let (patch, params) = (Patch::Merge(patch), PatchParams::default());
    operated.jobs.patch(name, &params, &patch).await?;
    Ok(())
}

fn held_because(status: &InferenceJobStatus) -> Option<&str> {
    conditions::get_true(&status.conditions, conditions::SUSPENDED)
        .filter(|it| it.reason == "Restored")
        .map(|it| it.message.as_str())
}

/// Waits until `count` jobs are as `wanted`.
async fn number(
    operated: &Operated,
    count: usize,
    what: &str,
    wanted: impl Fn(&InferenceJobStatus) -> bool,
) -> Result<()> {
    let counting = eventually(what, PATIENCE, async || {
        let jobs = operated.jobs.list(&ListParams::default()).await?.items;
        let statuses = jobs.iter().filter_map(|job| job.status.as_ref());
        let found = statuses.filter(|status| wanted(status)).count();
        ensure!(
            found == count,
            "{found} of {}\n{}",
            jobs.len(),
            operated.operator.log_tail()
        );
        Ok(())
    });
    Ok(counting.await?)
}

/// The commands of the docs, on the cluster of a test.
struct Docs<'a> {
    commands: std::vec::IntoIter<Command>,
    operated: &'a Operated,
    folder: TempDir,
}

impl<'a> Docs<'a> {
    fn of(operated: &'a Operated) -> Result<Self> {
        let page = Page::read(&stack::repository().join("docs/src"), "restore.md")?;
        Ok(Self {
            commands: page.commands.into_iter(),
            operated,
            folder: TempDir::new()?,
        })
    }

    /// Runs the next command, which contains `words`.
    async fn run(&mut self, words: &str) -> Result<()> {
        let command = self.commands.next().context("no more commands")?;
        ensure!(command.text.contains(words), "{command}");
        let page = Page {
            name: "restore.md".to_owned(),
            commands: vec![command],
            files: Vec::new(),
        };
        let plane = &self.operated.control_plane;
        let text = |path: &Path| path.display().to_string();
        let environment = Environment {
            folder: self.folder.path().to_owned(),
            variables: vec![
                ("KUBECONFIG".to_owned(), text(plane.kubeconfig())),
                ("KUBECACHEDIR".to_owned(), text(self.folder.path())),
            ],
            programs: vec![
                plane
                    .kubectl_path()
                    .parent()
                    .context("a folder")?
                    .to_owned(),
            ],
            limit: PATIENCE,
        };
        console::run(&page, &environment).await
    }
}

/// The jobs of a pool that is not there yet are unfinished when all are saved.
#[tokio::test]
async fn a_thousand_finished_jobs_are_lost_and_restored_by_the_commands_of_the_docs_and_none_runs_again()
-> Result<()> {
    let options = Options {
        slots: 64,
        ..Options::default()
    };
    let operated = Operated::start(options).await?;
    let done = (0..FINISHED).map(|number| Operated::job(&format!("done-{number}"), "caption x"));
    crowd::create(&operated.jobs, done).await?;
    let unfinished = ["open-0", "open-1", "open-2"];
    for name in unfinished {
        let mut job = Operated::job(name, "caption y");
        let pool = json!({"name": "later", "namespace": stack::SYSTEM_NAMESPACE});
        job.spec.pool_ref = serde_json::from_value(pool)?;
        operated.create(&job).await?;
    }
    let has_ended = |status: &InferenceJobStatus| {
        let caption = json!(status.result)["caption"] == "x";
        status.phase == Phase::Succeeded && caption && status.attempts == 1
    };
    number(&operated, FINISHED, "the jobs to end", has_ended).await?;
    let refused = |status: &InferenceJobStatus| {
        conditions::get(&status.conditions, "Accepted").is_some_and(|it| it.status == "False")
    };
    number(&operated, 3, "the others to wait for their pool", refused).await?;

    let mut docs = Docs::of(&operated)?;
    docs.run("kubectl get").await?;
    let (all, params) = (ListParams::default(), DeleteParams::default());
    operated.jobs.delete_collection(&params, &all).await?;
    number(&operated, 0, "the jobs to go", |_| true).await?;

    docs.run("kubectl create").await?;
    // The operator says so of twenty a second; none of the others runs meanwhile.
    eventually("jobs to be held", PATIENCE, async || {
        let jobs = operated.jobs.list(&ListParams::default()).await?.items;
        let statuses = jobs.iter().filter_map(|job| job.status.as_ref());
        let held = statuses.filter_map(held_because).count();
        ensure!(jobs.len() == FINISHED + 3 && held >= 100, "{held}");
        Ok(())
    })
    .await?;
    docs.run("kubectl apply").await?;
    number(&operated, FINISHED, "the old results", has_ended).await?;
    operated.add_pool("later").await?;
    operated.pool_is_ready("later").await?;
    let is_held = |status: &InferenceJobStatus| held_because(status).is_some();
    number(&operated, 3, "the others to be held", is_held).await?;
    assert_eq!(operated.runner.attempts().len(), FINISHED);

    docs.run("kubectl annotate").await?;
    for name in unfinished {
        assert_eq!(operated.ended(name).await?.phase, Phase::Succeeded);
    }
    assert!(docs.commands.next().is_none());
    number(&operated, FINISHED, "the old results", has_ended).await?;
    assert_eq!(operated.runner.attempts().len(), FINISHED + 3);
    operated.judge();
    Ok(())
}

/// As Velero creates a job, and then writes its status to the version that it has created.
async fn as_velero(operated: &Operated, name: &str) -> Result<bool> {
    let mut job = Operated::job(name, "caption x");
    job.labels_mut()
        .insert("velero.io/restore-name".into(), "nightly".into());
    let mut created = operated.create(&job).await?;
    // One that the operator sees after it.
    let seen = format!("{name}-seen");
    let mut after = Operated::job(&seen, "caption x");
    after
        .annotations_mut()
        .insert("fovea.dev/restored".into(), "run".into());
    operated.create(&after).await?;
    operated.ended(&seen).await?;
    created.status = Some(InferenceJobStatus {
        phase: Phase::Succeeded,
        attempts: 1,
        ..InferenceJobStatus::default()
    });
    let params = PostParams::default();
    let written = operated.jobs.replace_status(name, &params, &created).await;
    Ok(written.is_ok())
}

#[tokio::test]
async fn velero_s_jobs_and_those_older_than_a_given_time_are_held_until_they_are_let_run()
-> Result<()> {
    let flags = Options::flags(["--hold-jobs-created-before=2100-01-01T00:00:00Z"]);
    let operated = Operated::start(flags).await?;
    let mut old = vec![operated.submit("old", "caption x").await?];
    let mut job = Operated::job("velero", "caption x");
    job.labels_mut()
        .insert("velero.io/restore-name".into(), "nightly".into());
    old.push(operated.create(&job).await?);
    for (name, word) in [("old", "--hold-jobs-created-before"), ("velero", "Velero")] {
        let because = |status: &InferenceJobStatus| {
            held_because(status).is_some_and(|message| message.contains(word))
        };
        operated.status_where(name, "to be held", because).await?;
    }
    // Another leader holds them, too.
    let mut operated = operated;
    operated.operator.restart().await?;
    operated.is_ready().await?;

    // On a slow machine the operator may be right to write first.
    let mut taken = None;
    for number in 0..5 {
        let name = format!("finished-{number}");
        if as_velero(&operated, &name).await? {
            taken = Some(name);
            break;
        }
    }
    let name = taken.context("the operator was always first")?;
    let status = operated.jobs.get(&name).await?.status.unwrap_or_default();
    assert_eq!(status.phase, Phase::Succeeded);

    for job in old {
        let uid = job.uid().context("a uid")?;
        assert!(operated.runner.attempts_of(&uid).is_empty());
        restored(&operated, &job.name_any(), "run").await?;
        let status = operated.ended(&job.name_any()).await?;
        assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
    }
    let finished: InferenceJob = operated.jobs.get(&name).await?;
    let uid = finished.uid().context("a uid")?;
    assert!(operated.runner.attempts_of(&uid).is_empty());
    operated.judge();
    Ok(())
}
