//! A cluster with real nodes and Fovea as users install it: the chart by helm, images in pods, an ingress, an
//! external object store.

use crate::helm::Helm;
use crate::history::History;
use crate::hub::Hub;
use crate::operated::{BUCKET, create_namespace};
use crate::pods::{is_skipped, put_models, restricted_namespace};
use crate::shared::Shared;
use crate::visitor::Visitor;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::conditions::{self, READY};
use fovea_crds::{InferenceJob, RunnerPool};
use fovea_harness::cluster::ClusterError;
use fovea_harness::images::{self, Build, Image};
use fovea_harness::ingress::{self, Ingress};
use fovea_harness::stack::{self, MODELS, SYSTEM_NAMESPACE};
use fovea_harness::{Cluster, ClusterOptions, Minio, NodeOptions, eventually};
use fovea_setup::cache::Cache;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The release, and the prefix of what it makes.
pub const RELEASE: &str = "fovea";
pub const HOST: &str = "fovea.example.com";
/// The name of the Gateway's `HTTPRoute`.
pub const ROUTE_HOST: &str = "fovea.gateway.example.com";
pub const POOL: &str = "default";
/// Credentials of the object store, for the chart's `existingSecret`.
const STORE_SECRET: &str = "fovea-object-store";
/// The store's authority, for the chart's `caSecret`.
const STORE_CA_SECRET: &str = "store-ca";
const TLS_SECRET: &str = "fovea-tls";
/// Bound on every wait, for a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// A cluster with the chart installed; it ends when this is dropped.
pub struct Installed {
    pub cluster: Cluster,
    pub minio: Minio,
    pub ingress: Ingress,
    pub hub: Hub,
    pub helm: Helm,
    /// A client with the administrator's rights.
    pub client: Client,
    pub jobs: Api<InferenceJob>,
    pub pools: Api<RunnerPool>,
    pub pods: Api<Pod>,
    /// The authority of the ingress' certificate, as PEM.
    pub authority: String,
}

impl Installed {
    /// Runs a test on the shared release, which it must not break.
    pub fn shared(test: impl AsyncFnOnce(&'static Self) -> Result<()>) -> Result<()> {
        static SHARED: Shared<Installed> = Shared::new();
        if is_skipped() {
            return Ok(());
        }
        let start = async || {
            let it = Self::prepare_private().await?;
            it.install(&it.values()).await?;
            Ok(it)
        };
        SHARED.run(start, test)
    }

    /// Prerequisites of the chart: nodes with the images, a bucket with models, an ingress with a
    /// certificate, a namespace for restricted pods only.
    pub async fn prepare() -> Result<Self> {
        Self::prepare_with(Minio::start_at).await
    }

    /// The same with a store whose authority is in a Secret.
    async fn prepare_private() -> Result<Self> {
        Self::prepare_with(Minio::start_private_at).await
    }

    async fn prepare_with(
        start_minio: impl AsyncFnOnce(Ipv4Addr) -> Result<Minio, ClusterError>,
    ) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (cache, build) = (Cache::from_env()?, Build::of_tests()?);
        let mut archives = vec![images::minio(&cache)?];
        for image in Image::ALL {
            archives.push(build.archive(&cache, image)?);
        }
        let cluster = Cluster::start(ClusterOptions {
            nodes: vec![NodeOptions { gpus: 2 }],
            network_policies: true,
            ..ClusterOptions::default()
        })
        .await?;
        let minio = start_minio(cluster.gateway()).await?;
        minio.create_bucket(BUCKET)?;
        tokio::try_join!(
            async {
                for archive in &archives {
                    cluster.import_image(archive).await?;
                }
                anyhow::Ok(())
            },
            put_models(&minio)
        )?;
        let client = cluster.control_plane.client().await?;
        let authority = prepare_namespace(&client, &minio).await?;
        Ok(Self {
            ingress: cluster.start_ingress().await?,
            hub: Hub::start(cluster.gateway()).await?,
            helm: Helm::new(cluster.control_plane.kubeconfig())?,
            jobs: Api::default_namespaced(client.clone()),
            pools: Api::namespaced(client.clone(), SYSTEM_NAMESPACE),
            pods: Api::namespaced(client.clone(), SYSTEM_NAMESPACE),
            cluster,
            minio,
            client,
            authority,
        })
    }

