//! One namespace's large pictures beside another one's small ones, on a real runner.

use crate::support::{inline, sample, stack, unique};
use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, Phase};
use fovea_harness::eventually;
use fovea_tests::jobs::PATIENCE;
use fovea_tests::operated::create_namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

/// A side of a large picture: below the bound on pixels, and many times the work of a sample.
const SIDE: u32 = 6000;

const LARGE: usize = 16;
const LIGHT: usize = 20;

/// A valid picture of few bytes and many pixels.
fn large() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIDE, SIDE);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    let row = SIDE.div_ceil(8) as usize;
    writer
        .write_image_data(&vec![0; row * SIDE as usize])
        .unwrap();
    writer.finish().unwrap();
    bytes
}

async fn tenant(name: &str) -> Result<Api<InferenceJob>> {
    let client = stack().await.control_plane.client().await?;
    let namespace = unique(name);
    create_namespace(&client, &namespace).await?;
    Ok(Api::namespaced(client, &namespace))
}

async fn submit(jobs: &Api<InferenceJob>, count: usize, picture: &[u8]) -> Result<()> {
    for _ in 0..count {
        let job = inline(&unique("job"), picture);
        jobs.create(&PostParams::default(), &job).await?;
    }
    Ok(())
}

async fn count(jobs: &Api<InferenceJob>, phase: Phase) -> Result<usize> {
    let jobs = jobs.list(&ListParams::default()).await?.items;
    let is_so = |job: &&InferenceJob| job.status.as_ref().is_some_and(|it| it.phase == phase);
    Ok(jobs.iter().filter(is_so).count())
}

/// Waits until so many have succeeded.
async fn succeeded(jobs: &Api<InferenceJob>, wanted: usize) -> Result<()> {
    let found = eventually("jobs to succeed", PATIENCE, async || {
        let failed = count(jobs, Phase::Failed).await?;
        assert_eq!(failed, 0, "jobs failed");
        let done = count(jobs, Phase::Succeeded).await?;
        ensure!(done >= wanted, "{done} of {wanted}");
        Ok(())
    });
    Ok(found.await?)
}

#[tokio::test]
async fn small_pictures_do_not_wait_for_another_namespace_s_large_ones() -> Result<()> {
    let (picture, _) = sample();
    let (large_jobs, light_jobs) = (tenant("large").await?, tenant("light").await?);
    submit(&large_jobs, LARGE, &large()).await?;
    succeeded(&large_jobs, 1).await?;
    submit(&light_jobs, LIGHT, &picture).await?;
    succeeded(&light_jobs, LIGHT).await?;
    let done = count(&large_jobs, Phase::Succeeded).await?;
    // By turns all of them would have been done before the last small one.
    assert!(done <= LARGE / 2, "{done} of {LARGE} large ones are done");
    let (all, no) = (ListParams::default(), DeleteParams::default());
    large_jobs.delete_collection(&no, &all).await?;
    Ok(())
}
