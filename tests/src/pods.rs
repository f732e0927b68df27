//! A cluster with real nodes, a bucket with the demo's models, a hub, and the operator as a process beside
//! them: its pools have pods.

use crate::audit::Audit;
use crate::demo;
use crate::hub::Hub;
use crate::operated::{self, BUCKET, JOBS, OPERATOR, RIGHTS, install};
use crate::{History, Shared, jobs};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Phase, RunnerPool, RunnerPoolStatus, Task};
use fovea_harness::images::{Build, Image};
use fovea_harness::stack::{self, DemoModel, MODELS, SYSTEM_NAMESPACE};
use fovea_harness::{
    Cluster, ClusterOptions, ControlPlaneOptions, Minio, NodeOptions, Process, ServesS3,
    eventually, node, ports,
};
use fovea_setup::cache::Cache;
use fovea_store::{ModelFolder, ObjectKey, Store, StoreConfig};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bound on every wait: includes an image's first start on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// Flags of the shared operator: short timeouts, which these tests do not check.
const IMPATIENT: [&str; 2] = ["--surge-timeout-seconds=5", "--runner-overlap-seconds=15"];

/// Ends when dropped; panics then if the operator was forbidden a request.
pub struct Pods {
    /// Before `cluster`, which removes the log when it is dropped.
    audit: Audit,
    pub cluster: Cluster,
    /// A store that pods can reach.
    pub minio: Minio,
    flags: Vec<String>,
    program: PathBuf,
    _hub: Hub,
    pub operator: Process,
    /// A client with the administrator's rights.
    pub client: Client,
    pub jobs: Api<InferenceJob>,
    pub pools: Api<RunnerPool>,
    pub pods: Api<Pod>,
    pub history: History,
}

impl Pods {
    /// Runs a test on the shared instance, which it must not break.
    pub fn shared(test: impl AsyncFnOnce(&'static Self) -> Result<()>) -> Result<()> {
        static SHARED: Shared<Pods> = Shared::new();
        if is_skipped() {
            return Ok(());
        }
        let start = async || {
            // Only this program accepts such short timeouts.
            let program = stack::find("fovea-operator-failpoints")?;
            let images = Build::of_tests()?;
            Box::pin(Self::start_with(1, &IMPATIENT, Some(program), images)).await
        };
        let test = async |it: &'static Self| {
            test(it).await?;
            // Statics are never dropped.
            it.audit.check();
            Ok(())
        };
        SHARED.run(start, test)
    }

    /// Starts `nodes` nodes, and the operator with additional flags.
    pub async fn start(nodes: usize, flags: &[&str]) -> Result<Self> {
        Box::pin(Self::start_with(nodes, flags, None, Build::of_tests()?)).await
    }

