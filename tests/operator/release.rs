//! `fovea-operator apply-pools`, as a release's Job runs it: with the same rights and no others.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::RunnerPool;
use fovea_harness::stack::{self, SYSTEM_NAMESPACE};
use fovea_harness::{ControlPlane, ControlPlaneOptions, eventually};
use fovea_tests::operated::{PATIENCE, create_namespace, install};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const OWNER: &str = "fovea-pools";
const USER: &str = "system:serviceaccount:fovea-system:fovea-pools";

/// A namespace with a release's ConfigMap, and the account that applies its pools.
struct Release {
    client: Client,
    kubeconfig: PathBuf,
    folder: TempDir,
    control_plane: ControlPlane,
}

/// Log and exit of the program.
struct Said {
    success: bool,
    code: Option<i32>,
    out: String,
    log: String,
}

impl Release {
    /// Starts without the CRDs of Fovea.
    async fn start() -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
        let client = control_plane.client().await?;
        create_namespace(&client, SYSTEM_NAMESPACE).await?;
        let this = Self {
            kubeconfig: control_plane.kubeconfig_for(USER, &[])?,
            folder: TempDir::new()?,
            control_plane,
            client,
        };
        this.grant().await?;
        let owner = json!({"metadata": {"name": OWNER}});
        this.create::<ConfigMap>(owner).await?;
        Ok(this)
    }

    async fn create<K>(&self, object: serde_json::Value) -> Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        api.create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    async fn grant(&self) -> Result<()> {
        let rules = json!([
            {"apiGroups": ["fovea.dev"], "resources": ["runnerpools"],
                "verbs": ["list", "create", "patch", "delete"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [OWNER],
                "verbs": ["get"]},
        ]);
        self.create::<Role>(json!({"metadata": {"name": OWNER}, "rules": rules}))
            .await?;
        self.create::<RoleBinding>(json!({
            "metadata": {"name": OWNER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OWNER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }))
        .await
    }

    fn begin(&self, pools: &str) -> Result<Child> {
        self.begin_waiting(pools, 0)
    }

    fn begin_waiting(&self, pools: &str, seconds: u32) -> Result<Child> {
        let file = self.folder.path().join("pools.yaml");
        std::fs::write(&file, pools)?;
        let child = Command::new(stack::find("fovea-operator")?)
            .arg("apply-pools")
            .arg(format!("--file={}", file.display()))
            .arg(format!("--owner-config-map={OWNER}"))
            .arg(format!("--namespace={SYSTEM_NAMESPACE}"))
            .arg(format!("--wait-seconds={seconds}"))
            .env("KUBECONFIG", &self.kubeconfig)
            // What the operator beside it is given says nothing here.
            .env("FOVEA_OPERATOR_RUNNER_IMAGE", "anything")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    async fn apply(&self, pools: &str) -> Result<Said> {
        end(self.begin(pools)?).await
    }

    async fn pools(&self) -> Result<Vec<RunnerPool>> {
        let api: Api<RunnerPool> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// Writes a status as the operator does, once the pool of this generation is there.
    async fn becomes(
        &self,
        name: &str,
        generation: i64,
        conditions: &[(&str, &str)],
    ) -> Result<()> {
        let now = Timestamp::now();
        self.is_since(now, name, generation, conditions).await
    }

    async fn is_since(
        &self,
        since: Timestamp,
        name: &str,
        generation: i64,
        conditions: &[(&str, &str)],
    ) -> Result<()> {
        let conditions = conditions.iter().map(|(kind, status)| {
            json!({
                "type": kind, "status": status, "reason": "Tested", "message": format!("{kind}, since"),
                "lastTransitionTime": Time(since),
            })
        });
        let status = json!({
            "observedGeneration": generation, "conditions": conditions.collect::<Vec<_>>(),
        });
        let api: Api<RunnerPool> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        eventually("the pool", PATIENCE, async || {
            let pool = api.get(name).await?;
            let found = pool.metadata.generation;
            ensure!(found == Some(generation), "generation {found:?}");
            Ok(())
        })
        .await?;
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn scale(&self, name: &str, replicas: u32) -> Result<()> {
        let scale = format!("scale runnerpool {name} --replicas={replicas} -n {SYSTEM_NAMESPACE}");
        self.control_plane.kubectl_line(&scale).await?;
        Ok(())
    }

    async fn replicas_after(&self, pools: &str) -> Result<u32> {
        let said = self.apply(pools).await?;
        ensure!(said.success, "{}", said.log);
        Ok(self.pools().await?[0].spec.replicas)
    }

    async fn names(&self) -> Result<Vec<String>> {
        let pools = self.pools().await?;
        Ok(pools.iter().map(ResourceExt::name_any).collect())
    }
}

async fn end(child: Child) -> Result<Said> {
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.context("it does not end")??;
    Ok(Said {
        success: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        log: String::from_utf8(output.stderr)?,
    })
}

fn pool(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: fovea.dev/v1alpha1\nkind: RunnerPool\nmetadata: {{name: {name}, labels: {{helm.sh/chart: fovea}}}}\nspec:\n  models: [{{name: m, task: image-to-text, source: {{object: {{prefix: x}}}}}}]\n  {spec}\n"
    )
}

#[tokio::test]
async fn a_release_s_pools_wait_for_the_crd_follow_the_file_and_belong_to_its_config_map()
-> Result<()> {
    let release = Release::start().await?;
    let early = release.begin(&(pool("a", "replicas: 2") + &pool("b", "")))?;
    install(&release.client).await?;
    let said = end(early).await?;
    ensure!(said.success, "{}", said.log);
    assert_eq!(said.out, "RunnerPool a applied\nRunnerPool b applied\n");
    let pools = release.pools().await?;
    assert_eq!(pools[0].spec.replicas, 2);
    let owner = &pools[0].owner_references()[0];
    assert_eq!((&*owner.kind, &*owner.name), ("ConfigMap", OWNER));
    assert_eq!(owner.controller, None);
    assert_eq!(pools[0].labels()["helm.sh/chart"], "fovea");
    let managers = pools[0].managed_fields().iter();
    let managers: Vec<_> = managers.map(|each| each.manager.as_deref()).collect();
    assert_eq!(managers, [Some("fovea-chart")]);

    // A pool of another owner is kept, although the file lacks it.
    let spec = pools[1].spec.clone();
    let own = RunnerPool::new("own", spec);
    release
        .create::<RunnerPool>(serde_json::to_value(own)?)
        .await?;
    let said = release.apply(&pool("a", "replicas: 3")).await?;
    ensure!(said.success, "{}", said.log);
    assert_eq!(said.out, "RunnerPool a applied\nRunnerPool b deleted\n");
    assert_eq!(release.names().await?, ["a", "own"]);
    assert_eq!(release.pools().await?[0].spec.replicas, 3);

    // An uninstalled release's ConfigMap takes them along.
    let config_maps: Api<ConfigMap> = Api::namespaced(release.client.clone(), SYSTEM_NAMESPACE);
    config_maps.delete(OWNER, &DeleteParams::default()).await?;
    eventually("the pools to go", PATIENCE, async || {
        let names = release.names().await?;
        ensure!(names == ["own"], "{names:?}");
        Ok(())
    })
    .await?;
    let said = release.apply(&pool("a", "")).await?;
    assert!(
        !said.success && said.log.contains("fovea-pools"),
        "{}",
        said.log
    );
    Ok(())
}

#[tokio::test]
async fn replicas_that_a_release_leaves_out_are_somebody_else_s() -> Result<()> {
    let release = Release::start().await?;
    install(&release.client).await?;
    assert_eq!(release.replicas_after(&pool("a", "")).await?, 1);
    release.scale("a", 4).await?;
    assert_eq!(release.replicas_after(&pool("a", "")).await?, 4);

    // What the release says is what counts, also against somebody else; and stays when it no longer says it.
    let two = pool("a", "replicas: 2");
    assert_eq!(release.replicas_after(&two).await?, 2);
    assert_eq!(release.replicas_after(&pool("a", "")).await?, 2);
    release.scale("a", 5).await?;
    assert_eq!(release.replicas_after(&pool("a", "")).await?, 5);

    // Beside autoscaling there may be none.
    let autoscaled = pool("a", "autoscaling: {min: 0, max: 2}");
    assert_eq!(release.replicas_after(&autoscaled).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_release_waits_for_its_pools_and_ends_at_one_that_is_stalled() -> Result<()> {
    let release = Release::start().await?;
    install(&release.client).await?;
    let both = pool("a", "") + &pool("b", "");
    let waiting = release.begin_waiting(&both, 60)?;
    let coming = [("Ready", "False"), ("Reconciling", "True")];
    release.becomes("a", 1, &coming).await?;
    // It was so before, and the release may have changed why.
    let stalled = [("Ready", "False"), ("Stalled", "True")];
    let before = Timestamp::UNIX_EPOCH;
    release.is_since(before, "b", 1, &stalled).await?;
    release.becomes("a", 1, &[("Ready", "True")]).await?;
    release.becomes("b", 1, &[("Ready", "True")]).await?;
    let said = end(waiting).await?;
    ensure!(said.success, "{}", said.log);
    for name in ["a", "b"] {
        let ready = format!("RunnerPool {name} Ready\n");
        assert!(said.out.contains(&ready), "{}", said.out);
    }

    // The status of the spec before says nothing of this one.
    let both = pool("a", "") + &pool("b", "device: cpu");
    let waiting = release.begin_waiting(&both, 60)?;
    release.becomes("b", 2, &stalled).await?;
    let said = end(waiting).await?;
    assert_eq!(said.code, Some(3), "{}", said.log);
    let why = "RunnerPool b is stalled: Stalled, since";
    assert!(said.log.contains(why), "{}", said.log);

    // It ends also where nobody says anything.
    let both = pool("a", "device: cuda") + &pool("b", "");
    let said = end(release.begin_waiting(&both, 1)?).await?;
    assert_eq!(said.code, Some(3), "{}", said.log);
    let why = "RunnerPool a is not Ready after 1 s: the operator has not observed";
    assert!(said.log.contains(why), "{}", said.log);
    Ok(())
}

#[tokio::test]
async fn a_pool_that_the_api_server_rejects_is_reported_at_once_and_nothing_is_deleted()
-> Result<()> {
    let release = Release::start().await?;
    install(&release.client).await?;
    let said = release.apply(&pool("old", "")).await?;
    ensure!(said.success, "{}", said.log);

    let both = "replicas: 2\n  autoscaling: {min: 0, max: 2}";
    let begun = Instant::now();
    let said = release
        .apply(&(pool("wrong", both) + &pool("right", "")))
        .await?;
    assert!(begun.elapsed() < Duration::from_secs(20), "{}", said.log);
    assert!(!said.success, "{}", said.log);
    assert_eq!(said.out, "RunnerPool right applied\n");
    let words = ["RunnerPool wrong: ", "autoscaling", "1 of 2 RunnerPools"];
    assert!(
        words.iter().all(|word| said.log.contains(word)),
        "{}",
        said.log
    );
    assert_eq!(release.names().await?, ["old", "right"]);

    let said = release.apply(&pool("odd", "replica: 2")).await?;
    assert!(begun.elapsed() < Duration::from_secs(20), "{}", said.log);
    assert!(
        !said.success && said.log.contains("replica"),
        "{}",
        said.log
    );
    let said = release.apply("kind: Pod").await?;
    assert!(
        !said.success && said.log.contains("document 1"),
        "{}",
        said.log
    );
    Ok(())
}
