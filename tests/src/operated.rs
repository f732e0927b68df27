//! An operator with its own cluster, bucket and scripted runner: no libtorch, no api.

mod options;

pub use options::Options;

use crate::audit::Audit;
use crate::history::History;
use crate::runner::{Attempt, MODELS, ScriptedRunner};
use crate::shared::Shared;
use anyhow::{Context as _, anyhow};
use fovea_crds::conditions::{self, READY};
use fovea_crds::{
    InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, RunnerPool, Task, yaml,
};
use fovea_harness::{
    ControlPlane, ControlPlaneOptions, Minio, Process, Program, eventually, ports, stack,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const BUCKET: &str = "fovea";
pub const OPERATOR: &str = "system:serviceaccount:fovea-system:fovea-operator";
/// Its roles when it watches every namespace, as paths below the checkout.
pub const RIGHTS: [&str; 2] = [
    "manifests/install/operator/rbac.yaml",
    "manifests/install/operator/rbac-jobs.yaml",
];
/// A namespace that exists beside [`JOBS`].
pub const TEAM: &str = "team-a";
/// Namespace of the jobs, where a test needs no other.
pub const JOBS: &str = "default";

/// Ends when dropped; panics then if the operator was forbidden a request.
pub struct Operated {
    /// Before `control_plane`, which removes the log when it is dropped.
    pub audit: Audit,
    pub control_plane: ControlPlane,
    pub minio: Minio,
    pub runner: ScriptedRunner,
    pub operator: Process,
    /// Base URL of its health and metrics.
    pub health_url: String,
    /// A client with the administrator's rights.
    pub client: Client,
    pub jobs: Api<InferenceJob>,
    pub pools: Api<RunnerPool>,
    history: History,
    /// Credentials of the operator's service account, with its rights only.
    kubeconfig: PathBuf,
}

impl Operated {
    /// Runs a test on the shared instance; it must not change the operator or the runner.
    pub fn shared(
        test: impl AsyncFnOnce(&'static Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        static SHARED: Shared<Operated> = Shared::new();
        let test = async |it: &'static Self| {
            test(it).await?;
            // Statics are never dropped.
            it.audit.check();
            Ok(())
        };
        SHARED.run(async || Self::start(Options::default()).await, test)
    }

    /// Starts everything, and waits until the operator is ready and its pool too.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runner = ScriptedRunner::start(options.slots).await?;
        let (control_plane, minio) = tokio::try_join!(
            ControlPlane::start(ControlPlaneOptions {
                audit: true,
                api_server_flags: options.api_server_flags.clone(),
                ..ControlPlaneOptions::default()
            }),
            async {
                if options.private_store {
                    Minio::start_private_at(Ipv4Addr::LOCALHOST).await
                } else {
                    Minio::start().await
                }
            }
        )?;
        minio.create_bucket(BUCKET)?;
        let client = control_plane.client().await?;
        match &options.definitions {
            None => install(&client).await?,
            Some(folder) => define(&client, read_definitions(folder)?).await?,
        }
        for namespace in [stack::SYSTEM_NAMESPACE, TEAM] {
            create_namespace(&client, namespace).await?;
        }
        grant(&control_plane, &options.rights).await?;
        apply_pool(&client, "default", &[&runner.url], &json!({})).await?;
        let kubeconfig = control_plane.kubeconfig_for(OPERATOR, &[])?;
        let (operator, health_url) = start_operator(&kubeconfig, &minio, &options).await?;
        let this = Self {
            audit: Audit::new(control_plane.audit_log(), OPERATOR, &read(&options.rights)?)?,
            history: History::start(client.clone()),
            kubeconfig,
            jobs: Api::namespaced(client.clone(), JOBS),
            pools: Api::namespaced(client.clone(), stack::SYSTEM_NAMESPACE),
            control_plane,
            minio,
            runner,
            operator,
            health_url,
            client,
        };
        this.pool_is_ready("default").await?;
        Ok(this)
    }

    /// Checks every version of every job so far against the design; panics on a violation.
    pub fn judge(&self) {
        let faults = self.history.faults(&self.runner.attempts());
        assert!(faults.is_empty(), "{faults:#?}");
    }

    /// Starts another replica and does not wait for it. `kubeconfig`: another route to the API server.
    pub async fn another_operator(
        &self,
        options: &Options,
        kubeconfig: Option<PathBuf>,
    ) -> anyhow::Result<Process> {
        let kubeconfig = kubeconfig.unwrap_or_else(|| self.kubeconfig.clone());
        let (operator, _) = spawn_operator(&kubeconfig, &self.minio, options).await?;
        Ok(operator)
    }

    /// Another, waiting replica, and the base URL of its health and metrics.
    pub async fn standby(&self, options: &Options) -> anyhow::Result<(Process, String)> {
        start_operator(&self.kubeconfig, &self.minio, options).await
    }

    /// The same, by another route to the API server; not waited for.
    pub async fn standby_by(
        &self,
        options: &Options,
        kubeconfig: &Path,
    ) -> anyhow::Result<(Process, String)> {
        let (operator, health) = spawn_operator(kubeconfig, &self.minio, options).await?;
        Ok((operator, health))
    }

    pub async fn is_ready(&self) -> anyhow::Result<()> {
        let ready = format!("{}/readyz", self.health_url);
        Ok(self.operator.wait_ready_http(&ready, PATIENCE).await?)
    }

    /// Applies a pool with the scripted runner.
    pub async fn add_pool(&self, name: &str) -> anyhow::Result<()> {
        apply_pool(&self.client, name, &[&self.runner.url], &json!({})).await
    }

    /// Waits until a pool has a runner for each of its models.
    pub async fn pool_is_ready(&self, name: &str) -> anyhow::Result<()> {
        let ready = eventually("the pool to be Ready", PATIENCE, || async {
            let status = self.pools.get(name).await?.status.unwrap_or_default();
            if conditions::get_true(&status.conditions, READY).is_some() {
                Ok(())
            } else {
                Err(anyhow!("{status:?}\n{}", self.operator.log_tail()))
            }
        });
        Ok(ready.await?)
    }

    /// A job whose picture is `script`; see [`crate::script`].
    pub fn job(name: &str, script: &str) -> InferenceJob {
        let input = Input::Inline {
            data: ByteString(script.as_bytes().to_vec()),
        };
        InferenceJob::new(name, InferenceJobSpec::new(Task::ImageToText, input))
    }

    pub async fn create(&self, job: &InferenceJob) -> anyhow::Result<InferenceJob> {
        Ok(self.jobs.create(&PostParams::default(), job).await?)
    }

    /// Creates a job whose picture is `script`.
    pub async fn submit(&self, name: &str, script: &str) -> anyhow::Result<InferenceJob> {
        self.create(&Self::job(name, script)).await
    }

    pub async fn patch(&self, name: &str, spec: Value) -> anyhow::Result<InferenceJob> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        Ok(self.jobs.patch(name, &params, &patch).await?)
    }

    /// Waits until `wanted` holds for a job's status.
    pub async fn status_where(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&InferenceJobStatus) -> bool,
    ) -> anyhow::Result<InferenceJobStatus> {
        let what = format!("{name} {what}");
        let found = eventually(&what, PATIENCE, || async {
            let status = self.jobs.get(name).await?.status.unwrap_or_default();
            if wanted(&status) {
                Ok(status)
            } else {
                Err(anyhow!("{status:?}\n{}", self.operator.log_tail()))
            }
        });
        Ok(found.await?)
    }

    pub async fn ended(&self, name: &str) -> anyhow::Result<InferenceJobStatus> {
        self.status_where(name, "to end", |status| status.phase.is_terminal())
            .await
    }

    /// Waits until the runner has begun `count` attempts of a job.
    pub async fn begun(&self, uid: &str, count: usize) -> anyhow::Result<Vec<Attempt>> {
        let found = eventually("attempts", PATIENCE, || async {
            let attempts = self.runner.attempts_of(uid);
            if attempts.len() >= count {
                Ok(attempts)
            } else {
                Err(anyhow!("{attempts:?}\n{}", self.operator.log_tail()))
            }
        });
        Ok(found.await?)
    }
}

