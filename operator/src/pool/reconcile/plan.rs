//! Step 3: plans the changes of a pool. Pure: no client, and time is an argument.

mod models;
mod runners;

use super::Memory;
use super::observe::{Observed, ObservedImport};
use crate::pool::access::{self, Contents, Material, Periods};
use crate::pool::build::{
    Build, disruption_budget::disruption_budget, names, network_policy, secret::secret,
    service::service,
};
use crate::pool::message::Message;
use crate::pool::published::{Access, RunnerPod, Weights};
use crate::pool::scale::Leaving;
use crate::pool::weights::Resolved;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) enum Plan {
    /// The pool is external: delete the objects that it had.
    Delete,
    Apply(Box<Prepared>),
}

/// A pool with pods, before anything is applied; in the order in which it is applied.
pub(crate) struct Prepared {
    /// `None` where the spec is refused: existing objects stay as they are.
    pub(crate) objects: Option<Objects>,
    pub(crate) imports: Vec<PlannedImport>,
    /// `None` where the spec is refused.
    pub(crate) runners: Option<PlannedRunners>,
    /// Facts that hold once the above is applied.
    pub(crate) outlook: Outlook,
    /// Facts that hold if the runners cannot be changed.
    pub(crate) kept: Outlook,
}

/// The objects that runners need before they start. The network policy precedes the pods that it
/// restricts.
pub(crate) struct Objects {
    /// Certificate and token; or why no certificate could be made.
    pub(crate) secret: Result<(Secret, Option<Access>), Message>,
    pub(crate) policy: NetworkPolicy,
    pub(crate) service: Service,
    pub(crate) budget: PodDisruptionBudget,
}

/// A model whose import is under way, or is to begin.
pub(crate) struct PlannedImport {
    pub(crate) model: String,
    pub(crate) import: ObservedImport,
    pub(crate) step: ImportStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportStep {
    Wait,
    Create,
    /// Its Job's pod waits for a network policy and the upload form.
    Equip,
    /// It failed, and its token or the authorities have changed since: it is deleted, so that another begins.
    Restart,
}

/// The change of the Deployment, and which pods Kubernetes is to remove first.
pub(crate) struct PlannedRunners {
    pub(crate) marks: Vec<Mark>,
    pub(crate) change: Change,
    /// The Deployment's present number of replicas: kept where the marks cannot be written.
    pub(crate) replicas_now: Option<u32>,
    /// The pods that are to be removed.
    pub(crate) leaving: Leaving,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) pod: String,
    /// Whether Kubernetes is to remove it before others.
    pub(crate) leaving: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Its replicas only: the template waits for weights.
    Scale(u32),
    Replace(Box<Deployment>),
}

/// Facts for the pool's status and the dispatcher, beside the result of applying the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    /// Pods, as the scale subresource counts them.
    pub(crate) pods: PodCounts,
    pub(crate) runners: Vec<RunnerPod>,
    /// The access that the live Secret gives.
    pub(crate) access: Option<Access>,
    /// By model; models whose weights are not available yet are absent.
    pub(crate) weights: BTreeMap<String, Weights>,
    pub(crate) resolved: BTreeMap<String, Resolved>,
    pub(crate) progressing: Option<Message>,
    /// Faults of the spec, the models and the pods that do not start.
    pub(crate) faults: Vec<Message>,
    /// Faults of the pods: less important than those.
    pub(crate) pod_faults: Vec<Message>,
    /// When to reconcile again, at the latest.
    pub(crate) due: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodCounts {
    /// Label selector, as `kubectl get pods -l` takes it.
    pub(crate) selector: String,
    pub(crate) desired: u32,
    /// Pods that have not ended, including those without an address.
    pub(crate) replicas: u32,
}

impl Outlook {
    fn reconcile_at(&mut self, time: Timestamp) {
        earliest(&mut self.due, time);
    }

    fn progress(&mut self, message: Message) {
        self.progressing.get_or_insert(message);
    }
}

/// Moves `due` to `time`, unless it is earlier.
pub(crate) fn earliest(due: &mut Option<Timestamp>, time: Timestamp) {
    *due = Some(due.map_or(time, |due| due.min(time)));
}

/// Plans a pool. `make_certificate` makes a certificate for the hosts; its result is random.
pub(crate) fn plan<E: std::fmt::Display>(
    observed: &Observed<'_>,
    memory: &mut Memory,
    build: &Build,
    make_certificate: impl FnOnce(&str, Timestamp, Duration) -> Result<Material, E>,
) -> Plan {
    if observed.pool.spec.external.is_some() {
        return Plan::Delete;
    }
    let subject = &observed.subject;
    let live_secret = observed.children.secret.as_deref();
    let mut outlook = Outlook {
        access: live_secret
            .and_then(Contents::of)
            .and_then(|contents| contents.access()),
        pods: PodCounts {
            selector: format!("{}={}", names::POOL, names::label(&subject.key.name)),
            ..PodCounts::default()
        },
        ..Outlook::default()
    };
    if !observed.refusals.is_empty() {
        outlook.faults.clone_from(&observed.refusals);
        runners::survey_present(observed, memory, &mut outlook);
        return Plan::Apply(Box::new(Prepared {
            objects: None,
            imports: Vec::new(),
            runners: None,
            kept: outlook.clone(),
            outlook,
        }));
    }
    let objects = Objects {
        secret: plan_secret(observed, build, make_certificate, &mut outlook),
        policy: network_policy::runners(subject, build),
        service: service(subject),
        budget: disruption_budget(subject),
    };
    let imports = models::plan_models(observed, memory, build, &mut outlook);
    (outlook.faults).extend(observed.trusted.faults.iter().cloned());
    (outlook.faults).extend(observed.start_faults.iter().cloned());
    let mut kept = outlook.clone();
    runners::survey_present(observed, memory, &mut kept);
    let runners = runners::plan_runners(observed, memory, build, &mut outlook);
    if observed.children.deployment.is_none() {
        // There are to be some: the pool is not scaled to zero.
        kept.pods.desired = outlook.pods.desired;
    }
    Plan::Apply(Box::new(Prepared {
        objects: Some(objects),
        imports,
        runners: Some(runners),
        outlook,
        kept,
    }))
}

/// The Secret's next contents, and the access that they give.
fn plan_secret<E: std::fmt::Display>(
    observed: &Observed<'_>,
    build: &Build,
    make_certificate: impl FnOnce(&str, Timestamp, Duration) -> Result<Material, E>,
    outlook: &mut Outlook,
) -> Result<(Secret, Option<Access>), Message> {
    let config = &build.config;
    let periods = Periods {
        life: Duration::from_hours(24 * u64::from(config.runner_certificate_days)),
        overlap: Duration::from_secs(config.runner_overlap_seconds.into()),
    };
    let (subject, now) = (&observed.subject, observed.now);
    let hosts = format!("*.{}.{}.svc", subject.child, subject.key.namespace);
    let live = observed.children.secret.as_deref().and_then(Contents::of);
    let make = || make_certificate(&hosts, now, periods.life);
    let step = access::step(live.as_ref(), &hosts, now, periods, make).map_err(|error| {
        let message = format!("making the runners' certificate failed: {error}");
        Message::new("CertificateFailed", message)
    })?;
    outlook.reconcile_at(step.due);
    let access = step.contents.access();
    let store = observed.trusted.store.as_ref();
    Ok((secret(subject, &step.contents, store), access))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
