//! Pools with pods on a real control plane, without a node: the test is kubelet and scheduler.

use anyhow::{Context as _, Result, anyhow, ensure};
use fovea_crds::RunnerPool;
use fovea_dev::{eventually, stack};
use fovea_store::{ModelFolder, ObjectKey, Store, StoreConfig};
use fovea_tests::Operated;
use fovea_tests::operated::{BUCKET, PATIENCE};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const NAMESPACE: &str = stack::SYSTEM_NAMESPACE;
const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";

fn api<K>(client: &Client) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), NAMESPACE)
}

/// A pool of one model that lies in the bucket.
async fn pool(client: &Client, name: &str, more: &Value) -> Result<RunnerPool> {
    let source = json!({"object": {"prefix": "demo/resnet"}});
    let model = json!({"name": "m", "task": "image-classification", "source": source});
    let mut spec = json!({"models": [model], "device": "cpu"});
    let fields = more.as_object().context("an object")?.clone();
    spec.as_object_mut().context("an object")?.extend(fields);
    let pool = json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
        "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("test").force();
    Ok(api::<RunnerPool>(client)
        .patch(name, &params, &Patch::Apply(pool))
        .await?)
}

/// Waits until an object is there and as wanted.
async fn found<K>(operated: &Operated, name: &str, wanted: impl Fn(&K) -> bool) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug,
{
    let api = api::<K>(&operated.client);
    let what = format!("{} {name}", K::kind(&()));
    let found = eventually(&what, PATIENCE, || async {
        let object = api.get(name).await?;
        let log = operated.operator.log_tail();
        ensure!(wanted(&object), "{object:?}\n{log}");
        Ok(object)
    });
    Ok(found.await?)
}

/// Waits until a pool has so many pods.
async fn pods(operated: &Operated, pool: &str, count: usize) -> Result<Vec<Pod>> {
    let params = ListParams::default().labels(&format!("fovea.dev/pool={pool}"));
    let what = format!("{count} pods of {pool}");
    let found = eventually(&what, PATIENCE, || async {
        let list = api::<Pod>(&operated.client).list(&params).await?;
        let there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let pods: Vec<Pod> = list.items.into_iter().filter(there).collect();
        let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
        ensure!(
            pods.len() == count,
            "{names:?}\n{}",
            operated.operator.log_tail()
        );
        Ok(pods)
    });
    Ok(found.await?)
}