    /// As [`Pods::start`], with another operator's program and images of other programs.
    pub async fn start_with(
        nodes: usize,
        flags: &[&str],
        program: Option<PathBuf>,
        images: Build,
    ) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runner = images.archive(&Cache::from_env()?, Image::Runner)?;
        let cluster = Cluster::start(ClusterOptions {
            nodes: vec![NodeOptions { gpus: 2 }; nodes],
            network_policies: true,
            control_plane: ControlPlaneOptions {
                audit: true,
                ..ControlPlaneOptions::default()
            },
        })
        .await?;
        let minio = Minio::start_at(cluster.gateway()).await?;
        minio.create_bucket(BUCKET)?;
        tokio::try_join!(
            async { anyhow::Ok(cluster.import_image(&runner).await?) },
            put_models(&minio)
        )?;
        let client = cluster.control_plane.client().await?;
        install(&client).await?;
        restricted_namespace(&client).await?;
        let machine = format!("{}/32", cluster.gateway());
        let policies = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let create = PostParams::default();
        policies.create(&create, &beside(&machine)?).await?;
        operated::grant(&cluster.control_plane, &RIGHTS).await?;
        let hub = Hub::start(cluster.gateway()).await?;
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let hub_flags = [
            format!("--hub-endpoint={}", hub.url),
            format!("--hub-cidr={}/32", cluster.gateway()),
        ];
        let flags: Vec<String> = flags.chain(hub_flags).collect();
        let program = match program {
            Some(program) => program,
            None => stack::find("fovea-operator")?,
        };
        let operator = start_operator(&program, &cluster, &minio, &flags).await?;
        let audit_log = cluster.control_plane.audit_log();
        Ok(Self {
            audit: Audit::new(audit_log, OPERATOR, &operated::read(&RIGHTS)?)?,
            history: History::start(client.clone()),
            jobs: Api::namespaced(client.clone(), JOBS),
            pools: Api::namespaced(client.clone(), SYSTEM_NAMESPACE),
            pods: Api::namespaced(client.clone(), SYSTEM_NAMESPACE),
            cluster,
            minio,
            flags,
            program,
            _hub: hub,
            operator,
            client,
        })
    }

    /// Kills the operator and starts another.
    pub async fn another_operator(&mut self) -> Result<()> {
        self.operator.kill().await?;
        self.operator =
            start_operator(&self.program, &self.cluster, &self.minio, &self.flags).await?;
        Ok(())
    }

    /// Creates or changes a pool of small runners with the demo's models; `more`: fields of its spec.
    pub async fn apply(&self, name: &str, more: &Value) -> Result<RunnerPool> {
        let models = MODELS.map(|model| {
            let source = json!({"object": {"prefix": format!("demo/{}", model.folder)}});
            json!({
                "name": model.name, "task": model.task, "default": model.default, "source": source,
            })
        });
        let spec = json!({
            "models": models,
            "device": "cpu",
            "allowedNamespaces": {"from": "All"},
            "template": {"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}},
        });
        operated::apply_spec(&self.pools, name, spec, more).await
    }

    /// Changes how many runners a pool has, as `kubectl scale` does.
    pub async fn scale(&self, name: &str, replicas: u32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams::default();
        self.pools.patch_scale(name, &params, &patch).await?;
        Ok(())
    }

    /// Scales a pool to zero, whatever scales it otherwise.
    pub async fn scale_to_nothing(&self, name: &str) -> Result<()> {
        self.apply(name, &json!({"replicas": 0})).await?;
        self.pool_where(name, "to have no runners", PATIENCE, |status| {
            status.replicas == 0
        })
        .await?;
        Ok(())
    }

    /// Waits until `wanted` holds for a pool's status.
    pub async fn pool_where(
        &self,
        name: &str,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&RunnerPoolStatus) -> bool,
    ) -> Result<RunnerPoolStatus> {
        let what = format!("{name} {what}");
        let found = eventually(&what, patience, async || {
            let status = self.pools.get(name).await?.status.unwrap_or_default();
            ensure!(wanted(&status), "{status:#?}");
            Ok(status)
        });
        match found.await {
            Ok(status) => Ok(status),
            Err(error) => {
                let (pods, log) = (self.pod_states().await, self.operator.log_tail());
                Err(anyhow::Error::from(error).context(format!("{pods}\n{log}")))
            }
        }
    }

    /// Waits until `replicas` runners serve every model.
    pub async fn ready(&self, name: &str, replicas: u32) -> Result<RunnerPoolStatus> {
        let what = format!("to have {replicas} runners");
        self.pool_where(name, &what, PATIENCE, |status| {
            status.ready_replicas == replicas && status.replicas == replicas
        })
        .await
    }

    async fn pod_states(&self) -> String {
        let pods = self.pods.list(&ListParams::default()).await;
        let describe = |pod: Pod| {
            let name = pod.name_any();
            let status = pod.status.unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            let first = containers.first().map(|first| format!("{:?}", first.state));
            format!("{name} {:?} {first:?}", status.phase)
        };
        let pods = pods.map(|pods| pods.into_iter().map(describe).collect::<Vec<_>>());
        format!("{pods:#?}")
    }

    /// Creates a job on one of the demo's pictures for a pool.
    pub async fn submit(&self, name: &str, pool: &str, task: Task) -> Result<()> {
        let mut job = jobs::inline(name, &picture().0);
        job.spec.task = task;
        let pool = json!({"name": pool, "namespace": SYSTEM_NAMESPACE});
        job.spec.pool_ref = serde_json::from_value(pool)?;
        self.jobs.create(&PostParams::default(), &job).await?;
        Ok(())
    }

    pub async fn succeeded(&self, name: &str) -> Result<InferenceJobStatus> {
        let ended = jobs::ended(&self.jobs, name).await;
        let status = ended.with_context(|| self.operator.log_tail())?;
        ensure!(status.phase == Phase::Succeeded, "{name}: {status:?}");
        Ok(status)
    }
}

