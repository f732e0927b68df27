//! One cluster for all tests of this program; it ends with the program.

use anyhow::Result;
use fovea_harness::{Cluster, ClusterOptions, NodeOptions, images};
use fovea_setup::cache::Cache;
use tokio::sync::OnceCell;

/// Two nodes that enforce network policies, the first with two GPUs, and the image of Debian.
pub(crate) async fn shared() -> Result<&'static Cluster> {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    let start = || async {
        let cluster = Cluster::start(ClusterOptions {
            nodes: vec![NodeOptions { gpus: 2 }, NodeOptions::default()],
            network_policies: true,
            ..ClusterOptions::default()
        })
        .await?;
        cluster
            .import_image(&images::debian(&Cache::from_env()?)?)
            .await?;
        Ok(cluster)
    };
    SHARED.get_or_try_init(start).await
}