/// What a kubelet would say of a pod.
async fn say(client: &Client, pod: &str, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    api::<Pod>(client)
        .patch_status(pod, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.replicas
}

fn image(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers[0].image.as_deref()
}

async fn bucket(operated: &Operated) -> Result<Store> {
    let config = StoreConfig::at(operated.minio.endpoint().parse()?, BUCKET);
    let minio = &operated.minio;
    Ok(Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?)
}

/// Waits until the operator's log tells something.
async fn told(operated: &Operated, words: &[&str]) -> Result<()> {
    eventually("the log", PATIENCE, || async {
        let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
        let line = log
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        line.map(|_| ())
            .ok_or_else(|| anyhow!("{words:?} is not in\n{}", operated.operator.log_tail()))
    })
    .await?;
    Ok(())
}

#[test]
fn a_pool_s_objects_are_made_are_put_back_where_changed_and_go_with_it() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        // What no pod of ours may lack: else the API server would refuse it.
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let labels =
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        namespaces
            .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(labels))
            .await?;
        let made = pool(client, "whole", &json!({"replicas": 2})).await?;
        let uid = made.uid().context("a uid")?;
        let name = "whole-runner";
        let deployment = found::<Deployment>(operated, name, |_| true).await?;
        let secret = found::<Secret>(operated, name, |_| true).await?;
        found::<Service>(operated, name, |_| true).await?;
        found::<NetworkPolicy>(operated, name, |_| true).await?;
        found::<PodDisruptionBudget>(operated, name, |_| true).await?;
        assert_eq!(deployment.owner_references()[0].uid, uid);
        assert_eq!(secret.type_.as_deref(), Some("fovea.dev/runner-token"));
        let keys: Vec<_> = secret
            .data
            .iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(
            keys,
            ["ca.crt", "hosts", "tls.crt", "tls.key", "token", "tokens"]
        );
        pods(operated, "whole", 2).await?;

        let params = PatchParams::default();
        let edit = json!({"spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "runner", "image": "evil"}]}}}});
        api::<Deployment>(client)
            .patch(name, &params, &Patch::Strategic(edit))
            .await?;
        found::<Deployment>(operated, name, |each| {
            replicas(each) == Some(2)
                && image(each).is_some_and(|image| image.starts_with("fovea-runner:"))
        })
        .await?;
        api::<NetworkPolicy>(client)
            .delete(name, &DeleteParams::default())
            .await?;
        found::<NetworkPolicy>(operated, name, |_| true).await?;
        let edit = json!({"spec": {"egress": [{}]}});
        api::<NetworkPolicy>(client)
            .patch(name, &params, &Patch::Merge(edit))
            .await?;
        let closed = |policy: &NetworkPolicy| {
            let egress = policy.spec.as_ref().and_then(|spec| spec.egress.as_ref());
            egress.is_some_and(|rules| rules.iter().all(|rule| rule.to.is_some()))
        };
        found::<NetworkPolicy>(operated, name, closed).await?;

        // `kubectl scale`, and what an HPA does.
        let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
        api::<RunnerPool>(client)
            .patch_scale("whole", &params, &scale)
            .await?;
        pods(operated, "whole", 3).await?;

        api::<RunnerPool>(client)
            .delete("whole", &DeleteParams::default())
            .await?;
        eventually("the pool's objects to go", PATIENCE, || async {
            ensure!(
                api::<Deployment>(client).get_opt(name).await?.is_none(),
                "the Deployment"
            );
            ensure!(
                api::<Secret>(client).get_opt(name).await?.is_none(),
                "the Secret"
            );
            ensure!(
                api::<Service>(client).get_opt(name).await?.is_none(),
                "the Service"
            );
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    })
}

#[test]
fn a_pool_that_stands_still_costs_no_write() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "still", &json!({})).await?;
        let pod = pods(operated, "still", 1).await?.remove(0).name_any();
        let name = "still-runner";
        let generation = async || -> Result<_> {
            let deployment = api::<Deployment>(client).get(name).await?;
            let secret = api::<Secret>(client).get(name).await?;
            Ok((deployment.metadata.generation, secret.resource_version()))
        };
        let count = async || -> Result<usize> {
            let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
            Ok(log
                .lines()
                .filter(|line| line.contains("applied") && line.contains(name))
                .count())
        };
        let (before, writes) = (generation().await?, count().await?);
        // Each of these makes the operator look at the pool.
        say(
            client,
            &pod,
            json!({"phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
        )
        .await?;
        let waiting = json!({"name": "runner", "image": "nowhere/runner:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}});
        say(
            client,
            &pod,
            json!({"phase": "Pending", "containerStatuses": [waiting]}),
        )
        .await?;
        told(operated, &["ImagePullBackOff", &pod, "nowhere/runner:1"]).await?;
        assert_eq!(generation().await?, before);
        assert_eq!(count().await?, writes);
        Ok(())
    })
}

#[test]
fn a_change_of_the_template_rolls_and_swaps_where_no_node_has_room_for_one_more() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "rolling", &json!({})).await?;
        let name = "rolling-runner";
        let first = pods(operated, "rolling", 1).await?.remove(0).name_any();
        ready(client, &first).await?;
        pool(
            client,
            "rolling",
            &json!({"template": {"env": [{"name": "RUST_LOG", "value": "debug"}]}}),
        )
        .await?;
        let both = pods(operated, "rolling", 2).await?;
        let second = both
            .into_iter()
            .find(|pod| pod.name_any() != first)
            .context("a second")?;
        let long_ago = "2026-01-01T00:00:00Z";
        say(client, &second.name_any(), json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": long_ago}]}))
        .await?;
        let surge = |each: &Deployment| {
            let json = serde_json::to_value(each).unwrap_or_default();
            json["spec"]["strategy"]["rollingUpdate"]["maxSurge"].clone()
        };
        found::<Deployment>(operated, name, |each| surge(each) == json!(0)).await?;
        // No node has the old one, so that it goes at once.
        let alone = pods(operated, "rolling", 1).await?.remove(0).name_any();
        assert_eq!(alone, second.name_any());
        ready(client, &alone).await?;
        found::<Deployment>(operated, name, |each| surge(each) == json!(1)).await?;
        Ok(())
    })
}

#[test]
fn who_goes_when_there_are_to_be_fewer_is_marked_first() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "shrinking", &json!({"replicas": 3})).await?;
        for pod in pods(operated, "shrinking", 3).await? {
            ready(client, &pod.name_any()).await?;
        }
        let params = PatchParams::default();
        let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
        api::<RunnerPool>(client)
            .patch_scale("shrinking", &params, &scale)
            .await?;
        let cost = "controller.kubernetes.io/pod-deletion-cost";
        let labels = ListParams::default().labels("fovea.dev/pool=shrinking");
        let stays = eventually("two marked pods", PATIENCE, || async {
            let pods = api::<Pod>(client).list(&labels).await?.items;
            let is_marked = |pod: &&Pod| pod.annotations().contains_key(cost);
            let (marked, others): (Vec<_>, Vec<_>) = pods.iter().partition(is_marked);
            ensure!(pods.len() == 3 && marked.len() == 2, "{pods:?}");
            Ok(others[0].name_any())
        })
        .await?;
        let left = pods(operated, "shrinking", 1).await?.remove(0);
        assert_eq!(left.name_any(), stays);
        Ok(())
    })
}

