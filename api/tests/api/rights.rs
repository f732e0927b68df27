//! The API's rights in the cluster: all are used, and no other is needed.

use super::auth::account;
use super::harness::{Service, Surroundings, cluster, send};
use super::pictures::jpeg;
use fovea_harness::TempNamespace;
use fovea_tests::audit::Audit;
use serde_json::json;
use std::mem::ManuallyDrop;

async fn as_user(user: &str) -> anyhow::Result<Surroundings> {
    let kubeconfig = cluster().await?.kubeconfig_for(user, &[])?;
    Ok(Surroundings {
        kubeconfig,
        ..Surroundings::shared().await?
    })
}

/// The api with the rights that manifests grant it, where its own namespace is not fovea-system and
/// the one that it may watch not team-a.
struct Granted {
    api: Service,
    rights: String,
    audit: Audit,
    _home: TempNamespace,
}

impl Granted {
    async fn start(rights: [&str; 2], flags: &[&str]) -> anyhow::Result<Self> {
        let cluster = cluster().await?;
        let home = TempNamespace::create(&cluster.config().await?).await?;
        let user = format!("system:serviceaccount:{}:fovea-api", home.name());
        let own = ["--auth", "kubernetes", "--pool-namespaces", home.name()];
        let surroundings = as_user(&user).await?;
        let api = Service::start_in(surroundings, &[&own, flags].concat()).await?;
        let rights = rights
            .join("---\n")
            .replace("fovea-system", home.name())
            .replace("team-a", api.namespace.name());
        let apply = cluster.kubectl_with(&["apply", "-f", "-"], &rights).await?;
        apply.success("granting the api its rights")?;
        super::harness::until("the rights to hold", || async {
            let answer = api.get("/readyz").await?;
            anyhow::ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })
        .await?;
        Ok(Self {
            audit: Audit::new(cluster.audit_log(), &user, &rights)?,
            api,
            rights,
            _home: home,
        })
    }

    /// Waits until it has used every right; fails if it lacked one.
    async fn are_used(&self) -> anyhow::Result<()> {
        super::harness::until("every right to be used", || async {
            let unused = self.audit.unused()?;
            anyhow::ensure!(unused.is_empty(), "never used: {unused:#?}");
            Ok(())
        })
        .await
    }

    /// Deletes the cluster-scoped objects, which would remain otherwise.
    async fn end(self) -> anyhow::Result<()> {
        let delete = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
        let deleted = cluster().await?.kubectl_with(&delete, &self.rights).await?;
        deleted.success("taking the rights away")?;
        Ok(())
    }
}

#[tokio::test]
async fn the_api_uses_all_its_rights_and_needs_no_other() -> anyhow::Result<()> {
    let rights = [
        include_str!("../../../manifests/install/api/rbac.yaml"),
        include_str!("../../../manifests/install/api/rbac-jobs.yaml"),
    ];
    let granted = Granted::start(rights, &[]).await?;
    serves_its_user(&granted.api).await?;
    granted.are_used().await?;
    granted.end().await
}

#[tokio::test]
async fn an_api_that_serves_one_namespace_needs_no_rights_on_others() -> anyhow::Result<()> {
    let rights = [
        include_str!("../../../manifests/install/watch-namespace/api/rbac.yaml"),
        include_str!("../../../manifests/install/watch-namespace/api/rbac-jobs.yaml"),
    ];
    let granted = Granted::start(rights, &["--watch-namespace", "{namespace}"]).await?;
    serves_its_user(&granted.api).await?;
    // No user's request reads another namespace's jobs.
    let other = granted
        .api
        .post(jpeg(41))
        .header("fovea-namespace", "default");
    let other = send(other.bearer_auth("whatever")).await?;
    assert_eq!((other.status, other.problem()), (403, "forbidden"));
    granted.are_used().await?;
    granted.end().await
}

/// Uses every route as one user.
async fn serves_its_user(api: &Service) -> anyhow::Result<()> {
    let token = account(
        &api.cluster,
        api.namespace.name(),
        "user",
        &["create", "get", "list", "patch", "delete"],
    )
    .await?;
    let keyed = || {
        send(
            api.post(jpeg(40))
                .header("idempotency-key", "k")
                .bearer_auth(&token),
        )
    };
    let id = keyed().await?.id()?;
    assert_eq!(keyed().await?.id()?, id);
    let send_as = |request: reqwest::RequestBuilder| send(request.bearer_auth(&token));
    for path in [
        format!("/v1/jobs/{id}"),
        "/v1/jobs".to_owned(),
        "/v1/models".to_owned(),
        format!("/v1/jobs/{id}/input"),
    ] {
        let answer = send_as(api.http.get(format!("{}{path}", api.base))).await?;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let cancelled = send_as(api.http.post(format!("{}/v1/jobs/{id}/cancel", api.base))).await?;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let deleted = send_as(api.http.delete(format!("{}/v1/jobs/{id}", api.base))).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");

    Ok(())
}

#[tokio::test]
async fn missing_rights_are_an_internal_error_without_names() -> anyhow::Result<()> {
    let user = "system:serviceaccount:fovea-system:nobody";
    let api = Service::start_in(as_user(user).await?, &[]).await?;
    assert_eq!(api.get("/readyz").await?.status, 503);
    let answer = send(api.post_json(&json!({"key": "a.jpg"}))).await?;
    assert_eq!((answer.status, answer.problem()), (500, "internal"));
    assert!(!answer.body.to_string().contains("nobody"), "{answer:?}");
    // The audit log, by which the other tests check their rights, shows the missing one.
    let audit = ManuallyDrop::new(Audit::new(cluster().await?.audit_log(), user, "")?);
    assert!(!audit.forbidden()?.is_empty());
    Ok(())
}
