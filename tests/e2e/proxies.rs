//! All three programs with a proxy before the object store and the hub.

use crate::support::sample;
use anyhow::{Context as _, Result, ensure};
use fovea_harness::{Minio, Process, Program, Stack, StackOptions, stack};
use fovea_tests::forward_proxy::PASSWORD;
use fovea_tests::hub::{self, Hub};
use fovea_tests::{ForwardProxy, Visitor};
use std::net::Ipv4Addr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(2);

fn variables(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let variables = variables.iter();
    let owned = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn a_job_ends_whose_picture_lies_behind_a_proxy_and_nothing_else_goes_through_it()
-> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(stack::BUCKET)?;
    let address = minio.endpoint().strip_prefix("http://").context("a URL")?;
    let proxy = ForwardProxy::start(&[("store.test:9000", address)]).await?;
    let options = StackOptions {
        env: variables(&[
            ("HTTPS_PROXY", &proxy.url),
            ("HTTP_PROXY", &proxy.url),
            ("FOVEA_S3_ENDPOINT", "http://store.test:9000"),
            ("AWS_ACCESS_KEY_ID", minio.access_key()),
            ("AWS_SECRET_ACCESS_KEY", minio.secret_key()),
        ]),
        ..StackOptions::default()
    };
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    let (picture, caption) = sample();
    let visitor = Visitor::plain(stack.api_url())?;
    let ended = visitor.submitted_and_ended(&picture, &[]).await?;
    ensure!(ended["result"]["caption"] == *caption, "{ended}");

    let passed = proxy.passed();
    for (what, method, part) in [
        ("the API's upload", "PUT", "/fovea/uploads/"),
        ("a list of the bucket", "GET", "list-type=2"),
        ("the runner's download", "GET", "X-Amz-Signature="),
    ] {
        let is_it = |method_of: &str, path: &str| method_of == method && path.contains(part);
        let found = passed.iter().any(|each| is_it(&each.method, &each.path));
        ensure!(found, "{what} is not in {passed:#?}");
    }
    let elsewhere = passed
        .iter()
        .find(|each| each.authority != "store.test:9000");
    ensure!(elsewhere.is_none(), "{elsewhere:?}");
    for program in [&stack.api, &stack.operator, &stack.runner] {
        let log = std::fs::read_to_string(program.log_path())?;
        ensure!(!log.contains(PASSWORD), "{}: {log}", program.name());
    }
    Ok(stack.stop().await?)
}

#[tokio::test]
async fn an_import_reaches_the_hub_through_the_proxy() -> Result<()> {
    let hub = Hub::start(Ipv4Addr::LOCALHOST).await?;
    let address = hub.url.strip_prefix("http://").context("a URL")?;
    let proxy = ForwardProxy::start(&[("hub.test:80", address)]).await?;
    let home = tempfile::tempdir()?;
    let program = Program::new("fovea-runner", stack::find("fovea-runner")?)
        .args(["fetch", hub::REPO])
        .env("HF_ENDPOINT", "http://hub.test")
        .env("HF_HOME", home.path().display().to_string())
        .env("http_proxy", &proxy.url);
    let process = Process::start(program).await?;
    let ended = process.wait(PATIENCE).await?;
    let log = process.log_tail();
    let weights = proxy.passed();
    let weights = weights
        .iter()
        .any(|each| each.path.ends_with("/model.safetensors"));
    ensure!(weights, "{ended:?}: {log}");
    ensure!(!log.contains(PASSWORD), "{log}");
    Ok(())
}