#[test]
fn a_pool_that_becomes_external_has_no_pods_any_more() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "leaving", &json!({})).await?;
        let name = "leaving-runner";
        found::<Deployment>(operated, name, |_| true).await?;
        found::<PodDisruptionBudget>(operated, name, |_| true).await?;
        pool(
            client,
            "leaving",
            &json!({"external": {"endpoints": ["http://127.0.0.1:9"]}}),
        )
        .await?;
        eventually("its objects to go", PATIENCE, || async {
            let log = operated.operator.log_tail();
            ensure!(
                api::<Deployment>(client).get_opt(name).await?.is_none(),
                "{log}"
            );
            ensure!(
                api::<Service>(client).get_opt(name).await?.is_none(),
                "{log}"
            );
            ensure!(
                api::<Secret>(client).get_opt(name).await?.is_none(),
                "{log}"
            );
            ensure!(
                api::<NetworkPolicy>(client).get_opt(name).await?.is_none(),
                "{log}"
            );
            ensure!(
                api::<PodDisruptionBudget>(client)
                    .get_opt(name)
                    .await?
                    .is_none(),
                "{log}"
            );
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        pods(operated, "leaving", 0).await?;
        Ok(())
    })
}

#[test]
fn an_object_of_somebody_else_is_left_alone_and_the_pool_says_so() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        let foreign =
            json!({"metadata": {"name": "taken-runner"}, "spec": {"ports": [{"port": 1}]}});
        let services = api::<Service>(client);
        let made = services
            .create(&PostParams::default(), &serde_json::from_value(foreign)?)
            .await?;
        pool(client, "taken", &json!({})).await?;
        told(operated, &["NameTaken", "Service taken-runner"]).await?;
        let kept = services.get("taken-runner").await?;
        assert_eq!(kept.resource_version(), made.resource_version());
        services
            .delete("taken-runner", &DeleteParams::default())
            .await?;
        found::<Service>(operated, "taken-runner", |service| {
            !service.owner_references().is_empty()
        })
        .await?;
        Ok(())
    })
}

/// A node has taken the pod, and its runner serves.
async fn ready(client: &Client, pod: &str) -> Result<()> {
    let time = "2026-01-01T00:00:00Z";
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    let container = json!({"name": "runner", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": time}}});
    let conditions = ["PodScheduled", "ContainersReady", "Ready"].map(condition);
    let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions, "containerStatuses": [container]});
    say(client, pod, status).await
}

#[test]
fn a_model_of_the_hub_is_imported_by_one_job_whose_failure_is_told() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        let source = json!({"huggingFace": {"repo": "owner/model", "revision": "v1"}});
        let model = json!({"name": "hub", "task": "image-to-text", "source": source});
        for name in ["importing", "importing-too"] {
            pool(client, name, &json!({"models": [model]})).await?;
        }
        let params = ListParams::default().labels("app.kubernetes.io/name=fovea-import");
        let job = eventually("one Job with its form", PATIENCE, || async {
            let jobs: Vec<Job> = api(client).list(&params).await?.items;
            ensure!(
                jobs.len() == 1,
                "{} jobs\n{}",
                jobs.len(),
                operated.operator.log_tail()
            );
            let secret = api::<Secret>(client).get(&jobs[0].name_any()).await?;
            ensure!(
                secret.owner_references()[0].uid == jobs[0].uid().unwrap_or_default(),
                "{secret:?}"
            );
            api::<NetworkPolicy>(client)
                .get(&jobs[0].name_any())
                .await?;
            Ok(jobs[0].clone())
        })
        .await?;
        pods(operated, "importing", 1).await?;
        pods(operated, "importing-too", 1).await?;
        let params = ListParams::default().labels(&format!("fovea.dev/import={}", job.name_any()));
        let pod = eventually("the import's pod", PATIENCE, || async {
            let pods = api::<Pod>(client).list(&params).await?.items;
            pods.into_iter().next().context("no pod")
        })
        .await?;
        assert_eq!(
            api::<Job>(client)
                .list(&ListParams::default().labels("app.kubernetes.io/name=fovea-import"))
                .await?
                .items
                .len(),
            1
        );
        let ended = |code: i32, message: &str| {
            json!({"name": "import", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z"}}})
        };
        let log =
            "ERROR the hub knows no revision v1 of owner/model; check the name and --revision";
        say(
            client,
            &pod.name_any(),
            json!({"phase": "Failed", "containerStatuses": [ended(1, log)]}),
        )
        .await?;
        told(operated, &["ImportFailed", "the hub knows no revision v1"]).await?;

        // The next one of the Job's pods succeeds.
        let next = eventually("another pod of the import", PATIENCE, || async {
            let pods = api::<Pod>(client).list(&params).await?.items;
            pods.into_iter()
                .find(|each| each.name_any() != pod.name_any())
                .context("no other pod")
        })
        .await?;
        let key = ObjectKey::in_folder(
            &ModelFolder::new(&format!("owner/model/{COMMIT}"))?,
            "fovea-manifest.json",
        )?;
        let manifest = json!({"repo": "owner/model", "commit": COMMIT,
            "files": [{"path": "config.json", "bytes": 2, "sha256": "a".repeat(64)}]});
        bucket(operated)
            .await?
            .put(&key, manifest.to_string().into(), "application/json")
            .await?;
        say(
            client,
            &next.name_any(),
            json!({"phase": "Succeeded", "containerStatuses": [ended(0, COMMIT)]}),
        )
        .await?;
        told(operated, &["weights found", "importing-too", COMMIT]).await
    })
}
