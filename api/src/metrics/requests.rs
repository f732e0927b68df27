//! Counts a request when it is answered or its client disconnects.

use super::{GaugeTicket, Metrics, RouteLabels, StatusLabels};
use fovea_telemetry::upstream::{SERVER_ERROR, class, known};
use http::Method;
use std::sync::Arc;
use std::time::Instant;

/// The status of a request whose client disconnected before the response.
const GONE: &str = "gone";
/// The route of a request that no route matches.
const NO_ROUTE: &str = "none";

pub(crate) struct RequestTicket {
    metrics: Arc<Metrics>,
    route: String,
    method: &'static str,
    status: &'static str,
    started: Instant,
    _under_way: GaugeTicket,
}

impl RequestTicket {
    /// `route` is the template that the path matches.
    pub(crate) fn new(metrics: &Arc<Metrics>, route: Option<&str>, method: &Method) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            route: route.unwrap_or(NO_ROUTE).to_owned(),
            method: known(method.as_str()),
            status: GONE,
            started: Instant::now(),
            _under_way: GaugeTicket::of(&metrics.under_way),
        }
    }

    pub(crate) fn answered(mut self, status: u16) {
        self.status = class(status);
    }
}

impl Drop for RequestTicket {
    fn drop(&mut self) {
        let (route, method) = (std::mem::take(&mut self.route), self.method);
        let labels = RouteLabels { route, method };
        let took = self.started.elapsed().as_secs_f64();
        self.metrics.durations.get_or_create(&labels).observe(took);
        let RouteLabels { route, method } = labels;
        let mut labels = StatusLabels {
            route,
            method,
            status: SERVER_ERROR,
        };
        // Prometheus sees an increase from 0 only if it has scraped the 0.
        let _ = self.metrics.requests.get_or_create(&labels);
        labels.status = self.status;
        self.metrics.requests.get_or_create(&labels).inc();
    }
}
