//! A namespace that is created again under its old name, while pictures are uploaded to it.

use crate::support::{ENDED, http, sample, stack, unique};
use anyhow::{Context as _, Result, ensure};
use fovea_harness::{Process, Program, eventually, ports, stack as programs};
use fovea_tests::operated::{create_namespace, recreate_namespace};
use serde_json::Value;
use std::time::Duration;

/// An API without authentication, which serves this namespace of the shared stack.
async fn serve(namespace: &str) -> Result<(Process, String)> {
    let stack = stack().await;
    let [port] = ports::free()?;
    let program = Program::new("fovea-api", programs::find("fovea-api")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--namespace={namespace}"))
        .env(
            "KUBECONFIG",
            stack.control_plane.kubeconfig().display().to_string(),
        )
        .env("FOVEA_S3_ENDPOINT", stack.minio.endpoint())
        .env("FOVEA_S3_BUCKET", programs::BUCKET)
        .env("AWS_ACCESS_KEY_ID", stack.minio.access_key())
        .env("AWS_SECRET_ACCESS_KEY", stack.minio.secret_key());
    let api = Process::start(program).await?;
    let url = format!("http://127.0.0.1:{port}");
    api.wait_ready_http(&format!("{url}/readyz"), ENDED).await?;
    Ok((api, url))
}

/// Uploads a picture; returns the job's id if it was accepted.
async fn upload(url: &str, picture: &[u8]) -> Result<Option<String>> {
    let part = reqwest::multipart::Part::bytes(picture.to_vec()).file_name("picture");
    let form = reqwest::multipart::Form::new().part("file", part);
    let request = http().post(format!("{url}/v1/jobs")).multipart(form);
    let answer = request.send().await?;
    if answer.status() != 202 {
        return Ok(None);
    }
    let job: Value = answer.json().await?;
    Ok(Some(job["id"].as_str().context("no id")?.to_owned()))
}

#[tokio::test]
async fn pictures_for_a_namespace_that_is_created_again_are_not_lost() -> Result<()> {
    let namespace = unique("again");
    let client = stack().await.control_plane.client().await?;
    create_namespace(&client, &namespace).await?;
    let (_api, url) = serve(&namespace).await?;
    let (picture, _) = sample();
    ensure!(upload(&url, &picture).await?.is_some(), "not accepted");
    // Uploads go on, so that the API never forgets the namespace.
    let again = recreate_namespace(&client, &namespace);
    let uploads = async {
        let mut turns = tokio::time::interval(Duration::from_millis(250));
        loop {
            turns.tick().await;
            // Refused while the namespace is being deleted.
            let _ = upload(&url, &picture).await;
        }
    };
    tokio::select! {
        again = again => drop(again?),
        () = uploads => {}
    }
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.extend(upload(&url, &picture).await?);
    }
    ensure!(jobs.len() == 6, "accepted: {jobs:?}");
    for id in jobs {
        let job = format!("{url}/v1/jobs/{id}");
        let what = format!("{job} to end");
        let ended = eventually(&what, ENDED, || async {
            let job: Value = http().get(&job).send().await?.json().await?;
            let phase = job["phase"].as_str().unwrap_or_default().to_owned();
            ensure!(matches!(&*phase, "Succeeded" | "Failed"), "{job}");
            Ok((phase, job))
        });
        let (phase, job) = ended.await?;
        assert_eq!(phase, "Succeeded", "{job}");
        assert_eq!(job["attempts"], 1, "{job}");
    }
    Ok(())
}
