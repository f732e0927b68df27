//! Which runners a pool has, and how each is spoken to: servers that its spec names, or pods that the
//! pools' controller has found.

use super::runners::{RunnerClient, RunnerError};
use crate::pool::PoolKey;
use crate::pool::external;
use crate::pool::provision::{Access, Provision, Weights};
use fovea_crds::{Dtype, External, RunnerPoolSpec, Task};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use url::Url;

/// A model that a runner is to be told to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    /// The pool's name for it.
    pub name: String,
    /// What it is to do.
    pub task: Task,
    /// Where its weights are.
    pub weights: Weights,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// How many pictures may share one pass.
    pub max_batch_size: u32,
}

/// One runner.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A server that keeps its own models.
    External {
        /// Where it is, as the spec writes it.
        endpoint: String,
        /// Where its token and its authority are.
        external: Arc<External>,
    },
    /// A pod.
    Pod {
        /// What its certificate is for.
        url: Url,
        /// Where that is.
        address: SocketAddr,
        /// How to speak to it.
        access: Access,
        /// What it is to keep; nothing new where the pod is of an older template.
        keep: Arc<[Keep]>,
        /// It gets no new jobs.
        leaving: bool,
    },
}

/// The runners of a pool, by endpoint.
pub(super) fn targets(
    spec: &RunnerPoolSpec,
    provision: Option<&Provision>,
) -> BTreeMap<String, Target> {
    if let Some(external) = &spec.external {
        let external = Arc::new(external.clone());
        let target = |endpoint: &String| {
            let target = Target::External {
                endpoint: endpoint.clone(),
                external: Arc::clone(&external),
            };
            (endpoint.clone(), target)
        };
        return external.endpoints.iter().map(target).collect();
    }
    let Some((provision, access)) =
        provision.and_then(|provision| Some((provision, provision.access.as_ref()?)))
    else {
        return BTreeMap::new();
    };
    let all: Arc<[Keep]> = (spec.models.iter())
        .filter_map(|model| {
            Some(Keep {
                name: model.name.clone(),
                task: model.task,
                weights: provision.weights.get(&model.name)?.clone(),
                dtype: model.dtype,
                max_batch_size: model.max_batch_size,
            })
        })
        .collect();
    let target = |pod: &crate::pool::provision::RunnerPod| {
        let target = Target::Pod {
            url: pod.url.clone(),
            address: pod.address,
            access: access.clone(),
            keep: if pod.current {
                Arc::clone(&all)
            } else {
                Arc::default()
            },
            leaving: pod.leaving,
        };
        (pod.url.to_string(), target)
    };
    provision.runners.iter().map(target).collect()
}