/// Applies a pool in the operator's namespace, open to all, with runners at `urls`.
pub async fn apply_pool(
    client: &Client,
    name: &str,
    urls: &[&str],
    more: &Value,
) -> anyhow::Result<()> {
    let models = MODELS.map(|(name, task)| json!({"name": name, "task": task, "default": true}));
    let spec = json!({
        "models": models,
        "allowedNamespaces": {"from": "All"},
        "external": {"endpoints": urls},
    });
    let pools = Api::namespaced(client.clone(), stack::SYSTEM_NAMESPACE);
    apply_spec(&pools, name, spec, more).await.map(drop)
}

/// Applies a pool; the fields of `more` go over those of `spec`.
pub async fn apply_spec(
    pools: &Api<RunnerPool>,
    name: &str,
    mut spec: Value,
    more: &Value,
) -> anyhow::Result<RunnerPool> {
    let fields = more.as_object().context("an object")?.clone();
    spec.as_object_mut().context("an object")?.extend(fields);
    let pool = json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
        "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("test").force();
    Ok(pools.patch(name, &params, &Patch::Apply(pool)).await?)
}

/// Creates our resources' definitions, and waits until they are served.
pub async fn install(client: &Client) -> anyhow::Result<()> {
    define(client, vec![InferenceJob::crd(), RunnerPool::crd()]).await
}

