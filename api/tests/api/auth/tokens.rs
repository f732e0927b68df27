//! Which tokens are accepted, and how often the API server reviews them.

use super::super::harness::{Answer, Service, send};
use super::super::pictures::jpeg;
use super::{account, start, token};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::DeleteParams;

const PATH: &str = "/v1/jobs/6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f";
/// Answered reviews, as `/metrics` counts them.
const TOKENS: &str =
    r#"fovea_api_cluster_requests_total{resource="tokenreviews",method="POST",outcome="2xx"}"#;
const RIGHTS: &str = r#"fovea_api_cluster_requests_total{resource="subjectaccessreviews",method="POST",outcome="2xx"}"#;

async fn with(api: &Service, authorization: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = api.http.get(format!("{}{PATH}", api.base));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    send(request).await
}

#[tokio::test]
async fn a_request_without_a_valid_token_for_this_service_is_answered_401() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let namespace = api.namespace.name();
    let good = account(&api.cluster, namespace, "a", &["get", "create"]).await?;
    assert_eq!(
        with(&api, Some(&format!("Bearer {good}"))).await?.status,
        404
    );
    assert_eq!(
        with(&api, Some(&format!("bearer  {good}"))).await?.status,
        404
    );

    let foreign = token(&api.cluster, namespace, "a", &["another-service"]).await?;
    let of_the_cluster = token(&api.cluster, namespace, "a", &[]).await?;
    // A token of a deleted account, which is invalid like an expired one.
    account(&api.cluster, namespace, "deleted", &["get"]).await?;
    let deleted = token(&api.cluster, namespace, "deleted", &["fovea"]).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(api.cluster.clone(), namespace);
    accounts.delete("deleted", &DeleteParams::default()).await?;
    let forged = format!("{}x", &good[..good.len() - 2]);
    for (what, value) in [
        ("none", None),
        ("garbage", Some("Bearer garbage".to_owned())),
        ("forged", Some(format!("Bearer {forged}"))),
        ("for another audience", Some(format!("Bearer {foreign}"))),
        (
            "for the API server",
            Some(format!("Bearer {of_the_cluster}")),
        ),
        ("of a deleted account", Some(format!("Bearer {deleted}"))),
        ("another scheme", Some("Basic YTpi".to_owned())),
        ("without a scheme", Some(good.clone())),
        ("empty", Some("Bearer ".to_owned())),
    ] {
        let answer = with(&api, value.as_deref()).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (401, "unauthenticated"),
            "{what}: {answer:?}"
        );
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{what}: {answer:?}");
    }
    // A refused client that has sent its picture already gets the response, too.
    let refused = send(api.post(vec![0; 8_000_000])).await?;
    assert_eq!(refused.problem(), "unauthenticated");
    // Health needs no token.
    assert_eq!(api.get("/readyz").await?.status, 200);
    // No token is in the log.
    let log = std::fs::read_to_string(api.process.log_path())?;
    for secret in [&good, &foreign, &deleted] {
        assert!(!log.contains(secret.as_str()));
    }
    Ok(())
}

#[tokio::test]
async fn the_audiences_are_configured() -> anyhow::Result<()> {
    let api = start(&["--auth-audiences", "one,two"]).await?;
    let namespace = api.namespace.name();
    let default = account(&api.cluster, namespace, "a", &["get"]).await?;
    assert_eq!(
        with(&api, Some(&format!("Bearer {default}"))).await?.status,
        401
    );
    let two = token(&api.cluster, namespace, "a", &["two", "else"]).await?;
    assert_eq!(
        with(&api, Some(&format!("Bearer {two}"))).await?.status,
        404
    );
    Ok(())
}

#[tokio::test]
async fn concurrent_requests_share_a_review_and_refusals_are_cached() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let good = account(&api.cluster, api.namespace.name(), "a", &["get", "create"]).await?;
    let good = format!("Bearer {good}");
    let all = join_all((0..40).map(|_| with(&api, Some(&good)))).await;
    for answer in all {
        assert_eq!(answer?.status, 404);
    }
    assert_eq!(
        (api.metric(TOKENS).await?, api.metric(RIGHTS).await?),
        (1, 1)
    );
    for answer in join_all((0..40).map(|_| with(&api, Some("Bearer garbage")))).await {
        assert_eq!(answer?.status, 401);
    }
    assert_eq!(
        (api.metric(TOKENS).await?, api.metric(RIGHTS).await?),
        (2, 1)
    );
    // Another verb needs another access review, but no token review.
    send(api.post(jpeg(54)).header("authorization", &good))
        .await?
        .id()?;
    assert_eq!(
        (api.metric(TOKENS).await?, api.metric(RIGHTS).await?),
        (2, 2)
    );
    Ok(())
}
