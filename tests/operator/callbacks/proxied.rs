//! Callbacks through `--callback-proxy`, to receivers that only the proxy knows.

use super::{create_secret, job, url, verified};
use anyhow::{Result, ensure};
use fovea_tests::forward_proxy::{PASSWORD, Passed};
use fovea_tests::operated::JOBS;
use fovea_tests::receiver::{Authority, Receiver};
use fovea_tests::{ForwardProxy, Operated, Options};

fn tunnel(authority: &str) -> Passed {
    Passed {
        method: "CONNECT".to_owned(),
        authority: authority.to_owned(),
        path: String::new(),
    }
}

#[tokio::test]
async fn with_a_callback_proxy_only_receivers_elsewhere_are_called_through_it() -> Result<()> {
    let authority = Authority::new()?;
    let [inside, outside] = [
        Receiver::start(&authority).await?,
        Receiver::start(&authority).await?,
    ];
    let address = format!("127.0.0.1:{}", outside.port);
    let hosts = [("hooks.test:443", &*address)];
    let plain = ForwardProxy::start(&hosts).await?;
    let secure = ForwardProxy::start_https(&hosts, &authority).await?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = |proxy: &ForwardProxy| {
        let mut options = Options::default();
        options.flags.extend([
            format!("--callback-allow=localhost:{}", inside.port),
            format!("--callback-ca-file={}", authority.file().display()),
            "--callback-first-delay-ms=500".to_owned(),
            "--callback-greatest-delay-ms=2000".to_owned(),
        ]);
        let variable = "FOVEA_OPERATOR_CALLBACK_PROXY".to_owned();
        options.env.push((variable, proxy.url.clone()));
        options
    };
    let mut operated = Operated::start(options(&plain)).await?;
    create_secret(&operated.client, JOBS, "fovea.dev/webhook").await?;
    let delivered = async |operated: &Operated, name: &str, url: &str| {
        operated.create(&job(name, url)).await?;
        let delivered = operated.status_where(name, "to be delivered", |status| {
            (status.callback.as_ref()).is_some_and(|callback| callback.delivered)
        });
        delivered.await
    };

    delivered(&operated, "outside", "https://hooks.test/outside/200").await?;
    ensure!(plain.passed().contains(&tunnel("hooks.test:443")));
    verified(&outside.received("/outside/200")[0])?;
    let before = plain.passed();
    delivered(&operated, "inside", &url(&inside, "/inside/200")).await?;
    verified(&inside.received("/inside/200")[0])?;
    assert_eq!(
        plain.passed(),
        before,
        "an allowed host is reached directly"
    );

    // An address that is not public does not come to the proxy, and a host that it refuses is told.
    operated
        .create(&job("literal", "https://169.254.169.254/latest/200"))
        .await?;
    operated
        .create(&job("unknown", "https://other.test/unknown/200"))
        .await?;
    for (name, expected) in [
        ("literal", "link-local or metadata address"),
        ("unknown", "--callback-proxy"),
    ] {
        let said = operated.status_where(name, "to have failed", |status| {
            let error = status
                .callback
                .as_ref()
                .and_then(|it| it.last_error.as_ref());
            error.is_some_and(|error| error.contains(expected))
        });
        said.await?;
    }
    let all = plain.passed();
    ensure!(all.contains(&tunnel("other.test:443")), "{all:?}");
    ensure!(
        !all.iter().any(|each| each.authority.starts_with("169.")),
        "{all:?}"
    );
    let log = std::fs::read_to_string(operated.operator.log_path())?;
    ensure!(!log.contains(PASSWORD), "{log}");

    operated.operator.terminate().await?;
    operated.operator = operated.another_operator(&options(&secure), None).await?;
    delivered(&operated, "secure", "https://hooks.test/secure/200").await?;
    ensure!(secure.passed().contains(&tunnel("hooks.test:443")));
    Ok(())
}
