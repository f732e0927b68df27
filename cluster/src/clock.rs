//! The API server's time, by the header `Date` of its answers and a monotonic clock between them. The
//! machine's wall clock is used until the first answer only, so that a wrong one cannot end or delete a
//! job before its time: deadlines count from times that the API server wrote.

use futures::future::BoxFuture;
use http::header::DATE;
use http::{HeaderMap, Request, Response};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tower::{Layer, Service};

/// A `Date` is rounded down to seconds.
const RESOLUTION: Duration = Duration::from_secs(1);
/// A greater correction is logged.
const LOGGED: Duration = Duration::from_secs(5);

/// A clock that follows the API server's. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ClusterClock(Arc<Mutex<Estimate>>);

/// The API server's time at one moment of the monotonic clock. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    at: Instant,
    time: SystemTime,
}

/// One request: when it was sent and answered, and the server's time between the two.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Instant,
    answered: Instant,
    date: SystemTime,
}

impl Default for ClusterClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Estimate {
            at: Instant::now(),
            time: SystemTime::now(),
        })))
    }
}

impl ClusterClock {
    /// The API server's time.
    pub fn now(&self) -> SystemTime {
        self.estimate().time_at(Instant::now())
    }

    /// Seconds by which the machine's wall clock is ahead of the API server's; negative if it is behind.
    /// A difference within a second is not seen.
    pub fn skew_seconds(&self) -> f64 {
        match SystemTime::now().duration_since(self.now()) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(behind) => -behind.duration().as_secs_f64(),
        }
    }

    /// The layer of an API server's client that reads the time.
    pub fn layer(&self) -> ClockLayer {
        ClockLayer {
            inner: (),
            clock: self.clone(),
        }
    }

    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn correct(&self, answer: Answer) {
        let by = self.estimate().correct(answer);
        if by > LOGGED {
            tracing::warn!(
                seconds = by.as_secs(),
                "the API server's time is another than this machine's: it is used from now on"
            );
        }
    }
}

impl Estimate {
    fn time_at(&self, at: Instant) -> SystemTime {
        self.time + at.saturating_duration_since(self.at)
    }

    /// Moves the estimate as little as the answer demands; returns by how much.
    fn correct(&mut self, answer: Answer) -> Duration {
        let Answer {
            asked,
            answered,
            date,
        } = answer;
        let time = self.time_at(answered);
        let latest = date + RESOLUTION + answered.saturating_duration_since(asked);
        let corrected = time.clamp(date, latest);
        if corrected == time {
            return Duration::ZERO;
        }
        *self = Self {
            at: answered,
            time: corrected,
        };
        let ahead = time.duration_since(corrected);
        ahead.unwrap_or_else(|behind| behind.duration())
    }
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// The layer, and the service that it wraps around another.
#[derive(Clone, Debug)]
pub struct ClockLayer<S = ()> {
    inner: S,
    clock: ClusterClock,
}

impl<S> Layer<S> for ClockLayer {
    type Service = ClockLayer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let clock = self.clock.clone();
        ClockLayer { inner, clock }
    }
}

impl<S, A, B> Service<Request<A>> for ClockLayer<S>
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
        let clock = self.clock.clone();
        let asked = Instant::now();
        let response = self.inner.call(request);
        Box::pin(async move {
            let answer = response.await;
            if let Some(date) = answer
                .as_ref()
                .ok()
                .and_then(|answer| date(answer.headers()))
            {
                let answered = Instant::now();
                clock.correct(Answer {
                    asked,
                    answered,
                    date,
                });
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> (Estimate, Instant, SystemTime) {
        let (at, time) = (Instant::now(), SystemTime::UNIX_EPOCH + 20_000 * DAY);
        (Estimate { at, time }, at, time)
    }

    fn answer(asked: Instant, took: Duration, date: SystemTime) -> Answer {
        Answer {
            asked,
            answered: asked + took,
            date,
        }
    }

    #[test]
    fn a_clock_that_agrees_within_what_an_answer_tells_stays_as_it_is() {
        let (mut clock, at, time) = start();
        let before = clock;
        // Rounded down, and older by as much as the answer was on its way.
        for (took, date) in [
            (SECOND / 10, time),
            (SECOND / 10, time - SECOND / 2),
            (30 * SECOND, time),
        ] {
            assert_eq!(clock.correct(answer(at, took, date)), Duration::ZERO);
        }
        assert_eq!(clock, before);
    }

    #[test]
    fn a_clock_a_day_off_follows_the_api_server_and_then_goes_on_by_itself() {
        for (date, offset) in [(start().2 - DAY, DAY), (start().2 + DAY, DAY)] {
            let (mut clock, at, _) = start();
            let by = clock.correct(answer(at, SECOND / 10, date));
            assert!(by.abs_diff(offset) < 2 * SECOND, "{by:?}");
            let later = clock.time_at(at + 10 * SECOND);
            let passed = later.duration_since(date).unwrap();
            assert!(passed.abs_diff(10 * SECOND) < 2 * SECOND, "{passed:?}");
        }
    }

    #[test]
    fn a_slow_answer_says_no_more_than_it_can() {
        let (mut clock, at, time) = start();
        let by = clock.correct(answer(at, 60 * SECOND, time - DAY));
        assert_eq!(by + SECOND, DAY);
    }

    #[test]
    fn the_date_of_an_answer_is_read_as_http_writes_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let seconds = Duration::from_secs(784_111_777);
        assert_eq!(date(&headers), Some(SystemTime::UNIX_EPOCH + seconds));
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(date(&headers), None);
    }
}
