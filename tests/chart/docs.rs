//! Every command of the docs, as a reader runs it: in a checkout, on a cluster with an ingress and a
//! bucket, from the first page to the last.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use fovea_harness::eventually;
use fovea_harness::images;
use fovea_harness::stack::{self, MODELS, SYSTEM_NAMESPACE};
use fovea_setup::cache::Cache;
use fovea_setup::go::HELM;
use fovea_tests::Installed;
use fovea_tests::console::{self, Environment, Page};
use fovea_tests::hub::REPO;
use fovea_tests::installed::{HOST, PATIENCE};
use fovea_tests::pods::is_skipped;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PAGES: &str = "docs/src";
/// Pages with commands, in the order of their run: later pages use what earlier ones made.
const ORDER: [&str; 12] = [
    "install.md",
    "configure.md",
    "use-http.md",
    "replaced.md",
    "use-kubectl.md",
    "batches.md",
    "callbacks.md",
    "observe.md",
    "troubleshoot.md",
    "security.md",
    // At its end Fovea is uninstalled, and all that is its own removed.
    "operate.md",
    "plain.md",
];
/// The page that `tests/operator/restored.rs` runs, on a cluster that loses its jobs.
const ELSEWHERE: &str = "restore.md";
/// CI's own targets: each takes minutes, and `make test` is what runs this.
const OF_CI: &str = "make ";
/// Folders of the checkout that the pages' commands use.
const CHECKOUT: [&str; 3] = ["charts", "manifests", "models"];
/// Bound on one command, such as `helm --wait` on a busy machine.
const LIMIT: Duration = Duration::from_mins(6);

#[tokio::test]
async fn every_command_of_the_docs_does_what_its_page_says() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let pages = pages()?;
    let it = Installed::prepare().await?;
    forget_what_is_prepared(&it).await?;
    let reader = Reader::new(&it)?;
    let mut wrong = Vec::new();
    for page in &pages {
        if let Err(error) = reader.reads(page).await {
            wrong.push(format!("{error:#}"));
        }
    }
    if !wrong.is_empty() {
        wrong.push(it.pod_states().await);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Every page in [`ORDER`], without the commands that only CI runs.
fn pages() -> Result<Vec<Page>> {
    let folder = stack::repository().join(PAGES);
    let read = |name: &str| {
        let mut page = Page::read(&folder, name)?;
        page.commands
            .retain(|command| !command.text.starts_with(OF_CI));
        anyhow::Ok(page)
    };
    let mut with_commands = BTreeSet::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_page = Path::new(&name).extension() == Some(OsStr::new("md"));
        if is_page && !read(&name)?.commands.is_empty() {
            with_commands.insert(name);
        }
    }
    with_commands.remove(ELSEWHERE);
    let order: BTreeSet<String> = ORDER.iter().map(|name| (*name).to_owned()).collect();
    ensure!(
        with_commands == order,
        "ORDER lacks or has too much: {with_commands:?}"
    );
    ORDER.iter().map(|name| read(name)).collect()
}

/// The pages make the namespace and its Secrets themselves.
async fn forget_what_is_prepared(it: &Installed) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(it.client.clone());
    let params = DeleteParams::default();
    namespaces.delete(SYSTEM_NAMESPACE, &params).await?;
    let gone = eventually("the prepared namespace to go", PATIENCE, async || {
        let left = namespaces.get_opt(SYSTEM_NAMESPACE).await?;
        ensure!(left.is_none(), "it is there");
        Ok(())
    });
    Ok(gone.await?)
}

struct Reader<'a> {
    it: &'a Installed,
    folder: TempDir,
    environment: Environment,
}

impl<'a> Reader<'a> {
    fn new(it: &'a Installed) -> Result<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        for name in CHECKOUT {
            copy(&stack::repository().join(name), folder.path())?;
        }
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        fs::write(at("tls.crt"), certified.cert.pem())?;
        fs::write(at("tls.key"), certified.signing_key.serialize_pem())?;
        // The name, which a DNS has elsewhere, and the certificate, which a known authority signs.
        let curl = format!(
            "connect-to = \"{HOST}:443:{}\"\ncacert = \"{}\"\nnoproxy = \"*\"\n",
            it.ingress.https(),
            at("tls.crt").display(),
        );
        fs::write(at(".curlrc"), curl)?;
        let path = |name: &str| at(name).display().to_string();
        let variables = [
            (
                "KUBECONFIG",
                it.cluster.control_plane.kubeconfig().display().to_string(),
            ),
            ("CURL_HOME", path("")),
            ("HELM_CACHE_HOME", path("helm/cache")),
            ("HELM_CONFIG_HOME", path("helm/config")),
            ("HELM_DATA_HOME", path("helm/data")),
            ("AWS_ENDPOINT_URL", it.minio.endpoint().to_owned()),
            ("AWS_ACCESS_KEY_ID", it.minio.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", it.minio.secret_key().to_owned()),
        ];
        let kubectl = it.cluster.control_plane.kubectl_path();
        let helm = HELM.program(&Cache::from_env()?, "helm");
        let programs = [kubectl, helm.as_path()].map(|program| {
            let folder = program.parent().context("a program's folder");
            folder.map(Path::to_path_buf)
        });
        Ok(Self {
            it,
            environment: Environment {
                folder: folder.path().to_path_buf(),
                variables: variables
                    .map(|(name, value)| (name.to_owned(), value))
                    .into(),
                programs: programs.into_iter().collect::<Result<_>>()?,
                limit: LIMIT,
            },
            folder,
        })
    }

