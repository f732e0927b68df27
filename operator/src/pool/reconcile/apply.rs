//! Step 4: carries out a plan. The only step that changes what the pool owns.

mod imports;

use super::observe::Observed;
use super::plan::{Change, Mark, Objects, Outlook, Plan, PlannedRunners, PodCounts, Prepared};
use super::{Context, DELETION_COST, LEAVING_COST};
use crate::pool::applier::ApplyError;
use crate::pool::build::deployment::replicas_of;
use crate::pool::build::names::OPERATOR;
use crate::pool::caches::Children;
use crate::pool::message::Message;
use crate::pool::published::{Access, PublishedPool};
use crate::pool::scale::Leaving;
use crate::pool::weights::Resolved;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;

/// The result of a plan, for the status and the dispatcher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// `None`: the pool is external.
    pub(crate) pods: Option<PodCounts>,
    /// For the dispatcher; `None`: the pool is external.
    pub(crate) published: Option<PublishedPool>,
    pub(crate) resolved: BTreeMap<String, Resolved>,
    /// An import, a rollout or starting runners.
    pub(crate) progressing: Option<Message>,
    /// What is wrong with the pool, the most important first.
    pub(crate) faults: Vec<Message>,
    /// The pods that are to be removed; `None` where the runners were not changed.
    pub(crate) leaving: Option<Leaving>,
    /// Whether a request failed: it is retried.
    pub(crate) failed: bool,
    /// When to reconcile again, at the latest.
    pub(crate) due: Option<Timestamp>,
}

impl Applied {
    fn fail(&mut self, reason: &'static str, message: impl Into<String>) {
        self.failed = true;
        self.faults.push(Message::new(reason, message));
    }

    /// Whether it succeeded; if not, it is a fault.
    fn note(&mut self, result: Result<bool, ApplyError>) -> bool {
        match result {
            Ok(_) => true,
            Err(error) => {
                self.fail(error.reason(), error.to_string());
                false
            }
        }
    }
}

impl Context {
    pub(super) async fn apply(&self, observed: &Observed<'_>, plan: Plan) -> Applied {
        let prepared = match plan {
            Plan::Delete => return self.delete(observed).await,
            Plan::Apply(prepared) => *prepared,
        };
        let Prepared {
            objects,
            imports,
            runners,
            outlook,
            kept,
        } = prepared;
        let mut applied = Applied::default();
        let access = outlook.access.clone();
        let (access, isolated) = match objects {
            Some(objects) => {
                self.apply_objects(observed, objects, access, &mut applied)
                    .await
            }
            None => (access, false),
        };
        // Without its network policy and its certificate no runner starts, and none is removed.
        let runners = runners.filter(|_| isolated && access.is_some());
        let Outlook {
            pods,
            runners: published_runners,
            access: _,
            weights,
            resolved,
            progressing,
            faults,
            pod_faults,
            due,
        } = if runners.is_some() { outlook } else { kept };
        applied.pods = Some(pods);
        applied.resolved = resolved;
        applied.due = due;
        applied.faults.extend(faults);
        for import in imports {
            self.apply_import(observed, import, &mut applied).await;
        }
        if let Some(runners) = runners {
            applied.leaving = Some(runners.leaving.clone());
            self.apply_runners(observed, runners, &mut applied).await;
        }
        applied.faults.extend(pod_faults);
        applied.progressing = applied.progressing.or(progressing);
        applied.published = Some(PublishedPool {
            runners: published_runners,
            access,
            weights,
        });
        applied
    }

