//! One look at one pool: what there is, what there is to be, the difference written, and what came
//! of it told to the dispatcher.

mod kubelet;
mod models;
mod runners;

use super::PoolKey;
use super::access::{self, Contents, Periods};
use super::apply::{Applier, ApplyError};
use super::autoscale::Autoscaler;
use super::build::{
    Build, Subject, disruption_budget::disruption_budget, names, network_policy, secret::secret,
    service::service,
};
use super::caches::{Caches, Children};
use super::provision::{Access, Loads, Provision, Provisions, Told};
use super::scale::Leaving;
use super::validate;
use crate::metrics::{Metrics, PoolScaling};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use fovea_crds::RunnerPool;
use fovea_store::Store;
use jiff::Timestamp;
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A pool is looked at so often although nothing has changed.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// Longest delay after an error.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// Delays after errors; each is twice the one before.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(LONGEST_RETRY)
    .without_max_times();

/// What every look needs.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) build: Build,
    pub(super) caches: Caches,
    pub(super) applier: Applier,
    pub(super) loads: watch::Receiver<Loads>,
    pub(super) provisions: watch::Sender<Provisions>,
    pub(super) memories: Mutex<HashMap<PoolKey, Memory>>,
    pub(super) metrics: Arc<Metrics>,
}

/// What is remembered of a pool between looks; lost with the leader, and found again.
#[derive(Default)]
pub(super) struct Memory {
    leaving: Leaving,
    autoscaler: Autoscaler,
    /// What kubelets said of pods that are not begun.
    heard: kubelet::Heard,
    /// What was last told of it as a metric.
    scaling: Option<PoolScaling>,
    /// What revisions of the hub have been resolved to, by `<repo>@<revision>`.
    commits: BTreeMap<String, String>,
    /// When folders of the bucket were last seen to be whole.
    whole: BTreeMap<String, Timestamp>,
    failures: u32,
}

/// One look's course.
struct Look<'a> {
    subject: &'a Subject<'a>,
    pool: &'a RunnerPool,
    children: Children,
    now: Timestamp,
    /// The first time at which it is to be looked again.
    due: Option<Timestamp>,
    /// Something could not be written.
    failed: bool,
    provision: Provision,
}

impl Look<'_> {
    fn look_at(&mut self, time: Timestamp) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    fn look_after(&mut self, wait: Duration) {
        self.look_at(self.now.checked_add(wait).unwrap_or(Timestamp::MAX));
    }

    fn fault(&mut self, reason: &'static str, message: String) {
        self.provision.faults.push(Told { reason, message });
    }

    /// Notes that something could not be written.
    fn applied(&mut self, result: &Result<bool, ApplyError>) -> bool {
        if let Err(error) = result {
            self.failed = true;
            self.fault(error.reason(), error.to_string());
        }
        result.is_ok()
    }

    /// The first thing that is on its way stands.
    fn progress(&mut self, told: Option<Told>) {
        let progressing = &mut self.provision.progressing;
        *progressing = progressing.take().or(told);
    }
}

impl Context {
    /// One look; what goes wrong is told, and tried again.
    pub(super) async fn reconcile(
        self: Arc<Self>,
        pool: Arc<DeserializeGuard<RunnerPool>>,
    ) -> Result<Action, Infallible> {
        let Ok(pool) = &pool.0 else {
            // The dispatcher tells of it.
            return Ok(Action::await_change());
        };
        let subject = Subject::of(pool);
        if pool.metadata.deletion_timestamp.is_some() {
            self.forget(&subject.key);
            return Ok(Action::await_change());
        }
        if pool.spec.external.is_some() {
            return Ok(self.retire(&subject).await);
        }
        let mut memory = self.memories().remove(&subject.key).unwrap_or_default();
        let mut look = Look {
            children: self.caches.children(&subject),
            subject: &subject,
            pool,
            now: Timestamp::now(),
            due: None,
            failed: false,
            provision: Provision {
                selector: format!("{}={}", names::POOL, names::label(&subject.key.name)),
                ..Provision::default()
            },
        };
        self.bring(&mut look, &mut memory).await;
        let action = action(&look, &mut memory);
        let provision = look.provision;
        // Deleted meanwhile: then there is nothing to remember.
        if self.caches.has(&subject.key) {
            self.memories().insert(subject.key.clone(), memory);
            self.measure();
            self.publish(&subject.key, provision);
        }
        Ok(action)
    }

    async fn bring(&self, look: &mut Look<'_>, memory: &mut Memory) {
        let refusals = validate::refusals(look.subject.spec);
        if !refusals.is_empty() {
            // What there is goes on as it was.
            look.provision.faults = refusals;
            look.provision.access = look.children.secret.as_deref().and_then(access_of);
            runners::tell(look, memory, None);
            return;
        }
        let (subject, build) = (look.subject, &self.build);
        self.secret(look).await;
        let Children {
            service: live_service,
            policy,
            budget,
            ..
        } = &look.children;
        let (live_service, policy, budget) = (live_service.clone(), policy.clone(), budget.clone());
        let uid = &subject.uid;
        // The policy comes before the pods that it is for.
        let applied = self
            .applier
            .ensure(&network_policy::runners(subject, build), policy, uid)
            .await;
        let isolated = look.applied(&applied);
        let applied = self
            .applier
            .ensure(&service(subject), live_service, uid)
            .await;
        look.applied(&applied);
        let applied = self
            .applier
            .ensure(&disruption_budget(subject), budget, uid)
            .await;
        look.applied(&applied);
        self.models(look, memory).await;
        self.hear_of_kubelets(look, memory).await;
        if isolated && look.provision.access.is_some() {
            self.runners(look, memory).await;
        } else {
            runners::tell(look, memory, None);
        }
    }

