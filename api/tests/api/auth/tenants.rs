//! Tenants: each sees its own jobs, and learns nothing about the others'.

use super::super::harness::{Answer, send, until};
use super::super::pictures::jpeg;
use super::{account, start};
use fovea_harness::TempNamespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use std::time::{Duration, Instant};

const ALL: &[&str] = &["create", "get", "list"];
/// Time after which a revoked right must have taken effect.
const LIFETIME: Duration = Duration::from_secs(10);

/// A problem without the request's id.
fn problem(answer: &Answer) -> (u16, String, String) {
    let text = |member: &str| answer.body[member].as_str().unwrap_or_default().to_owned();
    (answer.status, text("type"), text("detail"))
}

#[tokio::test]
async fn each_account_sees_its_own_namespace_and_nothing_of_the_other() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let config = super::super::harness::cluster().await?.config().await?;
    let second = TempNamespace::create(&config).await?;
    let (first, second) = (api.namespace.name(), second.name());
    let a = account(&api.cluster, first, "a", ALL).await?;
    let b = account(&api.cluster, second, "b", ALL).await?;
    let url = |path: &str| format!("{}{path}", api.base);
    let get = |path: String, token: &str| send(api.http.get(url(&path)).bearer_auth(token));

    let of_a = send(api.post(jpeg(50)).bearer_auth(&a)).await?.id()?;
    let submit = api.post_json(&json!({"key": "a.jpg"}));
    let of_b = send(submit.bearer_auth(&b).header("fovea-namespace", second)).await?;
    assert_eq!(of_b.body["namespace"], second, "{of_b:?}");
    let of_b = of_b.id()?;

    let in_second = |id: &str| format!("/v1/namespaces/{second}/jobs/{id}");
    let in_first = |id: &str| format!("/v1/namespaces/{first}/jobs/{id}");
    assert_eq!(get(in_first(&of_a), &a).await?.status, 200);
    assert_eq!(get(format!("/v1/jobs/{of_a}"), &a).await?.status, 200);
    assert_eq!(get(in_second(&of_b), &b).await?.status, 200);

    // Another tenant's job and one that never existed get the same problem, on every route.
    let never = "6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f";
    let nothing = problem(&get(in_first(never), &a).await?);
    assert_eq!(
        (nothing.0, nothing.1.as_str()),
        (404, "urn:fovea:problem:no-such-job")
    );
    for (path, token) in [
        (in_second(&of_b), &a),
        (in_second(never), &a),
        (in_first(&of_b), &a),
        (in_first(&of_a), &b),
        (format!("/v1/jobs/{of_a}"), &b),
        (in_second(&of_a), &b),
        (format!("/v1/namespaces/no-such/jobs/{of_a}"), &a),
    ] {
        assert_eq!(problem(&get(path.clone(), token).await?), nothing, "{path}");
    }
    let submit = api.post(jpeg(50)).bearer_auth(&b);
    let refused = send(submit).await?;
    assert_eq!((refused.status, refused.problem()), (403, "forbidden"));
    assert_eq!(api.names().await?, [of_a]);
    Ok(())
}

#[tokio::test]
async fn each_verb_is_a_right_of_its_own() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let namespace = api.namespace.name();
    let reader = account(&api.cluster, namespace, "reader", &["get"]).await?;
    let writer = account(&api.cluster, namespace, "writer", &["create"]).await?;
    let id = send(api.post(jpeg(51)).bearer_auth(&writer)).await?.id()?;
    let get = |token| {
        send(
            api.http
                .get(format!("{}/v1/jobs/{id}", api.base))
                .bearer_auth(token),
        )
    };
    assert_eq!(get(&reader).await?.status, 200);
    assert_eq!(get(&writer).await?.problem(), "no-such-job");
    let refused = send(api.post(jpeg(51)).bearer_auth(&reader)).await?;
    assert_eq!((refused.status, refused.problem()), (403, "forbidden"));
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("may not create inferencejobs"), "{detail}");
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_is_its_user_s_own() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let a = account(&api.cluster, api.namespace.name(), "a", ALL).await?;
    let b = account(&api.cluster, api.namespace.name(), "b", ALL).await?;
    let submit = |token| {
        send(
            api.post(jpeg(52))
                .bearer_auth(token)
                .header("idempotency-key", "k"),
        )
    };
    let (of_a, again, of_b) = (
        submit(&a).await?.id()?,
        submit(&a).await?.id()?,
        submit(&b).await?.id()?,
    );
    assert_eq!(of_a, again);
    assert_ne!(of_a, of_b);
    Ok(())
}

#[tokio::test]
async fn a_revoked_right_takes_effect_within_ten_seconds() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let namespace = api.namespace.name();
    let token = account(&api.cluster, namespace, "a", ALL).await?;
    let id = send(api.post(jpeg(53)).bearer_auth(&token)).await?.id()?;
    let read = || {
        send(
            api.http
                .get(format!("{}/v1/jobs/{id}", api.base))
                .bearer_auth(&token),
        )
    };
    assert_eq!(read().await?.status, 200);
    let bindings: Api<RoleBinding> = Api::namespaced(api.cluster.clone(), namespace);
    bindings.delete("a", &DeleteParams::default()).await?;
    let taken_back = Instant::now();
    until("the job to be hidden", || async {
        let answer = read().await?;
        anyhow::ensure!(answer.status == 404, "{answer:?}");
        Ok(())
    })
    .await?;
    // Plus the time that the API server's authorizer needs.
    let took = taken_back.elapsed();
    assert!(took < LIFETIME + Duration::from_secs(3), "{took:?}");
    Ok(())
}