/// Whether this machine cannot run nodes; prints why.
pub fn is_skipped() -> bool {
    let reason = node::unavailable();
    if let Some(reason) = &reason {
        eprintln!("skipped: {reason}");
    }
    reason.is_some()
}

pub fn condition<'a>(status: &'a RunnerPoolStatus, name: &str) -> [&'a str; 3] {
    let mut conditions = status.conditions.iter();
    conditions
        .find(|each| each.type_ == name)
        .map_or([""; 3], |each| [&each.status, &each.reason, &each.message])
}

/// One of the demo's pictures, with its caption.
pub fn picture() -> (Vec<u8>, String) {
    demo::first("captions.json")
}

pub async fn store(server: &impl ServesS3) -> Result<Store> {
    let config = StoreConfig::at(server.endpoint().parse()?, BUCKET);
    Ok(Store::connect_as(&config, server.access_key(), server.secret_key()).await?)
}

/// Uploads the demo's models: the files, then the manifest.
pub async fn put_models(minio: &Minio) -> Result<()> {
    let store = store(minio).await?;
    for DemoModel { folder, .. } in MODELS {
        put_model(&store, folder, &format!("demo/{folder}"), |_, bytes| bytes).await?;
    }
    Ok(())
}

/// Uploads a demo model to a folder; `change` may exchange a file's bytes.
pub async fn put_model(
    store: &Store,
    model: &str,
    folder: &str,
    change: impl Fn(&str, Vec<u8>) -> Vec<u8>,
) -> Result<()> {
    let folder = ModelFolder::new(folder)?;
    let put = async |file: &str, bytes: Vec<u8>| {
        let key = ObjectKey::in_folder(&folder, file)?;
        let kind = "application/octet-stream";
        anyhow::Ok(store.put(&key, bytes.into(), kind).await?)
    };
    let mut files = Vec::new();
    let source = stack::repository().join("models/demo").join(model);
    for entry in std::fs::read_dir(source)? {
        let path = entry?.path();
        let name = path.file_name().context("a file")?.to_string_lossy();
        let bytes = change(&name, std::fs::read(&path)?);
        let sha256 = hex::encode(Sha256::digest(&bytes));
        files.push(json!({"path": name, "bytes": bytes.len(), "sha256": sha256}));
        put(&name, bytes).await?;
    }
    let manifest = json!({"repo": "fovea/demo", "commit": "0".repeat(40), "files": files});
    put("fovea-manifest.json", manifest.to_string().into()).await
}

/// Creates the system's namespace, for restricted pods only.
pub(crate) async fn restricted_namespace(client: &Client) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"metadata": {"name": SYSTEM_NAMESPACE, "labels": labels}});
    let namespace: Namespace = serde_json::from_value(namespace)?;
    let create = PostParams::default();
    Api::all(client.clone()).create(&create, &namespace).await?;
    Ok(())
}

/// The operator is not a pod here, so the pools' policies do not admit it: this one admits the machine's
/// address.
fn beside(machine: &str) -> Result<NetworkPolicy> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "beside"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": machine}}]}],
        },
    }))?)
}

async fn start_operator(
    program: &Path,
    cluster: &Cluster,
    minio: &Minio,
    flags: &[String],
) -> Result<Process> {
    let [port] = ports::free()?;
    let kubeconfig = cluster.control_plane.kubeconfig_for(OPERATOR, &[])?;
    let program = operated::operator(program, &kubeconfig, minio, port)
        .arg(format!("--runner-image={}", Image::Runner.reference()))
        .arg(format!("--store-cidr={}/32", cluster.gateway()))
        .args(flags.to_vec());
    let operator = Process::start_in(cluster.guardian(), program).await?;
    let ready = format!("http://127.0.0.1:{port}/readyz");
    operator.wait_ready_http(&ready, PATIENCE).await?;
    Ok(operator)
}
