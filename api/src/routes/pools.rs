//! `GET /v1/pools` and `GET /v1/models`: the pools that accept jobs of the user's namespace, and their
//! models.

use super::query::Query;
use super::{MODELS, POOLS};
use crate::auth::Tenant;
use crate::error::Problem;
use crate::jobs::PoolJobs;
use crate::openapi::problem_set;
use crate::pools::allows;
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use fovea_crds::{ModelStatus, PoolModel, ResolvedPoolRef, RunnerPool, RunnerPoolStatus, Task};
use http::Uri;
use kube::ResourceExt as _;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

problem_set!(
    PoolProblems: MalformedRequest,
    Overloaded,
    Unauthenticated,
    Forbidden,
    NoSuchNamespace,
    UnknownField,
    RateLimited,
    TooManyAtOnce,
    Internal,
    ClusterUnavailable,
);

/// Adds the schemas that the descriptions of these routes refer to.
pub(crate) fn schemas(generator: &mut SchemaGenerator) {
    generator.subschema_for::<PoolList>();
    generator.subschema_for::<ModelList>();
}

/// The pools that take jobs of the namespace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PoolList {
    /// Sorted by namespace and name.
    pub pools: Vec<PoolView>,
}

/// A pool as the API shows it.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Name of the RunnerPool.
    pub name: String,
    /// Its namespace. A job names the pool as `<namespace>/<name>`.
    pub namespace: String,
    /// Whether at least one of its models is served.
    pub ready: bool,
    /// Number of this namespace's jobs that wait for the pool. A job counts once the pool has accepted it, which
    /// its status shows after a second.
    pub queued: u32,
    /// Number of this namespace's jobs on its runners.
    pub running: u32,
    /// The pool as a whole. `null` unless the user may `get` RunnerPools in its namespace.
    pub total: Option<PoolTotals>,
    /// The models that the pool serves.
    pub models: Vec<ModelView>,
}

/// Counts of a pool over all namespaces.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolTotals {
    /// Number of existing runners, ready or not.
    pub replicas: u32,
    /// Number of runners that serve every model of the pool.
    pub ready_replicas: u32,
    /// Number of jobs that wait for the pool.
    pub queued: u32,
    /// Number of jobs on its runners.
    pub running: u32,
}

/// A model of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ModelView {
    /// Name of the model in the pool.
    pub name: String,
    /// Task that the model performs.
    pub task: Task,
    /// Whether jobs of its task that name the pool but no model use this model.
    pub default: bool,
    /// Whether a runner serves it.
    pub ready: bool,
    /// The revision of the weights, once a runner has reported it.
    pub revision: Option<String>,
}

/// All models of all pools.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ModelList {
    /// Sorted by pool, then in the order of the pool's spec.
    pub models: Vec<PooledModel>,
}

/// A model and its pool.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PooledModel {
    /// `<namespace>/<name>`, as a job names it.
    pub pool: String,
    #[serde(flatten)]
    pub model: ModelView,
}

