//! What the pool controller publishes to the dispatcher: which runners a pool with pods has, how to
//! connect to them, and which weights they load.

use super::PoolKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use url::Url;

/// Every pool with pods. External and deleted pools are not in it.
pub(crate) type PublishedPools = BTreeMap<PoolKey, Arc<PublishedPool>>;

/// What the dispatcher needs to know about one pool with pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PublishedPool {
    pub runners: Vec<RunnerPod>,
    /// Credentials for them; `None` until the Secret is written.
    pub access: Option<Access>,
    /// Weights, by model; models whose weights are not available yet are absent.
    pub weights: BTreeMap<String, Weights>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunnerPod {
    pub name: String,
    /// `https://<pod>.<service>.<namespace>.svc:<port>/`, the name in its certificate.
    pub url: Url,
    pub address: SocketAddr,
    /// Whether it loads [`PublishedPool::weights`]. A pod of an older template keeps its models until
    /// it is replaced.
    pub current: bool,
    /// It is terminating, or selected for removal: it gets no new jobs.
    pub leaving: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub token: String,
    /// Trusted certificate authorities, as PEM: two during a rotation.
    pub authorities: String,
}

impl std::fmt::Debug for Access {
    /// Omits the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// A folder of the bucket with a `fovea-manifest.json`.
    Bucket {
        /// The folder's prefix; ends with `/`.
        prefix: String,
        /// `<repo>@<commit>` for a model of the hub, otherwise the prefix as the spec has it.
        revision: String,
    },
    /// A path below the runner's `--models-dir`: on the pool's claim, or in an image.
    Volume(String),
}
