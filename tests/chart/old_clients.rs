//! The two replaced services' clients through the ingress: by their READMEs' own curl lines, as far
//! as the address.

use anyhow::{Context as _, Result, ensure};
use fovea_tests::Installed;
use fovea_tests::demo::answers;
use fovea_tests::installed::HOST;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// Runs curl against [`HOST`] at the cluster's ingress; returns the JSON answer.
async fn curl(it: &Installed, arguments: &[&str]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, &it.authority)?;
    let address = it.ingress.https();
    let output = Command::new("curl")
        .args("--silent --show-error --max-time 60 --noproxy *".split(' '))
        .arg("--resolve")
        .arg(format!("{HOST}:{}:{}", address.port(), address.ip()))
        .arg("--cacert")
        .arg(&authority)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).context("the answer is no JSON")
}

#[test]
fn the_curl_lines_of_async_vision_api_return_a_caption() -> Result<()> {
    Installed::shared(async |it| {
        let visitor = it.visitor()?;
        let (picture, caption) = answers::<String>("captions.json").pop_first().unwrap();
        let file = format!("file=@{}", picture.display());
        let url = visitor.url("/api/v1/upload");
        let job = curl(it, &["-X", "POST", &url, "-F", &file]).await?;
        let id = job["job_id"].as_str().context("a job_id")?;
        let path = format!("/api/v1/status/{id}");
        let waiting = ["PENDING", "STARTED", "RETRY"];
        visitor.ended(&path, "status", &waiting).await?;
        let done = curl(it, &[&visitor.url(&path)]).await?;
        let wanted = json!({"job_id": id, "status": "SUCCESS", "result": {"caption": caption}});
        assert_eq!(done, wanted);
        Ok(())
    })
}

#[test]
fn the_curl_lines_of_ai_image_analysis_service_return_labels_and_objects() -> Result<()> {
    Installed::shared(async |it| {
        let visitor = it.visitor()?;
        let (picture, _) = answers::<String>("labels.json").pop_first().unwrap();
        for (analysis, field) in [("classification", "score"), ("object_detection", "box")] {
            let file = format!("file=@{}", picture.display());
            let kind = format!("analysis_type={analysis}");
            let url = visitor.url("/upload-image");
            let job = curl(it, &["-X", "POST", &url, "-F", &file, "-F", &kind]).await?;
            let id = job["job_id"].as_str().context("a job_id")?;
            let path = format!("/job-status/{id}");
            let waiting = ["PENDING", "PROCESSING"];
            visitor.ended(&path, "status", &waiting).await?;
            let done = curl(it, &[&visitor.url(&path)]).await?;
            assert_eq!(done["status"], "COMPLETED", "{done}");
            assert_eq!(done["results"]["analysis_type"], analysis, "{done}");
            let predictions = done["results"]["predictions"].as_array();
            let mut predictions = predictions.context("predictions")?.iter();
            assert!(predictions.all(|each| !each[field].is_null()), "{done}");
        }
        Ok(())
    })
}
