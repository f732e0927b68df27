//! All of Fovea as plain processes on loopback, for `make demo` and the end-to-end tests: control plane,
//! MinIO, a runner with the demo models, operator and api.

mod manifests;

use crate::cluster::{ClusterError, ControlPlane, ControlPlaneOptions};
use crate::guard::Guardian;
use crate::minio::Minio;
use crate::ports;
use crate::process::{Process, ProcessError, Program};
pub use crate::programs::{ProgramNotBuilt, find, repository};
use crate::store_server::ServesS3;
use std::path::PathBuf;
use std::time::Duration;

pub const BUCKET: &str = "fovea";
/// Namespace of the operator's Lease and of the pools.
pub const SYSTEM_NAMESPACE: &str = "fovea-system";
/// Namespace of the jobs that the API makes.
pub const JOB_NAMESPACE: &str = "default";
/// The captioner's name in the pool.
pub const CAPTIONER: &str = "blip-demo";

#[derive(Clone, Copy, Debug)]
pub struct DemoModel {
    pub name: &'static str,
    /// Task by Hugging Face's pipeline names.
    pub task: &'static str,
    pub folder: &'static str,
    /// Whether jobs of the task that name no model use it.
    pub default: bool,
}

/// The pool's models, one of each family.
pub const MODELS: [DemoModel; 4] = [
    DemoModel {
        name: CAPTIONER,
        task: "image-to-text",
        folder: "blip",
        default: true,
    },
    DemoModel {
        name: "vit-demo",
        task: "image-classification",
        folder: "vit",
        default: true,
    },
    DemoModel {
        name: "resnet-demo",
        task: "image-classification",
        folder: "resnet",
        default: false,
    },
    DemoModel {
        name: "detr-demo",
        task: "object-detection",
        folder: "detr",
        default: true,
    },
];

/// Time for each part to become ready.
const READY: Duration = Duration::from_mins(1);
/// Time for a runner to load its models and warm up, on a busy machine.
const RUNNER_READY: Duration = Duration::from_mins(3);

#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    NotBuilt(#[from] ProgramNotBuilt),
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
}

#[derive(Clone, Debug, Default)]
pub struct StackOptions {
    pub api_port: Option<u16>,
    /// Does not start kube-controller-manager: deleted namespaces stay, and there is no garbage collection.
    pub without_controller_manager: bool,
    pub operator_flags: Vec<String>,
    pub api_flags: Vec<String>,
    pub runner_flags: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Fovea's programs start with this soft limit on open files; `None`: with this process's.
    pub soft_open_files: Option<u32>,
    /// Starts the operator with the points at which a test kills it, which also accepts shorter times.
    pub failpoints: bool,
    /// Folder of Fovea's programs, for another build; `None`: beside or above this program.
    pub programs: Option<PathBuf>,
}

impl StackOptions {
    fn find(&self, name: &'static str) -> Result<PathBuf, ProgramNotBuilt> {
        match &self.programs {
            None => find(name),
            Some(folder) => {
                let path = Some(folder.join(name)).filter(|path| path.is_file());
                path.ok_or(ProgramNotBuilt(name))
            }
        }
    }
}

/// A running Fovea. Everything ends when this is dropped; [`Stack::stop`] also waits for it.
#[derive(Debug)]
pub struct Stack<S = Minio> {
    pub control_plane: ControlPlane,
    pub store: S,
    pub runner: Process,
    pub operator: Process,
    pub api: Process,
    guardian: Guardian,
    api_url: String,
}

impl Stack {
    /// Starts everything and waits until the pool is ready. Calls `say` with a text for each part that it
    /// waits for.
    pub async fn start(options: StackOptions, say: impl Fn(&str)) -> Result<Self, StackError> {
        let minio = Minio::start().await?;
        minio.create_bucket(BUCKET)?;
        Self::start_on(minio, options, say).await
    }
}

