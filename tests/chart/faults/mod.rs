//! Jobs outlive faults, and alerts report them: each alert of the chart fires once, for its fault.

mod alerts;
mod breaking;
mod outlived;
mod watched;

use anyhow::Result;
use fovea_tests::pods::is_skipped;
use watched::Watched;

#[tokio::test]
async fn jobs_outlive_every_fault_and_its_alert_fires() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let mut it = Box::pin(Watched::start()).await?;
    outlived::killed_pods_and_a_restarted_store(&mut it).await?;
    alerts::each_fires_by_its_fault(&mut it).await?;
    alerts::every_panel_of_the_dashboard_has_an_answer(&it).await
}
