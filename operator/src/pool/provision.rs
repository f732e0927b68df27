//! What the two halves of the operator tell each other of a pool with pods: the dispatcher how much
//! there is to do, the pools' controller which runners there are to do it.

use super::PoolKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use url::Url;

/// The work of every pool, as the dispatcher sees it.
pub type Loads = BTreeMap<PoolKey, Load>;

/// The work of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Jobs that wait for a runner now; none that waits for a time.
    pub queued: u32,
    /// Jobs that its runners have.
    pub running: u32,
    /// Jobs that all runners together have ended since this operator leads.
    pub ended: u64,
    /// Seconds that those jobs spent on runners, together.
    pub busy_seconds: f64,
    /// Jobs that one ready runner takes at once, as runners have told; `None` before one has.
    pub slots: Option<u32>,
    /// Jobs on each runner, by pod.
    pub by_pod: BTreeMap<String, u32>,
    /// Pods whose runner serves every model of the pool.
    pub ready_pods: Vec<String>,
    /// Pods whose runner says that it cannot have a model.
    pub failed_pods: Vec<String>,
}

/// Every pool with pods, as the pools' controller sees it; one that is external, or gone, is not
/// among them.
pub type Provisions = BTreeMap<PoolKey, Arc<Provision>>;

/// What there is of one pool with pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provision {
    /// Which pods are the pool's, as `kubectl get pods -l` takes it.
    pub selector: String,
    /// How many runners there are to be.
    pub wanted: u32,
    /// Pods that there are and that have not ended, also those without an address.
    pub replicas: u32,
    /// Runners that have an address.
    pub runners: Vec<RunnerPod>,
    /// How to speak to them; `None` until the Secret is written.
    pub access: Option<Access>,
    /// What they are to keep, by model; a model whose weights are not in the bucket yet is not
    /// among them.
    pub weights: BTreeMap<String, Weights>,
    /// What the hub's revisions stand for in this pool, by model: for the status, from which they
    /// are read after a restart, so that a branch that moves changes nothing by itself.
    pub resolved: BTreeMap<String, Resolved>,
    /// Why something is on its way, such as a rollout or a start.
    pub progressing: Option<Told>,
    /// What is wrong, most important first.
    pub faults: Vec<Told>,
}

/// A revision of the hub, and the commit that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `<repo>@<revision>`, as the spec has them.
    pub source: String,
    /// 40 hexadecimal digits.
    pub commit: String,
}

/// A condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// One word in CamelCase.
    pub reason: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

/// A runner's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerPod {
    /// The pod's name.
    pub name: String,
    /// `https://<pod>.<service>.<namespace>.svc:<port>/`, which its certificate is for.
    pub url: Url,
    /// Where that is.
    pub address: SocketAddr,
    /// Whether it is to keep what [`Provision::weights`] says: a pod of an older template keeps
    /// what it has until it is replaced.
    pub current: bool,
    /// It is to be given no new jobs: it ends, or is about to be.
    pub leaving: bool,
}

/// How to speak to a pool's runners.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The bearer token.
    pub token: String,
    /// The certificate authorities that are believed, as PEM: two while they are changed.
    pub authorities: String,
}

impl std::fmt::Debug for Access {
    /// Does not tell the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Where the runners find one model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Below this prefix of the bucket, with a `fovea-manifest.json` beside them; `revision` is
    /// what they are together: `<repo>@<commit>`, or the prefix.
    Bucket {
        /// Ends with `/`.
        prefix: String,
        /// What they are.
        revision: String,
    },
    /// At this path of the claim.
    Volume(String),
}
