//! Jobs that a hostile tenant creates with kubectl, and the pictures that it uploads.

use super::tenant::Tenant;
use crate::crowd;
use anyhow::Result;
use fovea_crds::{Callback, InferenceJob, InferenceJobSpec, Input, PoolRef, Task};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

/// Sides of square pictures: just below Pillow's two bounds on pixels, then less.
pub(super) const SIDES: [u32; 5] = [13_000, 9400, 7000, 5000, 3000];
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Creates `count` jobs of `picture` that `change` makes what they are.
pub(super) async fn create(
    tenant: &Tenant,
    count: usize,
    picture: &[u8],
    change: impl Fn(usize, &mut InferenceJobSpec),
) -> Result<()> {
    let job = |number| {
        job(&format!("job-{number}"), picture, |spec| {
            change(number, spec);
        })
    };
    crowd::create(&tenant.jobs, (0..count).map(job)).await
}

fn job(name: &str, picture: &[u8], change: impl FnOnce(&mut InferenceJobSpec)) -> InferenceJob {
    let data = ByteString(picture.to_vec());
    let mut spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
    change(&mut spec);
    InferenceJob::new(name, spec)
}

/// Ends a job as soon as the operator sees it, without a runner.
pub(super) fn cancelled(_: usize, spec: &mut InferenceJobSpec) {
    spec.cancel = true;
}

/// A job that nobody runs.
pub(super) fn suspended(_: usize, spec: &mut InferenceJobSpec) {
    spec.suspend = true;
}

/// Asks for a pool that is not there, which deserves an Event.
pub(super) fn without_pool(_: usize, spec: &mut InferenceJobSpec) {
    spec.pool_ref = Some(PoolRef {
        name: format!("missing-{}", uuid::Uuid::new_v4()),
        namespace: None,
    });
}

/// A job that deserves an Event.
pub(super) fn bad(picture: &[u8]) -> InferenceJob {
    let name = format!("bad-{}", uuid::Uuid::new_v4());
    job(&name, picture, |spec| {
        without_pool(0, spec);
    })
}

/// Ends at once; half of the callbacks go to a receiver that never answers, the others to a closed port.
pub(super) fn with_callback(
    hanging: &str,
    closed: &str,
    number: usize,
    spec: &mut InferenceJobSpec,
) {
    spec.cancel = true;
    let url = if number.is_multiple_of(2) {
        hanging
    } else {
        closed
    };
    spec.callback = Some(Callback { url: url.into() });
}

/// Creates jobs that have ended, with results as long as may be.
pub(super) async fn create_with_long_results(tenant: &Tenant, count: usize) -> Result<()> {
    let jobs = (0..count).map(|number| {
        job(&format!("job-{number}"), b"no picture", |spec| {
            suspended(number, spec);
        })
    });
    crowd::create_captioned(&tenant.jobs, jobs, &crowd::longest_caption()).await
}

/// The Secret that callbacks are signed with.
pub(super) async fn create_secret(tenant: &Tenant) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    let secret = serde_json::from_value(json!({
        "metadata": {"name": "fovea-webhook"}, "type": "fovea.dev/webhook",
        "stringData": {"secret": SECRET},
    }))?;
    secrets.create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// A picture of that many bytes: decoders ignore what follows a JPEG's end.
pub(super) fn padded(picture: &[u8], bytes: usize) -> Vec<u8> {
    let mut padded = picture.to_vec();
    padded.resize(bytes.max(picture.len()), 0);
    padded
}

/// A black PNG, whose file is a thousandth of its pixels.
pub(super) fn black(side: u32) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    let mut rows = writer.stream_writer()?;
    let row = vec![0; side as usize];
    for _ in 0..side {
        rows.write_all(&row)?;
    }
    rows.finish()?;
    drop(writer);
    Ok(file)
}
