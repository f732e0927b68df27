//! Whose the bucket is, and whose a folder below `data/`.

use crate::sweeping::{Bucket, NOBODY};
use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Phase, Task};
use fovea_harness::{ControlPlane, ControlPlaneOptions, Minio, eventually, stack};
use fovea_store::{ObjectKey, Store, StoreConfig};
use fovea_tests::operated::{
    BUCKET, JOBS, PATIENCE, create_namespace, install, recreate_namespace,
};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

async fn store(minio: &Minio) -> Result<Store> {
    let config = StoreConfig::at(minio.endpoint().parse()?, BUCKET);
    Ok(Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?)
}

/// Runs a job on the object `cat.jpg` of the namespace's folder.
async fn end(jobs: &Api<InferenceJob>, name: &str) -> Result<InferenceJobStatus> {
    let key = "cat.jpg".to_owned();
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key });
    let job = InferenceJob::new(name, spec);
    jobs.create(&PostParams::default(), &job).await?;
    let what = format!("{name} to end");
    let ended = eventually(&what, PATIENCE, async || {
        let status = jobs.get(name).await?.status.unwrap_or_default();
        ensure!(status.phase.is_terminal(), "{status:?}");
        Ok(status)
    });
    Ok(ended.await?)
}

#[test]
fn a_namespace_does_not_inherit_the_folder_of_its_predecessor() -> Result<()> {
    Operated::shared(async |operated| {
        let namespace = "inherits-nothing";
        create_namespace(&operated.client, namespace).await?;
        let jobs: Api<InferenceJob> = Api::namespaced(operated.client.clone(), namespace);
        let store = store(&operated.minio).await?;
        let marker = ObjectKey::folder_owner(namespace)?;
        let picture = ObjectKey::data(namespace, "cat.jpg")?;
        store.put(&picture, "x".into(), "image/jpeg").await?;

        let first = end(&jobs, "first").await?;
        assert_eq!(first.phase, Phase::Succeeded, "{first:?}");
        let namespaces: Api<Namespace> = Api::all(operated.client.clone());
        let before = namespaces.get(namespace).await?.uid().unwrap();
        assert_eq!(store.get(&marker, 100).await?, format!("{before}\n"));
        let events: Api<Event> = Api::namespaced(operated.client.clone(), namespace);
        eventually("an Event about the folder", PATIENCE, async || {
            let events = events.list(&ListParams::default()).await?;
            let adopted = |event: &&Event| event.reason.as_deref() == Some("FolderAdopted");
            ensure!(events.iter().filter(adopted).count() == 1, "{events:?}");
            Ok(())
        })
        .await?;

        let after = recreate_namespace(&operated.client, namespace).await?;
        let heir = end(&jobs, "heir").await?;
        assert_eq!(heir.phase, Phase::Failed, "{heir:?}");
        let failure = heir.failure.unwrap();
        assert_eq!(failure.reason, "FolderNotOwned");
        for part in [before.as_str(), &after, "delete that object"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        let uid = jobs.get("heir").await?.uid().unwrap();
        assert!(operated.runner.attempts_of(&uid).is_empty());

        // It is handed over.
        store.delete(&marker).await?;
        let owner = end(&jobs, "owner").await?;
        assert_eq!(owner.phase, Phase::Succeeded, "{owner:?}");
        assert_eq!(store.get(&marker, 100).await?, format!("{after}\n"));
        Ok(())
    })
}

#[tokio::test]
async fn two_installations_do_not_share_a_bucket() -> Result<()> {
    let sweeps = ["--sweep-every-seconds=1", "--sweep-grace-seconds=1800"];
    let first = Operated::start(Options::flags(sweeps));
    let second = ControlPlane::start(ControlPlaneOptions::default());
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first?, second?);
    let client = second.client().await?;
    install(&client).await?;
    create_namespace(&client, stack::SYSTEM_NAMESPACE).await?;
    let marker = ObjectKey::installation();
    let store = store(&first.minio).await?;
    eventually("the bucket to have an owner", PATIENCE, async || {
        store.get(&marker, 1000).await
    })
    .await?;

    // The second one does not start.
    let kubeconfig = second.kubeconfig().to_owned();
    let refused = first
        .another_operator(&Options::flags(sweeps), Some(kubeconfig))
        .await?;
    assert!(!refused.wait(PATIENCE).await?.success());
    let log = refused.log_tail();
    for part in ["fovea-system/fovea-operator", "delete that object"] {
        assert!(log.contains(part), "{log}");
    }

    // A leader whose bucket is another's by now deletes nothing.
    let bucket = Bucket::of(&first.minio).await?;
    let foreign = json!({"uids": ["another cluster"], "name": "there/fovea-operator"});
    store
        .put(&marker, foreign.to_string().into(), "application/json")
        .await?;
    let failed = async || {
        let text = reqwest::get(format!("{}/metrics", first.health_url)).await?;
        let text = text.text().await?;
        let line = "fovea_operator_sweeps_total{outcome=\"failed\"} ";
        let count = text.lines().find_map(|read| read.strip_prefix(line));
        anyhow::Ok(count.map_or(Ok(0), str::parse::<u64>)?)
    };
    let fails = async |times: u64| {
        let before = failed().await?;
        let more = eventually("sweeps to be refused", PATIENCE, async || {
            ensure!(failed().await? >= before + times, "not yet");
            Ok(())
        });
        anyhow::Ok(more.await?)
    };
    // One may have been under way.
    fails(1).await?;
    let key = ObjectKey::result(JOBS, NOBODY)?;
    bucket.put_old(&key).await?;
    fails(2).await?;
    assert!(bucket.has(&key).await?);
    assert!(first.operator.log_tail().contains("there/fovea-operator"));
    // It is taken back.
    store.delete(&marker).await?;
    bucket.loses(&key).await
}
