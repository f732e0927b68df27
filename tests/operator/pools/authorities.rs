//! Certificate authorities of the store and the hub on their way to runners and imports.

use super::*;
use fovea_crds::{Phase, Task};
use fovea_tests::Options;
use fovea_tests::receiver::Authority;
use std::path::Path;

fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.map_or_else(String::new, |bytes| {
        String::from_utf8_lossy(&bytes.0).into_owned()
    })
}

#[tokio::test]
async fn the_authorities_of_store_and_hub_reach_the_pods_and_follow_their_files() -> Result<()> {
    let (of_the_hub, another) = (Authority::new()?, Authority::new()?);
    let operated = Operated::start(Options {
        private_store: true,
        flags: vec![format!("--hub-ca-file={}", of_the_hub.file().display())],
        ..Options::default()
    })
    .await?;
    let operated = &operated;
    let read = |path: &Path| std::fs::read_to_string(path);
    let path = operated.minio.ca_file().context("https")?;
    let (of_the_store, of_the_hub) = (read(path)?, read(&of_the_hub.file())?);

    let source = json!({"huggingFace": {"repo": "owner/private"}});
    let model = json!({"name": "m", "task": "image-to-text", "source": source});
    pool(&operated.client, "private", &json!({"models": [model]})).await?;
    let name = "private-runner";
    let is =
        |text: &str, pem: &str| text.replace(['\n', '\r'], "") == pem.replace(['\n', '\r'], "");
    let before = found::<Secret>(operated, name, |_| true).await?;
    assert!(
        is(&text(&before, "store-ca.crt"), &of_the_store),
        "{before:?}"
    );
    let deployment = found::<Deployment>(operated, name, |_| true).await?;
    let pod = serde_json::to_string(&deployment.spec)?;
    assert!(
        pod.contains("--s3-ca-file=/etc/fovea/runner/store-ca.crt"),
        "{pod}"
    );

    let jobs = eventually("the import", PATIENCE, async || {
        let jobs = api::<Job>(&operated.client)
            .list(&ListParams::default())
            .await?;
        ensure!(jobs.items.len() == 1, "{jobs:?}");
        Ok(jobs)
    })
    .await?;
    let job = &jobs.items[0];
    let import = found::<Secret>(operated, &job.name_any(), |_| true).await?;
    assert!(
        is(&text(&import, "store-ca.crt"), &of_the_store),
        "{import:?}"
    );
    assert!(is(&text(&import, "hub-ca.crt"), &of_the_hub), "{import:?}");

    // A rotation: both for a while. Neither the runners nor their own certificate change.
    std::fs::write(path, format!("{of_the_store}{}", read(&another.file())?))?;
    let both = |secret: &Secret| text(secret, "store-ca.crt").matches("BEGIN").count() == 2;
    let after = found::<Secret>(operated, name, both).await?;
    for key in ["tls.crt", "tls.key", "ca.crt", "token", "tokens"] {
        assert_eq!(text(&after, key), text(&before, key), "{key}");
    }
    let same = found::<Deployment>(operated, name, |_| true).await?;
    assert_eq!(same.metadata.generation, deployment.metadata.generation);

    std::fs::write(path, "half a certi")?;
    eventually("the pool to say so", PATIENCE, async || {
        let pool = operated.pools.get("private").await?;
        let status = serde_json::to_string(&pool.status)?;
        ensure!(status.contains("AuthoritiesUnusable"), "{status}");
        ensure!(status.contains("--s3-ca-file"), "{status}");
        Ok(())
    })
    .await?;
    assert!(both(&found::<Secret>(operated, name, |_| true).await?));
    // The store is trusted as before.
    let mut job = Operated::job("after", "labels 3000");
    job.spec.task = Task::ImageClassification;
    operated.create(&job).await?;
    let status = operated.ended("after").await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    operated.audit.check();
    Ok(())
}
