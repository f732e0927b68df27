//! The shared cluster and store, and one API process per test with its own namespace.

use anyhow::Context as _;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use fovea_crds::{InferenceJob, RunnerPool};
use fovea_harness::{ControlPlane, Minio, Process, Program, TempNamespace, eventually};
use fovea_tests::audit::Audit;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Api, Client, CustomResourceExt as _, ResourceExt};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Bound on every wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const BUCKET: &str = "fovea";

/// The API's service account.
const USER: &str = "system:serviceaccount:fovea-system:fovea-api";
const RIGHTS: [&str; 2] = [
    include_str!("../../../manifests/install/api/rbac.yaml"),
    include_str!("../../../manifests/install/api/rbac-jobs.yaml"),
];

/// A running API; panics when dropped if a request of its account was forbidden.
pub(crate) struct Service {
    _audit: Audit,
    pub(crate) base: String,
    pub(crate) address: String,
    pub(crate) http: reqwest::Client,
    pub(crate) jobs: Api<InferenceJob>,
    pub(crate) cluster: Client,
    pub(crate) namespace: TempNamespace,
    pub(crate) process: Process,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// The cluster and the store of an API process.
pub(crate) struct Surroundings {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) s3_endpoint: String,
    pub(crate) s3_keys: (String, String),
    pub(crate) env: Vec<(&'static str, String)>,
    /// Commands of a shell that limit what the process may use, such as `ulimit -n 256`.
    pub(crate) ulimits: Vec<&'static str>,
}

impl Surroundings {
    /// The shared cluster and MinIO, with exactly the rights that the manifests grant.
    pub(crate) async fn shared() -> anyhow::Result<Self> {
        Self::with(minio().await?).await
    }

    /// The shared cluster and this MinIO.
    pub(crate) async fn with(minio: &Minio) -> anyhow::Result<Self> {
        Ok(Self {
            kubeconfig: cluster().await?.kubeconfig_for(USER, &[])?,
            s3_endpoint: minio.endpoint().to_owned(),
            s3_keys: (minio.access_key().to_owned(), minio.secret_key().to_owned()),
            env: Vec::new(),
            ulimits: Vec::new(),
        })
    }

    /// The shared cluster, through this proxy, and MinIO.
    pub(crate) async fn behind(proxy: &Proxy) -> anyhow::Result<Self> {
        Ok(Self {
            kubeconfig: proxy.kubeconfig.clone(),
            ..Self::shared().await?
        })
    }
}

/// A proxy before the API server. Creates get the fates `first`, one each, all later ones `rest`.
pub(crate) async fn proxy(first: &[Fate], rest: Fate) -> anyhow::Result<Proxy> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    proxy.rule(Rule::in_turn(&http::Method::POST, "", first, rest));
    Ok(proxy)
}

/// The shared MinIO, with a bucket.
pub(crate) async fn minio() -> anyhow::Result<&'static Minio> {
    static SHARED: OnceCell<Minio> = OnceCell::const_new();
    SHARED.get_or_try_init(own_minio).await
}

/// A MinIO with a bucket that the test may break.
pub(crate) async fn own_minio() -> anyhow::Result<Minio> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET)?;
    Ok(minio)
}

/// An object of the shared MinIO, with its type.
pub(crate) async fn stored(key: &str) -> anyhow::Result<(Vec<u8>, String)> {
    let request = s3().await?.get_object().bucket(BUCKET).key(key);
    let object = request.send().await?;
    let content_type = object.content_type().unwrap_or_default().to_owned();
    Ok((object.body.collect().await?.to_vec(), content_type))
}

/// Puts an object into the shared MinIO.
pub(crate) async fn put(key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let request = s3().await?.put_object().bucket(BUCKET).key(key);
    request.body(bytes.into()).send().await?;
    Ok(())
}

/// Whether there is such an object in the shared MinIO.
pub(crate) async fn is_stored(key: &str) -> anyhow::Result<bool> {
    let listed = s3().await?.list_objects_v2().bucket(BUCKET).prefix(key);
    Ok(listed.send().await?.key_count() > Some(0))
}

/// The keys of the shared MinIO below a prefix.
pub(crate) async fn listed(prefix: &str) -> anyhow::Result<Vec<String>> {
    let listed = s3().await?.list_objects_v2().bucket(BUCKET).prefix(prefix);
    let listed = listed.send().await?;
    let keys = listed.contents().iter().filter_map(|object| object.key());
    Ok(keys.map(str::to_owned).collect())
}

