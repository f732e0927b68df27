//! Metrics of what a program asks of the Kubernetes API server and of the object store; the same for
//! every program that does. Requests to the API server are counted below every client, so that no
//! call can be forgotten. Labels are resources, methods and classes of status: their number is bounded.

use futures::future::BoxFuture;
use http::{Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::hash::Hash;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// What is asked about, as it stands in paths.
const RESOURCES: [&str; 14] = [
    "inferencejobs",
    "runnerpools",
    "namespaces",
    "tokenreviews",
    "subjectaccessreviews",
    "leases",
    "events",
    "secrets",
    "pods",
    "services",
    "deployments",
    "jobs",
    "networkpolicies",
    "poddisruptionbudgets",
];

/// What has no answer.
const NONE: &str = "none";
/// The class of a server's own errors.
pub const SERVER_ERROR: &str = "5xx";
/// The outcomes that are the other side's failure.
const FAILURES: [&str; 2] = [SERVER_ERROR, NONE];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    resource: &'static str,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    method: &'static str,
    outcome: &'static str,
}

/// Counters of both. Clones count together.
#[derive(Clone, Debug)]
pub struct Upstreams {
    cluster: Family<ClusterLabels, Counter>,
    cluster_seconds: Histogram,
    store: Family<StoreLabels, Counter>,
    store_seconds: Histogram,
}

impl Default for Upstreams {
    /// All at zero.
    fn default() -> Self {
        // 1 ms to 65 s, which is longer than any of these requests may take.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        Self {
            cluster: Family::default(),
            cluster_seconds: seconds(),
            store: Family::default(),
            store_seconds: seconds(),
        }
    }
}

impl Upstreams {
    /// Makes them part of what a program tells.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "cluster_requests",
            "Requests to the Kubernetes API server, by outcome: a class of status, or none",
            self.cluster.clone(),
        );
        registry.register_with_unit(
            "cluster_request_duration",
            "How long the Kubernetes API server took",
            Unit::Seconds,
            self.cluster_seconds.clone(),
        );
        registry.register(
            "store_requests",
            "Tries of requests to the object store, by outcome: a class of status, or none",
            self.store.clone(),
        );
        registry.register_with_unit(
            "store_request_duration",
            "How long the object store took for one try",
            Unit::Seconds,
            self.store_seconds.clone(),
        );
    }

    /// The layer of a client of the API server.
    pub fn layer(&self) -> ObservedCluster {
        ObservedCluster {
            inner: (),
            upstreams: self.clone(),
        }
    }

    /// The API server has answered, or the connection has failed.
    fn cluster_request(
        &self,
        resource: &'static str,
        method: &'static str,
        status: Option<u16>,
        took: Duration,
    ) {
        let labels = |outcome| ClusterLabels {
            resource,
            method,
            outcome,
        };
        count(&self.cluster, labels, status);
        self.cluster_seconds.observe(took.as_secs_f64());
    }

    /// The store has answered one try, or the connection has failed.
    pub fn store_request(&self, method: &str, status: Option<u16>, took: Duration) {
        let method = known(method);
        count(
            &self.store,
            |outcome| StoreLabels { method, outcome },
            status,
        );
        self.store_seconds.observe(took.as_secs_f64());
    }
}

/// Counts one. The failures of what is asked are there from the first time that it is asked:
/// Prometheus sees the first of a kind only where it has seen none of it before.
fn count<L: Clone + Eq + Hash>(
    family: &Family<L, Counter>,
    labels: impl Fn(&'static str) -> L,
    status: Option<u16>,
) {
    for failure in FAILURES {
        let _ = family.get_or_create(&labels(failure));
    }
    let outcome = status.map_or(NONE, class);
    family.get_or_create(&labels(outcome)).inc();
}

/// The layer, and the service that it makes.
#[derive(Clone, Debug)]
pub struct ObservedCluster<S = ()> {
    inner: S,
    upstreams: Upstreams,
}

impl<S> Layer<S> for ObservedCluster {
    type Service = ObservedCluster<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let upstreams = self.upstreams.clone();
        ObservedCluster { inner, upstreams }
    }
}

impl<S, A, B> Service<Request<A>> for ObservedCluster<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let resource = resource(request.uri().path());
        let method = known(request.method().as_str());
        let upstreams = self.upstreams.clone();
        let started = Instant::now();
        let asked = self.inner.call(request);
        Box::pin(async move {
            let answer = asked.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            upstreams.cluster_request(resource, method, status, started.elapsed());
            answer
        })
    }
}

/// The class of a status.
pub fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => SERVER_ERROR,
    }
}

/// A method, or that it is none of the usual ones: a client may send any word.
pub fn known(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// The last resource that a path names: in `/api/v1/namespaces/a` and in
/// `/apis/fovea.dev/v1alpha1/namespaces/a/inferencejobs/b`.
fn resource(path: &str) -> &'static str {
    let known = |segment| RESOURCES.into_iter().find(|known| *known == segment);
    path.split('/').rev().find_map(known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_told_by_the_path() {
        for (path, expected) in [
            ("/api/v1/namespaces/a", "namespaces"),
            (
                "/apis/fovea.dev/v1alpha1/namespaces/a/inferencejobs/b",
                "inferencejobs",
            ),
            ("/apis/fovea.dev/v1alpha1/inferencejobs", "inferencejobs"),
            (
                "/apis/authentication.k8s.io/v1/tokenreviews",
                "tokenreviews",
            ),
            ("/readyz", "other"),
            ("/api/v1/nodes/secrets-1", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[test]
    fn what_was_asked_is_told_under_the_names_that_dashboards_use() {
        let upstreams = Upstreams::default();
        let mut registry = Registry::with_prefix("fovea");
        upstreams.register(&mut registry);
        upstreams.store_request("PUT", Some(503), Duration::from_millis(3));
        upstreams.cluster_request("tokenreviews", "POST", None, Duration::from_millis(3));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"fovea_store_requests_total{method="PUT",outcome="5xx"} 1"#,
            r#"fovea_store_requests_total{method="PUT",outcome="none"} 0"#,
            r#"fovea_cluster_requests_total{resource="tokenreviews",method="POST",outcome="none"} 1"#,
            r#"fovea_cluster_requests_total{resource="tokenreviews",method="POST",outcome="5xx"} 0"#,
            "fovea_store_request_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
