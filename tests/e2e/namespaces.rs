//! A namespace that is created again under its old name, while pictures are uploaded to it.

use crate::support::{sample, stack, unique};
use anyhow::{Result, ensure};
use fovea_harness::{Process, Program, ports, stack as programs};
use fovea_tests::Visitor;
use fovea_tests::jobs::PATIENCE;
use fovea_tests::operated::{create_namespace, recreate_namespace};
use serde_json::Value;
use std::time::Duration;

/// An API without authentication, which serves this namespace of the shared stack.
async fn serve(namespace: &str) -> Result<(Process, Visitor)> {
    let stack = stack().await;
    let [port] = ports::free()?;
    let program = Program::new("fovea-api", programs::find("fovea-api")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--namespace={namespace}"))
        .env(
            "KUBECONFIG",
            stack.control_plane.kubeconfig().display().to_string(),
        )
        .env("FOVEA_S3_ENDPOINT", stack.store.endpoint())
        .env("FOVEA_S3_BUCKET", programs::BUCKET)
        .env("AWS_ACCESS_KEY_ID", stack.store.access_key())
        .env("AWS_SECRET_ACCESS_KEY", stack.store.secret_key());
    let api = Process::start(program).await?;
    let url = format!("http://127.0.0.1:{port}");
    api.wait_ready_http(&format!("{url}/readyz"), PATIENCE)
        .await?;
    Ok((api, Visitor::plain(&url)?))
}

/// Uploads a picture; returns the job's id if it was accepted.
async fn upload(visitor: &Visitor, picture: &[u8]) -> Result<Option<Value>> {
    let (status, job) = visitor.submit(picture, &[]).await?;
    Ok((status == 202).then(|| job["id"].clone()))
}

#[tokio::test]
async fn pictures_for_a_namespace_that_is_created_again_are_not_lost() -> Result<()> {
    let namespace = unique("again");
    let client = stack().await.control_plane.client().await?;
    create_namespace(&client, &namespace).await?;
    let (_api, visitor) = serve(&namespace).await?;
    let (picture, _) = sample();
    ensure!(upload(&visitor, &picture).await?.is_some(), "not accepted");
    // Uploads go on, so that the API never forgets the namespace.
    let again = recreate_namespace(&client, &namespace);
    let uploads = async {
        let mut turns = tokio::time::interval(Duration::from_millis(250));
        loop {
            turns.tick().await;
            // Refused while the namespace is being deleted.
            let _ = upload(&visitor, &picture).await;
        }
    };
    tokio::select! {
        again = again => drop(again?),
        () = uploads => {}
    }
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.extend(upload(&visitor, &picture).await?);
    }
    ensure!(jobs.len() == 6, "accepted: {jobs:?}");
    for id in jobs {
        let job = visitor.job_ended(&id).await?;
        assert_eq!(job["phase"], "Succeeded", "{job}");
        assert_eq!(job["attempts"], 1, "{job}");
    }
    Ok(())
}
