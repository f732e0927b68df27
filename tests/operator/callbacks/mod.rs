//! Callbacks of finished jobs, to receivers whose answers are scripted by the URL's path: see
//! `fovea_tests::receiver`.

mod delivery;
mod proxied;
mod refusals;
mod retries;

use anyhow::{Result, anyhow, ensure};
use fovea_crds::{Callback, CallbackStatus, InferenceJob};
use fovea_tests::operated::{JOBS, OPERATOR};
use fovea_tests::proxy::Proxy;
use fovea_tests::receiver::{Authority, Received, Receiver};
use fovea_tests::{Operated, Options, Shared};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Setting {
    operated: Operated,
    options: Options,
    /// Allowed by name and port.
    receiver: Receiver,
    /// Allowed as well; for requests that are not answered.
    hanging: Receiver,
    /// A receiver that the allow-list lacks.
    inner: Receiver,
    _authority: Authority,
}

impl Setting {
    async fn start() -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new()?;
        let receiver = Receiver::start(&authority).await?;
        let hanging = Receiver::start(&authority).await?;
        let allow = format!("localhost:{},localhost:{}", receiver.port, hanging.port);
        let mut options = Options::default();
        options.flags.extend([
            format!("--callback-allow={allow}"),
            format!("--callback-ca-file={}", authority.file().display()),
            "--callback-first-delay-ms=500".to_owned(),
            "--callback-greatest-delay-ms=2000".to_owned(),
        ]);
        // Callbacks must not use this proxy, which does not exist.
        for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            let proxy = (variable.to_owned(), "http://127.0.0.1:9".to_owned());
            options.env.push(proxy);
        }
        let operated = Operated::start(options.clone()).await?;
        create_secret(&operated.client, JOBS, "fovea.dev/webhook").await?;
        Ok(Self {
            inner: Receiver::start(&authority).await?,
            operated,
            options,
            receiver,
            hanging,
            _authority: authority,
        })
    }

    /// A setting whose operator reaches the API server only through the proxy.
    async fn behind_a_proxy() -> Result<(Self, Proxy)> {
        let mut setting = Self::start().await?;
        let operated = &mut setting.operated;
        let proxy = Proxy::start(&operated.control_plane, Some(OPERATOR)).await?;
        operated.operator.terminate().await?;
        let kubeconfig = Some(proxy.kubeconfig.clone());
        let operator = operated.another_operator(&setting.options, kubeconfig);
        operated.operator = operator.await?;
        setting.submit("first", "/first/200").await?;
        setting.delivered("first").await?;
        Ok((setting, proxy))
    }

    /// Submits a job that ends at once, with a callback to `path`.
    async fn submit(&self, name: &str, path: &str) -> Result<InferenceJob> {
        let job = job(name, &url(&self.receiver, path));
        self.operated.create(&job).await
    }

    /// Waits until `wanted` holds for a job's record.
    async fn record_where(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&CallbackStatus) -> bool,
    ) -> Result<CallbackStatus> {
        let wanted = |record: &Option<CallbackStatus>| record.as_ref().is_some_and(&wanted);
        let status = self
            .operated
            .status_where(name, what, |status| wanted(&status.callback));
        status.await?.callback.ok_or_else(|| anyhow!("no record"))
    }

    async fn delivered(&self, name: &str) -> Result<CallbackStatus> {
        self.record_where(name, "to be delivered", |record| record.delivered)
            .await
    }
}

/// Runs a test on the shared setting; the test must not stop the operator.
fn shared(test: impl AsyncFnOnce(&'static Setting) -> Result<()>) -> Result<()> {
    static SHARED: Shared<Setting> = Shared::new();
    SHARED.run(Setting::start, test)
}

fn url(receiver: &Receiver, path: &str) -> String {
    format!("https://localhost:{}{path}", receiver.port)
}

fn job(name: &str, url: &str) -> InferenceJob {
    let mut job = Operated::job(name, "caption a cat");
    job.spec.callback = Some(Callback { url: url.into() });
    job
}

async fn create_secret(client: &Client, namespace: &str, type_: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = serde_json::from_value(json!({
        "metadata": {"name": "fovea-webhook"}, "type": type_, "stringData": {"secret": SECRET},
    }))?;
    secrets.create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// The body of a request with a valid signature.
fn verified(received: &Received) -> Result<Value> {
    let key = Webhook::new(SECRET)?;
    key.verify(&received.body, &received.headers)?;
    ensure!(key.verify(b"{}", &received.headers).is_err());
    Ok(serde_json::from_slice(&received.body)?)
}
