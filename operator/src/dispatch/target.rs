//! The runners of a pool and how to connect to them: the endpoints of its spec, or the pods that the
//! pool controller publishes.

use super::runners::{RunnerClient, RunnerError};
use crate::pool::PoolKey;
use crate::pool::external;
use crate::pool::published::{Access, PublishedPool, RunnerPod, Weights};
use fovea_crds::{Dtype, External, RunnerPoolSpec, Task};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    pub name: String,
    pub task: Task,
    pub weights: Weights,
    pub dtype: Dtype,
    /// Pictures that may share one forward pass.
    pub max_batch_size: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A server outside the pool's control: it decides itself which models it loads.
    External {
        endpoint: String,
        /// Names the Secrets with its token and its certificate authority.
        external: Arc<External>,
    },
    Pod {
        pod: RunnerPod,
        access: Access,
        /// Models that it has to load; none for a pod of an older template.
        keep: Arc<[Keep]>,
    },
}

pub(super) fn targets(
    spec: &RunnerPoolSpec,
    published: Option<&PublishedPool>,
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
    let Some((published, access)) =
        published.and_then(|published| Some((published, published.access.as_ref()?)))
    else {
        return BTreeMap::new();
    };
    let all: Arc<[Keep]> = (spec.models.iter())
        .filter_map(|model| {
            Some(Keep {
                name: model.name.clone(),
                task: model.task,
                weights: published.weights.get(&model.name)?.clone(),
                dtype: model.dtype,
                max_batch_size: model.max_batch_size,
            })
        })
        .collect();
    let target = |pod: &RunnerPod| {
        let target = Target::Pod {
            pod: pod.clone(),
            access: access.clone(),
            keep: if pod.current {
                Arc::clone(&all)
            } else {
                Arc::default()
            },
        };
        (pod.url.to_string(), target)
    };
    published.runners.iter().map(target).collect()
}

impl Target {
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Pod { pod, .. } if pod.leaving)
    }

    pub(super) fn keep(&self) -> &[Keep] {
        match self {
            Self::External { .. } => &[],
            Self::Pod { keep, .. } => keep,
        }
    }

    /// Whether a link to `self` also serves `other`: at most `leaving` differs, which concerns the
    /// dispatcher alone.
    pub(super) fn shares_link_with(&self, other: &Self) -> bool {
        let mut same = self.clone();
        if let (Self::Pod { pod, .. }, Self::Pod { pod: other, .. }) = (&mut same, other) {
            pod.leaving = other.leaving;
        }
        same == *other
    }

    /// Makes a client. `allowed_hosts`: hosts that external endpoints may name.
    pub(super) async fn connect(
        &self,
        cluster: &Client,
        pool: &PoolKey,
        allowed_hosts: &[String],
    ) -> Result<RunnerClient, String> {
        let say = |error: RunnerError| error.to_string();
        let (external, endpoint) = match self {
            Self::Pod { pod, access, .. } => {
                return RunnerClient::at(pod.url.clone(), pod.address, access).map_err(say);
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

    fn published(runners: Vec<RunnerPod>) -> PublishedPool {
        let weights = Weights::Volume("blip".into());
        PublishedPool {
            runners,
            access: Some(Access {
                token: "t".into(),
                authorities: String::new(),
            }),
            weights: [("blip".to_owned(), weights)].into(),
        }
    }

    #[test]
    fn a_pod_of_the_current_template_loads_the_available_models_and_an_older_one_none() {
        let published = published(vec![pod("new", true, false), pod("old", false, true)]);
        let found = targets(&spec(&json!({})), Some(&published));
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
        let found = targets(&spec, Some(&published(vec![pod("new", true, false)])));
        assert_eq!(
            found.into_keys().collect::<Vec<_>>(),
            ["http://127.0.0.1:9"]
        );
    }

    #[test]
    fn a_pool_that_is_not_published_yet_has_no_runners() {
        assert!(targets(&spec(&json!({})), None).is_empty());
        let mut unreachable = published(vec![pod("new", true, false)]);
        unreachable.access = None;
        assert!(targets(&spec(&json!({})), Some(&unreachable)).is_empty());
    }

    #[test]
    fn a_pod_that_is_about_to_be_removed_keeps_its_link() {
        let of = |pod| targets(&spec(&json!({})), Some(&published(vec![pod])));
        let stays = of(pod("a", true, false)).into_values().next().unwrap();
        let leaves = of(pod("a", true, true)).into_values().next().unwrap();
        assert!(stays.shares_link_with(&leaves) && stays != leaves);
        let older = of(pod("a", false, false)).into_values().next().unwrap();
        assert!(!stays.shares_link_with(&older));
    }
}
