//! Models of the hub.

use super::*;

async fn imports_of(client: &Client, repo: &str) -> Result<Vec<Job>> {
    let params = ListParams::default().labels("app.kubernetes.io/name=fovea-import");
    let jobs = api::<Job>(client).list(&params).await?.items;
    let is_of_it = |job: &Job| {
        let pod = job
            .spec
            .as_ref()
            .and_then(|spec| spec.template.spec.as_ref());
        let arguments = pod.and_then(|pod| pod.containers[0].args.as_ref());
        arguments.is_some_and(|arguments| arguments.iter().any(|each| each == repo))
    };
    Ok(jobs.into_iter().filter(is_of_it).collect())
}

#[test]
fn a_model_of_the_hub_is_imported_by_one_job_whose_failure_is_reported() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        let source = json!({"huggingFace": {"repo": "owner/model", "revision": "v1"}});
        let model = json!({"name": "hub", "task": "image-to-text", "source": source});
        for name in ["importing", "importing-too"] {
            pool(client, name, &json!({"models": [model]})).await?;
        }
        let job = eventually("one Job with its form", PATIENCE, || async {
            let jobs = imports_of(client, "owner/model").await?;
            let (count, log) = (jobs.len(), operated.operator.log_tail());
            ensure!(count == 1, "{count} jobs\n{log}");
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
        assert_eq!(imports_of(client, "owner/model").await?.len(), 1);
        let ended = |code: i32, message: &str| {
            json!({"name": "import", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z"}}})
        };
        let log =
            "ERROR the hub knows no revision v1 of owner/model; check the name and --revision";
        report(
            client,
            &pod.name_any(),
            json!({"phase": "Failed", "containerStatuses": [ended(1, log)]}),
        )
        .await?;
        logged(operated, &["ImportFailed", "the hub knows no revision v1"]).await?;

        // The next one of the Job's pods succeeds.
        let next = eventually("another pod of the import", PATIENCE, || async {
            let pods = api::<Pod>(client).list(&params).await?.items;
            pods.into_iter()
                .find(|each| each.name_any() != pod.name_any())
                .context("no other pod")
        })
        .await?;
        let folder = ModelFolder::new(&format!("owner/model/{COMMIT}"))?;
        let key = ObjectKey::in_folder(&folder, "fovea-manifest.json")?;
        let manifest = json!({"repo": "owner/model", "commit": COMMIT,
            "files": [{"path": "config.json", "bytes": 2, "sha256": "a".repeat(64)}]});
        let (store, manifest) = (store(&operated.minio).await?, manifest.to_string());
        store.put(&key, manifest.into(), "application/json").await?;
        report(
            client,
            &next.name_any(),
            json!({"phase": "Succeeded", "containerStatuses": [ended(0, COMMIT)]}),
        )
        .await?;
        logged(operated, &["weights found", "importing-too", COMMIT]).await
    })
}

/// The import by a Secret's token, which is another than `before`, with all that it owns.
async fn import_by(operated: &Operated, token: &Secret, before: Option<&Job>) -> Result<Job> {
    let version = token.resource_version();
    let found = eventually("the import by the token", PATIENCE, async || {
        let jobs = imports_of(&operated.client, "owner/gated").await?;
        let by_it = |job: &Job| job.annotations().get("fovea.dev/token-version").cloned();
        let job = jobs.into_iter().find(|job| by_it(job) == version);
        let job = job.with_context(|| operated.operator.log_tail())?;
        ensure!(
            before.is_none_or(|before| before.uid() != job.uid()),
            "the same"
        );
        let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
        let secret = api::<Secret>(&operated.client).get(&name).await?;
        let policy = api::<NetworkPolicy>(&operated.client).get(&name).await?;
        for owners in [secret.owner_references(), policy.owner_references()] {
            ensure!(owners[0].uid == uid, "{owners:?}");
        }
        Ok(job)
    });
    Ok(found.await?)
}

#[test]
fn a_failed_import_begins_anew_as_soon_as_its_secret_is_there_or_changes() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        let secret = json!({"name": "hub-token"});
        let source = json!({"huggingFace": {"repo": "owner/gated", "tokenSecretRef": secret}});
        let model = json!({"name": "gated", "task": "image-to-text", "source": source});
        pool(client, "gated", &json!({"models": [model]})).await?;
        logged(
            operated,
            &["ImportFailed", "there is no Secret", "hub-token"],
        )
        .await?;
        let secret = json!({"metadata": secret, "stringData": {"token": "wrong"}});
        let secrets = api::<Secret>(client);
        let wrong = secrets
            .create(&PostParams::default(), &serde_json::from_value(secret)?)
            .await?;
        let failed = import_by(operated, &wrong, None).await?;

        // No pod of it runs here: it fails by its time.
        let patch = Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}));
        let params = PatchParams::default();
        let name = failed.name_any();
        api::<Job>(client).patch(&name, &params, &patch).await?;
        logged(
            operated,
            &["ImportFailed", "owner/gated", "tried again after"],
        )
        .await?;
        let patch = Patch::Merge(json!({"stringData": {"token": "right"}}));
        let right = secrets.patch("hub-token", &params, &patch).await?;
        import_by(operated, &right, Some(&failed)).await?;
        Ok(())
    })
}
