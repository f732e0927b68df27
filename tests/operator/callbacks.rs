//! Webhooks at jobs' ends, to receivers that answer what their paths say: see
//! `fovea_tests::receiver`.

use anyhow::{Result, anyhow, ensure};
use axum::http::Method;
use fovea_crds::{Callback, CallbackStatus, InferenceJob};
use fovea_dev::eventually;
use fovea_tests::operated::{JOBS, PATIENCE, create_namespace};
use fovea_tests::proxy::{Fate, Proxy, Rule};
use fovea_tests::receiver::{Authority, ELSEWHERE, Received, Receiver};
use fovea_tests::{Operated, Options, Shared};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_TIMESTAMP, Webhook};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// An operator and its receivers.
struct Setting {
    operated: Operated,
    options: Options,
    /// Allowed by name and port.
    receiver: Receiver,
    /// Allowed as well; for requests that are not answered.
    hanging: Receiver,
    /// Not allowed.
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
        // Would be asked for every receiver, and leads nowhere.
        let proxy = ("ALL_PROXY".to_owned(), "http://127.0.0.1:9".to_owned());
        options.env.push(proxy);
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

    /// One whose operator has no way to the API server but the proxy.
    async fn behind_a_proxy() -> Result<(Self, Proxy)> {
        let mut setting = Self::start().await?;
        let operated = &mut setting.operated;
        let proxy = Proxy::start(&operated.control_plane).await?;
        operated.operator.terminate().await?;
        let kubeconfig = Some(proxy.kubeconfig.clone());
        let operator = operated.another_operator(&setting.options, kubeconfig);
        operated.operator = operator.await?;
        setting.submit("first", "/first/200").await?;
        setting.delivered("first").await?;
        Ok((setting, proxy))
    }

    /// Submits a job that is done at once, and whose end is told to `path`.
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
        let wanted = |told: &Option<CallbackStatus>| told.as_ref().is_some_and(&wanted);
        let status = self
            .operated
            .status_where(name, what, |status| wanted(&status.callback));
        status.await?.callback.ok_or_else(|| anyhow!("no record"))
    }

    async fn delivered(&self, name: &str) -> Result<CallbackStatus> {
        self.record_where(name, "to be told", |told| told.delivered)
            .await
    }
}

/// Runs a test on the setting that tests share which leave the operator alone.
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

/// What it says, if its signature is right.
fn verified(received: &Received) -> Result<Value> {
    let key = Webhook::new(SECRET)?;
    key.verify(&received.body, &received.headers)?;
    ensure!(key.verify(b"{}", &received.headers).is_err());
    Ok(serde_json::from_slice(&received.body)?)
}

#[test]
fn a_job_s_end_is_told_once_and_signed() -> Result<()> {
    shared(async |setting| {
        let path = "/once/200";
        let job = setting.submit("once", path).await?;
        let told = setting.delivered("once").await?;
        assert_eq!((told.attempts, told.last_error), (1, None));
        assert_eq!(told.next_attempt_time, None);

        let received = setting.receiver.received(path);
        assert_eq!(received.len(), 1, "{received:?}");
        let (uid, headers) = (job.uid().unwrap(), &received[0].headers);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers[HEADER_WEBHOOK_ID], format!("msg_{uid}"));
        let said = verified(&received[0])?;
        let status = setting.operated.ended("once").await?;
        assert_eq!(said["type"], "inferencejob.succeeded");
        assert_eq!(said["timestamp"], json!(status.completion_time));
        assert_eq!(said["data"]["id"], "once");
        assert_eq!(said["data"]["uid"], uid);
        assert_eq!(said["data"]["result"], json!({"caption": "a cat"}));

        let plain = setting.operated.submit("untold", "caption a cat").await?;
        let status = setting.operated.ended(&plain.name_any()).await?;
        assert_eq!(status.callback, None);
        setting.operated.judge();
        Ok(())
    })
}

#[test]
fn a_failed_and_a_cancelled_job_are_told_of_as_well() -> Result<()> {
    shared(async |setting| {
        let mut failing = job("told-failed", &url(&setting.receiver, "/failed/200"));
        failing.spec.input = Operated::job("", "problem InvalidPicture").spec.input;
        setting.operated.create(&failing).await?;
        let mut cancelled = job("told-cancelled", &url(&setting.receiver, "/cancelled/200"));
        cancelled.spec.cancel = true;
        setting.operated.create(&cancelled).await?;
        for (name, path, event) in [
            ("told-failed", "/failed/200", "inferencejob.failed"),
            ("told-cancelled", "/cancelled/200", "inferencejob.cancelled"),
        ] {
            setting.delivered(name).await?;
            let said = verified(&setting.receiver.received(path)[0])?;
            assert_eq!(said["type"], event);
            assert_eq!(said["data"]["result"], Value::Null);
        }
        Ok(())
    })
}

