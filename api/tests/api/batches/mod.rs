//! `/v1/batches`.

mod results;
mod retries;
mod uploads;

use super::auth::{account, start as start_with_auth};
use super::harness::{Answer, Service, is_stored, put, send};
use super::pictures::jpeg;
use fovea_crds::{Input, Output, OutputFormat};
use kube::ResourceExt as _;
use serde_json::{Value, json};

impl Service {
    fn submit_batch(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/batches", self.base))
            .json(body)
    }

    fn upload_batch(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let post = self.http.post(format!("{}/v1/batches", self.base));
        post.header("content-type", "application/octet-stream")
            .body(body)
    }

    fn post_to(&self, id: &str, rest: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/batches/{id}{rest}", self.base))
    }

    async fn batch(&self, id: &str, rest: &str) -> anyhow::Result<Answer> {
        self.get(&format!("/v1/batches/{id}{rest}")).await
    }
}

fn cats() -> Value {
    json!({"input": {"prefix": {"prefix": "cats"}}})
}

fn ids(list: &Value, of: &str) -> Vec<String> {
    let all = list[of].as_array().cloned().unwrap_or_default();
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    all.iter().map(id).collect()
}

#[tokio::test]
async fn a_batch_is_a_job_with_an_output() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let body = json!({
        "task": "object-detection", "model": "detr", "pool": "gpu/big", "priority": 7,
        "parameters": {"scoreThresholdPermille": 900},
        "input": {"prefix": {"prefix": "cats", "include": ["*.jpg"]}},
        "output": {"prefix": "found", "format": "parquet"},
        "parallelism": 3, "maxFailedPermille": 10,
    });
    let answer = send(api.submit_batch(&body)).await?;
    let id = answer.id()?;
    let location = format!("/v1/batches/{id}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let job = api.jobs.get(&id).await?;
    let input = Input::Prefix {
        prefix: "cats".into(),
        include: vec!["*.jpg".into()],
        exclude: Vec::new(),
    };
    let output = Output {
        prefix: "found".into(),
        format: OutputFormat::Parquet,
    };
    assert_eq!((&job.spec.input, &job.spec.output), (&input, &Some(output)));
    assert_eq!(job.spec.parallelism, Some(3));
    assert_eq!(job.spec.max_failed_permille, Some(10));
    let shown = api.batch(&id, "").await?;
    assert_eq!((shown.status, &shown.body), (200, &answer.body));
    assert_eq!(shown.body["input"], "prefix");
    let prefix = format!("found/{}", job.uid().unwrap_or_default());
    let output =
        json!({"prefix": prefix, "format": "parquet", "parts": null, "successSha256": null});
    assert_eq!(shown.body["output"], output);
    assert_eq!(api.get(&format!("/v1/jobs/{id}")).await?.body, shown.body);

    // A job on one picture is no batch, and lists tell them apart.
    let single = send(api.post(jpeg(120))).await?.id()?;
    for answer in [
        api.batch(&single, "").await?,
        api.batch(&single, "/events").await?,
        api.batch(&single, "/results").await?,
        send(api.post_to(&single, "/cancel")).await?,
        send(api.post_to(&single, "/retry")).await?,
        send(api.http.delete(format!("{}/v1/batches/{single}", api.base))).await?,
    ] {
        assert_eq!((answer.status, answer.problem()), (404, "no-such-job"));
    }
    let list = api
        .get("/v1/batches?phase=Pending&task=object-detection")
        .await?;
    assert_eq!(ids(&list.body, "batches"), std::slice::from_ref(&id));
    assert_eq!(ids(&api.get("/v1/jobs").await?.body, "jobs").len(), 2);
    assert!(ids(&api.get("/v1/batches?phase=Failed").await?.body, "batches").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_wrong_body_is_explained_in_plain_words() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let two = json!({"prefix": {"prefix": "a"}, "manifest": {"key": "b"}});
    for (body, problem, detail) in [
        (
            json!({}),
            "invalid-field",
            "input: say where the pictures are by one of",
        ),
        (
            json!({"input": {}}),
            "invalid-field",
            "input: say where the pictures are by one of",
        ),
        (
            json!({"input": two}),
            "invalid-field",
            "input: say where the pictures are by one of",
        ),
        (
            json!({"input": {"prefix": "x"}}),
            "invalid-field",
            r#"input.prefix: it must be an object such as {"prefix": "cats"}, and is string "x""#,
        ),
        (
            json!({"input": {"manifest": {}}}),
            "invalid-field",
            r#"input.manifest: "key" is missing"#,
        ),
        (
            json!({"input": {"files": []}}),
            "unknown-field",
            r#""files" is not a field of this request: it has prefix, manifest, archives"#,
        ),
        (
            json!({"output": "found"}),
            "invalid-field",
            r#"output: it must be an object such as {"prefix": "found", "format": "csv"}"#,
        ),
        (
            json!({"outputs": {}}),
            "unknown-field",
            r#""outputs" is not a field of this request: it has task"#,
        ),
    ] {
        let answer = send(api.submit_batch(&body)).await?;
        assert_eq!((answer.status, answer.problem()), (422, problem), "{body}");
        let found = answer.body["detail"].as_str().unwrap_or_default();
        assert!(found.contains(detail), "{body}: {found}");
        assert!(!found.contains('`') && !found.contains("struct"), "{found}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_batches_lead_to_pages_of_batches_only() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(send(api.submit_batch(&cats())).await?.id()?);
    }
    made.sort();
    let (mut found, mut path) = (Vec::new(), "/v1/batches?limit=2".to_owned());
    loop {
        let page = api.get(&path).await?;
        found.extend(ids(&page.body, "batches"));
        let Some(token) = page.body["continue"].as_str() else {
            break;
        };
        let foreign = api.get(&format!("/v1/jobs?continue={token}")).await?;
        assert_eq!(foreign.problem(), "invalid-continue");
        path = format!("/v1/batches?limit=2&continue={token}");
    }
    assert_eq!(found, made);
    Ok(())
}

#[tokio::test]
async fn a_batch_s_counts_are_followed_to_its_end() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.submit_batch(&cats())).await?.id()?;
    let url = format!("{}/v1/batches/{id}/events", api.base);
    let mut stream = api.http.get(&url).send().await?;
    let mut text = String::new();
    for (status, part) in [
        (None, "\"phase\":\"Pending\""),
        (
            Some(json!({"phase": "Running", "counts": {"total": 20, "succeeded": 5}})),
            "\"succeeded\":5",
        ),
        (
            Some(
                json!({"counts": {"total": 20, "succeeded": 9, "failed": 1}, "progressPermille": 500}),
            ),
            "\"progressPermille\":500",
        ),
        (
            Some(
                json!({"phase": "Succeeded", "counts": {"total": 20, "succeeded": 19, "failed": 1}}),
            ),
            "\"phase\":\"Succeeded\"",
        ),
    ] {
        if let Some(status) = status {
            api.write_status(&id, status).await?;
        }
        while !text.contains(part) {
            let piece = stream.chunk().await?;
            text.push_str(std::str::from_utf8(&piece.expect("the stream goes on"))?);
        }
    }
    while let Some(piece) = stream.chunk().await? {
        text.push_str(std::str::from_utf8(&piece)?);
    }
    assert_eq!(text.matches("event: status").count(), 4, "{text}");
    Ok(())
}

