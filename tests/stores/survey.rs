//! A whole Fovea on one store, and what of it works there.

use crate::bucket;
use crate::checks::Check;
use anyhow::{Context as _, Result};
use fovea_crds::InferenceJob;
use fovea_harness::stack::{self, JOB_NAMESPACE};
use fovea_harness::{
    ObjectStore, Process, Program, ServesS3 as _, Stack, StackOptions, StoreServer, ports,
};
use fovea_store::Store;
use fovea_tests::{ScriptedRunner, Visitor, operated, pods};
use kube::Api;
use std::time::{Duration, Instant};

/// Age at which the sweeper takes an object that nobody needs: longer than an upload takes here.
const GRACE_SECONDS: u64 = 20;
/// Pool of the runner that answers what its picture says.
pub(crate) const SCRIPTED: &str = "scripted";

pub(crate) struct Surveyed {
    pub(crate) stack: Stack<StoreServer>,
    pub(crate) store: Store,
    pub(crate) visitor: Visitor,
    pub(crate) http: reqwest::Client,
    pub(crate) jobs: Api<InferenceJob>,
    _runner: ScriptedRunner,
}

/// What did not work: the error's text.
pub(crate) struct Fault {
    pub(crate) check: Check,
    pub(crate) error: String,
}

impl Surveyed {
    pub(crate) async fn start(store: ObjectStore) -> Result<Self> {
        let server = StoreServer::start(store).await?;
        bucket::create(&server).await?;
        let endpoint = server.endpoint().to_owned();
        let options = StackOptions {
            failpoints: true,
            operator_flags: vec![
                "--sweep-every-seconds=2".to_owned(),
                format!("--sweep-grace-seconds={GRACE_SECONDS}"),
            ],
            api_flags: vec![
                format!("--s3-public-endpoint={endpoint}"),
                "--s3-attempt-timeout-ms=4000".to_owned(),
                "--s3-max-attempts=2".to_owned(),
            ],
            ..StackOptions::default()
        };
        let stack = Stack::start_on(server, options, |_| {}).await?;
        let client = stack.control_plane.client().await?;
        let runner = ScriptedRunner::start(4).await?;
        let own = serde_json::json!({});
        operated::apply_pool(&client, SCRIPTED, &[&runner.url], &own).await?;
        Ok(Self {
            store: pods::store(&stack.store).await?,
            visitor: Visitor::plain(stack.api_url())?,
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(Duration::from_mins(1))
                .build()?,
            jobs: Api::namespaced(client, JOB_NAMESPACE),
            stack,
            _runner: runner,
        })
    }

    /// Another API, with another key or bucket; it is not waited for.
    pub(crate) async fn another_api(
        &self,
        secret: &str,
        bucket: &str,
    ) -> Result<(Process, String)> {
        let [port] = ports::free()?;
        let server = &self.stack.store;
        let kubeconfig = self.stack.control_plane.kubeconfig();
        let program = Program::new("fovea-api", stack::find("fovea-api")?)
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--namespace={JOB_NAMESPACE}"))
            .env("KUBECONFIG", kubeconfig.display().to_string())
            .env("FOVEA_S3_ENDPOINT", server.endpoint())
            .env("FOVEA_S3_BUCKET", bucket)
            .env("AWS_ACCESS_KEY_ID", server.access_key())
            .env("AWS_SECRET_ACCESS_KEY", secret);
        let process = Process::start(program).await?;
        Ok((process, format!("http://127.0.0.1:{port}")))
    }
}

/// Runs every check on a store; returns those that failed.
pub(crate) async fn survey(store: ObjectStore) -> Result<Vec<Fault>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let began = Instant::now();
    let surveyed = Box::pin(Surveyed::start(store))
        .await
        .with_context(|| format!("starting Fovea on {}", store.title()))?;
    eprintln!("{}: started in {:?}", store.title(), began.elapsed());
    let mut faults = Vec::new();
    for check in Check::ALL {
        let began = Instant::now();
        let outcome = Box::pin(check.run(&surveyed)).await;
        let title = check.title();
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        eprintln!(
            "{}: {title}: {outcome:?} in {:?}",
            store.title(),
            began.elapsed()
        );
        if let Err(error) = outcome {
            faults.push(Fault { check, error });
        }
    }
    Ok(faults)
}