#[test]
fn a_receiver_that_fails_is_tried_again_under_the_same_id() -> Result<()> {
    shared(async |setting| {
        let path = "/flaky/500/503/200";
        setting.submit("flaky", path).await?;
        let told = setting.delivered("flaky").await?;
        assert_eq!(told.attempts, 3);
        let error = told.last_error.unwrap();
        assert_eq!(error, "the receiver answered HTTP 503 Service Unavailable");

        let received = setting.receiver.received(path);
        assert_eq!(received.len(), 3);
        let id = |received: &Received| received.headers[HEADER_WEBHOOK_ID].clone();
        for each in &received {
            verified(each)?;
            assert_eq!(each.body, received[0].body);
            assert_eq!(id(each), id(&received[0]));
        }
        let sent = |each: &Received| -> i64 {
            let header = each.headers[HEADER_WEBHOOK_TIMESTAMP].to_str().unwrap();
            header.parse().unwrap()
        };
        assert!(sent(&received[0]) < sent(&received[2]), "signed anew");
        Ok(())
    })
}

/// The second write of the record has to read the job again, and must not send again.
#[test]
fn a_job_that_others_change_during_a_try_gets_its_record_all_the_same() -> Result<()> {
    shared(async |setting| {
        let path = "/changed/hang/200";
        setting.submit("changed", path).await?;
        eventually("the first try", PATIENCE, || async {
            let tries = setting.receiver.received(path).len();
            ensure!(tries == 1, "{tries} tries");
            Ok(())
        })
        .await?;
        let label = Patch::Merge(json!({"metadata": {"labels": {"changed": "yes"}}}));
        let params = PatchParams::default();
        setting
            .operated
            .jobs
            .patch("changed", &params, &label)
            .await?;
        let told = setting.delivered("changed").await?;
        assert_eq!(told.attempts, 2);
        assert_eq!(setting.receiver.received(path).len(), 2);
        Ok(())
    })
}

#[tokio::test]
async fn a_record_that_is_hard_to_write_is_written_without_a_second_call() -> Result<()> {
    let (setting, proxy) = Setting::behind_a_proxy().await?;
    for (name, fate) in [
        ("conflict", Fate::Answer(409)),
        ("too-many", Fate::Answer(429)),
        ("internal", Fate::Answer(500)),
        ("invalid", Fate::Answer(422)),
        ("request-lost", Fate::LoseRequest),
        ("answer-lost", Fate::LoseAnswer),
    ] {
        proxy.rule([Rule::next(3, Method::PATCH, "/status", fate)]);
        let path = format!("/{name}/200");
        setting.submit(name, &path).await?;
        assert_eq!(setting.delivered(name).await?.attempts, 1, "{name}");
        assert!(proxy.met() > 0, "{name}");
        assert_eq!(setting.receiver.received(&path).len(), 1, "{name}");
    }
    // A Secret that cannot be read costs a try, and is no reason to send without it.
    proxy.rule([Rule::next(
        1,
        Method::GET,
        "/secrets/fovea-webhook",
        Fate::Answer(500),
    )]);
    setting.submit("locked", "/locked/200").await?;
    let told = setting.delivered("locked").await?;
    let error = told.last_error.unwrap();
    assert!(error.contains("cannot be read"), "{error}");
    assert_eq!(setting.receiver.received("/locked/200").len(), 1);
    setting.operated.judge();
    Ok(())
}

#[test]
fn a_redirect_is_not_followed() -> Result<()> {
    shared(async |setting| {
        setting.submit("moved", "/moved/302/307/200").await?;
        let told = setting.delivered("moved").await?;
        let error = told.last_error.unwrap();
        assert!(
            error.contains("307") && error.contains("redirects"),
            "{error}"
        );
        assert_eq!(setting.receiver.received(ELSEWHERE).len(), 0);
        Ok(())
    })
}

#[test]
fn a_receiver_that_is_gone_is_not_tried_again() -> Result<()> {
    shared(async |setting| {
        let path = "/gone/410/200";
        setting.submit("gone", path).await?;
        let is_over = |told: &CallbackStatus| told.attempts > 0 && told.next_attempt_time.is_none();
        let told = setting.record_where("gone", "to be over", is_over).await?;
        assert!(!told.delivered && told.last_error.unwrap().contains("410 Gone"));
        // A later callback to the same receiver has had two turns, and this one none.
        setting.submit("after-gone", "/after-gone/500/200").await?;
        setting.delivered("after-gone").await?;
        assert_eq!(setting.receiver.received(path).len(), 1);
        Ok(())
    })
}

/// Without a bound for each receiver the hundred would take all places, ten seconds each.
#[test]
fn a_receiver_that_hangs_holds_up_no_other() -> Result<()> {
    shared(async |setting| {
        let path = "/stuck/hang";
        for number in 0..100 {
            let stuck = job(&format!("stuck-{number}"), &url(&setting.hanging, path));
            setting.operated.create(&stuck).await?;
        }
        let of_stuck = || setting.hanging.received(path).len();
        eventually("the hanging receiver to be full", PATIENCE, || async {
            ensure!(of_stuck() >= 8, "{} of 8", of_stuck());
            Ok(())
        })
        .await?;
        setting.submit("beside-stuck", "/beside-stuck/200").await?;
        assert_eq!(setting.delivered("beside-stuck").await?.attempts, 1);
        let no_answer = |told: &CallbackStatus| {
            let error = told.last_error.as_deref();
            error == Some("no answer from the receiver within 10 s")
        };
        let what = "to find no answer";
        setting.record_where("stuck-0", what, no_answer).await?;
        // One or the other that was given up may not have been noticed yet.
        let most = setting.hanging.most_hanging();
        assert!((8..16).contains(&most), "{most} at a time");
        Ok(())
    })
}

