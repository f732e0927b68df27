//! An API whose clock is wrong by more than stores allow.

use crate::support::{ended, http, sample, stack};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::Phase;
use fovea_harness::{Process, Program, ports, stack as programs};
use fovea_tests::Visitor;
use fovea_tests::jobs::PATIENCE;
use fovea_tests::skew::Clock;

const SKEW_SECONDS: i32 = 20 * 60;

/// An API with this clock, which sends its clients to the store by signed links.
async fn serve(clock: &Clock) -> Result<(Process, String)> {
    let stack = stack().await;
    let [port] = ports::free()?;
    let kubeconfig = stack.control_plane.kubeconfig().display().to_string();
    let program = Program::new("fovea-api", programs::find("fovea-api")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--namespace={}", programs::JOB_NAMESPACE))
        .env("KUBECONFIG", kubeconfig)
        .env("FOVEA_S3_ENDPOINT", stack.minio.endpoint())
        .env("FOVEA_S3_PUBLIC_ENDPOINT", stack.minio.endpoint())
        .env("FOVEA_S3_BUCKET", programs::BUCKET)
        .env("AWS_ACCESS_KEY_ID", stack.minio.access_key())
        .env("AWS_SECRET_ACCESS_KEY", stack.minio.secret_key());
    let env = clock.env().into_iter();
    let program = env.fold(program, |program, (name, value)| program.env(name, value));
    let api = Process::start(program).await?;
    let url = format!("http://127.0.0.1:{port}");
    api.wait_ready_http(&format!("{url}/readyz"), PATIENCE)
        .await?;
    Ok((api, url))
}

#[tokio::test]
async fn an_api_twenty_minutes_off_accepts_pictures_and_its_links_to_the_store_work() -> Result<()>
{
    let (picture, _) = sample();
    for (seconds, side) in [(SKEW_SECONDS, "ahead of"), (-SKEW_SECONDS, "behind")] {
        let clock = Clock::new(seconds.into())?;
        let (_api, url) = serve(&clock).await?;
        let visitor = Visitor::plain(&url)?;
        let (status, job) = visitor.submit(&picture, &[]).await?;
        ensure!(status == 202, "{status}: {job}");
        let id = job["id"].as_str().context("an id")?;
        let done = ended(id).await?;
        assert_eq!(done.phase, Phase::Succeeded, "{done:?}");
        let answer = http()
            .get(format!("{url}/v1/jobs/{id}/input"))
            .send()
            .await?;
        let link = answer.url().to_string();
        assert!(link.contains("X-Amz-Signature"), "no redirect: {link}");
        let status = answer.status().as_u16();
        let read = answer.bytes().await?;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&read));
        assert_eq!(read, picture);

        let ready = http().get(format!("{url}/readyz?verbose")).send().await?;
        let ready = ready.text().await?;
        let named =
            format!("[+]object-store ok: this pod's clock is 20 minutes {side} the object store's");
        assert!(ready.contains(&named), "{ready}");
        let metrics = http().get(format!("{url}/metrics")).send().await?;
        let metrics = metrics.text().await?;
        let skew = metrics.lines().find_map(|line| {
            let seconds = line.strip_prefix("fovea_api_store_clock_skew_seconds ")?;
            seconds.parse::<f64>().ok()
        });
        let skew = skew.context("no metric")?;
        assert!((skew - f64::from(seconds)).abs() < 30.0, "{skew}");
    }
    Ok(())
}