/// The number of multipart uploads of the shared MinIO below a prefix that have not ended.
pub(crate) async fn unfinished(prefix: &str) -> anyhow::Result<usize> {
    let listed = s3().await?.list_multipart_uploads().bucket(BUCKET);
    Ok(listed.prefix(prefix).send().await?.uploads().len())
}

async fn s3() -> anyhow::Result<aws_sdk_s3::Client> {
    let minio = minio().await?;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let keys = Credentials::new(minio.access_key(), minio.secret_key(), None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(minio.endpoint())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .force_path_style(true)
        .build();
    Ok(aws_sdk_s3::Client::from_conf(config))
}

/// The shared cluster, with our resources.
pub(crate) async fn cluster() -> anyhow::Result<&'static ControlPlane> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = ControlPlane::shared().await?;
    INSTALLED
        .get_or_try_init(|| async {
            let crds: Api<CustomResourceDefinition> = Api::all(cluster.client().await?);
            for crd in [InferenceJob::crd(), RunnerPool::crd()] {
                let name = crd.name_any();
                crds.patch(
                    &name,
                    &PatchParams::apply("test").force(),
                    &Patch::Apply(&crd),
                )
                .await?;
                let established = conditions::is_crd_established();
                let established = await_condition(crds.clone(), &name, established);
                tokio::time::timeout(PATIENCE, established).await??;
            }
            let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fovea-system}\n";
            grant(cluster, &[&[namespace], &RIGHTS[..]].concat().join("---\n")).await?;
            may_list_pools(cluster, "fovea-system").await
        })
        .await?;
    Ok(cluster)
}

async fn grant(cluster: &ControlPlane, manifests: &str) -> anyhow::Result<()> {
    let apply = ["apply", "-f", "-"];
    let applied = cluster.kubectl_with(&apply, manifests).await?;
    applied.success("granting the api its rights")?;
    Ok(())
}

/// Grants the API its rights on pools in another namespace than its own.
pub(crate) async fn grant_pools(namespace: &str) -> anyhow::Result<()> {
    let cluster = cluster().await?;
    // The account stays in its namespace.
    let subject = "namespace: fovea-system\n";
    let (role, binding) = RIGHTS[0].rsplit_once("---").context("a binding")?;
    let (binding, account) = binding.rsplit_once(subject).context("a subject")?;
    let moved = |text: &str| text.replace("fovea-system", namespace);
    let manifests = format!("{}---{}{subject}{account}", moved(role), moved(binding));
    grant(cluster, &manifests).await?;
    may_list_pools(cluster, namespace).await
}

