//! What breaks is outlived by jobs, and told by alerts: each of the chart's fires once, by its fault.

mod alerts;
mod breaking;
mod outlived;
mod watched;

use anyhow::Result;
use fovea_tests::pods::is_skipped;
use watched::Watched;

#[tokio::test]
async fn what_breaks_is_outlived_by_jobs_and_told_by_its_alert() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let mut it = Box::pin(Watched::start()).await?;
    outlived::killed_pods_and_a_restarted_store(&mut it).await?;
    alerts::each_fires_by_its_fault(&mut it).await?;
    alerts::every_panel_of_the_dashboard_has_an_answer(&it).await
}
