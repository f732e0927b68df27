//! Reports every attempt of every request to an observer, below all of [`crate::Store`]'s calls.

use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Outcome of one attempt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOutcome<'a> {
    /// HTTP method of the request, such as `GET`.
    pub method: &'a str,
    /// The answer's HTTP status; `None` without an answer.
    pub status: Option<u16>,
}

/// Receives the outcome of every attempt, for metrics.
pub trait StoreObserver: fmt::Debug + Send + Sync {
    /// Records an attempt that ended after `took`. Must not block.
    fn observe(&self, outcome: StoreOutcome<'_>, took: Duration);

    /// Records by how many seconds our clock is ahead of the store's. Must not block.
    fn clock(&self, ahead_seconds: f64);
}

#[derive(Debug)]
pub(crate) struct Observing(pub(crate) Arc<dyn StoreObserver>);

/// An attempt in progress: its request is consumed when it is sent.
#[derive(Debug)]
struct Began {
    at: Instant,
    method: String,
}

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Observing {
    fn name(&self) -> &'static str {
        "Observing"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let method = context.request().method().to_owned();
        let at = Instant::now();
        bag.interceptor_state().store_put(Began { at, method });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without it the request was never sent, for example for lack of credentials.
        if let Some(Began { at, method }) = bag.load::<Began>() {
            let outcome = StoreOutcome {
                method,
                status: context.response().map(|answer| answer.status().as_u16()),
            };
            self.0.observe(outcome, at.elapsed());
        }
        Ok(())
    }
}
