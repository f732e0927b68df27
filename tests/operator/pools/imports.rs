//! Models of the hub.

use super::*;

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