/// Waits until the API server's authorizer has the granted rights.
async fn may_list_pools(cluster: &ControlPlane, namespace: &str) -> anyhow::Result<()> {
    let user = format!("--as={USER}");
    for (what, namespace) in [("runnerpools", namespace), ("inferencejobs", "default")] {
        let resource = format!("{what}.fovea.dev");
        let can_i = ["auth", "can-i", "list", &resource, "-n", namespace, &user];
        until("the rights to hold", || async {
            let output = cluster.kubectl_with(&can_i, "").await?;
            anyhow::ensure!(output.stdout.trim() == "yes", "{output:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

impl Service {
    /// Starts the API in the shared surroundings, with more flags.
    pub(crate) async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        cluster().await?;
        Self::start_in(Surroundings::shared().await?, flags).await
    }

    /// Starts the API with more flags; `{namespace}` in a flag is replaced by its namespace.
    pub(crate) async fn start_in(
        surroundings: Surroundings,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let cluster = cluster().await?;
        let namespace = TempNamespace::create(&cluster.config().await?).await?;
        let limits = surroundings.ulimits.join(" && ");
        let script = format!("{limits}\nexec \"$0\" \"$@\"");
        let program = Program::new("fovea-api", "/bin/sh")
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_fovea-api"))
            .args(["--listen", "127.0.0.1:0", "--namespace", namespace.name()])
            .args([
                "--s3-endpoint",
                &surroundings.s3_endpoint,
                "--s3-bucket",
                BUCKET,
            ])
            .args(
                flags
                    .iter()
                    .map(|flag| flag.replace("{namespace}", namespace.name())),
            )
            .env("KUBECONFIG", surroundings.kubeconfig.display().to_string())
            .env("RUST_LOG", "info,fovea_api=debug");
        let (key, secret) = surroundings.s3_keys;
        let keys = [
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        // Without keys the SDK finds credentials as in a pod.
        let keys = keys.into_iter().filter(|(_, value)| !value.is_empty());
        let more = keys.chain(surroundings.env);
        let program = more.fold(program, |program, (name, value)| program.env(name, value));
        let process = Process::start(program).await?;
        let address = process
            .wait_ready("its address in the log", PATIENCE, || async {
                address(&process, 0)
            })
            .await?;
        let client = cluster.client().await?;
        Ok(Self {
            _audit: Audit::new(cluster.audit_log(), USER, &RIGHTS.join("---\n"))?,
            base: format!("http://{address}"),
            address,
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .no_proxy()
                .build()?,
            jobs: Api::namespaced(client.clone(), namespace.name()),
            cluster: client,
            namespace,
            process,
        })
    }

    /// Kills the process by SIGKILL and starts it again, at another address.
    pub(crate) async fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        let log_bytes = std::fs::read(self.process.log_path())?.len();
        self.process.restart().await?;
        let process = &self.process;
        self.address = process
            .wait_ready("its address in the log", PATIENCE, || async {
                address(process, log_bytes)
            })
            .await?;
        self.base = format!("http://{}", self.address);
        Ok(())
    }

    pub(crate) fn post(&self, picture: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/jobs", self.base))
            .header("content-type", "image/jpeg")
            .body(picture)
    }

    pub(crate) fn post_json(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/v1/jobs", self.base)).json(body)
    }

    /// A metric's value, by its name and labels; 0 if it is missing.
    pub(crate) async fn metric(&self, line: &str) -> anyhow::Result<u64> {
        let text = self.get("/metrics").await?.body;
        let text = text.as_str().context("no text")?;
        let value = text
            .lines()
            .find_map(|read| read.strip_prefix(line)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0), str::parse)?)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Writes a job's status, as the operator would.
    pub(crate) async fn write_status(
        &self,
        id: &str,
        status: Value,
    ) -> anyhow::Result<InferenceJob> {
        let patch = Patch::Merge(json!({"status": status}));
        let params = PatchParams::default();
        Ok(self.jobs.patch_status(id, &params, &patch).await?)
    }

    /// A GET request for a job, or for a path below it.
    pub(crate) fn job(&self, id: &str, rest: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}/v1/jobs/{id}{rest}", self.base))
    }

    /// The names of all jobs in the namespace.
    pub(crate) async fn names(&self) -> anyhow::Result<Vec<String>> {
        let jobs = self.jobs.list(&ListParams::default()).await?;
        Ok(jobs.iter().map(ResourceExt::name_any).collect())
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer {
        status,
        headers,
        body,
    })
}

impl Answer {
    /// A job's id, out of an answer that must be a 202.
    pub(crate) fn id(&self) -> anyhow::Result<String> {
        anyhow::ensure!(self.status == 202, "{self:?}");
        Ok(self.body["id"].as_str().context("no id")?.to_owned())
    }

    /// The problem's type, without its prefix.
    pub(crate) fn problem(&self) -> &str {
        let uri = self.body["type"].as_str().unwrap_or_default();
        uri.strip_prefix("urn:fovea:problem:").unwrap_or(uri)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(crate) async fn until<T, F>(what: &str, check: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    Ok(eventually(what, PATIENCE, check).await?)
}

/// The address in the log, after its first `skipped_bytes`.
fn address(process: &Process, skipped_bytes: usize) -> anyhow::Result<String> {
    let log = std::fs::read(process.log_path())?;
    let log = String::from_utf8_lossy(log.get(skipped_bytes..).unwrap_or_default());
    let line = log
        .lines()
        .find(|line| line.contains("serving"))
        .context("not serving yet")?;
    // The log's formats: text, or JSON.
    let mut fields = ["listen=", "\"listen\":\""].into_iter();
    let address = fields.find_map(|field| line.split_once(field));
    let (_, address) = address.context("no address")?;
    Ok(address
        .split([' ', '"'])
        .next()
        .context("no address")?
        .to_owned())
}
