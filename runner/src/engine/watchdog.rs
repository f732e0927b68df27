//! Ends the process when a pass exceeds its bound: a model in an endless loop holds the one thread
//! that owns the device, and nothing inside the process can stop it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Called with a message, on the watchdog's thread, when a bound is exceeded.
pub type OnExpiry = fn(&str);

#[derive(Clone, Debug)]
pub(super) struct Watchdog(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    bound: Mutex<Option<Bound>>,
    changed: Condvar,
}

#[derive(Clone, Debug)]
struct Bound {
    ends: Instant,
    what: String,
}

impl Watchdog {
    /// Starts the watchdog's thread, which lives as long as the process.
    pub(super) fn start(on_expiry: OnExpiry) -> std::io::Result<Self> {
        let watched = Arc::new(Watched::default());
        let watching = Arc::clone(&watched);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watching.watch(on_expiry))?;
        Ok(Self(watched))
    }

    /// Runs `f`, and reports `what` if it takes longer than `bound`.
    pub(super) fn bounded<T>(&self, bound: Duration, what: &str, f: impl FnOnce() -> T) -> T {
        self.0
            .set(Instant::now().checked_add(bound).map(|ends| Bound {
                ends,
                what: format!("{what} took longer than {bound:.1?}"),
            }));
        let outcome = f();
        self.0.set(None);
        outcome
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Option<Bound>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, bound: Option<Bound>) {
        *self.lock() = bound;
        self.changed.notify_one();
    }

    fn watch(&self, on_expiry: OnExpiry) {
        let mut bound = self.lock();
        loop {
            let now = Instant::now();
            bound = match bound.clone() {
                Some(Bound { ends, what }) if ends <= now => {
                    *bound = None;
                    on_expiry(&what);
                    bound
                }
                Some(Bound { ends, .. }) => {
                    let waited = self.changed.wait_timeout(bound, ends - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => (self.changed.wait(bound)).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn only_work_over_its_bound_is_reported_and_only_once() {
        static REPORTED: AtomicU32 = AtomicU32::new(0);
        let watchdog = Watchdog::start(|what| {
            assert!(what.contains("the slow one"), "{what}");
            REPORTED.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        let quick = Duration::from_hours(1);
        assert_eq!(watchdog.bounded(quick, "the quick one", || 7), 7);
        watchdog.bounded(Duration::ZERO, "the slow one", || {
            let begun = Instant::now();
            while REPORTED.load(Ordering::SeqCst) == 0 {
                assert!(begun.elapsed() < Duration::from_secs(20), "not reported");
                std::thread::yield_now();
            }
        });
        watchdog.bounded(quick, "the next one", || ());
        assert_eq!(REPORTED.load(Ordering::SeqCst), 1);
    }
}
