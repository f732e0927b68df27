//! Valid submissions.

use super::harness::{Service, send, stored, until};
use super::pictures::{jpeg, png_of_length};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fovea_crds::{Input, Parameters, Phase, Task};
use fovea_crds::{annotations, labels};
use fovea_store::Sha256;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

#[tokio::test]
async fn a_picture_becomes_a_job_in_each_of_the_three_forms() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let picture = jpeg(1);
    let url = format!("{}/v1/jobs", api.base);
    let fields = [
        ("task", "image-to-text"),
        ("model", "blip-base"),
        ("pool", "gpu/big"),
        ("maxNewTokens", "20"),
        ("numBeams", "3"),
        ("prompt", "a photo of"),
        ("priority", "7"),
    ];
    let mut form = Form::new().part(
        "file",
        Part::bytes(picture.clone()).file_name("../../etc/passwd"),
    );
    for (name, value) in fields {
        form = form.text(name, value);
    }
    let forms = [
        ("raw", api.post(picture.clone()).query(&fields)),
        ("multipart", api.http.post(&url).multipart(form)),
        ("json", api.post_json(&json!({
            "task": "image-to-text", "model": "blip-base", "pool": "gpu/big", "priority": 7,
            "parameters": {"maxNewTokens": 20, "numBeams": 3, "prompt": "a photo of"}, "data": STANDARD.encode(&picture),
        }))),
    ];
    let mut fingerprints = Vec::new();
    for (form, request) in forms {
        let answer = send(request).await?;
        let id = answer.id()?;
        assert_eq!(
            answer.header("location"),
            Some(format!("/v1/jobs/{id}").as_str()),
            "{form}"
        );
        assert_eq!(answer.header("retry-after"), Some("1"), "{form}");

        let job = api.jobs.get(&id).await?;
        assert_eq!(job.spec.task, Task::ImageToText);
        assert_eq!(job.spec.model.as_deref(), Some("blip-base"));
        assert_eq!(
            job.spec.input,
            Input::Upload {
                sha256: Sha256::of(&picture).to_string()
            }
        );
        assert_eq!(job.spec.priority, 7);
        assert_eq!(
            job.spec.parameters,
            Parameters {
                max_new_tokens: Some(20),
                num_beams: Some(3),
                prompt: Some("a photo of".into()),
                ..Parameters::default()
            }
        );
        assert_eq!(job.spec.ttl_seconds_after_finished, Some(86_400));
        assert!(!job.spec.cancel);
        assert_eq!(job.labels()[labels::CREATED_BY], labels::API);
        fingerprints.push(job.annotations()[annotations::FINGERPRINT].clone());

        let shown = api.get(&format!("/v1/jobs/{id}")).await?;
        assert_eq!((shown.status, &shown.body), (200, &answer.body), "{form}");
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0], fingerprints[2]);
    assert_eq!(api.names().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn the_largest_picture_is_accepted_in_each_of_the_three_forms() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let picture = png_of_length(10 * 1024 * 1024);
    let form = Form::new().part("file", Part::bytes(picture.clone()));
    let url = format!("{}/v1/jobs", api.base);
    for request in [
        api.http.post(url).multipart(form),
        api.post_json(&json!({"data": STANDARD.encode(&picture)})),
        api.post(picture.clone()),
    ] {
        send(request).await?.id()?;
    }
    Ok(())
}

#[tokio::test]
async fn the_picture_is_stored_under_its_namespace_and_digest_before_the_job_exists()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let picture = jpeg(2);
    send(api.post(picture.clone())).await?.id()?;
    let namespaces: Api<Namespace> = Api::all(api.cluster.clone());
    let name = api.namespace.name();
    let uid = namespaces.get(name).await?.uid().unwrap_or_default();
    let key = format!("uploads/{name}/{uid}/{}", Sha256::of(&picture));
    let (bytes, content_type) = stored(&key).await?;
    assert_eq!((bytes, content_type.as_str()), (picture, "image/jpeg"));
    Ok(())
}

