//! Metrics of requests to the Kubernetes API server and to the object store, shared by the programs
//! that send them. Requests to the API server are counted in a layer below every client, so that none
//! is missed. Labels are resources, methods and classes of status: their number is bounded.

use futures::future::BoxFuture;
use http::{Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// Resources that get a label, as they appear in paths.
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

/// Outcome of a request without an answer.
const NONE: &str = "none";
/// Class of the statuses 500 to 599.
pub const SERVER_ERROR: &str = "5xx";
/// Outcomes that are failures of the server.
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

/// Metrics of both upstreams. Clones share their counters.
#[derive(Clone, Debug)]
pub struct Upstreams {
    cluster: Family<ClusterLabels, Counter>,
    cluster_seconds: Histogram,
    store: Family<StoreLabels, Counter>,
    store_seconds: Histogram,
    store_clock_skew: Gauge<f64, AtomicU64>,
}

impl Default for Upstreams {
    /// Metrics with all counters at zero.
    fn default() -> Self {
        // 1 ms to 65 s, which exceeds every timeout of these requests.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        Self {
            cluster: Family::default(),
            cluster_seconds: seconds(),
            store: Family::default(),
            store_seconds: seconds(),
            store_clock_skew: Gauge::default(),
        }
    }
}

impl Upstreams {
    /// Registers the metrics in a program's registry.
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
        registry.register_with_unit(
            "store_clock_skew",
            "Time by which this program's clock is ahead of the object store's, which signed URLs have",
            Unit::Seconds,
            self.store_clock_skew.clone(),
        );
    }

    /// The layer that counts the requests of an API server client.
    pub fn layer(&self) -> ObservedCluster {
        ObservedCluster {
            inner: (),
            upstreams: self.clone(),
        }
    }

    /// Counts a request to the API server; `status` is `None` if the connection failed.
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

    /// Counts one attempt of a request to the store; `status` is `None` if the connection failed.
    pub fn store_request(&self, method: &str, status: Option<u16>, took: Duration) {
        let method = known(method);
        count(
            &self.store,
            |outcome| StoreLabels { method, outcome },
            status,
        );
        self.store_seconds.observe(took.as_secs_f64());
    }

    /// Publishes by how many seconds our clock is ahead of the store's.
    pub fn store_clock(&self, ahead_seconds: f64) {
        self.store_clock_skew.set(ahead_seconds);
    }

    /// Seconds by which our clock is ahead of the store's.
    pub fn store_clock_ahead_seconds(&self) -> f64 {
        self.store_clock_skew.get()
    }
}

/// Counts one request. Its first one also creates the failure counters, at zero: Prometheus only
/// notices a first failure if it has scraped the zero before.
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

/// The layer, and the service that it wraps around another.
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
        let response = self.inner.call(request);
        Box::pin(async move {
            let answer = response.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            upstreams.cluster_request(resource, method, status, started.elapsed());
            answer
        })
    }
}

/// Class of an HTTP status, such as `2xx`.
pub fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => SERVER_ERROR,
    }
}

/// The method if it is a common one, else `other`: clients may send any word.
pub fn known(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// The last known resource in a path: in `/api/v1/namespaces/a` and in
/// `/apis/fovea.dev/v1alpha1/namespaces/a/inferencejobs/b`.
fn resource(path: &str) -> &'static str {
    let known = |segment| RESOURCES.into_iter().find(|known| *known == segment);
    path.split('/').rev().find_map(known).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_derived_from_the_path() {
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
    fn requests_are_counted_under_the_names_that_dashboards_use() {
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
