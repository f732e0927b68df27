//! The metrics, in the `OpenMetrics` text format. Names begin with `fovea_api_`; labels are route
//! templates, methods, status classes and kinds of outcome, never a client's own names, so their
//! number is bounded and they reveal no tenant.

mod requests;

pub(crate) use requests::RequestTicket;

use fovea_cluster::Watches;
use fovea_store::{StoreObserver, StoreOutcome};
use fovea_telemetry::upstream::Upstreams;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Content type of the answer to `GET /metrics`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    check: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    pool: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SlowLabels {
    direction: &'static str,
}

/// The refusals of one pool of permits.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    full: Counter,
    share: Counter,
}

impl Refusals {
    /// Counts a refusal: because the pool is full, or because a party has its share.
    pub(crate) fn count(&self, is_full: bool) {
        let counter = if is_full { &self.full } else { &self.share };
        counter.inc();
    }
}

/// Every metric of the API.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<StatusLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    under_way: Gauge,
    connections: Gauge,
    upload_bytes: Counter,
    checks: Family<CheckLabels, Gauge>,
    refusals: Family<RefusalLabels, Counter>,
    too_slow: Family<SlowLabels, Counter>,
    upstreams: Upstreams,
    watches: Watches,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        // 1 ms to 65 s, which exceeds the longest `Prefer: wait`.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let mut metrics = Self {
            registry: Registry::with_prefix("fovea_api"),
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            under_way: Gauge::default(),
            connections: Gauge::default(),
            upload_bytes: Counter::default(),
            checks: Family::default(),
            refusals: Family::default(),
            too_slow: Family::default(),
            upstreams: Upstreams::default(),
            watches: Watches::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Answered requests, by route, method and class of status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From a request's head to its answer's head",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "requests_under_way",
            "Requests that are not answered yet",
            self.under_way.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register_with_unit(
            "upload",
            "Bytes of request bodies that were read",
            Unit::Bytes,
            self.upload_bytes.clone(),
        );
        registry.register(
            "check_passing",
            "Whether a health check passed the last time: 1 or 0",
            self.checks.clone(),
        );
        registry.register(
            "refusals",
            "Requests that got no place, by pool and reason: full, or share (of the user or the namespace)",
            self.refusals.clone(),
        );
        registry.register(
            "too_slow",
            "Requests and responses that ended because their client moved too few bytes",
            self.too_slow.clone(),
        );
        self.upstreams.register(registry);
        self.watches.register(registry);
    }

    /// Requests to the API server and the store.
    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// The watches of the API server.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Counts a connection until the ticket is dropped.
    pub(crate) fn connection(&self) -> GaugeTicket {
        GaugeTicket::of(&self.connections)
    }

    /// Counts bytes read from a body.
    pub(crate) fn uploaded(&self, bytes: usize) {
        self.upload_bytes.inc_by(bytes as u64);
    }

    /// The refusals of the pool of this name.
    pub(crate) fn refusals(&self, pool: &'static str) -> Refusals {
        let counter = |reason| {
            let labels = RefusalLabels { pool, reason };
            self.refusals.get_or_create(&labels).clone()
        };
        Refusals {
            full: counter("full"),
            share: counter("share"),
        }
    }

    /// Counts a request or a response whose client was too slow.
    pub(crate) fn too_slow(&self, direction: &'static str) {
        let labels = SlowLabels { direction };
        self.too_slow.get_or_create(&labels).inc();
    }

    /// Publishes the outcome of a health check.
    pub(crate) fn checked(&self, check: &'static str, ok: bool) {
        let gauge = self.checks.get_or_create(&CheckLabels { check });
        gauge.set(ok.into());
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl StoreObserver for Metrics {
    fn observe(&self, StoreOutcome { method, status }: StoreOutcome<'_>, took: Duration) {
        self.upstreams.store_request(method, status, took);
    }

    fn clock(&self, ahead_seconds: f64) {
        self.upstreams.store_clock(ahead_seconds);
    }
}

/// Counts one in a gauge until it is dropped.
#[derive(Debug)]
pub(crate) struct GaugeTicket(Gauge);

impl GaugeTicket {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeTicket {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use std::sync::Arc;

    #[test]
    fn what_happened_is_told_under_the_names_that_dashboards_use() {
        let metrics = Arc::new(Metrics::new());
        RequestTicket::new(&metrics, Some("/v1/jobs/{id}"), &Method::GET).answered(404);
        let under_way = RequestTicket::new(&metrics, None, &Method::from_bytes(b"BREW").unwrap());
        let connection = metrics.connection();
        metrics.uploaded(5);
        metrics.checked("object-store", false);
        metrics.refusals("downloads").count(true);
        metrics.too_slow("request");
        let put = StoreOutcome {
            method: "PUT",
            status: Some(503),
        };
        metrics.observe(put, Duration::from_millis(3));
        let text = metrics.text();
        for line in [
            r#"fovea_api_requests_total{route="/v1/jobs/{id}",method="GET",status="4xx"} 1"#,
            r#"fovea_api_request_duration_seconds_count{route="/v1/jobs/{id}",method="GET"} 1"#,
            "fovea_api_requests_under_way 1",
            "fovea_api_connections 1",
            "fovea_api_upload_bytes_total 5",
            r#"fovea_api_check_passing{check="object-store"} 0"#,
            r#"fovea_api_refusals_total{pool="downloads",reason="full"} 1"#,
            r#"fovea_api_refusals_total{pool="downloads",reason="share"} 0"#,
            r#"fovea_api_too_slow_total{direction="request"} 1"#,
            r#"fovea_api_store_requests_total{method="PUT",outcome="5xx"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop((under_way, connection));
        let text = metrics.text();
        assert!(text.contains("fovea_api_requests_under_way 0"), "{text}");
        assert!(text.contains("fovea_api_connections 0"), "{text}");
        // A client that disconnected before the response has a status of its own.
        let disconnected =
            r#"fovea_api_requests_total{route="none",method="other",status="gone"} 1"#;
        assert!(text.contains(disconnected), "{text}");
    }
}
