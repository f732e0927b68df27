//! Authentication against a real API server: real service accounts with real tokens and roles.

mod compat;
mod namespaces;
mod outages;
mod rates;
mod tenants;
mod tokens;

use super::harness::{Service, Surroundings, until};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

pub(super) async fn start(flags: &[&str]) -> anyhow::Result<Service> {
    super::harness::cluster().await?;
    start_in(Surroundings::shared().await?, flags).await
}

pub(super) async fn start_in(
    surroundings: Surroundings,
    flags: &[&str],
) -> anyhow::Result<Service> {
    let flags = [&["--auth", "kubernetes"], flags].concat();
    Service::start_in(surroundings, &flags).await
}

/// Creates a service account with `verbs` on its namespace's jobs; returns its token.
pub(super) async fn account(
    client: &Client,
    namespace: &str,
    name: &str,
    verbs: &[&str],
) -> anyhow::Result<String> {
    let create = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    accounts.create(&create, &account).await?;
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["fovea.dev"], "resources": ["inferencejobs"], "verbs": verbs}],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }))?;
    Api::namespaced(client.clone(), namespace)
        .create(&create, &role)
        .await?;
    Api::namespaced(client.clone(), namespace)
        .create(&create, &binding)
        .await?;
    let user = format!("system:serviceaccount:{namespace}:{name}");
    until_granted(client, namespace, &user, verbs).await?;
    token(client, namespace, name, &["fovea"]).await
}

/// A token of a service account.
async fn token(
    client: &Client,
    namespace: &str,
    name: &str,
    audiences: &[&str],
) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": audiences}}))?;
    let made = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await?;
    Ok(made.status.map(|status| status.token).unwrap_or_default())
}

/// Waits until the API server's authorizer has the role, since the API caches refusals.
async fn until_granted(
    client: &Client,
    namespace: &str,
    user: &str,
    verbs: &[&str],
) -> anyhow::Result<()> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    for verb in verbs {
        let attributes = json!({"group": "fovea.dev", "resource": "inferencejobs", "verb": verb, "namespace": namespace});
        let review: SubjectAccessReview = serde_json::from_value(
            json!({"spec": {"user": user, "resourceAttributes": attributes}}),
        )?;
        until("the role to hold", || async {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            anyhow::ensure!(
                answer.status.is_some_and(|status| status.allowed),
                "not yet"
            );
            Ok(())
        })
        .await?;
    }
    Ok(())
}
