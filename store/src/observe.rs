//! Tells every try of every request to whoever counts them, below all of [`crate::Store`]'s calls.

use aws_sdk_s3::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How one try of one request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOutcome<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The answer's status; `None`: there was no answer.
    pub status: Option<u16>,
}

/// Is told of every try; metrics are one.
pub trait StoreObserver: fmt::Debug + Send + Sync {
    /// A try has ended after `took`. Must not block.
    fn observe(&self, outcome: StoreOutcome<'_>, took: Duration);
}

#[derive(Debug)]
pub(crate) struct Observing(pub(crate) Arc<dyn StoreObserver>);

/// A try under way. Its request is gone once it is sent.
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
        // Without it the request was never sent: no credentials, say.
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
