//! Memory of the api per finished job.

use crate::setting::Setting;
use fovea_crds::InferenceJob;
use fovea_tests::measure::kib;
use fovea_tests::{Operated, crowd, operated};
use kube::Api;

const NAMESPACE: &str = "bench-finished";
const EMPTY: &str = "bench-empty";

/// Creates `count` jobs, and compares an api with them to one without.
pub(crate) async fn weigh(setting: &Setting, count: usize) -> anyhow::Result<()> {
    eprintln!("{count} jobs that have ended");
    let client = setting.control_plane.client().await?;
    for name in [NAMESPACE, EMPTY] {
        operated::create_namespace(&client, name).await?;
    }
    let jobs: Api<InferenceJob> = Api::namespaced(client, NAMESPACE);
    let finished =
        (0..count).map(|number| Operated::job(&format!("finished-{number}"), "a picture"));
    crowd::create_finished(&jobs, finished).await?;
    let none = setting.another_api(EMPTY).await?.memory_bytes()?;
    let all = setting.another_api(NAMESPACE).await?.memory_bytes()?;
    println!(
        "\n{count} jobs that have ended: {:.1} KiB each in the api",
        kib(all.saturating_sub(none), count)
    );
    Ok(())
}
