//! The rows of batches, from parts that the test writes as runners do.

use super::super::harness::{Service, Surroundings, own_minio, put, send};
use super::super::pictures::jpeg;
use fovea_crds::Input;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Submits a batch for a task, and returns its id and the prefix of its parts.
async fn batch(api: &Service, task: &str) -> anyhow::Result<(String, String)> {
    let body = json!({"task": task, "input": {"prefix": {"prefix": "cats"}}});
    let id = send(api.submit_batch(&body)).await?.id()?;
    let uid = api.jobs.get(&id).await?.uid().unwrap_or_default();
    Ok((id, format!("system/{uid}/parts")))
}

fn caption(id: u32) -> Value {
    json!({"id": id.to_string(), "key": format!("cats/{id}.jpg"), "caption": format!("cat {id}"), "sha256": "aa",
        "width": 4, "height": 3, "model": {"name": "blip", "revision": "r1"}})
}

pub(super) fn failure(id: u32) -> Value {
    json!({"id": id.to_string(), "key": format!("cats/{id}.jpg"), "error": {"reason": "InvalidPicture", "message": "no, \"not\" one"}})
}

pub(super) fn lines(rows: &[Value]) -> Vec<u8> {
    let mut lines = rows
        .iter()
        .map(Value::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    lines.push('\n');
    lines.into_bytes()
}

/// A text answer, and the header that says whether it is complete.
async fn rows(api: &Service, id: &str, query: &str) -> anyhow::Result<(String, String)> {
    let url = format!("{}/v1/batches/{id}/results{query}", api.base);
    let answer = api.http.get(url).send().await?;
    anyhow::ensure!(answer.status() == 200, "{answer:?}");
    let disposition = answer.headers()["content-disposition"].to_str()?.to_owned();
    anyhow::ensure!(disposition.starts_with(&format!("attachment; filename=\"{id}.")));
    let complete = answer.headers()["fovea-complete"].to_str()?.to_owned();
    Ok((answer.text().await?, complete))
}

fn ids(text: &str) -> Vec<String> {
    let id = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap_or_default();
        row["id"].as_str().unwrap_or_default().to_owned()
    };
    text.lines().map(id).collect()
}

