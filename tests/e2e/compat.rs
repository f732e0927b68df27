//! The two replaced services' clients against the whole system, as their READMEs show them.

use crate::support::{answers, samples, visitor};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;

async fn upload(path: &str, picture: &Path, fields: &[(&str, &str)]) -> Result<(u16, Value)> {
    let picture = std::fs::read(picture)?;
    visitor().await.upload(path, &picture, fields).await
}

/// Polls until the status is none of `waiting`.
async fn ended(path: &str, id: &Value, waiting: &[&str]) -> Result<Value> {
    let path = format!("{path}{}", id.as_str().context("a job_id")?);
    visitor().await.ended(&path, "status", waiting).await
}

#[tokio::test]
async fn a_client_of_async_vision_api_gets_its_captions() -> Result<()> {
    for (picture, caption) in samples() {
        let (status, job) = upload("/api/v1/upload", &picture, &[]).await?;
        assert_eq!((status, &job["status"]), (200, &json!("PENDING")), "{job}");
        let waiting = ["PENDING", "STARTED", "RETRY"];
        let done = ended("/api/v1/status/", &job["job_id"], &waiting).await?;
        let result = json!({"caption": caption});
        let wanted = json!({"job_id": job["job_id"], "status": "SUCCESS", "result": result});
        assert_eq!(done, wanted);
    }
    Ok(())
}

/// Uploads, waits, and gives the predictions of a job that must have completed.
async fn analysed(picture: &Path, analysis_type: &str) -> Result<Vec<Value>> {
    let fields = [("analysis_type", analysis_type)];
    let (status, job) = upload("/upload-image", picture, &fields).await?;
    assert_eq!((status, &job["status"]), (202, &json!("PENDING")), "{job}");
    let done = ended("/job-status/", &job["job_id"], &["PENDING", "PROCESSING"]).await?;
    assert_eq!(done["status"], "COMPLETED", "{done}");
    assert_eq!(done["message"], "Job is completed", "{done}");
    assert_eq!(done["error_message"], Value::Null, "{done}");
    assert_eq!(done["results"]["analysis_type"], analysis_type);
    let predictions = done["results"]["predictions"].as_array().cloned();
    predictions.with_context(|| format!("no predictions: {done}"))
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
            let (score, edges) = (object["score"].as_f64(), &object["box"]);
            assert!(score.is_some_and(|score| score >= 0.5), "{object}");
            assert!(edges["xmax"].is_i64() && edges["ymin"].is_i64(), "{object}");
        }
    }
    Ok(())
}
