//! The runners themselves: how many, by which template, and who goes.

use super::{Context, Look, Memory};
use crate::metrics::PoolScaling;
use crate::pool::PoolKey;
use crate::pool::autoscale::Runners;
use crate::pool::build::deployment::{
    deployment, is_swapping, models_fingerprint, models_of, replicas_of, template_of,
};
use crate::pool::build::names::OPERATOR;
use crate::pool::observe;
use crate::pool::provision::{Load, Told};
use crate::pool::rollout::{self, Rollout, Strategy};
use crate::pool::scale::{self, Leaving, Place};
use fovea_crds::Autoscaling;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// By which Kubernetes picks those that go: the lowest first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Of those that are to go; all others have none, which is 0.
const LEAVING_COST: &str = "-1";
/// How often the autoscaler is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

impl Context {
    /// Brings the Deployment to what it should be.
    pub(super) async fn runners(&self, look: &mut Look<'_>, memory: &mut Memory) {
        let config = &self.build.config;
        let load = self.loads.borrow().get(&look.subject.key).cloned();
        let live = look.children.deployment.clone();
        let asked = live.as_deref().and_then(replicas_of);
        let places = places(&look.children.pods, load.as_ref());
        let wanted = wanted(look, memory, load.as_ref(), asked, &places);
        look.provision.wanted = wanted;
        let timeout = Duration::from_secs(config.scale_down_timeout_seconds.into());
        let scaled = scale::decide(wanted, asked, &places, &memory.leaving, look.now, timeout);
        memory.leaving = scaled.leaving;
        if let Some(due) = scaled.due {
            look.look_at(due);
        }
        let mut replicas = scaled.replicas;
        if !self.mark(look, &memory.leaving).await {
            // Kubernetes would pick others.
            replicas = asked.unwrap_or(replicas).max(replicas);
        }
        let desired = deployment(look.subject, &self.build, replicas, Strategy::Surge);
        if let Some(live) = live
            .as_ref()
            .filter(|live| is_waiting(look, live, &desired))
        {
            self.scale(look, live, replicas).await;
            tell(look, memory, template_of(live));
            return;
        }
        let rollout = seen(look, &desired, wanted);
        let timeout = Duration::from_secs(config.surge_timeout_seconds.into());
        let decided = rollout::decide(&rollout, look.now, timeout);
        if let Some(due) = decided.due {
            look.look_at(due);
        }
        look.progress(decided.told);
        let desired = match decided.strategy {
            Strategy::Surge => desired,
            Strategy::Swap => deployment(look.subject, &self.build, replicas, Strategy::Swap),
        };
        let uid = &look.subject.uid;
        let applied = self.applier.ensure(&desired, live, uid).await;
        look.applied(&applied);
        tell(look, memory, template_of(&desired));
    }

    /// Lets Kubernetes know who is to go; `false`: it does not know all of them.
    async fn mark(&self, look: &mut Look<'_>, leaving: &Leaving) -> bool {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &look.subject.key.namespace);
        let mut all = true;
        for pod in &look.children.pods {
            let cost = leaving
                .contains_key(&pod.name_any())
                .then_some(LEAVING_COST);
            if observe::is_going(pod)
                || pod.annotations().get(DELETION_COST).map(String::as_str) == cost
            {
                continue;
            }
            let patch = Patch::Merge(json!({"metadata": {"annotations": {DELETION_COST: cost}}}));
            let name = pod.name_any();
            match pods
                .patch_metadata(&name, &PatchParams::default(), &patch)
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(pod = name, %error, "who is to go could not be marked; trying again");
                    look.failed = true;
                    all = false;
                }
            }
        }
        all
    }

    /// Changes nothing but the number.
    async fn scale(&self, look: &mut Look<'_>, live: &Deployment, replicas: u32) {
        if replicas_of(live) == Some(replicas) {
            return;
        }
        let api: Api<Deployment> =
            Api::namespaced(self.client.clone(), &look.subject.key.namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch(&live.name_any(), &params, &patch).await {
            look.failed = true;
            look.fault(
                "ApplyFailed",
                format!("the number of runners could not be changed: {error}"),
            );
        }
    }
}