#[tokio::test]
async fn a_batch_is_cancelled_and_deleted_with_what_was_uploaded_for_it() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let namespace = api.namespace.name();
    let manifest = "{\"key\":\"a.jpg\"}\n";
    let id = send(api.upload_batch(manifest)).await?.id()?;
    let Input::Manifest { key } = api.jobs.get(&id).await?.spec.input else {
        anyhow::bail!("no manifest");
    };
    let uploaded = format!("data/{namespace}/{key}");
    let output = format!("data/{namespace}/batches/u/part.jsonl");
    put(&output, b"{}\n".to_vec()).await?;
    assert!(is_stored(&uploaded).await?);
    let cancelled = send(api.post_to(&id, "/cancel")).await?;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    assert!(api.jobs.get(&id).await?.spec.cancel);
    let deleted = send(api.http.delete(format!("{}/v1/batches/{id}", api.base))).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert!(!is_stored(&uploaded).await? && is_stored(&output).await?);
    assert_eq!(api.batch(&id, "").await?.problem(), "no-such-job");
    Ok(())
}

#[tokio::test]
async fn equal_requests_under_one_key_make_one_batch() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let keyed =
        |request: reqwest::RequestBuilder, key: &str| send(request.header("idempotency-key", key));
    let first = keyed(api.submit_batch(&cats()), "a").await?.id()?;
    assert_eq!(keyed(api.submit_batch(&cats()), "a").await?.id()?, first);
    let mut other = cats();
    other["parallelism"] = json!(1);
    let reused = keyed(api.submit_batch(&other), "a").await?;
    assert_eq!(reused.problem(), "idempotency-key-reused");

    // An upload that no batch uses does not stay.
    let csv = "key,id\na.jpg,1\n";
    let first = keyed(api.upload_batch(csv), "b").await?.id()?;
    assert_eq!(keyed(api.upload_batch(csv), "b").await?.id()?, first);
    let reused = keyed(api.upload_batch("key,id\na.jpg,2\n"), "b").await?;
    assert_eq!(reused.problem(), "idempotency-key-reused");
    let uploads = format!("data/{}/fovea-batches/", api.namespace.name());
    let kept = super::harness::listed(&uploads).await?;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(api.names().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn another_tenant_s_batch_is_not_found_and_a_retry_needs_the_right_to_create()
-> anyhow::Result<()> {
    let api = start_with_auth(&[]).await?;
    let config = super::harness::cluster().await?.config().await?;
    let other = fovea_harness::TempNamespace::create(&config).await?;
    let own = api.namespace.name();
    let all = &["create", "get", "list", "patch", "delete"];
    let owner = account(&api.cluster, own, "owner", all).await?;
    let reader = account(&api.cluster, own, "reader", &["get", "patch"]).await?;
    let stranger = account(&api.cluster, other.name(), "stranger", all).await?;
    let id = send(api.submit_batch(&cats()).bearer_auth(&owner))
        .await?
        .id()?;
    for (path, token) in [
        (format!("/v1/namespaces/{own}/batches/{id}"), &stranger),
        (
            format!("/v1/namespaces/{own}/batches/{id}/results"),
            &stranger,
        ),
        (
            format!("/v1/namespaces/{}/batches/{id}", other.name()),
            &stranger,
        ),
    ] {
        let answer = send(
            api.http
                .get(format!("{}{path}", api.base))
                .bearer_auth(token),
        )
        .await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (404, "no-such-job"),
            "{path}"
        );
    }
    let refused = send(api.post_to(&id, "/retry").bearer_auth(&reader)).await?;
    assert_eq!((refused.status, refused.problem()), (403, "forbidden"));
    let early = send(api.post_to(&id, "/retry").bearer_auth(&owner)).await?;
    assert_eq!((early.status, early.problem()), (409, "not-finished"));
    Ok(())
}