/// Pools that take jobs of this namespace.
#[utoipa::path(
    get,
    path = POOLS,
    operation_id = "listPools",
    tag = "pools",
    params(),
    responses(
        (status = 200, description = "The pools.", body = ref("#/components/schemas/PoolList")),
        PoolProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn pools(
    State(app): State<AppState>,
    tenant: Tenant,
    uri: Uri,
) -> Result<Json<PoolList>, Problem> {
    Query::none(&uri)?;
    let mut pools = Vec::new();
    for pool in allowed(&app, &tenant).await? {
        let home = pool.namespace().unwrap_or_default();
        // Without an answer to the review, the list has what needs no right.
        let may_see_all = app.auth.may_get_pools(&tenant, &home).await;
        let key = ResolvedPoolRef {
            name: pool.name_any(),
            namespace: home,
        };
        let own = app.jobs.of_pool(&tenant.namespace, &key);
        pools.push(PoolView::of(&pool, own, may_see_all.unwrap_or(false)));
    }
    Ok(Json(PoolList { pools }))
}

/// Models that jobs of this namespace can ask for.
#[utoipa::path(
    get,
    path = MODELS,
    operation_id = "listModels",
    tag = "pools",
    params(),
    responses(
        (status = 200, description = "The models.", body = ref("#/components/schemas/ModelList")),
        PoolProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn models(
    State(app): State<AppState>,
    tenant: Tenant,
    uri: Uri,
) -> Result<Json<ModelList>, Problem> {
    Query::none(&uri)?;
    let pools = allowed(&app, &tenant).await?;
    let models = pools.iter().flat_map(|pool| {
        let key = format!(
            "{}/{}",
            pool.namespace().unwrap_or_default(),
            pool.name_any()
        );
        let models = ModelView::all_of(pool).into_iter();
        models.map(move |model| PooledModel {
            pool: key.clone(),
            model,
        })
    });
    Ok(Json(ModelList {
        models: models.collect(),
    }))
}

async fn allowed(app: &AppState, tenant: &Tenant) -> Result<Vec<RunnerPool>, Problem> {
    let (pools, facts) = tokio::join!(app.pools.all(), app.namespaces.facts(&tenant.namespace));
    let (pools, facts) = (pools?, facts?);
    let pools = pools.iter();
    let allowed = pools.filter(|pool| allows(pool, &tenant.namespace, &facts.labels));
    Ok(allowed.cloned().collect())
}

impl PoolView {
    /// `own`: the jobs of the user's namespace.
    fn of(pool: &RunnerPool, own: PoolJobs, may_see_all: bool) -> Self {
        let models = ModelView::all_of(pool);
        Self {
            name: pool.name_any(),
            namespace: pool.namespace().unwrap_or_default(),
            ready: models.iter().any(|model| model.ready),
            queued: own.queued,
            running: own.running,
            total: may_see_all.then(|| PoolTotals::of(pool)),
            models,
        }
    }
}

impl PoolTotals {
    fn of(pool: &RunnerPool) -> Self {
        let nothing = RunnerPoolStatus::default();
        let status = pool.status.as_ref().unwrap_or(&nothing);
        Self {
            replicas: status.replicas,
            ready_replicas: status.ready_replicas,
            queued: status.queued,
            running: status.running,
        }
    }
}

impl ModelView {
    fn all_of(pool: &RunnerPool) -> Vec<Self> {
        let models = &pool.spec.models;
        let statuses = pool
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.models);
        models
            .iter()
            .map(|model| Self::of(model, models, statuses))
            .collect()
    }

    fn of(model: &PoolModel, all: &[PoolModel], statuses: &[ModelStatus]) -> Self {
        let only = || all.iter().filter(|other| other.task == model.task).count() == 1;
        let status = statuses.iter().find(|status| status.name == model.name);
        Self {
            name: model.name.clone(),
            task: model.task,
            default: model.default || only(),
            ready: status.is_some_and(|status| status.ready),
            revision: status.and_then(|status| status.revision.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::RunnerPoolSpec;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn pool(allowed: &Value) -> RunnerPool {
        let spec: RunnerPoolSpec = serde_json::from_value(json!({
            "models": [
                {"name": "blip", "task": "image-to-text"},
                {"name": "vit", "task": "image-classification", "default": true},
                {"name": "resnet", "task": "image-classification"},
            ],
            "allowedNamespaces": allowed,
        }))
        .unwrap();
        let mut pool = RunnerPool::new("p", spec);
        pool.metadata.namespace = Some("home".into());
        pool
    }

    #[test]
    fn a_pool_without_a_status_is_shown_with_nothing_ready() {
        let view = serde_json::to_value(PoolView::of(
            &pool(&json!({"from": "All"})),
            PoolJobs::default(),
            true,
        ))
        .unwrap();
        assert_eq!(
            view,
            json!({
                "name": "p", "namespace": "home", "ready": false, "queued": 0, "running": 0,
                "total": {"replicas": 0, "readyReplicas": 0, "queued": 0, "running": 0}, "models": [
                    {"name": "blip", "task": "image-to-text", "default": true, "ready": false, "revision": null},
                    {"name": "vit", "task": "image-classification", "default": true, "ready": false, "revision": null},
                    {"name": "resnet", "task": "image-classification", "default": false, "ready": false, "revision": null},
                ],
            })
        );
    }

    #[test]
    fn without_the_right_to_read_pools_only_the_own_namespace_s_jobs_are_counted() {
        let mut pool = pool(&json!({"from": "All"}));
        pool.status = Some(RunnerPoolStatus {
            queued: 70,
            running: 30,
            replicas: 4,
            ready_replicas: 3,
            ..RunnerPoolStatus::default()
        });
        let own = PoolJobs {
            queued: 2,
            running: 1,
        };
        let view = PoolView::of(&pool, own, false);
        assert_eq!((view.queued, view.running, view.total), (2, 1, None));
        let total = PoolView::of(&pool, own, true).total.unwrap();
        assert_eq!((total.queued, total.running, total.replicas), (70, 30, 4));
    }

    #[test]
    fn a_pool_is_shown_to_those_whose_jobs_it_takes() {
        let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}});
        for (allowed, namespace, team, expected) in [
            (json!({"from": "All"}), "any", "b", true),
            (json!({"from": "Same"}), "home", "b", true),
            (json!({"from": "Same"}), "any", "a", false),
            (selector.clone(), "any", "a", true),
            (selector, "home", "b", false),
            (json!({"from": "Selector"}), "home", "a", false),
        ] {
            let pool = pool(&allowed);
            assert_eq!(
                allows(&pool, namespace, &labels(team)),
                expected,
                "{:?}",
                pool.spec
            );
        }
    }
}