/// The definitions in a folder of another build.
fn read_definitions(folder: &Path) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let read = |path: PathBuf| Ok(yaml::parse(&std::fs::read_to_string(path)?)?);
    files.map(|path: anyhow::Result<_>| read(path?)).collect()
}

async fn define(client: &Client, crds: Vec<CustomResourceDefinition>) -> anyhow::Result<()> {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        all.create(&PostParams::default(), &crd).await?;
        let name = crd.name_any();
        let established = await_condition(all.clone(), &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established).await??;
    }
    Ok(())
}

pub async fn create_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await?;
    Ok(())
}

/// Deletes a namespace, waits until it is gone and creates it again; returns its new uid. Kubernetes takes at
/// least 5 s.
pub async fn recreate_namespace(client: &Client, name: &str) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let before = namespaces.get(name).await?.uid();
    namespaces.delete(name, &DeleteParams::default()).await?;
    eventually("the namespace to be created again", PATIENCE, async || {
        create_namespace(client, name).await
    })
    .await?;
    let uid = namespaces.get(name).await?.uid().context("no uid")?;
    anyhow::ensure!(before.as_ref() != Some(&uid), "it is still the same");
    Ok(uid)
}

/// The operator at `path`, with its way to the API server and to the bucket.
pub(crate) fn operator(path: &Path, kubeconfig: &Path, minio: &Minio, health: u16) -> Program {
    let ca_file = minio.ca_file();
    let ca_file = ca_file.map(|path| format!("--s3-ca-file={}", path.display()));
    Program::new("fovea-operator", path)
        .args(ca_file)
        .arg(format!("--namespace={}", stack::SYSTEM_NAMESPACE))
        .arg(format!("--health-listen=127.0.0.1:{health}"))
        .env("KUBECONFIG", kubeconfig.display().to_string())
        .env("RUST_LOG", "info,fovea_operator=debug")
        .env("FOVEA_S3_ENDPOINT", minio.endpoint())
        .env("FOVEA_S3_BUCKET", BUCKET)
        .env("AWS_ACCESS_KEY_ID", minio.access_key())
        .env("AWS_SECRET_ACCESS_KEY", minio.secret_key())
}

/// Gives the operator these rights, which manifests below the checkout grant.
pub(crate) async fn grant(control_plane: &ControlPlane, rights: &[&str]) -> anyhow::Result<()> {
    let apply = ["apply", "-f", "-"];
    let granted = control_plane.kubectl_with(&apply, &read(rights)?).await?;
    granted.success("granting the operator its rights")?;
    Ok(())
}

/// Concatenates files of the checkout.
pub(crate) fn read(manifests: &[&str]) -> anyhow::Result<String> {
    let read = |file| std::fs::read_to_string(stack::repository().join(file));
    let texts = manifests.iter().map(read);
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("---\n"))
}

async fn start_operator(
    kubeconfig: &Path,
    minio: &Minio,
    options: &Options,
) -> anyhow::Result<(Process, String)> {
    let (operator, health) = spawn_operator(kubeconfig, minio, options).await?;
    let ready = format!("{health}/readyz");
    operator.wait_ready_http(&ready, PATIENCE).await?;
    Ok((operator, health))
}

async fn spawn_operator(
    kubeconfig: &Path,
    minio: &Minio,
    options: &Options,
) -> anyhow::Result<(Process, String)> {
    let [port] = ports::free()?;
    let path = match &options.program {
        Some(path) => path.clone(),
        None => stack::find("fovea-operator")?,
    };
    let program = operator(&path, kubeconfig, minio, port)
        .arg("--external-host=127.0.0.1")
        .args(options.flags.clone());
    let env = options.env.iter();
    let program = env.fold(program, |program, (name, value)| program.env(name, value));
    let operator = Process::start(program).await?;
    Ok((operator, format!("http://127.0.0.1:{port}")))
}
