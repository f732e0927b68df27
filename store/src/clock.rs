//! The store's time, by the header `Date` of its answers. Signed URLs and forms have it: a store refuses those of
//! another time, and the SDK corrects the time of its own requests only.

use crate::StoreObserver;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::date_time::Format;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A `Date` is rounded down to seconds.
const RESOLUTION: Duration = Duration::from_secs(1);

/// Clocks that differ by no more count as equal; stores allow 15 minutes.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A greater difference is reported and not followed: a URL signed for a distant day could be used on that day.
const MAX_CORRECTION: Duration = Duration::from_hours(24);

/// The store's time. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct StoreClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    own: fn() -> SystemTime,
    estimate: Mutex<Estimate>,
}

/// A difference between our clock and the store's that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockSkew {
    /// Seconds by which our clock is ahead of the store's; negative if it is behind.
    pub ahead_seconds: f64,
}

impl ClockSkew {
    /// `None` for a difference that does not matter.
    pub fn of(ahead_seconds: f64) -> Option<Self> {
        let matters = ahead_seconds.abs() > TOLERANCE.as_secs_f64();
        matters.then_some(Self { ahead_seconds })
    }

    /// Whether URLs are signed with the store's time.
    pub fn is_corrected(self) -> bool {
        self.ahead_seconds.abs() <= MAX_CORRECTION.as_secs_f64()
    }

    /// One sentence for people; `ours` names our clock. It changes only when the minutes do.
    pub fn describe(self, ours: &str) -> String {
        let seconds = self.ahead_seconds.abs();
        let amount = match (seconds / 60.0).round() {
            ..2.0 => "less than two minutes".to_owned(),
            minutes @ ..120.0 => format!("{minutes} minutes"),
            _ => format!("{} hours", (seconds / 3600.0).round()),
        };
        let side = if self.ahead_seconds > 0.0 {
            "ahead of"
        } else {
            "behind"
        };
        let effect = if self.is_corrected() {
            "URLs are signed with the store's time; set the clocks right"
        } else {
            "it refuses signed URLs; set the clocks right"
        };
        format!("{ours} is {amount} {side} the object store's: {effect}")
    }
}

/// What the answers say about the two clocks. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    /// The store's time at a moment of the monotonic clock; `None` while our clock is used.
    followed: Option<(Instant, SystemTime)>,
    /// The latest answer contradicts the estimate. A second one in a row is believed: the first may be a proxy's.
    contradicted: bool,
    /// Seconds by which our clock is ahead.
    ahead_seconds: f64,
}

/// One answer: when its request was sent, when it arrived by both clocks, and the store's time in between.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Instant,
    answered: Instant,
    own: SystemTime,
    date: SystemTime,
    /// A wrong time may be what the store refuses: it is believed at once.
    refused: bool,
}

impl Estimate {
    fn time_at(&self, at: Instant, own: SystemTime) -> SystemTime {
        self.followed.map_or(own, |(from, time)| {
            time + at.saturating_duration_since(from)
        })
    }

    /// As [`Self::time_at`], also where the store's time is not followed.
    fn measured_at(&self, at: Instant, own: SystemTime) -> SystemTime {
        let apart = Duration::from_secs_f64(self.ahead_seconds.abs());
        match self.followed {
            Some(_) => self.time_at(at, own),
            None if apart <= TOLERANCE => own,
            None if self.ahead_seconds > 0.0 => own.checked_sub(apart).unwrap_or(own),
            None => own.checked_add(apart).unwrap_or(own),
        }
    }

    /// Moves the estimate as little as the answer demands; returns by how much.
    fn learn(&mut self, answer: Answer) -> Duration {
        let Answer {
            asked,
            answered,
            own,
            date,
            refused,
        } = answer;
        let latest = date + RESOLUTION + answered.saturating_duration_since(asked);
        let apart = distance(own, own.clamp(date, latest));
        let used = self.time_at(answered, own);
        let followed = (TOLERANCE < apart && apart <= MAX_CORRECTION)
            .then(|| (answered, used.clamp(date, latest)));
        let moved = distance(used, followed.map_or(own, |(_, time)| time));
        if moved > TOLERANCE && !refused && !self.contradicted {
            self.contradicted = true;
            return Duration::ZERO;
        }
        let sign = if own < date { -1.0 } else { 1.0 };
        *self = Self {
            followed,
            contradicted: false,
            ahead_seconds: sign * apart.as_secs_f64(),
        };
        moved
    }
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|later| later.duration())
}

impl StoreClock {
    /// `own`: our clock.
    pub(crate) fn new(own: fn() -> SystemTime) -> Self {
        let estimate = Mutex::default();
        Self(Arc::new(Shared { own, estimate }))
    }

    /// The store's time.
    pub(crate) fn now(&self) -> SystemTime {
        self.estimate().time_at(Instant::now(), (self.0.own)())
    }

    /// The store's time, however far from ours.
    pub(crate) fn measured(&self) -> SystemTime {
        self.estimate().measured_at(Instant::now(), (self.0.own)())
    }

    /// The difference of the clocks, if it matters.
    pub(crate) fn skew(&self) -> Option<ClockSkew> {
        ClockSkew::of(self.estimate().ahead_seconds)
    }

    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        (self.0.estimate)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, asked: Instant, date: SystemTime, refused: bool) {
        let (answered, own) = (Instant::now(), (self.0.own)());
        let moved = self.estimate().learn(Answer {
            asked,
            answered,
            own,
            date,
            refused,
        });
        if moved > TOLERANCE {
            tracing::warn!(
                seconds = moved.as_secs(),
                "the object store's time is another than before: URLs are signed with it from now on"
            );
        }
    }
}

/// Reads the time of every answer, and reports the difference to the observer.
#[derive(Debug)]
pub(crate) struct Timing {
    pub(crate) clock: StoreClock,
    pub(crate) observer: Option<Arc<dyn StoreObserver>>,
}

/// When an attempt was sent.
#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Timing {
    fn name(&self) -> &'static str {
        "Timing"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (response, Some(Sent(asked))) = (context.response(), bag.load::<Sent>()) else {
            return Ok(());
        };
        let status = response.status().as_u16();
        // A gateway answers 5xx itself; an answer with an age was the store's earlier.
        if status >= 500 || response.headers().get("age").is_some() {
            return Ok(());
        }
        if let Some(date) = response.headers().get("date").and_then(parse) {
            let refused = matches!(status, 400 | 401 | 403);
            self.clock.learn(*asked, date, refused);
            if let Some(observer) = &self.observer {
                observer.clock(self.clock.estimate().ahead_seconds);
            }
        }
        Ok(())
    }
}

fn parse(date: &str) -> Option<SystemTime> {
    let date = DateTime::from_str(date, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
