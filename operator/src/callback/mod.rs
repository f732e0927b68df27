//! Sends webhooks when jobs end, as Standard Webhooks, from the leader.
//!
//! The job itself is the outbox. A finished job with `spec.callback` is due until `status.callback`
//! records that it is delivered or given up. The record is written once after each try, so that each
//! callback is tried at least once, even across restarts. A crash between a try and its record
//! repeats the try under the same webhook-id, made from the job's uid, so that the receiver can
//! recognise it. The dispatcher decides when a job is due ([`delivery::due`]) and whose turn it is
//! ([`queue`]); a task does the rest, with the job as the API server has it then.

pub(crate) mod address;
mod deliver;
pub(crate) mod payload;
pub(crate) mod queue;
pub(crate) mod secret;

use crate::job::Finished;
use crate::job::delivery::{self, Next, Outcome, Policy};
use crate::job::write::{StatusWriter, Written};
use address::Allowed;
use deliver::{Deliverer, Message};
use fovea_crds::InferenceJob;
use fovea_proxy::{InvalidProxyUrl, ProxyUrl};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use payload::Payload;
use queue::Bounds;
use secret::{SECRET_NAME, SECRET_TYPE, Signer};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Bounds on concurrent deliveries; a try lasts ten seconds at most.
pub(crate) const BOUNDS: Bounds = Bounds {
    total: 64,
    namespace: 16,
    receiver: 8,
};

const SECRET_TIMEOUT: Duration = Duration::from_secs(5);

/// Flags and environment of callbacks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Callbacks")]
pub struct CallbackConfig {
    /// Host (`host` or `host:port`) or network (`10.1.0.0/16`, or one address) that callbacks may
    /// be sent to although it is not on the public internet. A host is allowed whatever its
    /// address, a network whatever the host's name. Repeatable or comma-separated. Without any,
    /// callbacks only go to public addresses, so that users cannot reach services inside the
    /// cluster.
    #[arg(id = "callback_allow", long = "callback-allow")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_ALLOW", value_delimiter = ',')]
    pub allow: Vec<Allowed>,
    /// PEM file of certificate authorities to trust for callback receivers, in addition to the
    /// system's.
    #[arg(id = "callback_ca_file", long = "callback-ca-file")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// URL of an HTTP proxy (`http://host:port` or `https://host:port`) for callbacks. Receivers that --callback-allow
    /// names, and addresses in its networks, are still reached directly; all others through the proxy, which resolves
    /// their names: it then has to refuse addresses that are not public. Without this flag, callbacks go
    /// through no proxy, whatever `HTTPS_PROXY` says.
    #[arg(id = "callback_proxy", long = "callback-proxy")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_PROXY", hide_env_values = true)]
    pub proxy: Option<ProxyText>,
    /// Delay before the second attempt of a callback, in milliseconds. Each further delay is four
    /// times the one before, up to --callback-greatest-delay-ms.
    #[arg(id = "callback_first_delay_ms", long = "callback-first-delay-ms")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_FIRST_DELAY_MS")]
    #[arg(default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub first_delay_ms: u64,
    /// Longest delay between two attempts of a callback, in milliseconds.
    #[arg(id = "callback_greatest_delay_ms", long = "callback-greatest-delay-ms")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_GREATEST_DELAY_MS")]
    #[arg(default_value_t = 4 * 60 * 60 * 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub greatest_delay_ms: u64,
    /// Time after the job's end, in seconds, after which a callback that still fails is given up.
    #[arg(id = "callback_window_seconds", long = "callback-window-seconds")]
    #[arg(env = "FOVEA_OPERATOR_CALLBACK_WINDOW_SECONDS")]
    #[arg(default_value_t = 20 * 60 * 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub window_seconds: u32,
}

/// Text of --callback-proxy as given. It is parsed later: clap repeats a value that it cannot parse, and this one may
/// have a password.
#[derive(Clone)]
pub struct ProxyText(String);