#[tokio::test]
async fn a_job_is_shown_as_in_its_status() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(3))).await?.id()?;
    let shown = api.get(&format!("/v1/jobs/{id}")).await?.body;
    assert_eq!(shown["phase"], "Pending");
    assert_eq!(
        (&shown["result"], &shown["failure"], &shown["startedAt"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );

    let status = json!({"status": {
        "phase": "Succeeded", "attempts": 1, "result": {"caption": "a red circle"},
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z",
        "model": {"name": "blip", "revision": "sha256:0"},
        "timings": {"queueMillis": 1, "fetchMillis": 2, "inferMillis": 3, "batchSize": 1},
    }});
    let written = api
        .jobs
        .patch_status(
            &id,
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(&status),
        )
        .await?;
    assert_eq!(
        written.status.map(|status| status.phase),
        Some(Phase::Succeeded)
    );
    // The cache lags by some milliseconds.
    let shown = until("the status to be shown", || async {
        let shown = api.get(&format!("/v1/jobs/{id}")).await?.body;
        anyhow::ensure!(shown["phase"] != "Pending", "{shown}");
        Ok(shown)
    })
    .await?;
    assert_eq!(shown["phase"], "Succeeded");
    assert_eq!(shown["result"], json!({"caption": "a red circle"}));
    assert_eq!(shown["completedAt"], "2026-01-01T00:00:01Z");
    assert_eq!(shown["model"], "blip");
    assert_eq!(shown["timings"]["inferMillis"], 3);
    Ok(())
}

#[tokio::test]
async fn a_user_s_own_object_is_named_by_its_key() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post_json(&json!({"key": "cats/1.jpg", "task": "object-detection", "parameters": {"scoreThresholdPermille": 900}}))).await?.id()?;
    assert_eq!(
        api.jobs.get(&id).await?.spec.input,
        Input::Object {
            key: "cats/1.jpg".into()
        }
    );
    Ok(())
}

#[tokio::test]
async fn a_repeated_idempotency_key_is_the_same_job_and_another_request_is_refused()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let keyed = |picture: Vec<u8>, key: &'static str| {
        send(api.post(picture).header("idempotency-key", key))
    };
    let first = keyed(jpeg(4), "order 7").await?.id()?;
    let (again, json_form, other) = tokio::join!(
        keyed(jpeg(4), "order 7"),
        send(
            api.post_json(&json!({"data": STANDARD.encode(jpeg(4))}))
                .header("idempotency-key", "order 7")
        ),
        keyed(jpeg(4), "order 8"),
    );
    assert_eq!(again?.id()?, first);
    assert_eq!(json_form?.id()?, first);
    assert_ne!(other?.id()?, first);

    let reused = keyed(jpeg(5), "order 7").await?;
    assert_eq!(
        (reused.status, reused.problem()),
        (422, "idempotency-key-reused")
    );
    let reused = send(
        api.post(jpeg(4))
            .query(&[("priority", "1")])
            .header("idempotency-key", "order 7"),
    )
    .await?;
    assert_eq!(
        (reused.status, reused.problem()),
        (422, "idempotency-key-reused")
    );
    assert_eq!(api.names().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn concurrent_requests_under_one_key_create_one_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let all = (0..8).map(|_| send(api.post(jpeg(6)).header("idempotency-key", "k")));
    let mut ids = Vec::new();
    for answer in futures::future::join_all(all).await {
        ids.push(answer?.id()?);
    }
    ids.dedup();
    assert_eq!(api.names().await?, ids);
    Ok(())
}

#[tokio::test]
async fn health_shows_its_dependencies_and_every_response_has_the_request_s_id()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    assert_eq!(api.get("/livez").await?.status, 200);
    let ready = until("readyz to pass", || async {
        let ready = api.get("/readyz?verbose").await?;
        anyhow::ensure!(ready.status == 200, "{ready:?}");
        Ok(ready)
    })
    .await?;
    let lines = ready.body.as_str().unwrap_or_default();
    assert!(
        lines.contains("[+]kubernetes ok")
            && lines.contains("[+]object-store ok")
            && lines.contains("[+]cache ok"),
        "{lines}"
    );
    let health = api.get("/health").await?;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("ok")));

    let answer = send(
        api.http
            .get(format!("{}/nowhere", api.base))
            .header("x-request-id", "mine-7"),
    )
    .await?;
    assert_eq!(answer.header("x-request-id"), Some("mine-7"));
    assert_eq!(answer.body["instance"], "urn:fovea:request:mine-7");
    assert!(api.get("/livez").await?.header("x-request-id").is_some());
    Ok(())
}
