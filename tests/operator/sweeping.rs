//! The sweeper on a real bucket: what it deletes, and above all what it keeps.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use fovea_harness::{Minio, eventually};
use fovea_store::{BATCH_UPLOADS, ObjectKey, Sha256, Store, StoreConfig};
use fovea_tests::batches::batch;
use fovea_tests::operated::{BUCKET, JOBS, PATIENCE, create_namespace};
use fovea_tests::s3_answers::Way;
use fovea_tests::s3_proxy::{Rule, S3Proxy, Verdict};
use fovea_tests::{Operated, Options, Shared};
use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const OFTEN: [&str; 3] = [
    "--sweep-every-seconds=1",
    "--sweep-grace-seconds=1800",
    "--reuse-retention-seconds=3600",
];
pub(crate) const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Uid of a batch that is gone, with old and young objects.
const HALF_OLD: &str = "00000000-0000-4000-8000-00000000000f";

/// A bucket that is swept every second, with a proxy between it and the operator.
struct Swept {
    operated: Operated,
    proxy: S3Proxy,
    bucket: Bucket,
}

/// The bucket as tests use it.
pub(crate) struct Bucket {
    now: Store,
    /// Objects put through it count as three hours old.
    then: Store,
    _time_machine: S3Proxy,
}

impl Bucket {
    pub(crate) async fn of(minio: &Minio) -> Result<Self> {
        let long_ago = Timestamp::now() - SignedDuration::from_hours(3);
        let time_machine = S3Proxy::start(Some(long_ago)).await?;
        time_machine.target(minio.endpoint());
        let connect = async |endpoint: &str| {
            let config = StoreConfig::at(endpoint.parse().unwrap(), BUCKET);
            Store::connect_as(&config, minio.access_key(), minio.secret_key()).await
        };
        Ok(Self {
            now: connect(minio.endpoint()).await?,
            then: connect(&time_machine.url).await?,
            _time_machine: time_machine,
        })
    }

    pub(crate) async fn put(&self, key: &ObjectKey) -> Result<()> {
        Ok(self.now.put(key, "x".into(), "text/plain").await?)
    }

    pub(crate) async fn put_old(&self, key: &ObjectKey) -> Result<()> {
        self.put_old_text(key, "x").await
    }

    pub(crate) async fn put_old_text(&self, key: &ObjectKey, text: &'static str) -> Result<()> {
        Ok(self.then.put(key, text.into(), "text/plain").await?)
    }

    pub(crate) async fn has(&self, key: &ObjectKey) -> Result<bool> {
        Ok(self.now.modified(key).await?.is_some())
    }

    pub(crate) async fn loses(&self, key: &ObjectKey) -> Result<()> {
        let what = format!("{key} to go");
        let gone = eventually(&what, PATIENCE, || async {
            ensure!(!self.has(key).await?, "it is there");
            Ok(())
        });
        Ok(gone.await?)
    }
}

impl Swept {
    /// Runs a test on the shared instance.
    fn shared(test: impl AsyncFnOnce(&'static Self) -> Result<()>) -> Result<()> {
        static SHARED: Shared<Swept> = Shared::new();
        SHARED.run(Self::start, test)
    }

    async fn start() -> Result<Self> {
        let proxy = S3Proxy::start(None).await?;
        let mut options = Options::flags(OFTEN);
        let endpoint = ("FOVEA_S3_ENDPOINT".to_owned(), proxy.url.clone());
        options.env.push(endpoint);
        let operated = Operated::start(options).await?;
        proxy.target(operated.minio.endpoint());
        Ok(Self {
            bucket: Bucket::of(&operated.minio).await?,
            operated,
            proxy,
        })
    }

    /// The value of a counter; 0 if it has no sample yet.
    async fn counter(&self, name: &str) -> Result<u64> {
        let url = format!("{}/metrics", self.operated.health_url);
        let text = reqwest::get(url).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.map_or(Ok(0), |value| value.trim().parse())?)
    }