impl From<String> for ProxyText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ProxyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<ProxyUrl>() {
            Ok(proxy) => fmt::Display::fmt(&proxy, f),
            Err(_) => f.write_str("an invalid URL"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    #[error("--callback-proxy: {0}")]
    Proxy(#[from] InvalidProxyUrl),
    #[error("--callback-ca-file {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("--callback-ca-file {}: not PEM certificates: {source}", path.display())]
    Pem {
        path: PathBuf,
        source: reqwest::Error,
    },
}

#[derive(Clone)]
pub(crate) struct Callbacks {
    client: Client,
    policy: Policy,
    /// An installation without any certificate authority still runs jobs.
    deliverer: Result<Deliverer, Arc<str>>,
}

impl Callbacks {
    pub(crate) fn new(client: Client, config: &CallbackConfig) -> Result<Self, CallbackError> {
        let CallbackConfig {
            allow,
            ca_file,
            proxy,
            first_delay_ms,
            greatest_delay_ms,
            window_seconds,
        } = config;
        let authorities = match ca_file {
            None => Vec::new(),
            Some(path) => {
                let path = path.clone();
                let pem = match std::fs::read(&path) {
                    Ok(pem) => pem,
                    Err(source) => return Err(CallbackError::Read { path, source }),
                };
                reqwest::Certificate::from_pem_bundle(&pem)
                    .map_err(|source| CallbackError::Pem { path, source })?
            }
        };
        let proxy: Option<ProxyUrl> = (proxy.as_ref().filter(|text| !text.0.is_empty()))
            .map(|text| text.0.parse())
            .transpose()?;
        let deliverer = Deliverer::new(allow.clone(), &authorities, proxy.as_ref());
        let deliverer = deliverer.map_err(|error| {
            tracing::error!(%error, "callbacks cannot be sent: install certificate authorities, or name some by --callback-ca-file");
            "the operator has no certificate authorities, see --callback-ca-file".into()
        });
        Ok(Self {
            client,
            policy: Policy {
                first_delay: Duration::from_millis(*first_delay_ms),
                greatest_delay: Duration::from_millis(*greatest_delay_ms),
                window: SignedDuration::from_secs(i64::from(*window_seconds)),
            },
            deliverer,
        })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Tries a due callback, or gives it up, and records the outcome in the job.
    pub(crate) async fn call(
        &self,
        writer: &StatusWriter,
        uid: &str,
        finished: &Finished,
    ) -> Written {
        let job = match writer.read_finished(uid, finished).await {
            Ok(Some(job)) => job,
            Ok(None) => return Written::Unknown,
            Err(error) => {
                tracing::warn!(job = %finished.name, %error, "reading a job for its callback failed");
                return Written::Unchanged;
            }
        };
        let record = match delivery::next(&job, &self.policy, crate::time::now()) {
            // The cache lagged behind the API server.
            Next::Nothing | Next::WaitUntil(_) => return Written::Current(Box::new(job)),
            Next::GiveUp => delivery::given_up(&job),
            Next::Try => {
                let outcome = self.send(&job).await;
                let now = crate::time::now();
                delivery::after(&job, outcome, &self.policy, now, rand::random())
            }
        };
        tracing::info!(
            job = job.metadata.name,
            namespace = job.metadata.namespace,
            attempt = record.attempts,
            delivered = record.delivered,
            error = record.last_error,
            "callback"
        );
        writer.record_callback(job, record).await
    }

    async fn send(&self, job: &InferenceJob) -> Outcome {
        let message = match self.message(job).await {
            Ok(message) => message,
            Err(why) => return Outcome::failed(why),
        };
        let url = job.spec.callback.as_ref().map(|callback| &*callback.url);
        match &self.deliverer {
            Ok(deliverer) => deliverer.deliver(url.unwrap_or_default(), message).await,
            Err(why) => Outcome::failed(&**why),
        }
    }

    /// The signed webhook; or a message for the user, where it cannot be signed.
    async fn message(&self, job: &InferenceJob) -> Result<Message, String> {
        let namespace = job.namespace().unwrap_or_default();
        let signer = self.signer(&namespace).await?;
        let payload = Payload::of(job).ok_or("the job has not ended")?;
        let body = serde_json::to_string(&payload).map_err(|error| error.to_string())?;
        let (id, timestamp) = (payload::id(job), crate::time::now().as_second());
        let signature = signer.sign(&id, timestamp, &body);
        Ok(Message {
            signature: signature.map_err(|error| error.to_string())?,
            id,
            timestamp,
            body,
        })
    }

    /// Reads the Secret at each try, so that a change of it takes effect at once.
    async fn signer(&self, namespace: &str) -> Result<Signer, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = tokio::time::timeout(SECRET_TIMEOUT, api.get_opt(SECRET_NAME)).await;
        match secret {
            Ok(Ok(Some(secret))) => Signer::of(&secret).map_err(|error| error.to_string()),
            Ok(Ok(None)) => Err(format!(
                "there is no Secret {SECRET_NAME:?} of type {SECRET_TYPE} in this namespace to sign with"
            )),
            Ok(Err(error)) => Err(format!("Secret {SECRET_NAME:?} cannot be read: {error}")),
            Err(_) => Err(format!(
                "Secret {SECRET_NAME:?} could not be read within {} s",
                SECRET_TIMEOUT.as_secs()
            )),
        }
    }
}