    /// The certificate and the token; with them in place the dispatcher can speak to runners.
    async fn secret(&self, look: &mut Look<'_>) {
        let config = &self.build.config;
        let periods = Periods {
            life: Duration::from_hours(24 * u64::from(config.runner_certificate_days)),
            overlap: Duration::from_secs(config.runner_overlap_seconds.into()),
        };
        let Subject {
            key, child, uid, ..
        } = look.subject;
        let hosts = format!("*.{child}.{}.svc", key.namespace);
        let live = look.children.secret.clone();
        let found = live.as_deref().and_then(Contents::of);
        let now = look.now;
        let make = || access::make(&hosts, now, periods.life);
        let step = match access::step(found.as_ref(), &hosts, now, periods, make) {
            Ok(step) => step,
            Err(error) => {
                look.failed = true;
                look.fault(
                    "CertificateFailed",
                    format!("no certificate could be made: {error}"),
                );
                return;
            }
        };
        look.look_at(step.due);
        let applied = self
            .applier
            .ensure(&secret(look.subject, &step.contents), live.clone(), uid)
            .await;
        look.provision.access = if look.applied(&applied) {
            step.contents.access()
        } else {
            live.as_deref().and_then(access_of)
        };
    }

    /// The pool has no pods any more: what it had goes.
    async fn retire(&self, subject: &Subject<'_>) -> Action {
        self.forget(&subject.key);
        let Children {
            deployment,
            service,
            secret,
            policy,
            budget,
            pods: _,
        } = self.caches.children(subject);
        let ours = |uid: &Option<
            Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>,
        >| { uid.iter().flatten().any(|owner| owner.uid == subject.uid) };
        let mut failed = false;
        macro_rules! remove {
            ($($object:ident),*) => {$(
                if let Some(object) = $object.filter(|each| ours(&each.metadata.owner_references)) {
                    let removed = self.applier.remove(object.as_ref()).await;
                    if let Err(error) = removed {
                        tracing::warn!(%error, "what an external pool has no use for could not be deleted");
                        failed = true;
                    }
                }
            )*};
        }
        remove!(deployment, service, budget, policy, secret);
        if failed {
            Action::requeue(LONGEST_RETRY)
        } else {
            Action::await_change()
        }
    }

    /// Tells of all pools by metrics.
    fn measure(&self) {
        let memories = self.memories();
        let scaling = memories.values().filter_map(|each| each.scaling.clone());
        self.metrics.scaling(&scaling.collect::<Vec<_>>());
    }

    /// The pool is not ours any more.
    fn forget(&self, key: &PoolKey) {
        self.memories().remove(key);
        self.measure();
        self.provisions
            .send_if_modified(|all| all.remove(key).is_some());
    }

    /// Forgets the pools that are gone.
    pub(super) fn sweep(&self) {
        self.memories().retain(|key, _| self.caches.has(key));
        self.measure();
        self.provisions.send_if_modified(|all| {
            let before = all.len();
            all.retain(|key, _| self.caches.has(key));
            all.len() != before
        });
        self.applier.keep(|uid| self.caches.has_uid(uid));
    }

    fn publish(&self, key: &PoolKey, provision: Provision) {
        self.provisions.send_if_modified(|all| {
            let known = all.get(key);
            if known.is_some_and(|known| **known == provision) {
                return false;
            }
            // Once where it begins or changes, not at each look.
            if known.is_none_or(|known| known.faults != provision.faults) && !provision.faults.is_empty() {
                tracing::warn!(pool = key.name, namespace = key.namespace, faults = ?provision.faults, "the pool is degraded");
            }
            all.insert(key.clone(), Arc::new(provision));
            true
        });
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<PoolKey, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn access_of(secret: &k8s_openapi::api::core::v1::Secret) -> Option<Access> {
    Contents::of(secret)?.access()
}

/// When to look again.
fn action(look: &Look<'_>, memory: &mut Memory) -> Action {
    if look.failed {
        let wait = RETRIES.build().nth(memory.failures as usize);
        memory.failures = memory.failures.saturating_add(1);
        return Action::requeue(wait.unwrap_or(LONGEST_RETRY));
    }
    memory.failures = 0;
    let until = |due: Timestamp| {
        Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default()
    };
    // A moment later, so that what is due is so.
    let wait = look
        .due
        .map(until)
        .map(|wait| wait + Duration::from_millis(10));
    Action::requeue(wait.unwrap_or(LOOK_EVERY).min(LOOK_EVERY))
}