    /// Waits until a counter has grown by this amount.
    async fn counted(&self, name: &str, more: u64) -> Result<()> {
        let before = self.counter(name).await?;
        let counted = eventually(name, PATIENCE, || async {
            let now = self.counter(name).await?;
            ensure!(now >= before + more, "{before}, now {now}");
            Ok(())
        });
        Ok(counted.await?)
    }

    /// Waits for two complete sweeps: the second one started after the call.
    async fn swept_twice(&self) -> Result<()> {
        self.counted("fovea_operator_sweeps_total{outcome=\"complete\"}", 2)
            .await
    }

    async fn uid(&self, namespace: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.operated.client.clone());
        Ok(namespaces.get(namespace).await?.uid().unwrap())
    }

    async fn upload(&self, content: &str) -> Result<ObjectKey> {
        let uid = self.uid(JOBS).await?;
        Ok(ObjectKey::upload(
            JOBS,
            &uid,
            &Sha256::of(content.as_bytes()),
        )?)
    }
}

/// A job with an upload, as the api creates it.
fn job_of(name: &str, content: &str) -> InferenceJob {
    let sha256 = Sha256::of(content.as_bytes()).to_string();
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Upload { sha256 });
    InferenceJob::new(name, spec)
}

/// The folder of an upload of a batch.
fn upload(number: u8) -> String {
    format!("{BATCH_UPLOADS}/00000000-0000-4000-8000-00000000000{number}")
}

/// A batch that waits, of what was uploaded with it.
fn batch_of(name: &str, number: u8) -> InferenceJob {
    let input = Input::Archives {
        prefix: upload(number),
    };
    let mut job = batch(name, Task::ImageToText, input, "out");
    job.spec.suspend = true;
    job
}

#[test]
fn only_objects_that_no_job_needs_are_deleted() -> Result<()> {
    Swept::shared(async |swept| {
        let (operated, bucket) = (&swept.operated, &swept.bucket);
        let named = swept.upload("named").await?;
        operated.create(&job_of("names-a-picture", "named")).await?;
        let job = operated.submit("has-a-result", "caption x").await?;
        let uid = job.uid().unwrap();
        operated.ended("has-a-result").await?;

        let result = ObjectKey::result(JOBS, &uid)?;
        let plan = ObjectKey::system(&uid, "plan.json")?;
        let stay = [
            named,
            ObjectKey::data(JOBS, "archive/holiday.jpg")?,
            ObjectKey::data(JOBS, &format!("out/{NOBODY}/labels.jsonl"))?,
            ObjectKey::data(JOBS, &format!("out/{NOBODY}/pictures.tar"))?,
            ObjectKey::data(JOBS, &format!("{}/pictures.tar", upload(1)))?,
            // The user's, in a folder that is not.
            ObjectKey::data(JOBS, &format!("{}/cat.jpg", upload(2)))?,
            // Not a key that Fovea makes.
            ObjectKey::system("readme", "first.txt")?,
            ObjectKey::result("Not-A-Namespace", NOBODY)?,
            // A part of its batch is young.
            ObjectKey::batch_namespace(HALF_OLD)?,
        ];
        let go = [
            swept.upload("named by nobody").await?,
            // The job of that digest is of the namespace as it is now.
            ObjectKey::upload(JOBS, NOBODY, &Sha256::of(b"named"))?,
            ObjectKey::upload("no-such-namespace", NOBODY, &Sha256::of(b"named"))?,
            ObjectKey::result(JOBS, NOBODY)?,
            ObjectKey::system(NOBODY, "shards/0")?,
            ObjectKey::batch_namespace(NOBODY)?,
            ObjectKey::system(NOBODY, "parts/000000.0-9.end.jsonl")?,
            ObjectKey::data(JOBS, &format!("{}/pictures.tar", upload(2)))?,
            ObjectKey::data(JOBS, &format!("{}/manifest.csv.gz", upload(3)))?,
            ObjectKey::data("gone", &format!("{}/pictures.tar", upload(1)))?,
            // Older than they are kept.
            ObjectKey::answer(JOBS, &swept.uid(JOBS).await?, &Sha256::of(b"old"))?,
        ];
        operated.create(&batch_of("names-an-upload", 1)).await?;
        for key in stay.iter().chain([&result, &plan]).chain(&go) {
            bucket.put_old(key).await?;
        }
        let young = [
            swept.upload("young").await?,
            ObjectKey::system(HALF_OLD, "parts/000000.0-9.end.jsonl")?,
            ObjectKey::data(JOBS, &format!("{}/pictures.tar", upload(4)))?,
        ];
        for key in &young {
            bucket.now.put(key, "x".into(), "image/png").await?;
        }
        let reused = ObjectKey::answers(JOBS, &swept.uid(JOBS).await?, "a-part")?;
        bucket.now.put(&reused, "x".into(), "text/plain").await?;

        for key in &go {
            bucket.loses(key).await?;
        }
        swept.swept_twice().await?;
        for key in (stay.iter().chain([&result, &plan, &reused])).chain(&young) {
            assert!(bucket.has(key).await?, "{key} has gone");
        }

        for name in ["has-a-result", "names-an-upload"] {
            let params = DeleteParams::default();
            operated.jobs.delete(name, &params).await?;
        }
        bucket.loses(&result).await?;
        bucket.loses(&plan).await?;
        let uploaded = ObjectKey::data(JOBS, &format!("{}/pictures.tar", upload(1)))?;
        bucket.loses(&uploaded).await?;
        Ok(())
    })
}

