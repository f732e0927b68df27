//! What a job that has ended costs the api in memory.

use crate::setting::Setting;
use crate::waiters::kib;
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

const NAMESPACE: &str = "bench-finished";
/// Requests to the cluster at once.
const IN_FLIGHT: usize = 64;

/// Makes so many, and compares an api that has them with one that has none.
pub(crate) async fn weigh(setting: &Setting, count: usize) -> anyhow::Result<()> {
    eprintln!("{count} jobs that have ended");
    let client = setting.control_plane.client().await?;
    for name in [NAMESPACE, "bench-empty"] {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await?;
    }
    let jobs: Api<InferenceJob> = Api::namespaced(client, NAMESPACE);
    let make = |number: usize| {
        let jobs = jobs.clone();
        async move {
            let name = format!("finished-{number}");
            let input = Input::Upload {
                sha256: "0".repeat(64),
            };
            let job = InferenceJob::new(&name, InferenceJobSpec::new(Task::ImageToText, input));
            jobs.create(&PostParams::default(), &job).await?;
            let now = jiff::Timestamp::now().to_string();
            let status = json!({"status": {
                "phase": "Succeeded", "attempts": 1, "startTime": now, "completionTime": now,
                "result": {"caption": "a blue ring, a red heart and a green circle"},
                "summary": "a blue ring, a red heart and a green circle",
            }});
            let patch = Patch::Merge(&status);
            jobs.patch_status(&name, &PatchParams::default(), &patch)
                .await?;
            anyhow::Ok(())
        }
    };
    futures::stream::iter(0..count)
        .map(make)
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let none = setting.another_api("bench-empty").await?.memory_bytes()?;
    let all = setting.another_api(NAMESPACE).await?.memory_bytes()?;
    println!(
        "\n{count} jobs that have ended: {:.1} KiB each in the api",
        kib(all.saturating_sub(none), count)
    );
    Ok(())
}
