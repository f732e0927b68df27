//! More finished jobs than a namespace may hold: clients of the API see every one of them all the same.

use crate::support::{http, sample};
use anyhow::{Result, ensure};
use fovea_crds::InferenceJob;
use fovea_harness::{Stack, StackOptions, eventually, stack};
use fovea_tests::jobs::PATIENCE;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

const LIMIT: usize = 4;
const UPLOADS: usize = 8;

#[tokio::test]
async fn a_client_reads_every_job_and_repeats_every_key_though_most_objects_went_early()
-> Result<()> {
    let options = StackOptions {
        operator_flags: vec![
            format!("--max-finished-jobs-per-namespace={LIMIT}"),
            "--min-finished-seconds=0".to_owned(),
        ],
        without_controller_manager: true,
        ..StackOptions::default()
    };
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    let (picture, caption) = sample();
    let submit = async |number: usize| {
        let answer = http()
            .post(format!("{}/v1/jobs", stack.api_url()))
            .header("idempotency-key", number.to_string())
            .header("prefer", "wait=60")
            .header("content-type", "image/jpeg")
            .body(picture.clone())
            .send()
            .await?;
        ensure!(answer.status() == 200, "{number}: {}", answer.text().await?);
        anyhow::Ok(answer.json::<Value>().await?)
    };
    let mut ids = Vec::new();
    for number in 0..UPLOADS {
        let job = submit(number).await?;
        ensure!(job["result"]["caption"] == caption.as_str(), "{job}");
        ids.push(job["id"].clone());
    }
    let client = stack.control_plane.client().await?;
    let jobs: Api<InferenceJob> = Api::namespaced(client, stack::JOB_NAMESPACE);
    eventually("objects to go early", PATIENCE, async || {
        let left = jobs.list(&ListParams::default()).await?.items.len();
        ensure!(left < LIMIT, "{left} are left");
        Ok(())
    })
    .await?;
    for (number, id) in ids.iter().enumerate() {
        let url = format!("{}/v1/jobs/{}", stack.api_url(), id.as_str().unwrap());
        let read: Value = http()
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        ensure!(read["result"]["caption"] == caption.as_str(), "{read}");
        ensure!(submit(number).await?["id"] == *id, "{number} ran again");
    }
    Ok(stack.stop().await?)
}
