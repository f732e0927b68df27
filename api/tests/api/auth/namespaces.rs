//! The namespace of a request: by path, by header, or the configured one.

use super::super::harness::{Service, send};
use super::super::pictures::jpeg;
use super::{start, until_granted};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

#[tokio::test]
async fn without_authentication_only_the_configured_namespace_is_served() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let own = api.namespace.name();
    let url = format!("{}/v1/namespaces/{own}/jobs", api.base);
    let made = send(
        api.http
            .post(&url)
            .header("content-type", "image/jpeg")
            .body(jpeg(58)),
    )
    .await?;
    let location = format!("/v1/namespaces/{own}/jobs/{}", made.id()?);
    assert_eq!(made.header("location"), Some(location.as_str()));
    assert_eq!(api.get(&location).await?.body, made.body);
    let by_header = api.http.get(format!("{}/v1/jobs/{}", api.base, made.id()?));
    assert_eq!(
        send(by_header.header("fovea-namespace", own)).await?.body,
        made.body
    );

    let other = api.post(jpeg(58)).header("fovea-namespace", "kube-system");
    let other = send(other).await?;
    assert_eq!(
        (other.status, other.problem()),
        (403, "forbidden"),
        "{other:?}"
    );
    let other = api.get("/v1/namespaces/kube-system/jobs/a").await?;
    assert_eq!(
        (other.status, other.problem()),
        (403, "forbidden"),
        "{other:?}"
    );
    assert_eq!(api.names().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_missing_namespace_is_shown_only_to_users_with_rights_in_it() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let own = api.namespace.name();
    let create = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(api.cluster.clone(), own);
    accounts
        .create(
            &create,
            &serde_json::from_value(json!({"metadata": {"name": "admin"}}))?,
        )
        .await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(api.cluster.clone());
    let binding = serde_json::from_value(json!({
        "metadata": {"name": own},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "admin", "namespace": own}],
    }))?;
    bindings.create(&create, &binding).await?;
    let user = format!("system:serviceaccount:{own}:admin");
    until_granted(&api.cluster, "no-such", &user, &["create"]).await?;
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": ["fovea"]}}))?;
    let token = accounts
        .create_token_request("admin", &create, &request)
        .await?;
    let token = token.status.map(|status| status.token).unwrap_or_default();
    assert_not_there(&api, &token).await?;
    bindings.delete(own, &DeleteParams::default()).await?;
    Ok(())
}

/// Submits by both ways; one reads the namespace first, to put the picture.
async fn assert_not_there(api: &Service, token: &str) -> anyhow::Result<()> {
    for request in [api.post(jpeg(59)), api.post_json(&json!({"key": "a.jpg"}))] {
        let request = request
            .bearer_auth(token)
            .header("fovea-namespace", "no-such");
        let answer = send(request).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (404, "no-such-namespace"),
            "{answer:?}"
        );
    }
    Ok(())
}