#[tokio::test]
async fn the_rows_of_all_parts_come_in_order_and_none_twice() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let (id, parts) = batch(&api, "image-to-text").await?;
    assert_eq!(rows(&api, &id, "").await?, (String::new(), "false".into()));
    // Two that overlap: the longer one of 0 counts, and 2-4 does not.
    put(
        &format!("{parts}/000001.0-1.end.jsonl"),
        lines(&[caption(5)]),
    )
    .await?;
    put(
        &format!("{parts}/000000.0-2.jsonl"),
        lines(&[caption(1), caption(2)]),
    )
    .await?;
    put(
        &format!("{parts}/000000.2-4.end.jsonl"),
        lines(&[caption(3), caption(4)]),
    )
    .await?;
    let three = [caption(1), failure(2), caption(3)];
    put(&format!("{parts}/000000.0-3.jsonl"), lines(&three)).await?;
    // Without its last line feed.
    let mut last = lines(&[failure(4)]);
    last.pop();
    put(&format!("{parts}/000000.3-4.end.jsonl"), last).await?;
    let all = [caption(1), failure(2), caption(3), failure(4), caption(5)];
    let whole = String::from_utf8(lines(&all))?;
    assert_eq!(rows(&api, &id, "").await?, (whole.clone(), "false".into()));

    api.write_status(
        &id,
        json!({"phase": "Succeeded", "counts": {"total": 5, "succeeded": 3, "failed": 2}}),
    )
    .await?;
    assert_eq!(
        rows(&api, &id, "?format=jsonl").await?,
        (whole, "true".into())
    );
    let (failed, _) = rows(&api, &id, "?only=failed").await?;
    assert_eq!(ids(&failed), ["2", "4"]);
    let (succeeded, _) = rows(&api, &id, "?only=succeeded").await?;
    assert_eq!(ids(&succeeded), ["1", "3", "5"]);
    let (csv, _) = rows(&api, &id, "?format=csv&only=failed").await?;
    assert_eq!(
        csv,
        "id,key,caption,sha256,width,height,model,revision,error_reason,error_message,meta\n\
         2,cats/2.jpg,,,,,,,InvalidPicture,\"no, \"\"not\"\" one\",\n\
         4,cats/4.jpg,,,,,,,InvalidPicture,\"no, \"\"not\"\" one\",\n"
    );
    let (csv, _) = rows(&api, &id, "?format=csv&only=succeeded").await?;
    assert!(
        csv.contains("\n1,cats/1.jpg,cat 1,aa,4,3,blip,r1,,,\n"),
        "{csv}"
    );
    for (query, problem) in [
        ("?format=coco", "invalid-field"),
        ("?format=xml", "invalid-field"),
        ("?only=all", "invalid-field"),
        ("?colour=red", "unknown-field"),
    ] {
        let answer = api.batch(&id, &format!("/results{query}")).await?;
        assert_eq!((answer.status, answer.problem()), (422, problem), "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn detections_come_as_coco_results() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let (id, parts) = batch(&api, "object-detection").await?;
    assert_eq!(
        serde_json::from_str::<Value>(&rows(&api, &id, "?format=coco").await?.0)?,
        json!([])
    );
    let boxed = json!({"xmin": 1.0, "ymin": 2.0, "xmax": 5.0, "ymax": 10.0});
    let found = |label: &str| json!({"label": label, "score": 0.5, "box": boxed});
    let row = |id: &str, all: &[Value]| json!({"id": id, "key": "a", "detections": all});
    let first = [row("7", &[found("cat"), found("circle")]), failure(8)];
    put(&format!("{parts}/000000.0-2.jsonl"), lines(&first)).await?;
    put(
        &format!("{parts}/000000.2-3.end.jsonl"),
        lines(&[row("a/b.jpg", &[found("circle")])]),
    )
    .await?;
    let (text, _) = rows(&api, &id, "?format=coco").await?;
    let one = |image: Value, category: u32, name: &str| json!({"image_id": image, "category_id": category, "category_name": name, "bbox": [1.0, 2.0, 4.0, 8.0], "score": 0.5});
    let expected = json!([
        one(json!(7), 17, "cat"),
        one(json!(7), 1001, "circle"),
        one(json!("a/b.jpg"), 1001, "circle")
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text)?, expected);
    let refused = api.batch(&id, "/results?format=coco&only=failed").await?;
    assert_eq!((refused.status, refused.problem()), (422, "invalid-field"));

    // A single picture's result has the same formats.
    let single = send(api.post(jpeg(121)).query(&[("task", "object-detection")]))
        .await?
        .id()?;
    let result = json!({"phase": "Succeeded", "result": {"detections": [found("dog")]}});
    api.write_status(&single, result).await?;
    let coco = api
        .get(&format!("/v1/jobs/{single}/result?format=coco"))
        .await?;
    assert_eq!(coco.body, json!([one(json!(single), 18, "dog")]));
    let csv = api
        .get(&format!("/v1/jobs/{single}/result?format=csv"))
        .await?;
    let csv = csv.body.as_str().unwrap_or_default().to_owned();
    assert!(csv.lines().count() == 2 && csv.contains(&single), "{csv}");
    let refused = api
        .get(&format!("/v1/jobs/{single}/result?format=jsonl"))
        .await?;
    assert_eq!((refused.status, refused.problem()), (422, "invalid-field"));
    Ok(())
}

#[tokio::test]
async fn rows_that_cannot_be_read_end_the_body_early() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let (id, parts) = batch(&api, "image-to-text").await?;
    let mut broken = lines(&[caption(1)]);
    broken.extend_from_slice(b"{\"id\": 2\n");
    put(&format!("{parts}/000000.0-2.end.jsonl"), broken).await?;
    let url = format!("{}/v1/batches/{id}/results?format=csv", api.base);
    let answer = api.http.get(url).send().await?;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
    // Rows that the sweeper has deleted are not an empty answer.
    let (gone, _) = batch(&api, "image-to-text").await?;
    api.write_status(
        &gone,
        json!({"phase": "Succeeded", "counts": {"total": 1, "succeeded": 1}}),
    )
    .await?;
    let answer = api.batch(&gone, "/results").await?;
    assert_eq!((answer.status, answer.problem()), (409, "no-result"));
    Ok(())
}