impl Target {
    /// Whether it is to be given no new jobs.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Pod { leaving: true, .. })
    }

    /// What it is to keep.
    pub(super) fn keep(&self) -> &[Keep] {
        match self {
            Self::External { .. } => &[],
            Self::Pod { keep, .. } => keep,
        }
    }

    /// Whether the same connection serves `other`: only what is dispatched to it differs.
    pub(super) fn speaks_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pod { .. }, Self::Pod { leaving, .. }) => {
                let mut same = self.clone();
                if let Self::Pod { leaving: mine, .. } = &mut same {
                    *mine = *leaving;
                }
                same == *other
            }
            _ => self == other,
        }
    }

    /// A client for it. `allowed_hosts`: those that external endpoints may name.
    pub(super) async fn connect(
        &self,
        cluster: &Client,
        pool: &PoolKey,
        allowed_hosts: &[String],
    ) -> Result<RunnerClient, String> {
        let say = |error: RunnerError| error.to_string();
        let (external, endpoint) = match self {
            Self::Pod {
                url,
                address,
                access,
                ..
            } => {
                return RunnerClient::at(url.clone(), *address, access).map_err(say);
            }
            Self::External { external, endpoint } => (external, endpoint),
        };
        let url = external::endpoint(endpoint, allowed_hosts).map_err(|e| e.to_string())?;
        let secrets: Api<Secret> = Api::namespaced(cluster.clone(), &pool.namespace);
        let secret = async |name: &str| {
            let secret = secrets.get(name).await;
            secret.map_err(|error| format!("Secret {name:?}: {error}"))
        };
        let token = match &external.token_secret_ref {
            None => None,
            Some(named) => {
                let secret = secret(&named.name).await?;
                Some(external::token(&secret, &url).map_err(|error| error.to_string())?)
            }
        };
        let authority = match &external.ca_secret_ref {
            None => None,
            Some(named) => {
                let pem = (secret(&named.name).await?.data)
                    .and_then(|mut data| data.remove("ca.crt"))
                    .ok_or_else(|| format!("Secret {:?} has no key \"ca.crt\"", named.name))?;
                Some(pem.0)
            }
        };
        RunnerClient::new(url, token, authority.as_deref()).map_err(say)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::provision::RunnerPod;
    use serde_json::json;

    fn spec(more: &serde_json::Value) -> RunnerPoolSpec {
        let mut spec = json!({"models": [
            {"name": "blip", "task": "image-to-text"}, {"name": "vit", "task": "image-classification"},
        ]});
        let fields = more.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(spec).unwrap()
    }

    fn pod(name: &str, current: bool, leaving: bool) -> RunnerPod {
        RunnerPod {
            name: name.into(),
            url: format!("https://{name}.p-runner.ns.svc:9400/")
                .parse()
                .unwrap(),
            address: "10.0.0.1:9400".parse().unwrap(),
            current,
            leaving,
        }
    }

    fn provision(runners: Vec<RunnerPod>) -> Provision {
        let weights = Weights::Volume("blip".into());
        Provision {
            runners,
            access: Some(Access {
                token: "t".into(),
                authorities: String::new(),
            }),
            weights: [("blip".to_owned(), weights)].into(),
            ..Provision::default()
        }
    }

    #[test]
    fn a_pod_of_the_present_template_is_told_what_is_in_the_bucket_and_an_older_one_nothing() {
        let provision = provision(vec![pod("new", true, false), pod("old", false, true)]);
        let found = targets(&spec(&json!({})), Some(&provision));
        let keeps: Vec<_> = found
            .values()
            .map(|target| (target.keep().len(), target.is_leaving()))
            .collect();
        assert_eq!(keeps, [(1, false), (0, true)]);
        assert_eq!(found.values().next().unwrap().keep()[0].name, "blip");
    }

    #[test]
    fn an_external_pool_has_its_endpoints_whatever_pods_there_were() {
        let spec = spec(&json!({"external": {"endpoints": ["http://127.0.0.1:9"]}}));
        let found = targets(&spec, Some(&provision(vec![pod("new", true, false)])));
        assert_eq!(
            found.into_keys().collect::<Vec<_>>(),
            ["http://127.0.0.1:9"]
        );
    }

    #[test]
    fn a_pool_that_nobody_has_provided_for_yet_has_no_runners() {
        assert!(targets(&spec(&json!({})), None).is_empty());
        let mut unreachable = provision(vec![pod("new", true, false)]);
        unreachable.access = None;
        assert!(targets(&spec(&json!({})), Some(&unreachable)).is_empty());
    }

    #[test]
    fn a_pod_that_is_about_to_leave_is_spoken_to_as_before() {
        let of = |pod| targets(&spec(&json!({})), Some(&provision(vec![pod])));
        let stays = of(pod("a", true, false)).into_values().next().unwrap();
        let leaves = of(pod("a", true, true)).into_values().next().unwrap();
        assert!(stays.speaks_like(&leaves) && stays != leaves);
        let older = of(pod("a", false, false)).into_values().next().unwrap();
        assert!(!stays.speaks_like(&older));
    }
}