#[test]
fn what_lies_within_is_not_connected_to_unless_it_is_allowed() -> Result<()> {
    shared(async |setting| {
        let port = setting.inner.port;
        let hosts = [
            ("inner-name", "localhost", "leads to a loopback address"),
            ("inner-v4", "127.0.0.1", "is a loopback address"),
            ("inner-odd", "0x7f.1", "is a loopback address"),
            ("inner-v6", "[::ffff:127.0.0.1]", "IPv4 address in IPv6"),
            ("inner-meta", "169.254.169.254", "metadata address"),
        ];
        for (name, host, _) in hosts {
            let url = format!("https://{host}:{port}/{name}/200");
            setting.operated.create(&job(name, &url)).await?;
        }
        for (name, _, why) in hosts {
            let refused = |told: &CallbackStatus| told.attempts > 1;
            let what = "to be refused twice";
            let told = setting.record_where(name, what, refused).await?;
            let error = told.last_error.unwrap_or_default();
            assert!(
                error.contains(why) && error.contains("--callback-allow"),
                "{name}: {error}"
            );
            assert!(!told.delivered && told.next_attempt_time.is_some());
            let path = format!("/{name}/200");
            assert!(setting.inner.received(&path).is_empty());
        }
        Ok(())
    })
}

#[test]
fn only_the_namespace_s_own_webhook_secret_is_used_and_its_lack_is_told() -> Result<()> {
    shared(async |setting| {
        let (client, path) = (&setting.operated.client, "/unsigned/200");
        create_namespace(client, "unsigned").await?;
        let jobs: Api<InferenceJob> = Api::namespaced(client.clone(), "unsigned");
        let unsigned = job("unsigned", &url(&setting.receiver, path));
        jobs.create(&PostParams::default(), &unsigned).await?;
        let told = async |what: &str| {
            let found = eventually(what, PATIENCE, || async {
                let status = jobs.get("unsigned").await?.status.unwrap_or_default();
                let error = status.callback.and_then(|told| told.last_error);
                let error = error.unwrap_or_default();
                ensure!(error.contains(what), "{error}");
                Ok(())
            });
            found.await
        };
        told("no Secret \"fovea-webhook\" of type fovea.dev/webhook").await?;
        create_secret(client, "unsigned", "Opaque").await?;
        told("is not of type fovea.dev/webhook").await?;
        assert!(setting.receiver.received(path).is_empty());

        let secrets: Api<Secret> = Api::namespaced(client.clone(), "unsigned");
        let params = DeleteParams::default();
        secrets.delete("fovea-webhook", &params).await?;
        create_secret(client, "unsigned", "fovea.dev/webhook").await?;
        eventually("the callback", PATIENCE, || async {
            let received = setting.receiver.received(path);
            verified(received.first().ok_or_else(|| anyhow!("nothing yet"))?)
        })
        .await?;
        Ok(())
    })
}

#[test]
fn a_job_is_deleted_only_after_its_callback_has_come_to_its_end() -> Result<()> {
    shared(async |setting| {
        let ends = [
            ("ttl-taken", "/ttl/500/500/200", 3),
            ("ttl-gone", "/ttl/500/410", 2),
        ];
        for (name, path, _) in ends {
            let mut short = job(name, &url(&setting.receiver, path));
            short.spec.ttl_seconds_after_finished = Some(0);
            setting.operated.create(&short).await?;
        }
        for (name, path, tries) in ends {
            eventually("the deletion", PATIENCE, || async {
                let found = setting.operated.jobs.get_opt(name).await?;
                ensure!(found.is_none(), "{found:?}");
                Ok(())
            })
            .await?;
            assert_eq!(setting.receiver.received(path).len(), tries);
        }
        Ok(())
    })
}

#[tokio::test]
async fn an_operator_that_is_killed_between_two_tries_goes_on_where_it_was() -> Result<()> {
    let mut setting = Setting::start().await?;
    let path = "/killed/500/500/500/200";
    setting.submit("killed", path).await?;
    let begun = |told: &CallbackStatus| told.attempts > 0;
    let what = "to be tried";
    setting.record_where("killed", what, begun).await?;
    setting.operated.operator.kill().await?;
    setting.operated.operator.restart().await?;

    let told = setting.delivered("killed").await?;
    let received = setting.receiver.received(path);
    // A try that the kill cut off from its record is made again, and is the only one.
    let repeated = received.len() - told.attempts as usize;
    assert!(repeated <= 1, "{told:?} after {}", received.len());
    let id = |received: &Received| received.headers[HEADER_WEBHOOK_ID].clone();
    for each in &received {
        verified(each)?;
        assert_eq!(id(each), id(&received[0]));
    }
    setting.operated.judge();
    Ok(())
}
