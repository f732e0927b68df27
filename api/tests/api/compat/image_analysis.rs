//! Clients of AI-image-analysis-service.

use super::super::harness::{Answer, Service, send};
use super::super::pictures::{jpeg, picture, png_header, png_of_length};
use super::{Field, curl, form, is_detail, job_id, missing, write, write_large};
use fovea_crds::labels;
use fovea_crds::{Parameters, Task};
use image::ImageFormat;
use kube::ResourceExt as _;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const UPLOAD: &str = "/upload-image";
const LIMIT: usize = 10 * 1024 * 1024;

async fn submit(api: &Service, analysis_type: &str) -> anyhow::Result<Answer> {
    let picture = jpeg(60);
    let fields = [
        Field::File("file", "image.jpg", &picture),
        Field::Text("analysis_type", analysis_type),
    ];
    send(form(api, UPLOAD, &fields)).await
}

#[tokio::test]
async fn the_readme_s_curl_lines_upload_a_picture_and_poll_for_its_labels() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let answer = submit(&api, "classification").await?;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = job_id(&answer)?;
    assert_eq!(
        answer.body,
        json!({"job_id": id, "status": "PENDING", "message": "Image uploaded successfully and queued for analysis"})
    );
    let job = api.jobs.get(&id).await?;
    assert_eq!(job.spec.task, Task::ImageClassification);
    let top_5 = Parameters {
        top_k: Some(5),
        ..Parameters::default()
    };
    assert_eq!(
        (job.spec.model.clone(), job.spec.parameters.clone()),
        (None, top_5)
    );
    assert_eq!(job.spec.ttl_seconds_after_finished, Some(30 * 24 * 60 * 60));
    assert_eq!(job.labels()[labels::CLIENT], "image-analysis");

    let made = job.creation_timestamp().map(|at| at.0.to_string());
    let made = made.unwrap_or_default().trim_end_matches('Z').to_owned();
    let mut shown = json!({
        "job_id": id, "status": "PENDING", "message": "Job is pending", "results": null,
        "error_message": null, "created_at": made, "updated_at": made,
    });
    let path = format!("/job-status/{id}");
    assert_eq!(api.get(&path).await?.body, shown);

    write(
        &api,
        &id,
        json!({"phase": "Running", "startTime": "2036-01-22T10:30:00Z"}),
    )
    .await?;
    shown["status"] = json!("PROCESSING");
    shown["message"] = json!("Job is processing");
    shown["updated_at"] = json!("2036-01-22T10:30:00");
    assert_eq!(api.get(&path).await?.body, shown);

    let predictions = json!([
        {"label": "golden retriever", "score": 0.9234},
        {"label": "Labrador retriever", "score": 0.0456},
    ]);
    let status = json!({
        "phase": "Succeeded", "result": {"predictions": predictions}, "completionTime": "2036-01-22T10:30:15Z",
    });
    write(&api, &id, status).await?;
    shown["status"] = json!("COMPLETED");
    shown["message"] = json!("Job is completed");
    shown["results"] = json!({"analysis_type": "classification", "predictions": predictions});
    shown["updated_at"] = json!("2036-01-22T10:30:15");
    assert_eq!(api.get(&path).await?.body, shown);
    Ok(())
}

