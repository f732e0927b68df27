//! Retries of what a manifest and an uploaded archive hold.

use super::super::harness::{Service, put, send, stored};
use super::super::pictures::jpeg;
use super::results::{failure, lines};
use super::uploads::{members, tar_of};
use fovea_crds::Input;
use kube::ResourceExt as _;
use serde_json::{Value, json};

impl Service {
    /// Ends a batch whose parts have these rows, and retries it; returns the new batch's input.
    async fn retried(&self, id: &str, parts: &[(&str, Vec<Value>)]) -> anyhow::Result<Input> {
        let uid = self.jobs.get(id).await?.uid().unwrap_or_default();
        for (part, rows) in parts {
            put(&format!("system/{uid}/parts/{part}.jsonl"), lines(rows)).await?;
        }
        self.write_status(id, json!({"phase": "Succeeded"})).await?;
        let again = send(self.post_to(id, "/retry")).await?.id()?;
        Ok(self.jobs.get(&again).await?.spec.input)
    }
}

#[tokio::test]
async fn a_retry_keeps_the_ids_and_parameters_of_a_manifest() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.upload_batch("{\"key\":\"a.jpg\"}\n"))
        .await?
        .id()?;
    let uid = api.jobs.get(&id).await?.uid().unwrap_or_default();
    let plan = json!({"id": "p1", "of": "pictures", "shards": [{"items": 3, "bytes": 0}, {"items": 1, "bytes": 0}], "skipped": 0});
    let item = |n: u32| json!({"key": format!("cats/{n}.jpg"), "id": n.to_string(), "parameters": {"numBeams": n}});
    let second = json!({"key": "cats/2.jpg", "id": "2"});
    for (name, content) in [
        ("plan.json", plan.to_string().into_bytes()),
        ("plan/p1/000000.jsonl", lines(&[item(1), second, item(3)])),
        ("plan/p1/000001.jsonl", lines(&[item(4)])),
    ] {
        put(&format!("system/{uid}/{name}"), content).await?;
    }
    let fine = json!({"id": "1", "key": "cats/1.jpg", "caption": "a cat"});
    let parts = [
        ("000000.0-2", vec![fine, failure(2)]),
        ("000000.2-3.end", vec![failure(3)]),
        ("000001.0-1.end", vec![failure(4)]),
    ];
    let Input::Manifest { key } = api.retried(&id, &parts).await? else {
        anyhow::bail!("no manifest");
    };
    let (manifest, _) = stored(&format!("data/{}/{key}", api.namespace.name())).await?;
    let expected = lines(&[json!({"key": "cats/2.jpg", "id": "2"}), item(3), item(4)]);
    assert_eq!(String::from_utf8(manifest)?, String::from_utf8(expected)?);
    Ok(())
}

#[tokio::test]
async fn a_retry_of_an_upload_has_the_failed_pictures_and_what_belongs_to_them()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let all = [
        ("1.json", b"{}".to_vec()),
        ("1.jpg", jpeg(1)),
        ("2.cls", b"7".to_vec()),
        ("2.jpg", jpeg(2)),
        ("2.b.jpg", jpeg(3)),
    ];
    let upload = || api.upload_batch(tar_of(&all).unwrap_or_default());
    let id = send(upload()).await?.id()?;
    let Input::Archives { prefix } = api.jobs.get(&id).await?.spec.input else {
        anyhow::bail!("no archives");
    };
    let row = |name: &str, failed: bool| {
        let mut row = json!({"id": name, "key": format!("{prefix}/pictures.tar/{name}")});
        if failed {
            row["error"] = json!({"reason": "InferenceFailed", "message": "no"});
        }
        row
    };
    let rows = vec![
        row("1.jpg", false),
        row("2.jpg", true),
        row("2.b.jpg", false),
    ];
    api.retried(&id, &[("000000.0-3.end", rows)]).await?;
    let again = send(api.post_to(&id, "/retry")).await?.id()?;
    let expected = [&all[2], &all[3]].map(|(name, content)| ((*name).to_owned(), content.clone()));
    assert_eq!(members(&api, &again).await?, expected);

    // Nothing has failed but the archive itself.
    let id = send(upload()).await?.id()?;
    let Input::Archives { prefix } = api.jobs.get(&id).await?.spec.input else {
        anyhow::bail!("no archives");
    };
    let error = json!({"reason": "ArchiveTruncated", "message": "no"});
    let whole = json!({"id": "x", "key": format!("{prefix}/pictures.tar"), "error": error});
    let uid = api.jobs.get(&id).await?.uid().unwrap_or_default();
    let part = format!("system/{uid}/parts/000000.0-1.end.jsonl");
    put(&part, lines(&[whole])).await?;
    api.write_status(&id, json!({"phase": "Failed"})).await?;
    let answer = send(api.post_to(&id, "/retry")).await?;
    assert_eq!((answer.status, answer.problem()), (422, "cannot-retry"));
    Ok(())
}
