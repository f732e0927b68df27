//! The two replaced services' clients against the whole system, as their READMEs show them.

use crate::support::{ENDED, answers, http, samples, stack};
use anyhow::{Result, anyhow};
use fovea_harness::eventually;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use std::path::Path;

async fn upload(
    path: &str,
    picture: &Path,
    fields: &[(&'static str, &'static str)],
) -> Result<(u16, Value)> {
    let part = Part::bytes(std::fs::read(picture)?).file_name("image.jpg");
    let form = Form::new().part("file", part);
    let form = (fields.iter()).fold(form, |form, (name, value)| form.text(*name, *value));
    let url = format!("{}{path}", stack().await.api_url());
    let answer = http().post(url).multipart(form).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

/// Polls until the status is none of `waiting`.
async fn ended(path: &str, id: &Value, waiting: &[&str]) -> Result<Value> {
    let id = id.as_str().ok_or_else(|| anyhow!("no job_id"))?;
    let url = format!("{}{path}{id}", stack().await.api_url());
    let what = format!("{url} to end");
    let found = eventually(&what, ENDED, || async {
        let answer = http().get(&url).send().await?.error_for_status()?;
        let job: Value = answer.json().await?;
        match job["status"].as_str() {
            Some(status) if !waiting.contains(&status) => Ok(job),
            status => Err(anyhow!("its status is {status:?}")),
        }
    });
    Ok(found.await?)
}

#[tokio::test]
async fn a_client_of_async_vision_api_gets_its_captions() -> Result<()> {
    for (picture, caption) in samples() {
        let (status, job) = upload("/api/v1/upload", &picture, &[]).await?;
        assert_eq!((status, &job["status"]), (200, &json!("PENDING")), "{job}");
        let waiting = ["PENDING", "STARTED", "RETRY"];
        let done = ended("/api/v1/status/", &job["job_id"], &waiting).await?;
        assert_eq!(
            done,
            json!({"job_id": job["job_id"], "status": "SUCCESS", "result": {"caption": caption}})
        );
    }
    Ok(())
}

/// Uploads, waits, and gives the predictions of a job that must have completed.
async fn analysed(picture: &Path, analysis_type: &'static str) -> Result<Vec<Value>> {
    let fields = [("analysis_type", analysis_type)];
    let (status, job) = upload("/upload-image", picture, &fields).await?;
    assert_eq!((status, &job["status"]), (202, &json!("PENDING")), "{job}");
    let done = ended("/job-status/", &job["job_id"], &["PENDING", "PROCESSING"]).await?;
    assert_eq!(
        (&done["status"], &done["message"], &done["error_message"]),
        (
            &json!("COMPLETED"),
            &json!("Job is completed"),
            &Value::Null
        ),
        "{done}"
    );
    assert_eq!(done["results"]["analysis_type"], analysis_type);
    let predictions = done["results"]["predictions"].as_array().cloned();
    predictions.ok_or_else(|| anyhow!("no predictions: {done}"))
}

#[tokio::test]
async fn a_client_of_ai_image_analysis_service_gets_its_five_labels() -> Result<()> {
    for (picture, label) in answers::<String>("labels.json") {
        let predictions = analysed(&picture, "classification").await?;
        assert_eq!(predictions.len(), 5, "{predictions:?}");
        assert_eq!(predictions[0]["label"], label, "{predictions:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_ai_image_analysis_service_gets_its_objects() -> Result<()> {
    for (picture, objects) in answers::<Vec<Value>>("objects.json") {
        let predictions = analysed(&picture, "object_detection").await?;
        let labels = |list: &[Value]| {
            let mut labels: Vec<String> =
                list.iter().map(|each| each["label"].to_string()).collect();
            labels.sort();
            labels
        };
        assert_eq!(labels(&predictions), labels(&objects), "{predictions:?}");
        for object in &predictions {
            assert!(
                object["score"].as_f64().is_some_and(|score| score >= 0.5),
                "{object}"
            );
            assert!(
                object["box"]["xmax"].is_i64() && object["box"]["ymin"].is_i64(),
                "{object}"
            );
        }
    }
    Ok(())
}
