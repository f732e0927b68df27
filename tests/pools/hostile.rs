//! A hostile pod, or a runner under an attacker's control, can reach nothing.

use anyhow::{Context as _, Result, ensure};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_harness::{eventually, images};
use fovea_setup::cache::Cache;
use fovea_store::{ModelFolder, ObjectKey};
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, store};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::Duration;

/// Sends one request and prints the status, or that there was no connection; accepts any certificate, as an
/// attacker would.
const ASK: &str = r"
import http.client, ssl, sys, urllib.parse
method, address, token = sys.argv[1:]
url = urllib.parse.urlsplit(address)
if url.scheme == 'https':
    connection = http.client.HTTPSConnection(
        url.hostname, url.port, timeout=10, context=ssl._create_unverified_context())
else:
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
headers = {'Authorization': 'Bearer ' + token} if token else {}
try:
    connection.connect()
except (ConnectionRefusedError, TimeoutError):
    print('no connection')
    sys.exit()
connection.request(method, url.path + '?' + url.query, headers=headers)
print(connection.getresponse().status)
";

/// The network of a pod of the one node; a program on the node sends from it.
struct Network<'a> {
    it: &'a Pods,
    /// A process in the pod, by its id on the node.
    pid: String,
}

impl<'a> Network<'a> {
    /// A pod of another namespace that does nothing by itself.
    async fn of_hostile(it: &'a Pods) -> Result<Self> {
        let image = images::debian(&Cache::from_env()?)?;
        it.cluster.import_image(&image).await?;
        let pods: Api<Pod> = Api::default_namespaced(it.client.clone());
        let pod = json!({
            "metadata": {"name": "hostile"},
            "spec": {"automountServiceAccountToken": false, "containers": [{
                "name": "hostile", "image": images::DEBIAN, "command": ["sleep", "infinity"],
            }]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        Self::of(it, &pods, "hostile").await
    }

    async fn of(it: &'a Pods, pods: &Api<Pod>, name: &str) -> Result<Self> {
        let container = eventually(&format!("{name} to run"), PATIENCE, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            ensure!(status.phase.as_deref() == Some("Running"), "{status:?}");
            let mut containers = status.container_statuses.into_iter().flatten();
            let id = containers.next().and_then(|first| first.container_id);
            id.context("its container's id")
        })
        .await?;
        let id = container.trim_start_matches("containerd://");
        let list = ["ctr", "--namespace=k8s.io", "tasks", "list"];
        let tasks = it.cluster.nodes[0].run(&list).await?;
        let line = tasks.lines().find(|line| line.starts_with(id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(Self {
            it,
            pid: pid.context("its process")?.to_owned(),
        })
    }

    /// The status of a request from this network; `None` without a connection.
    async fn request(&self, method: &str, url: &str, token: &str) -> Result<Option<u16>> {
        let network = format!("--net=/proc/{}/ns/net", self.pid);
        let ask = ["nsenter", &network, "python3", "-c", ASK];
        let words = [&ask[..], &[method, url, token]].concat();
        let output = self.it.cluster.nodes[0].run(&words).await?;
        if output.trim() == "no connection" {
            return Ok(None);
        }
        let status = output.trim().parse().with_context(|| output.clone())?;
        Ok(Some(status))
    }
}

/// Lets every pod in, as a network does that enforces no policies.
async fn open_the_network(it: &Pods) -> Result<()> {
    let policy = json!({
        "metadata": {"name": "open"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": {}}]}],
        },
    });
    let policy = serde_json::from_value(policy)?;
    policies(it).create(&PostParams::default(), &policy).await?;
    Ok(())
}

fn policies(it: &Pods) -> Api<NetworkPolicy> {
    Api::namespaced(it.client.clone(), SYSTEM_NAMESPACE)
}

/// Runs a command in a runner's pod; what it wrote, and whether it succeeded.
async fn exec(it: &Pods, pod: &str, script: &str) -> Result<(bool, String)> {
    let exec = ["exec", "-n", SYSTEM_NAMESPACE, pod, "--"];
    let words = [&exec[..], &["bash", "-c", script]].concat();
    let output = it.cluster.control_plane.kubectl(&words).await?;
    let text = format!("{}{}", output.stdout, output.stderr);
    Ok((output.status.success(), text))
}

#[test]
fn a_hostile_pod_reaches_no_runner_no_other_object_and_no_secret() -> Result<()> {
    Pods::shared(async |it| {
        it.apply("guarded", &json!({})).await?;
        it.ready("guarded", 1).await?;
        let selected = ListParams::default().labels("fovea.dev/pool=guarded");
        let runner = it.pods.list(&selected).await?.items.remove(0);
        let hostile = Network::of_hostile(it).await?;
        let inside = Network::of(it, &it.pods, &runner.name_any()).await?;

        // The pool's policy lets none but the operator in.
        let address = runner.status.as_ref().and_then(|it| it.pod_ip.as_ref());
        let address = address.context("the runner's address")?;
        let at = |path: &str| format!("https://{address}:9400{path}");
        assert_eq!(hostile.request("GET", &at("/livez"), "").await?, None);
        // Without enforcement of policies the runner still requires the token.
        open_the_network(it).await?;
        eventually("the network to be open", PATIENCE, async || {
            let status = hostile.request("GET", &at("/livez"), "").await?;
            ensure!(status == Some(200), "{status:?}");
            Ok(())
        })
        .await?;
        for (method, path) in [
            ("GET", "/v1/models"),
            ("PUT", "/v1/models/blip-demo"),
            ("PUT", "/v1/leader"),
            ("POST", "/v1/infer"),
        ] {
            for token in ["", "guess"] {
                let status = hostile.request(method, &at(path), token).await?;
                assert_eq!(status, Some(401), "{method} {path} {token:?}");
            }
        }

        // A signature holds for one object and one method.
        let store = store(&it.minio).await?;
        let demo = |model: &str| ModelFolder::new(&format!("demo/{model}"));
        let mine = ObjectKey::in_folder(&demo("blip")?, "config.json")?;
        let other = ObjectKey::in_folder(&demo("detr")?, "config.json")?;
        let signed = store.presign_get(&mine, Duration::from_mins(5)).await?;
        let forged = signed.replace(mine.as_str(), other.as_str());
        assert_ne!(signed, forged);
        assert_eq!(hostile.request("GET", &signed, "").await?, Some(200));
        for (method, url) in [("GET", &forged), ("PUT", &signed), ("DELETE", &signed)] {
            let status = hostile.request(method, url, "").await?;
            assert_eq!(status, Some(403), "{method} {url}");
        }

        // The API server knows neither of them, and a runner does not get as far as that.
        let secret = format!(
            "{}/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets/guarded-runner",
            it.cluster.control_plane.server()
        );
        assert_eq!(hostile.request("GET", &secret, "").await?, Some(403));
        assert_eq!(hostile.request("GET", &secret, "guess").await?, Some(401));
        assert_eq!(inside.request("GET", &secret, "").await?, None);
        assert_eq!(inside.request("GET", &signed, "").await?, Some(200));
        let name = runner.name_any();
        let token = "cat /var/run/secrets/kubernetes.io/serviceaccount/token";
        let (read, output) = exec(it, &name, token).await?;
        assert!(!read && output.contains("No such file"), "{output}");
        let (wrote, output) = exec(it, &name, "touch /usr/local/bin/x").await?;
        assert!(!wrote && output.contains("Read-only"), "{output}");
        policies(it)
            .delete("open", &DeleteParams::default())
            .await?;
        it.scale("guarded", 0).await
    })
}