/// The second put comes after the list, in which the object is old, and before its deletion.
#[test]
fn an_upload_put_again_just_before_its_deletion_stays() -> Result<()> {
    Swept::shared(async |swept| {
        let key = swept.upload("put again").await?;
        let store = swept.bucket.now.clone();
        let (path, again) = (format!("/{BUCKET}/{key}"), key.clone());
        let rule: Rule = Arc::new(move |parts| {
            let (store, again) = (store.clone(), again.clone());
            let judged = parts.method == "HEAD" && parts.uri.path() == path;
            async move {
                if judged {
                    store
                        .put(&again, "x".into(), "image/png")
                        .await
                        .expect("it is put");
                }
                Verdict::Pass
            }
            .boxed()
        });
        let rule = swept.proxy.rule(rule);
        let put_again = "fovea_operator_swept_objects_total{fate=\"put-again\"}";
        let before = swept.counter(put_again).await?;
        swept.bucket.put_old(&key).await?;
        eventually("it to be judged", PATIENCE, || async {
            ensure!(swept.counter(put_again).await? > before, "not yet");
            Ok(())
        })
        .await?;
        swept.proxy.lift(&rule);
        swept.swept_twice().await?;
        assert!(swept.bucket.has(&key).await?);
        Ok(())
    })
}

#[test]
fn an_incomplete_list_of_the_bucket_deletes_nothing() -> Result<()> {
    Swept::shared(async |swept| {
        let goes = swept.upload("after the list is whole").await?;
        let broken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&broken);
        let rule: Rule = Arc::new(move |parts| {
            let query = parts.uri.query().unwrap_or_default();
            let verdict = if query.contains("continuation-token=more") {
                count.fetch_add(1, Ordering::Relaxed);
                Verdict::Fail(500)
            } else if query.contains("list-type=2")
                && query.contains("prefix=system")
                // The operator's probe would rightly end all sweeps.
                && !query.contains("probes")
            {
                Verdict::Change(Way::Truncate)
            } else {
                Verdict::Pass
            };
            async move { verdict }.boxed()
        });
        let rule = swept.proxy.rule(rule);
        // One more than what was under way.
        let failed = "fovea_operator_sweeps_total{outcome=\"failed\"}";
        swept.counted(failed, 1).await?;
        swept.bucket.put_old(&goes).await?;
        swept.counted(failed, 2).await?;
        assert!(broken.load(Ordering::Relaxed) > 0);
        assert!(swept.bucket.has(&goes).await?);
        swept.proxy.lift(&rule);
        swept.bucket.loses(&goes).await
    })
}