    /// Returns the access to runners, and whether the network policy is in place. `access`: what the
    /// live Secret gives.
    async fn apply_objects(
        &self,
        observed: &Observed<'_>,
        objects: Objects,
        access: Option<Access>,
        applied: &mut Applied,
    ) -> (Option<Access>, bool) {
        let Objects {
            secret,
            policy,
            service,
            budget,
        } = objects;
        let (live, uid) = (&observed.children, &observed.subject.uid);
        let access = match secret {
            Ok((secret, new_access)) => {
                let result = self.applier.ensure(&secret, live.secret.clone(), uid).await;
                if applied.note(result) {
                    new_access
                } else {
                    access
                }
            }
            Err(Message { reason, message }) => {
                applied.fail(reason, message);
                None
            }
        };
        let result = self.applier.ensure(&policy, live.policy.clone(), uid).await;
        let isolated = applied.note(result);
        let result = self
            .applier
            .ensure(&service, live.service.clone(), uid)
            .await;
        applied.note(result);
        let result = self.applier.ensure(&budget, live.budget.clone(), uid).await;
        applied.note(result);
        (access, isolated)
    }

    async fn apply_runners(
        &self,
        observed: &Observed<'_>,
        runners: PlannedRunners,
        applied: &mut Applied,
    ) {
        let PlannedRunners {
            marks,
            change,
            replicas_now,
            leaving: _,
        } = runners;
        let marked = self.mark(observed, &marks, applied).await;
        // Without the marks Kubernetes would remove other pods.
        let at_least = replicas_now.filter(|_| !marked).unwrap_or(0);
        let live = observed.children.deployment.clone();
        match change {
            Change::Scale(replicas) => {
                if let Some(live) = live {
                    let replicas = replicas.max(at_least);
                    self.scale(observed, &live, replicas, applied).await;
                }
            }
            Change::Replace(mut deployment) => {
                if let Some(spec) = &mut deployment.spec {
                    let at_least = i32::try_from(at_least).unwrap_or(i32::MAX);
                    spec.replicas = spec.replicas.max(Some(at_least));
                }
                let uid = &observed.subject.uid;
                let result = self.applier.ensure(deployment.as_ref(), live, uid).await;
                applied.note(result);
            }
        }
    }

    /// Marks the pods that Kubernetes is to remove first; `false`: not all of them.
    async fn mark(&self, observed: &Observed<'_>, marks: &[Mark], applied: &mut Applied) -> bool {
        let namespace = &observed.subject.key.namespace;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::default();
        let mut all = true;
        for Mark { pod, leaving } in marks {
            let cost = leaving.then_some(LEAVING_COST);
            let patch = Patch::Merge(json!({"metadata": {"annotations": {DELETION_COST: cost}}}));
            match pods.patch_metadata(pod, &params, &patch).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(pod, %error, "marking a pod for removal failed; trying again");
                    applied.failed = true;
                    all = false;
                }
            }
        }
        all
    }

    /// Changes the Deployment's replicas and nothing else.
    async fn scale(
        &self,
        observed: &Observed<'_>,
        live: &Deployment,
        replicas: u32,
        applied: &mut Applied,
    ) {
        if replicas_of(live) == Some(replicas) {
            return;
        }
        let namespace = &observed.subject.key.namespace;
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch(&live.name_any(), &params, &patch).await {
            let message = format!("changing the number of runners failed: {error}");
            applied.fail("ApplyFailed", message);
        }
    }

    /// Deletes the objects of a pool that has become external.
    async fn delete(&self, observed: &Observed<'_>) -> Applied {
        let Children {
            deployment,
            service,
            secret,
            policy,
            budget,
            pods: _,
        } = &observed.children;
        let uid = &observed.subject.uid;
        let mut applied = Applied::default();
        macro_rules! delete {
            ($($object:ident),*) => {$(
                let owned = ($object.as_deref())
                    .filter(|each| each.owner_references().iter().any(|owner| owner.uid == *uid));
                if let Some(object) = owned
                    && let Err(error) = self.applier.remove(object).await
                {
                    tracing::warn!(%error, "deleting an object of a pool that is external now failed");
                    applied.failed = true;
                }
            )*};
        }
        delete!(deployment, service, budget, policy, secret);
        applied
    }
}