    /// Values of a user of this cluster: its images, store and ingress, and a pool with the demo's models.
    pub fn values(&self) -> Value {
        let gateway = format!("{}/32", self.cluster.gateway());
        let models = MODELS.map(|model| {
            let source = json!({"object": {"prefix": format!("demo/{}", model.folder)}});
            json!({
                "name": published(model.folder), "task": model.task, "default": model.default,
                "source": source,
            })
        });
        let ca_secret = self.minio.ca_file().map_or("", |_| STORE_CA_SECRET);
        json!({
            "image": {"registry": "localhost", "tag": images::TAG, "pullPolicy": "Never"},
            "objectStore": {
                "endpoint": self.minio.endpoint(), "bucket": BUCKET,
                "existingSecret": STORE_SECRET, "cidrs": [gateway],
                "caSecret": {"name": ca_secret},
            },
            "networkPolicy": self.network_policy(),
            "api": {
                "ingress": {
                    "enabled": true, "className": "contour", "hosts": [HOST],
                    "tls": [{"secretName": TLS_SECRET, "hosts": [HOST]}],
                },
                "httpRoute": {
                    "enabled": true, "hostnames": [ROUTE_HOST],
                    "parentRefs": [{"name": ingress::GATEWAY, "namespace": ingress::NAMESPACE}],
                },
                "compat": {"asyncVision": {"anonymous": true}, "imageAnalysis": {"anonymous": true}},
            },
            "pools": {POOL: {
                "enabled": true,
                "models": models,
                "replicas": 1,
                "device": "cpu",
                "allowedNamespaces": {"from": "All"},
                "template": {"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}},
            }},
        })
    }

    /// The chart's `networkPolicy`: DNS is on the machine, outside the nodes. So is the API server, which
    /// helm asks the cluster for.
    pub fn network_policy(&self) -> Value {
        json!({"dns": {"cidrs": [format!("{}/32", self.cluster.gateway())]}})
    }

    /// The chart's `networkPolicy.kubernetesApi`, for what does not ask the cluster.
    pub fn kubernetes_api(&self) -> Value {
        let server = self.cluster.control_plane.server();
        let (_, port) = server.rsplit_once(':').expect("a port");
        let port: u16 = port.parse().expect("a port");
        json!({"cidrs": [format!("{}/32", self.cluster.gateway())], "ports": [port]})
    }

    /// `helm install` of the chart, which waits until a picture could be captioned.
    pub async fn install(&self, values: &Value) -> Result<()> {
        let values = self.helm.values("values", values)?;
        self.helm_install(&chart(), &[&values]).await?;
        self.pool_is_ready_now().await
    }

    /// The same with an earlier chart's package, whose pool is not waited for by helm.
    pub async fn install_chart(&self, chart: &str, values: &Value) -> Result<()> {
        let values = self.helm.values("values", values)?;
        self.helm_install(chart, &[&values]).await?;
        self.pool_is_ready().await
    }

    /// `helm install` with files of values, and waits for the pods of operator and api.
    pub async fn helm_install(&self, chart: &str, files: &[&str]) -> Result<()> {
        let install = ["install", RELEASE, chart, "-n", SYSTEM_NAMESPACE];
        let files = files.iter().flat_map(|file| ["-f", file]);
        let wait = ["--wait", "--timeout=4m"];
        let arguments: Vec<&str> = install.into_iter().chain(files).chain(wait).collect();
        self.explained(self.helm.run(&arguments).await).await?;
        Ok(())
    }

    /// Waits until the chart's pool has a runner for each of its models.
    pub async fn pool_is_ready(&self) -> Result<()> {
        let what = "the chart's pool to be Ready";
        let ready = eventually(what, PATIENCE, || self.pool_is_ready_now());
        self.explained(ready.await).await
    }

    /// Whether the chart's pool has a runner for each of its models.
    pub async fn pool_is_ready_now(&self) -> Result<()> {
        let status = self.pools.get(POOL).await?.status.unwrap_or_default();
        let ready = conditions::get_true(&status.conditions, READY);
        ensure!(ready.is_some(), "{status:#?}");
        Ok(())
    }

    /// Scales a Deployment of the release and waits for it.
    pub async fn scale(&self, deployment: &str, replicas: u32) -> Result<()> {
        let name = format!("-n {SYSTEM_NAMESPACE} deployment/{deployment}");
        let plane = &self.cluster.control_plane;
        let scale = format!("scale {name} --replicas={replicas}");
        plane.kubectl_line(&scale).await?;
        let rolled = format!("rollout status {name} --timeout=110s");
        plane.kubectl_line(&rolled).await?;
        Ok(())
    }

    /// Adds the state and logs of the pods to an error.
    async fn explained<T, E>(&self, outcome: Result<T, E>) -> Result<T>
    where
        E: Into<anyhow::Error>,
    {
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(error.into().context(self.pod_states().await)),
        }
    }