#[tokio::test]
async fn the_failed_pictures_of_a_batch_become_a_batch() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let (id, parts) = batch(&api, "image-to-text").await?;
    let lost = json!({"id": "line 9", "key": "", "error": {"reason": "InvalidManifest", "message": "line 9"}});
    let all = [caption(1), failure(2), lost];
    put(&format!("{parts}/000000.0-3.end.jsonl"), lines(&all)).await?;
    let early = send(api.post_to(&id, "/retry")).await?;
    assert_eq!((early.status, early.problem()), (409, "not-finished"));
    api.write_status(&id, json!({"phase": "Succeeded"})).await?;
    let retry = || {
        send(
            api.post_to(&id, "/retry")
                .header("idempotency-key", "again"),
        )
    };
    let answer = retry().await?;
    let again = answer.id()?;
    assert_eq!(
        answer.header("location"),
        Some(format!("/v1/batches/{again}").as_str())
    );
    assert_eq!(retry().await?.id()?, again);
    let (old, new) = (
        api.jobs.get(&id).await?.spec,
        api.jobs.get(&again).await?.spec,
    );
    assert_eq!((&old.task, &old.output), (&new.task, &new.output));
    let Input::Manifest { key } = new.input else {
        anyhow::bail!("no manifest");
    };
    let key = format!("data/{}/{key}", api.namespace.name());
    let (manifest, _) = super::super::harness::stored(&key).await?;
    assert_eq!(
        String::from_utf8(manifest)?,
        "{\"id\":\"2\",\"key\":\"cats/2.jpg\"}\n"
    );
    assert_eq!(
        super::super::harness::listed(&format!("data/{}/fovea-batches/", api.namespace.name()))
            .await?,
        [key]
    );

    let (fine, parts) = batch(&api, "image-to-text").await?;
    put(
        &format!("{parts}/000000.0-1.end.jsonl"),
        lines(&[caption(1)]),
    )
    .await?;
    let archives = json!({"input": {"archives": {"prefix": "tars"}}});
    let archives = send(api.submit_batch(&archives)).await?.id()?;
    for id in [fine, archives] {
        api.write_status(&id, json!({"phase": "Failed"})).await?;
        let answer = send(api.post_to(&id, "/retry")).await?;
        assert_eq!((answer.status, answer.problem()), (422, "cannot-retry"));
    }
    Ok(())
}

#[tokio::test]
async fn without_the_object_store_batches_in_the_bucket_are_submitted_and_read()
-> anyhow::Result<()> {
    let mut minio = own_minio().await?;
    let surroundings = Surroundings::with(&minio).await?;
    let api = Service::start_in(surroundings, &["--s3-max-attempts", "1"]).await?;
    send(api.upload_batch("{\"key\":\"a.jpg\"}\n"))
        .await?
        .id()?;
    minio.process().kill().await?;
    let id = send(api.submit_batch(&super::cats())).await?.id()?;
    assert_eq!(api.batch(&id, "").await?.status, 200);
    assert_eq!(api.get("/v1/batches").await?.status, 200);
    for answer in [
        send(api.upload_batch("{\"key\":\"a.jpg\"}\n")).await?,
        api.batch(&id, "/results").await?,
    ] {
        assert_eq!(
            (answer.status, answer.problem()),
            (503, "store-unavailable")
        );
        assert!(answer.header("retry-after").is_some());
    }
    Ok(())
}