/// How many there are to be. `asked`: what the Deployment was told last.
fn wanted(
    look: &mut Look<'_>,
    memory: &mut Memory,
    load: Option<&Load>,
    asked: Option<u32>,
    places: &[Place],
) -> u32 {
    let spec = look.subject.spec;
    let Some(load) = load else {
        // The dispatcher has not counted yet.
        let fewest = spec
            .autoscaling
            .map(|wish| asked.unwrap_or(wish.min).clamp(wish.min, wish.max));
        return fewest.unwrap_or(spec.replicas);
    };
    let stays = |place: &&Place| !memory.leaving.contains_key(&place.name);
    let there = places.iter().filter(stays);
    let serves = |place: &&Place| load.ready_pods.contains(&place.name);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (ready, all) = (there.clone().filter(serves).count(), there.clone().count());
    let pods = look.children.pods.iter();
    let failing = pods.filter(|pod| observe::is_failing(pod, look.now));
    let failing: BTreeSet<String> = failing.map(|pod| pod.name_any()).collect();
    let fails = |place: &&Place| {
        let fails = failing.contains(&place.name) || load.failed_pods.contains(&place.name);
        fails && !serves(place)
    };
    let runners = Runners {
        ready: count(ready),
        starting: count(all - ready),
        failing: count(there.filter(fails).count()),
    };
    // Of a pool whose number somebody else decides, too: the backlog is told to them.
    let wish = spec.autoscaling.unwrap_or(Autoscaling {
        min: spec.replicas,
        max: spec.replicas.max(1),
        idle_seconds: 1,
        target_queue_seconds: 1,
    });
    let decided = memory
        .autoscaler
        .decide(&wish, load, runners, Instant::now());
    let wanted = if spec.autoscaling.is_some() {
        look.look_after(ASK_EVERY);
        decided.replicas
    } else {
        spec.replicas
    };
    let PoolKey { name, namespace } = &look.subject.key;
    let scaling = PoolScaling {
        pool: format!("{namespace}/{name}"),
        wanted,
        backlog_seconds: decided.backlog_seconds,
    };
    let before = memory.scaling.replace(scaling).map(|told| told.wanted);
    if spec.autoscaling.is_some() && before.is_some_and(|before| before != wanted) {
        tracing::info!(
            pool = name,
            namespace,
            reason = decided.reason.word(),
            "{decided}"
        );
    }
    wanted
}

/// Whether runners of the present models go on until the weights of the new ones are there: a runner
/// that waits for an import serves nobody.
fn is_waiting(look: &mut Look<'_>, live: &Deployment, desired: &Deployment) -> bool {
    let known = &look.provision.weights;
    let missing = look
        .subject
        .spec
        .models
        .iter()
        .map(|model| model.name.as_str());
    let missing: Vec<&str> = missing.filter(|name| !known.contains_key(*name)).collect();
    if missing.is_empty() || models_of(live) == models_of(desired) {
        return false;
    }
    let message = format!(
        "the runners are replaced once the weights of {} are there; till then they serve what they have",
        missing.join(", ")
    );
    look.progress(Some(Told {
        reason: "WaitingForWeights",
        message,
    }));
    true
}

/// The pods that count, with the jobs that they have.
fn places(pods: &[Arc<Pod>], load: Option<&Load>) -> Vec<Place> {
    let there = pods
        .iter()
        .filter(|pod| !observe::is_going(pod) && !observe::has_ended(pod));
    let place = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        Place {
            ready: observe::is_ready(pod),
            jobs: (load.and_then(|load| load.by_pod.get(&name)).copied()).unwrap_or_default(),
            created: pod
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::MAX, |time| time.0),
            name,
        }
    };
    there.map(place).collect()
}

/// The change that is under way, if one is.
fn seen(look: &Look<'_>, desired: &Deployment, wanted: u32) -> Rollout {
    let template = template_of(desired).unwrap_or_default();
    let there = look
        .children
        .pods
        .iter()
        .filter(|pod| !observe::is_going(pod) && !observe::has_ended(pod));
    let (new, old): (Vec<_>, Vec<_>) = there.partition(|pod| observe::is_of(pod, template));
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Rollout {
        old: count(old.len()),
        new_ready: count(new.iter().filter(|pod| observe::is_ready(pod)).count()),
        wanted,
        swapping: look.children.deployment.as_deref().is_some_and(is_swapping),
        stuck: new.iter().filter_map(|pod| observe::unscheduled(pod)).min(),
    }
}

/// Tells which runners there are, and what is wrong with them. `template`: the current one.
pub(super) fn tell(look: &mut Look<'_>, memory: &Memory, template: Option<&str>) {
    let subject = look.subject;
    let models = models_fingerprint(&subject.spec.models);
    let leaving: BTreeSet<String> = memory.leaving.keys().cloned().collect();
    let children = &look.children;
    look.provision.runners = observe::runners(subject, &children.pods, &models, &leaving);
    let wanted = look.provision.wanted;
    let faults = observe::faults(children.deployment.as_deref(), &children.pods, wanted);
    look.provision.faults.extend(faults);
    let there = (children.pods.iter()).filter(|pod| !observe::has_ended(pod));
    look.provision.replicas = u32::try_from(there.count()).unwrap_or(u32::MAX);
    let serving = |pod: &&Arc<Pod>| {
        let current = template.is_none_or(|template| observe::is_of(pod, template));
        current && observe::is_ready(pod) && !observe::is_going(pod)
    };
    let ready = children.pods.iter().filter(serving).count();
    if ready < wanted as usize {
        look.progress(Some(Told {
            reason: "RunnersStarting",
            message: format!("{ready} of {wanted} runners are ready"),
        }));
    }
}