/// The operator has every right but that to list namespaces.
#[tokio::test]
async fn a_list_that_the_api_server_rejects_deletes_nothing() -> Result<()> {
    let mut operated = Operated::start(Options::default()).await?;
    operated.operator.terminate().await?;
    let rules = [
        json!({"apiGroups": ["fovea.dev", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]}),
        json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}),
    ];
    grant(&operated, "most", &rules[..2]).await?;
    let kubeconfig = operated.control_plane.kubeconfig_for("sweeper", &[])?;
    let bucket = Bucket::of(&operated.minio).await?;
    let key = ObjectKey::result(JOBS, NOBODY)?;
    bucket.put_old(&key).await?;
    let options = Options::flags(OFTEN);
    operated.operator = operated
        .another_operator(&options, Some(kubeconfig))
        .await?;
    eventually("two sweeps to fail", PATIENCE, || async {
        let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
        ensure!(log.matches("ended early").count() >= 2, "{log}");
        Ok(())
    })
    .await?;
    assert!(bucket.has(&key).await?);
    grant(&operated, "namespaces", &rules[2..]).await?;
    bucket.loses(&key).await
}

async fn grant(operated: &Operated, name: &str, granted: &[Value]) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(operated.client.clone());
    let role = json!({"metadata": {"name": name}, "rules": granted});
    let params = PostParams::default();
    roles
        .create(&params, &serde_json::from_value(role)?)
        .await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(operated.client.clone());
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "sweeper"}],
    });
    let binding = serde_json::from_value(binding)?;
    bindings.create(&params, &binding).await?;
    Ok(())
}

/// No finalizer delays the deletion, whatever its jobs do; a later sweep deletes their objects.
#[tokio::test]
async fn a_namespace_is_deleted_while_the_operator_is_down() -> Result<()> {
    let mut operated = Operated::start(Options::default()).await?;
    create_namespace(&operated.client, "tenant").await?;
    let namespaces: Api<Namespace> = Api::all(operated.client.clone());
    let uid = namespaces.get("tenant").await?.uid().unwrap();
    let jobs: Api<InferenceJob> = Api::namespaced(operated.client.clone(), "tenant");
    let params = PostParams::default();
    jobs.create(&params, &Operated::job("ends", "caption x"))
        .await?;
    let runs = Operated::job("runs", "wait 600000 caption x");
    let runs = jobs.create(&params, &runs).await?;
    operated.begun(&runs.uid().unwrap(), 1).await?;
    eventually("the job to end", PATIENCE, || async {
        let status = jobs.get("ends").await?.status.unwrap_or_default();
        ensure!(status.phase.is_terminal(), "{status:?}");
        Ok(())
    })
    .await?;
    operated.operator.kill().await?;
    jobs.create(&params, &Operated::job("waits", "caption x"))
        .await?;
    let bucket = Bucket::of(&operated.minio).await?;
    let key = ObjectKey::upload("tenant", &uid, &Sha256::of(b"x"))?;
    bucket.put_old(&key).await?;

    namespaces
        .delete("tenant", &DeleteParams::default())
        .await?;
    eventually("the namespace to go", PATIENCE, || async {
        let rest = jobs.list_metadata(&ListParams::default()).await?;
        let gone = namespaces.get_opt("tenant").await?.is_none();
        ensure!(gone, "{} jobs still exist", rest.items.len());
        Ok(())
    })
    .await?;
    // Recreating the namespace does not restore it.
    create_namespace(&operated.client, "tenant").await?;
    let options = Options::flags(OFTEN);
    operated.operator = operated.another_operator(&options, None).await?;
    let log = || operated.operator.log_tail();
    bucket.loses(&key).await.with_context(log)
}
