//! A tenant: a namespace, a user with rights in it alone, and the user's token.

use crate::operated::create_namespace;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::InferenceJob;
use fovea_harness::eventually;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// The user's name in the namespace.
const USER: &str = "user";
const VERBS: [&str; 6] = ["create", "get", "list", "watch", "patch", "delete"];
/// Bound on every wait for the cluster, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Bound on one request.
const REQUEST: Duration = Duration::from_mins(1);
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled";

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) namespace: String,
    /// For what the user does with kubectl.
    pub(super) jobs: Api<InferenceJob>,
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    http: reqwest::Client,
    token: String,
}

impl Tenant {
    pub(super) async fn create(
        client: &Client,
        address: SocketAddr,
        namespace: &str,
    ) -> Result<Self> {
        create_namespace(client, namespace).await?;
        let token = user(client, namespace).await?;
        // A connection for each request: those of other tenants must leave room for new ones.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0);
        let http = http.no_proxy().timeout(REQUEST);
        Ok(Self {
            namespace: namespace.to_owned(),
            jobs: Api::namespaced(client.clone(), namespace),
            client: client.clone(),
            address,
            http: http.build()?,
            token,
        })
    }

    /// A request to the API, at a path below the tenant's jobs.
    pub(super) fn request(&self, method: Method, below: &str) -> RequestBuilder {
        let url = format!("http://{}{}", self.address, self.path(below));
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// The head of a request, for a client that reads and writes by itself; `more` are lines of headers.
    pub(super) fn head(&self, method: &Method, below: &str, more: &str) -> String {
        format!(
            "{method} {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n{more}\r\n",
            self.path(below),
            self.address,
            self.token
        )
    }

    /// Submits a picture; `query` begins with `?` or is empty. Returns the status and the job or problem.
    pub(super) async fn submit(&self, picture: Vec<u8>, query: &str) -> Result<(u16, Value)> {
        let request = self.request(Method::POST, query);
        let request = request.header("content-type", "image/jpeg").body(picture);
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Submits a picture that must be accepted; returns the job's id.
    pub(super) async fn submitted(&self, picture: Vec<u8>) -> Result<String> {
        let (status, job) = self.submit(picture, "").await?;
        ensure!(status == 202, "{status}: {job}");
        Ok(job["id"].as_str().context("an id")?.to_owned())
    }

    /// The number of jobs that have not ended.
    pub(super) async fn unfinished(&self) -> Result<usize> {
        let unfinished = ListParams::default().fields(UNFINISHED);
        Ok(self.jobs.list_metadata(&unfinished).await?.items.len())
    }

    /// Deletes every job, and waits until they are gone.
    pub(super) async fn clean(&self) -> Result<()> {
        eventually("the jobs to be gone", PATIENCE, async || {
            let all = ListParams::default();
            let delete = DeleteParams::default();
            self.jobs.delete_collection(&delete, &all).await?;
            let left = self.jobs.list_metadata(&all.limit(1)).await?.items.len();
            ensure!(left == 0, "some are left");
            Ok(())
        })
        .await?;
        Ok(())
    }

    fn path(&self, below: &str) -> String {
        format!("/v1/namespaces/{}/jobs{below}", self.namespace)
    }
}

/// Creates the user, with rights on its namespace's jobs; returns its token once the rights hold.
async fn user(client: &Client, namespace: &str) -> Result<String> {
    let create = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let account = json!({"metadata": {"name": USER}});
    let role = json!({
        "metadata": {"name": USER},
        "rules": [{"apiGroups": ["fovea.dev"], "resources": ["inferencejobs"], "verbs": VERBS}],
    });
    let binding = json!({
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": USER},
        "subjects": [{"kind": "ServiceAccount", "name": USER, "namespace": namespace}],
    });
    accounts
        .create(&create, &serde_json::from_value(account)?)
        .await?;
    roles
        .create(&create, &serde_json::from_value(role)?)
        .await?;
    bindings
        .create(&create, &serde_json::from_value(binding)?)
        .await?;
    granted(client, namespace).await?;
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": ["fovea"]}}))?;
    let made = accounts
        .create_token_request(USER, &create, &request)
        .await?;
    Ok(made.status.context("no token")?.token)
}

/// Waits until the API server's authorizer knows the user's rights, since Fovea's API caches refusals.
async fn granted(client: &Client, namespace: &str) -> Result<()> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    for verb in VERBS {
        let attributes = json!({
            "group": "fovea.dev", "resource": "inferencejobs", "verb": verb, "namespace": namespace,
        });
        let user = format!("system:serviceaccount:{namespace}:{USER}");
        let review: SubjectAccessReview = serde_json::from_value(
            json!({"spec": {"user": user, "resourceAttributes": attributes}}),
        )?;
        eventually("the user's rights", PATIENCE, async || {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            ensure!(allowed, "{verb} is not allowed yet");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