    async fn reads(&self, page: &Page) -> Result<()> {
        for (name, text) in &page.files {
            let mut text = text.clone();
            for (of_the_page, of_here) in self.examples() {
                text = text.replace(of_the_page, &of_here);
            }
            let mut content: Value = yaml::parse(&text)?;
            for models in ["/pools/default/models", "/spec/models"] {
                if let Some(models) = content.pointer_mut(models) {
                    of_the_demo(models)?;
                }
            }
            merge(&mut content, self.more(name));
            if let Some(Value::Array(patches)) = content.get_mut("patches") {
                patches.push(self.way_to_the_cluster());
            }
            // JSON is YAML.
            fs::write(self.folder.path().join(name), content.to_string())?;
        }
        console::run(page, &self.environment).await
    }

    /// Example values of pages, and those of this cluster.
    fn examples(&self) -> [(&'static str, String); 7] {
        let endpoint = self.it.minio.endpoint().to_owned();
        let port = endpoint.rsplit(':').next().unwrap_or_default().to_owned();
        [
            ("registry.example.com/team", "localhost".to_owned()),
            ("0.1.0", images::TAG.to_owned()),
            ("https://s3.eu-central-1.amazonaws.com", endpoint),
            ("eu-central-1", "us-east-1".to_owned()),
            (
                "198.51.100.0/24",
                format!("{}/32", self.it.cluster.gateway()),
            ),
            ("\"443\"", format!("{port:?}")),
            ("port: 443", format!("port: {port}")),
        ]
    }

    /// Additional values for this cluster: no hub, DNS outside of pods, few processors.
    fn more(&self, file: &str) -> Value {
        let template = json!({"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}});
        let network = self.it.values()["networkPolicy"].take();
        match file {
            "mine.yaml" => {
                let (minio, tag) = images::MINIO.rsplit_once(':').unwrap_or_default();
                let hub = format!("{}/32", self.it.cluster.gateway());
                let models = json!([{
                    "name": "blip-base", "task": "image-to-text",
                    "source": {"huggingFace": {"repo": REPO}},
                }]);
                json!({
                    "minio": {"image": {"repository": minio, "tag": tag}},
                    "runner": {"hub": {"endpoint": self.it.hub.url, "cidrs": [hub]}},
                    "networkPolicy": network,
                    "pools": {"default": {"models": models, "template": template}},
                })
            }
            "production.yaml" => json!({
                "networkPolicy": network, "pools": {"default": {"template": template}},
            }),
            "pool.yaml" => json!({"spec": {"template": template}}),
            _ => Value::Object(Map::new()),
        }
    }

    /// A patch of a kustomization: the API server is at no port that policies let through as they are.
    fn way_to_the_cluster(&self) -> Value {
        let server = self.it.kubernetes_api();
        let rule = json!({
            "to": [{"ipBlock": {"cidr": server["cidrs"][0]}}],
            "ports": [{"protocol": "TCP", "port": server["ports"][0]}],
        });
        let patch = json!([{"op": "add", "path": "/spec/egress/-", "value": rule}]);
        json!({
            "target": {"kind": "NetworkPolicy", "name": "fovea-(operator|api)"},
            "patch": patch.to_string(),
        })
    }
}

/// Models that are in the bucket, under the page's names.
fn of_the_demo(models: &mut Value) -> Result<()> {
    for model in models.as_array_mut().context("a list of models")? {
        let demo = MODELS
            .iter()
            .find(|demo| demo.default && model["task"] == demo.task);
        let demo = demo.context("a model of the demo for the task")?;
        model["source"] = json!({"object": {"prefix": format!("demo/{}", demo.folder)}});
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp")
        .arg("--recursive")
        .args([from, to])
        .status()?;
    ensure!(copied.success(), "cp {}: {copied}", from.display());
    Ok(())
}

/// Merges values as helm does.
fn merge(values: &mut Value, over: Value) {
    match (values, over) {
        (Value::Object(values), Value::Object(over)) => {
            for (name, value) in over {
                merge(values.entry(name).or_insert(Value::Null), value);
            }
        }
        (values, over) => *values = over,
    }
}
