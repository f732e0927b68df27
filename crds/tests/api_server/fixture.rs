//! The control plane with the committed CRDs, and the smallest legal objects.

use anyhow::{Context, Result, anyhow};
use fovea_harness::{ControlPlane, ControlPlaneOptions, TempNamespace, eventually};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::{ApiResource, Status},
};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use tokio::sync::OnceCell;

/// A namespace for one test, in the control plane of all.
pub(crate) struct Fixture {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    namespace: TempNamespace,
}

/// A path inside the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

/// Started by the first test that needs it; if that fails, every test says why.
async fn plane() -> Result<&'static ControlPlane> {
    static PLANE: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let started =
        PLANE.get_or_init(|| async { start().await.map_err(|error| format!("{error:#}")) });
    started.await.as_ref().map_err(|error| anyhow!("{error}"))
}

async fn start() -> Result<ControlPlane> {
    let plane = ControlPlane::start(ControlPlaneOptions {
        controller_manager: false,
        ..ControlPlaneOptions::default()
    })
    .await?;
    let folder = repository("manifests/crds");
    let folder = folder.to_str().context("a path that is no text")?;
    plane
        .kubectl(&["apply", "-f", folder])
        .await?
        .success("apply")?;
    let crds = ["crd/inferencejobs.fovea.dev", "crd/runnerpools.fovea.dev"];
    let established = ["wait", "--for=condition=Established", "--timeout=60s"];
    plane
        .kubectl(&[&established[..], &crds[..]].concat())
        .await?
        .success("wait")?;
    eventually(
        "both kinds to be served",
        Duration::from_secs(30),
        || async {
            let jobs = plane.kubectl(&["get", "inferencejobs,runnerpools", "-A"]);
            jobs.await?.success("get")?;
            anyhow::Ok(())
        },
    )
    .await?;
    Ok(plane)
}

impl Fixture {
    pub(crate) async fn new() -> Result<Self> {
        let plane = plane().await?;
        Ok(Self {
            plane,
            client: plane.client().await?,
            namespace: TempNamespace::create(&plane.config().await?).await?,
        })
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Typed access in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), self.namespace())
    }

    /// Access that sends just what it is given.
    pub(crate) fn untyped<K>(&self) -> Api<DynamicObject>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), self.namespace(), &resource)
    }

    /// Asks the API server whether it would take `object`, unknown fields refused.
    pub(crate) async fn dry_run(&self, object: &Value) -> Result<Value, Box<Status>> {
        let plural = match object["kind"].as_str() {
            Some("InferenceJob") => "inferencejobs",
            _ => "runnerpools",
        };
        let path = format!(
            "/apis/fovea.dev/v1alpha1/namespaces/{}/{plural}?dryRun=All&fieldValidation=Strict",
            self.namespace()
        );
        let request = http::Request::post(path)
            .header("Content-Type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        match self.client.request(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => Err(status),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Runs kubectl in the test's namespace; its stdout, or an error with its stderr.
    pub(crate) async fn kubectl(&self, args: &[&str], stdin: &str) -> Result<String> {
        let args = [&["-n", self.namespace()], args].concat();
        let output = self.plane.kubectl_with(&args, stdin).await?;
        Ok(output.success(&args.join(" "))?)
    }

    /// Creates an object from JSON.
    pub(crate) async fn create<K>(&self, object: Value) -> Result<DynamicObject, kube::Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let object = serde_json::from_value(object).expect("an object");
        self.untyped::<K>()
            .create(&PostParams::default(), &object)
            .await
    }
}

/// The smallest legal job.
pub(crate) fn job(name: &str) -> Value {
    json!({
        "apiVersion": "fovea.dev/v1alpha1",
        "kind": "InferenceJob",
        "metadata": {"name": name},
        "spec": {"task": "image-to-text", "input": {"object": {"key": "cats/1.jpg"}}},
    })
}

/// The smallest legal batch.
pub(crate) fn batch(name: &str) -> Value {
    let mut batch = job(name);
    let input = json!({"prefix": {"prefix": "cats"}});
    set(&mut batch, "spec.input", input);
    set(&mut batch, "spec.output.prefix", json!("out"));
    batch
}

/// The smallest legal pool.
pub(crate) fn pool(name: &str) -> Value {
    json!({
        "apiVersion": "fovea.dev/v1alpha1",
        "kind": "RunnerPool",
        "metadata": {"name": name},
        "spec": {"models": [{
            "name": "blip-base",
            "task": "image-to-text",
            "source": {"object": {"prefix": "blip/v1"}},
        }]},
    })
}

/// Sets the value at `path` (`spec.retry.limit`, `spec.models[0].name`) and creates its parents; an empty
/// `path` is the object itself.
pub(crate) fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        place = match step.strip_suffix(']') {
            Some(index) => {
                let items = place.as_array_mut().expect("a list");
                let index: usize = index.parse().expect("an index");
                items.resize_with(items.len().max(index + 1), Value::default);
                &mut items[index]
            }
            None => &mut place[step],
        };
    }
    *place = value;
}

/// Removes the field at `path`.
pub(crate) fn remove(object: &mut Value, path: &str) {
    let (parent, field) = path.rsplit_once('.').expect("a path of two steps");
    let mut place = object;
    for step in parent.split('.') {
        place = &mut place[step];
    }
    place
        .as_object_mut()
        .expect("an object")
        .remove(field)
        .expect("the field is there");
}