impl<S: ServesS3> Stack<S> {
    /// As [`Stack::start`], with a store that has a bucket [`BUCKET`].
    pub async fn start_on(
        store: S,
        options: StackOptions,
        say: impl Fn(&str),
    ) -> Result<Self, StackError> {
        let [runner_port, health_port, free_port] = ports::free()?;
        let api_port = options.api_port.unwrap_or(free_port);
        say("starting etcd and kube-apiserver");
        let control_plane = ControlPlaneOptions {
            controller_manager: !options.without_controller_manager,
            ..ControlPlaneOptions::default()
        };
        let control_plane = ControlPlane::start(control_plane).await?;
        let guardian = Guardian::start().await.map_err(ProcessError::from)?;
        let token_file = guardian.scratch().join("runner-token");
        let token = uuid::Uuid::new_v4().simple().to_string();
        write_secret(&token_file, &token)?;

        say("starting fovea-runner with the demo models, fovea-operator and fovea-api");
        let with_env = |program| {
            let env = options.env.iter();
            let program = env.fold(program, |program: Program, (name, value)| {
                program.env(name, value)
            });
            match options.soft_open_files {
                Some(limit) => program.soft_open_files(limit),
                None => program,
            }
        };
        let runner = with_env(runner(runner_port, &token_file, &options)?);
        let runner = Process::start_in(&guardian, runner).await?;
        manifests::apply(&control_plane, runner_port, &token).await?;
        let program = operator(&control_plane, &store, health_port, &options)?;
        let operator = Process::start_in(&guardian, with_env(program)).await?;
        let program = api(&control_plane, &store, api_port, &options)?;
        let api = Process::start_in(&guardian, with_env(program)).await?;

        let api_url = format!("http://127.0.0.1:{api_port}");
        api.wait_ready_http(&format!("{api_url}/readyz"), READY)
            .await?;
        operator
            .wait_ready_http(&format!("http://127.0.0.1:{health_port}/readyz"), READY)
            .await?;
        say("waiting for the runner to load its models, and for the pool to be Ready");
        runner
            .wait_ready_http(
                &format!("http://127.0.0.1:{runner_port}/readyz"),
                RUNNER_READY,
            )
            .await?;
        manifests::wait_for_pool(&control_plane).await?;
        Ok(Self {
            control_plane,
            store,
            runner,
            operator,
            api,
            guardian,
            api_url,
        })
    }

    /// Base URL of the API, such as `http://127.0.0.1:8000`.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// Stops everything, Fovea's programs first; returns when processes and files are removed.
    pub async fn stop(self) -> Result<(), StackError> {
        self.guardian.stop().await.map_err(ProcessError::from)?;
        self.store.stop().await?;
        self.control_plane.stop().await?;
        Ok(())
    }
}

fn runner(
    port: u16,
    token_file: &std::path::Path,
    options: &StackOptions,
) -> Result<Program, StackError> {
    let demo = repository().join("models/demo");
    let models = MODELS.iter().map(|DemoModel { name, folder, .. }| {
        format!("--model={name}={}", demo.join(folder).display())
    });
    Ok(Program::new("fovea-runner", options.find("fovea-runner")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .args(models)
        .arg(format!("--token-file={}", token_file.display()))
        .args(options.runner_flags.clone()))
}

fn operator(
    cluster: &ControlPlane,
    store: &impl ServesS3,
    health_port: u16,
    options: &StackOptions,
) -> Result<Program, StackError> {
    let name = if options.failpoints {
        "fovea-operator-failpoints"
    } else {
        "fovea-operator"
    };
    let program = Program::new("fovea-operator", options.find(name)?)
        .arg(format!("--namespace={SYSTEM_NAMESPACE}"))
        .arg("--external-host=127.0.0.1")
        .arg(format!("--health-listen=127.0.0.1:{health_port}"))
        .args(options.operator_flags.clone());
    Ok(with_access(program, cluster, store))
}

fn api(
    cluster: &ControlPlane,
    store: &impl ServesS3,
    port: u16,
    options: &StackOptions,
) -> Result<Program, StackError> {
    let program = Program::new("fovea-api", options.find("fovea-api")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--namespace={JOB_NAMESPACE}"))
        .args(options.api_flags.clone());
    Ok(with_access(program, cluster, store))
}

/// Adds access to the cluster and the bucket as environment variables. A runner gets neither.
fn with_access(program: Program, cluster: &ControlPlane, store: &impl ServesS3) -> Program {
    program
        .env("KUBECONFIG", cluster.kubeconfig().display().to_string())
        .env("FOVEA_S3_ENDPOINT", store.endpoint())
        .env("FOVEA_S3_BUCKET", BUCKET)
        .env("AWS_ACCESS_KEY_ID", store.access_key())
        .env("AWS_SECRET_ACCESS_KEY", store.secret_key())
}

fn write_secret(path: &PathBuf, text: &str) -> Result<(), StackError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let io = |source| StackError::Io {
        what: format!("writing {}", path.display()),
        source,
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)
}
