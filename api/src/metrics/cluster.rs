//! Counts what is asked of the Kubernetes API server, below every client made here, so that no call
//! can be forgotten.

use super::{ClusterLabels, Metrics, class, known};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// What is asked about, as it stands in paths.
const RESOURCES: [&str; 5] = [
    "inferencejobs",
    "runnerpools",
    "namespaces",
    "tokenreviews",
    "subjectaccessreviews",
];

/// The layer, and the service that it makes.
#[derive(Clone)]
pub(crate) struct ObservedCluster<S = ()> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl ObservedCluster {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { inner: (), metrics }
    }
}

impl<S> Layer<S> for ObservedCluster {
    type Service = ObservedCluster<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let metrics = Arc::clone(&self.metrics);
        ObservedCluster { inner, metrics }
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
        let metrics = Arc::clone(&self.metrics);
        let started = Instant::now();
        let asked = self.inner.call(request);
        Box::pin(async move {
            let answer = asked.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.cluster_request(resource, method, status, started.elapsed());
            answer
        })
    }
}

impl Metrics {
    /// The API server has answered, or the connection has failed.
    pub(super) fn cluster_request(
        &self,
        resource: &'static str,
        method: &'static str,
        status: Option<u16>,
        took: Duration,
    ) {
        let outcome = status.map_or("none", class);
        let labels = ClusterLabels {
            resource,
            method,
            outcome,
        };
        self.cluster.get_or_create(&labels).inc();
        self.cluster_seconds.observe(took.as_secs_f64());
    }
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
            ("/api/v1/secrets", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