    /// State and logs of the release's pods, for errors.
    pub async fn pod_states(&self) -> String {
        let logs = "logs --all-pods --prefix --tail=40";
        let mut parts = Vec::new();
        for question in [
            "get pods,events,runnerpools -o wide",
            &format!("{logs} deployment/fovea-operator"),
            &format!("{logs} deployment/fovea-api"),
        ] {
            let line = format!("-n {SYSTEM_NAMESPACE} {question}");
            let answer = self.cluster.control_plane.kubectl_line(&line).await;
            parts.push(answer.unwrap_or_else(|error| error.to_string()));
        }
        parts.join("\n")
    }

    pub fn visitor(&self) -> Result<Visitor> {
        Visitor::new(HOST, self.ingress.https(), &self.authority)
    }

    /// An anonymous user of the Gateway.
    pub fn visitor_by_the_gateway(&self) -> Result<Visitor> {
        Visitor::new(ROUTE_HOST, self.ingress.https(), self.ingress.authority())
    }

    /// A user with the chart's edit role in the new namespace `namespace`.
    pub async fn tenant(&self, namespace: &str) -> Result<Visitor> {
        create_namespace(&self.client, namespace).await?;
        Ok(self
            .visitor()?
            .with_token(self.token(namespace, "user", "edit").await?)
            .within(namespace))
    }

    /// A token of a new service account with a cluster role in its namespace.
    pub async fn token(&self, namespace: &str, name: &str, role: &str) -> Result<String> {
        let post = PostParams::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        accounts.create(&post, &account).await?;
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }))?;
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
        bindings.create(&post, &binding).await?;
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": ["fovea"]}}))?;
        let made = accounts.create_token_request(name, &post, &request).await?;
        Ok(made.status.context("a token")?.token)
    }

    /// Records every version of every job from now on.
    pub fn history(&self) -> History {
        History::start(self.client.clone())
    }
}

/// The published model that a demo model stands in for in samples and docs.
fn published(folder: &str) -> &str {
    match folder {
        "blip" => "blip-base",
        "vit" => "vit-base",
        "resnet" => "resnet-50",
        "detr" => "detr-resnet-50",
        other => other,
    }
}

pub fn chart() -> String {
    let folder = stack::repository().join(fovea_dev::chart::CHART);
    folder.display().to_string()
}

/// Creates the namespace and its Secrets; returns the authority of the certificate.
async fn prepare_namespace(client: &Client, minio: &Minio) -> Result<String> {
    restricted_namespace(client).await?;
    let post = PostParams::default();
    let certified = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let certificate = certified.cert.pem();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    if let Some(path) = minio.ca_file() {
        let secret = json!({
            "metadata": {"name": STORE_CA_SECRET},
            "stringData": {"ca.crt": std::fs::read_to_string(path)?},
        });
        let secret = serde_json::from_value(secret)?;
        secrets.create(&post, &secret).await?;
    }
    for secret in [
        json!({
            "metadata": {"name": STORE_SECRET},
            "stringData": {
                "accessKeyId": minio.access_key(), "secretAccessKey": minio.secret_key(),
            },
        }),
        json!({
            "metadata": {"name": TLS_SECRET}, "type": "kubernetes.io/tls",
            "stringData": {
                "tls.crt": certificate, "tls.key": certified.signing_key.serialize_pem(),
            },
        }),
    ] {
        let secret = serde_json::from_value(secret)?;
        secrets.create(&post, &secret).await?;
    }
    Ok(certificate)
}
