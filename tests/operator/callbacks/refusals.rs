//! Redirects that are not followed, addresses that are refused, and Secrets that are not used.

use super::{create_secret, job, shared, url, verified};
use anyhow::{Result, anyhow, ensure};
use fovea_crds::{CallbackStatus, InferenceJob};
use fovea_harness::eventually;
use fovea_tests::operated::{PATIENCE, create_namespace};
use fovea_tests::receiver::ELSEWHERE;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

#[test]
fn a_redirect_is_not_followed() -> Result<()> {
    shared(async |setting| {
        setting.submit("moved", "/moved/302/307/200").await?;
        let record = setting.delivered("moved").await?;
        let error = record.last_error.unwrap();
        assert!(
            error.contains("307") && error.contains("redirects"),
            "{error}"
        );
        assert_eq!(setting.receiver.received(ELSEWHERE).len(), 0);
        Ok(())
    })
}

#[test]
fn private_addresses_are_refused_unless_they_are_allowed() -> Result<()> {
    shared(async |setting| {
        let port = setting.inner.port;
        let hosts = [
            ("inner-name", "localhost", "resolves to a loopback address"),
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
            let refused = |record: &CallbackStatus| record.attempts > 1;
            let what = "to be refused twice";
            let record = setting.record_where(name, what, refused).await?;
            let error = record.last_error.unwrap_or_default();
            assert!(
                error.contains(why) && error.contains("--callback-allow"),
                "{name}: {error}"
            );
            assert!(!record.delivered && record.next_attempt_time.is_some());
            let path = format!("/{name}/200");
            assert!(setting.inner.received(&path).is_empty());
        }
        Ok(())
    })
}

#[test]
fn only_the_namespace_s_own_webhook_secret_is_used_and_a_missing_one_is_reported() -> Result<()> {
    shared(async |setting| {
        let (client, path) = (&setting.operated.client, "/unsigned/200");
        create_namespace(client, "unsigned").await?;
        let jobs: Api<InferenceJob> = Api::namespaced(client.clone(), "unsigned");
        let unsigned = job("unsigned", &url(&setting.receiver, path));
        jobs.create(&PostParams::default(), &unsigned).await?;
        let reported = async |what: &str| {
            let found = eventually(what, PATIENCE, || async {
                let status = jobs.get("unsigned").await?.status.unwrap_or_default();
                let error = status.callback.and_then(|record| record.last_error);
                let error = error.unwrap_or_default();
                ensure!(error.contains(what), "{error}");
                Ok(())
            });
            found.await
        };
        reported("no Secret \"fovea-webhook\" of type fovea.dev/webhook").await?;
        create_secret(client, "unsigned", "Opaque").await?;
        reported("is not of type fovea.dev/webhook").await?;
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
