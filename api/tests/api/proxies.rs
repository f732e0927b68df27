//! Proxies of the environment, as the API's process has it.

use super::harness::{Answer, BUCKET, Service, Surroundings, cluster, minio, send};
use anyhow::{Context as _, Result, ensure};
use fovea_harness::{Process, Program, eventually};
use fovea_tests::collector::Collector;
use fovea_tests::forward_proxy::PASSWORD;
use fovea_tests::receiver::Authority;
use fovea_tests::tls_front::TlsFront;
use fovea_tests::{ForwardProxy, demo};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Uploads a picture.
async fn upload(api: &Service) -> Result<Answer> {
    let (picture, _): (_, Value) = demo::first("captions.json");
    send(api.post(picture)).await
}

async fn accepts_an_upload(api: &Service) -> Result<()> {
    let answer = upload(api).await?;
    ensure!(answer.status == 202, "{answer:?}");
    Ok(())
}

/// `host:port` of the shared MinIO.
async fn store() -> Result<&'static str> {
    let endpoint = minio().await?.endpoint();
    endpoint.strip_prefix("http://").context("a URL")
}

/// The shared surroundings with the store at `endpoint` and these variables.
async fn surroundings(endpoint: &str, env: &[(&'static str, &str)]) -> Result<Surroundings> {
    let env = env.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Ok(Surroundings {
        s3_endpoint: endpoint.to_owned(),
        env: env.collect(),
        ..Surroundings::shared().await?
    })
}

/// Where the requests went that came to the proxy: each once.
fn authorities(proxy: &ForwardProxy) -> Vec<String> {
    let passed = proxy.passed().into_iter();
    let mut authorities: Vec<_> = passed.map(|passed| passed.authority).collect();
    authorities.sort();
    authorities.dedup();
    authorities
}

fn discloses_no_password(api: &Service) -> Result<()> {
    let log = std::fs::read_to_string(api.process.log_path())?;
    ensure!(!log.contains(PASSWORD), "{log}");
    Ok(())
}

#[tokio::test]
async fn proxies_and_any_no_proxy_leave_what_is_on_this_machine_as_it_was() -> Result<()> {
    let endpoint = minio().await?.endpoint();
    for no_proxy in ["", "*", "elsewhere.test,10.0.0.0/8"] {
        for (https, http) in [("HTTPS_PROXY", "HTTP_PROXY"), ("https_proxy", "http_proxy")] {
            let env = [(https, NOWHERE), (http, NOWHERE), ("NO_PROXY", no_proxy)];
            let api = Service::start_in(surroundings(endpoint, &env).await?, &[]).await?;
            accepts_an_upload(&api).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_http_store_is_reached_through_http_proxy_with_its_password() -> Result<()> {
    let proxy = ForwardProxy::start(&[("store.test:9000", store().await?)]).await?;
    let env = [("HTTP_PROXY", &*proxy.url), ("HTTPS_PROXY", NOWHERE)];
    let api = Service::start_in(surroundings("http://store.test:9000", &env).await?, &[]).await?;
    accepts_an_upload(&api).await?;
    let passed = proxy.passed();
    let put = passed.iter().find(|passed| passed.method == "PUT");
    let put = put.with_context(|| format!("no PUT in {passed:?}"))?;
    ensure!(put.path.starts_with("/fovea/uploads/"), "{put:?}");
    // Neither the API server nor anything else.
    assert_eq!(authorities(&proxy), ["store.test:9000"]);
    discloses_no_password(&api)
}

#[tokio::test]
async fn an_https_store_is_reached_through_a_tunnel_of_https_proxy() -> Result<()> {
    let authority = Authority::new()?;
    let front = TlsFront::start(store().await?, &authority).await?;
    let address = front.address.to_string();
    let proxy = ForwardProxy::start(&[("store.test:443", &address)]).await?;
    let env = [("https_proxy", &*proxy.url)];
    let ca_file = format!("--s3-ca-file={}", authority.file().display());
    let surroundings = surroundings("https://store.test", &env).await?;
    let api = Service::start_in(surroundings, &[&ca_file]).await?;
    accepts_an_upload(&api).await?;
    let passed = proxy.passed();
    ensure!(
        passed.iter().all(|passed| passed.method == "CONNECT"),
        "{passed:?}"
    );
    assert_eq!(authorities(&proxy), ["store.test:443"]);
    discloses_no_password(&api)
}

#[tokio::test]
async fn a_proxy_that_speaks_https_itself_is_used_too() -> Result<()> {
    let authority = Authority::new()?;
    let front = TlsFront::start(store().await?, &authority).await?;
    let address = front.address.to_string();
    let proxy = ForwardProxy::start_https(&[("store.test:443", &address)], &authority).await?;
    let env = [("HTTPS_PROXY", &*proxy.url)];
    let ca_file = format!("--s3-ca-file={}", authority.file().display());
    let surroundings = surroundings("https://store.test", &env).await?;
    let api = Service::start_in(surroundings, &[&ca_file]).await?;
    accepts_an_upload(&api).await?;
    assert_eq!(authorities(&proxy), ["store.test:443"]);
    Ok(())
}

#[tokio::test]
async fn a_store_that_no_proxy_names_is_not_reached_through_the_proxy() -> Result<()> {
    let proxy = ForwardProxy::start(&[("store.test:9000", store().await?)]).await?;
    for no_proxy in ["store.test", ".test", "store.test:9000", "a.test, *"] {
        let env = [("HTTP_PROXY", &*proxy.url), ("no_proxy", no_proxy)];
        let surroundings = surroundings("http://store.test:9000", &env).await?;
        let flags = ["--s3-attempt-timeout-ms=500", "--s3-max-attempts=1"];
        let api = Service::start_in(surroundings, &flags).await?;
        // No name server knows it.
        let answer = upload(&api).await?;
        ensure!(answer.status == 503, "{no_proxy}: {answer:?}");
    }
    assert_eq!(authorities(&proxy), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_refuses_the_password_is_told_as_the_proxy_s_refusal() -> Result<()> {
    let proxy = ForwardProxy::start(&[]).await?;
    let wrong = proxy.url.replace(PASSWORD, "wrong");
    for (endpoint, said) in [
        ("http://store.test:9000", "the proxy that HTTP_PROXY names"),
        ("https://store.test", "proxy authorization required"),
    ] {
        let env = [("HTTP_PROXY", &*wrong), ("HTTPS_PROXY", &*wrong)];
        let flags = ["--s3-max-attempts=1"];
        let api = Service::start_in(surroundings(endpoint, &env).await?, &flags).await?;
        let answer = upload(&api).await?;
        ensure!(answer.status == 503, "{answer:?}");
        eventually("the proxy's refusal in the log", PATIENCE, async || {
            let log = std::fs::read_to_string(api.process.log_path())?;
            ensure!(log.contains(said), "{said:?} is not in {log}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The admin's kubeconfig with another server, and perhaps a proxy of its own.
async fn kubeconfig(server: &str, proxy: Option<&str>) -> Result<(TempDir, PathBuf)> {
    let text = std::fs::read(cluster().await?.kubeconfig())?;
    let mut config: Value = serde_json::from_slice(&text)?;
    let cluster = &mut config["clusters"][0]["cluster"];
    cluster["server"] = server.into();
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = proxy.into();
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok((folder, path))
}

#[tokio::test]
async fn the_api_server_of_a_kubeconfig_is_reached_through_a_tunnel() -> Result<()> {
    let server = cluster().await?.server();
    let server = server.strip_prefix("https://").context("a URL")?;
    let proxy = ForwardProxy::start(&[("kubernetes:6443", server)]).await?;
    // By the environment, whose NO_PROXY names the proxy's own host; or by the kubeconfig, which goes before.
    for (environment, own) in [(&*proxy.url, None), (NOWHERE, Some(&*proxy.url))] {
        let before = proxy.passed().len();
        let (_folder, kubeconfig) = kubeconfig("https://kubernetes:6443", own).await?;
        let env = [("HTTPS_PROXY", environment), ("NO_PROXY", "localhost")];
        let surroundings = Surroundings {
            kubeconfig,
            ..surroundings(minio().await?.endpoint(), &env).await?
        };
        let api = Service::start_in(surroundings, &[]).await?;
        accepts_an_upload(&api).await?;
        ensure!(proxy.passed().len() > before, "{own:?}");
        discloses_no_password(&api)?;
    }
    assert_eq!(authorities(&proxy), ["kubernetes:6443"]);
    Ok(())
}

#[tokio::test]
async fn spans_go_through_the_proxy_to_a_collector_elsewhere() -> Result<()> {
    let collector = Collector::start().await?;
    let (name, endpoint) = &collector.env;
    let address = endpoint.strip_prefix("http://").context("a URL")?;
    let proxy = ForwardProxy::start(&[("collector.test:4318", address)]).await?;
    let env = [
        (*name, "http://collector.test:4318"),
        ("HTTP_PROXY", &*proxy.url),
    ];
    let surroundings = surroundings(minio().await?.endpoint(), &env).await?;
    let api = Service::start_in(surroundings, &[]).await?;
    accepts_an_upload(&api).await?;
    // What is left is sent at the end.
    api.process.terminate().await?;
    eventually("a span", PATIENCE, async || {
        ensure!(collector.has(b"fovea-api"), "none");
        Ok(())
    })
    .await?;
    assert_eq!(authorities(&proxy), ["collector.test:4318"]);
    Ok(())
}

#[tokio::test]
async fn a_variable_that_cannot_be_followed_ends_the_start_and_is_named_without_its_password()
-> Result<()> {
    for (name, value, advice) in [
        (
            "HTTPS_PROXY",
            "socks5://fovea:open-sesame@proxy.test:1080",
            "socks5",
        ),
        (
            "https_proxy",
            "http://fovea:open-sesame@proxy.test:no",
            "http://host:port",
        ),
        (
            "HTTP_PROXY",
            "http://fovea:open-sesame@proxy.test/path",
            "no path",
        ),
        ("NO_PROXY", "http://store.test", "http://store.test"),
    ] {
        let program = Program::new("fovea-api", env!("CARGO_BIN_EXE_fovea-api"))
            .args(["--listen", "127.0.0.1:0", "--s3-bucket", BUCKET])
            .env(name, value);
        let process = Process::start(program).await?;
        let ended = process.wait(PATIENCE).await?;
        let log = process.log_tail();
        ensure!(
            log.contains(&format!("{name}: ")) && log.contains(advice),
            "{ended:?}: {log}"
        );
        ensure!(!log.contains(PASSWORD), "{log}");
    }
    Ok(())
}
