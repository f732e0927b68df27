//! Which pool takes a job, and with which model. Pure.

use super::PoolKey;
use crate::job::decide::{Placement, Refusal};
use fovea_crds::{Failure, FromNamespaces, InferenceJob, PoolModel, RunnerPool, Task};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use std::collections::BTreeMap;

/// Names listed in a message at most.
const MAX_LISTED: usize = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Part of the keys of its uploads.
    pub uid: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Directory {
    pub pools: BTreeMap<PoolKey, RunnerPool>,
    pub namespaces: BTreeMap<String, Namespace>,
    /// The pool of jobs that name none.
    pub default_pool: PoolKey,
}

impl Directory {
    /// Which pool takes `job`: the one that its status recorded, else the one that it names, else
    /// the default.
    pub(crate) fn resolve(&self, job: &InferenceJob) -> Result<Placement, Refusal> {
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let key = self.key_for(job, namespace);
        let Some(pool) = self.pools.get(&key) else {
            let hint = if key == self.default_pool {
                "; name one in spec.poolRef, or create this one (it is the operator's --default-pool)"
            } else {
                ""
            };
            return Err(Refusal::Hold {
                reason: "PoolNotFound",
                message: format!(
                    "there is no RunnerPool {}/{}; there is {}{hint}",
                    key.namespace,
                    key.name,
                    listed(
                        self.pools
                            .keys()
                            .map(|key| format!("{}/{}", key.namespace, key.name))
                    ),
                ),
            });
        };
        if !self.allows(pool, &key, namespace) {
            return Err(Refusal::Hold {
                reason: "PoolNotAllowed",
                message: format!(
                    "RunnerPool {}/{} does not take jobs of namespace {namespace}: its spec.allowedNamespaces decides",
                    key.namespace, key.name
                ),
            });
        }
        let model = choose(&pool.spec.models, job.spec.task, job.spec.model.as_deref()).map_err(
            |message| {
                Refusal::Never(Failure {
                    reason: "UnknownModel".to_owned(),
                    message: format!("RunnerPool {}/{} {message}", key.namespace, key.name),
                    retryable: false,
                })
            },
        )?;
        Ok(Placement { pool: key, model })
    }

    fn key_for(&self, job: &InferenceJob, namespace: &str) -> PoolKey {
        let recorded = job
            .status
            .as_ref()
            .and_then(|status| status.pool_ref.clone());
        recorded.unwrap_or_else(|| match &job.spec.pool_ref {
            None => self.default_pool.clone(),
            Some(named) => PoolKey {
                name: named.name.clone(),
                namespace: named
                    .namespace
                    .clone()
                    .unwrap_or_else(|| namespace.to_owned()),
            },
        })
    }

    fn allows(&self, pool: &RunnerPool, key: &PoolKey, namespace: &str) -> bool {
        match pool.spec.allowed_namespaces.from {
            FromNamespaces::All => true,
            FromNamespaces::Same => key.namespace == namespace,
            FromNamespaces::Selector => {
                let found = self.namespaces.get(namespace);
                found.is_some_and(|found| {
                    matches(
                        pool.spec.allowed_namespaces.selector.as_ref(),
                        &found.labels,
                    )
                })
            }
        }
    }
}

/// A missing or invalid selector matches nothing.
fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    selector
        .and_then(|selector| Selector::try_from(selector.clone()).ok())
        .is_some_and(|selector| selector.matches(labels))
}

/// The model for a job: the named one, else the task's default, else the task's only one.
fn choose(models: &[PoolModel], task: Task, named: Option<&str>) -> Result<String, String> {
    let for_task = || models.iter().filter(|model| model.task == task);
    let of_task = || listed(for_task().map(|model| model.name.clone()));
    if let Some(name) = named {
        return match for_task().find(|model| model.name == name) {
            Some(model) => Ok(model.name.clone()),
            None => Err(format!(
                "has no model {name:?} for {}; it has {}",
                task,
                of_task()
            )),
        };
    }
    let mut candidates = for_task();
    match (
        for_task().find(|model| model.default),
        candidates.next(),
        candidates.next(),
    ) {
        (Some(model), ..) | (None, Some(model), None) => Ok(model.name.clone()),
        (None, None, _) => Err(format!(
            "has no model for {}; it has {}",
            task,
            listed(
                models
                    .iter()
                    .map(|model| format!("{} ({})", model.name, model.task))
            )
        )),
        (None, Some(_), Some(_)) => Err(format!(
            "has several models for {} and none is its default: name one of {} in spec.model",
            task,
            of_task()
        )),
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.take(MAX_LISTED + 1).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    if names.len() > MAX_LISTED {
        names.truncate(MAX_LISTED);
        names.push("more".to_owned());
    }
    names.join(", ")
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