#[tokio::test]
async fn the_readme_s_python_lines_find_objects() -> anyhow::Result<()> {
    let flags = [
        "--compat-object-detection-model",
        "detr-resnet-101",
        "--compat-classification-model",
        "resnet-50",
    ];
    let api = Service::start(&flags).await?;
    // As `requests.post(url, files=files, data=data)` writes it: the text first.
    let python = Form::new()
        .text("analysis_type", "object_detection")
        .part("file", Part::bytes(jpeg(61)).file_name("image.jpg"));
    let url = format!("{}{UPLOAD}", api.base);
    let answer = send(api.http.post(&url).multipart(python)).await?;
    let id = job_id(&answer)?;
    let job = api.jobs.get(&id).await?;
    assert_eq!(job.spec.task, Task::ObjectDetection);
    assert_eq!(job.spec.parameters.score_threshold_permille, Some(500));
    assert_eq!(job.spec.model.as_deref(), Some("detr-resnet-101"));

    let place = json!({"xmin": 1.5, "ymin": 2.5, "xmax": 30.25, "ymax": 40.75});
    let result = json!({"detections": [{"label": "cat", "score": 0.75, "box": place}]});
    write(&api, &id, json!({"phase": "Succeeded", "result": result})).await?;
    let answer = api.get(&format!("/job-status/{id}")).await?;
    let place = json!({"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40});
    assert_eq!(
        answer.body["results"],
        json!({"analysis_type": "object_detection", "predictions": [{"label": "cat", "score": 0.75, "box": place}]})
    );
    let classified = job_id(&submit(&api, "classification").await?)?;
    let model = api.jobs.get(&classified).await?.spec.model;
    assert_eq!(model.as_deref(), Some("resnet-50"));
    Ok(())
}

#[tokio::test]
async fn curl_works() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("image.jpg");
    std::fs::write(&path, jpeg(62))?;
    let file = format!("file=@{}", path.display());
    let upload = format!("{}{UPLOAD}", api.base);
    let line = [
        "-X",
        "POST",
        &upload,
        "-F",
        &file,
        "-F",
        "analysis_type=classification",
    ];
    let Some(answer) = curl(&line).await? else {
        eprintln!("this machine has no curl: the other tests send the same bytes");
        return Ok(());
    };
    let id = answer["job_id"].as_str().unwrap_or_default();
    let status = curl(&[&format!("{}/job-status/{id}", api.base)]).await?;
    assert_eq!(
        status.map(|status| status["status"].clone()),
        Some(json!("PENDING"))
    );
    let health = curl(&[&format!("{}/health", api.base)]).await?;
    assert_eq!(
        health.map(|health| health["status"].clone()),
        Some(json!("ok"))
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_job_shows_its_reason_and_a_cancelled_one_counts_as_failed() -> anyhow::Result<()>
{
    let api = Service::start(&[]).await?;
    let failure = json!({"reason": "InvalidPicture", "message": "the picture breaks off", "retryable": false});
    for (status, message) in [
        (
            json!({"phase": "Failed", "failure": failure}),
            "the picture breaks off",
        ),
        (json!({"phase": "Cancelled"}), "the job was cancelled"),
    ] {
        let id = job_id(&submit(&api, "classification").await?)?;
        write(&api, &id, status).await?;
        let body = api.get(&format!("/job-status/{id}")).await?.body;
        assert_eq!(
            (&body["status"], &body["message"]),
            (&json!("FAILED"), &json!("Job is failed"))
        );
        assert_eq!(
            (&body["error_message"], &body["results"]),
            (&json!(message), &Value::Null)
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_large_result_is_returned_whole_and_a_modified_one_is_refused() -> anyhow::Result<()> {
    let api = Service::start(&["--compat-image-analysis-whole-pixels=false"]).await?;
    let id = job_id(&submit(&api, "object_detection").await?)?;
    let place = json!({"xmin": 0.5, "ymin": 0.0, "xmax": 1.0, "ymax": 1.0});
    let object = json!({"label": "x".repeat(100), "score": 0.75, "box": place});
    let all = vec![object.clone(); 300];
    let head = json!({"detections": [object]});
    write_large(&api, &id, &json!({"detections": all}), head.clone()).await?;
    let path = format!("/job-status/{id}");
    assert_eq!(
        api.get(&path).await?.body["results"]["predictions"],
        json!(all)
    );

    // The object does not match the status.
    let id = job_id(&submit(&api, "object_detection").await?)?;
    let status = json!({"phase": "Succeeded", "result": head, "resultBytes": 1, "resultSha256": "0".repeat(64)});
    write(&api, &id, status).await?;
    let answer = api.get(&format!("/job-status/{id}")).await?;
    assert!(is_detail(&answer, 500), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn every_error_has_fastapi_s_format_and_creates_no_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let kind = Field::Text("analysis_type", "classification");
    let file = |bytes: &[u8]| {
        form(
            &api,
            UPLOAD,
            &[Field::File("file", "image.jpg", bytes), kind],
        )
    };
    let of_kind = |kind| {
        let picture = jpeg(63);
        let file = Field::File("file", "image.jpg", &picture);
        form(&api, UPLOAD, &[file, Field::Text("analysis_type", kind)])
    };
    let long = "x".repeat(10_000);
    let mut wrong = Vec::new();
    for (name, request) in [
        ("another type", of_kind("segmentation")),
        ("another case", of_kind("Classification")),
        ("a long type", of_kind(&long)),
        ("another format", file(&picture(ImageFormat::Gif))),
        ("bytes of another kind", file(b"hello")),
        ("an empty file", file(b"")),
        ("a header that breaks off", file(&jpeg(63)[..20])),
        ("one byte over", file(&png_of_length(LIMIT + 1))),
        ("too many pixels", file(&png_header(16_384, 10_923))),
    ] {
        let answer = send(request).await?;
        if !is_detail(&answer, 400) {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    let picture = jpeg(63);
    let picture = Field::File("file", "image.jpg", &picture);
    for (name, fields, lacking) in [
        ("no type", vec![picture], vec!["analysis_type"]),
        ("no file", vec![kind], vec!["file"]),
        ("neither", vec![], vec!["file", "analysis_type"]),
        (
            "an empty type",
            vec![picture, Field::Text("analysis_type", "")],
            vec!["analysis_type"],
        ),
    ] {
        let answer = send(form(&api, UPLOAD, &fields)).await?;
        if answer.status != 422 || answer.body != missing(&lacking) {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(api.names().await?, Vec::<String>::new());
    let answer = send(file(&png_of_length(LIMIT))).await?;
    assert_eq!(answer.status, 202, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn only_ids_of_its_own_jobs_are_found() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let own = send(api.post(jpeg(64))).await?.id()?;
    let picture = jpeg(65);
    let fields = [Field::File("file", "a.jpg", &picture)];
    let theirs = job_id(&send(form(&api, "/api/v1/upload", &fields)).await?)?;
    for id in [
        &own,
        &theirs,
        "550e8400-e29b-41d4-a716-446655440000",
        "no-uuid",
        "%ff",
    ] {
        let answer = api.get(&format!("/job-status/{id}")).await?;
        assert!(is_detail(&answer, 404), "{id}: {answer:?}");
    }
    let answer = api.get("/upload-image").await?;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.body, json!({"detail": "Method Not Allowed"}));
    let answer = api.get("/job-status/").await?;
    assert_eq!(
        (answer.status, answer.body),
        (404, json!({"detail": "Not Found"}))
    );
    Ok(())
}
