//! The credentials that requests, signed URLs and forms share. They are read again before they expire by the
//! store's clock: the SDK's own cache goes by ours, and would keep what the store refuses.

use crate::StoreError;
use crate::clock::StoreClock;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Credentials are read again this long before they expire.
const READ_BEFORE: Duration = Duration::from_mins(1);

/// Credentials that do not expire are read again after this time: a file may have changed.
const READ_EVERY: Duration = Duration::from_mins(5);

/// Bound on one reading.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Credentials that could not be read again are used for so long before the next try.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Shortest lifetime of what is signed.
const LEAST_LIFETIME: Duration = Duration::from_secs(1);

/// The latest credentials of a provider. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct KnownCredentials {
    provider: Option<SharedCredentialsProvider>,
    clock: StoreClock,
    /// Locked while they are read, so that one reading serves all who wait.
    known: Arc<Mutex<Option<Known>>>,
}

/// Credentials, and until when they are used.
#[derive(Debug)]
struct Known {
    credentials: Credentials,
    until: SystemTime,
}

impl KnownCredentials {
    pub(crate) fn new(provider: Option<SharedCredentialsProvider>, clock: StoreClock) -> Self {
        Self {
            provider,
            clock,
            known: Arc::default(),
        }
    }

    pub(crate) async fn get(&self) -> Result<Credentials, StoreError> {
        let read = self.latest().await;
        read.map_err(|error| StoreError::no_credentials(&error))
    }

    async fn latest(&self) -> Result<Credentials, CredentialsError> {
        let now = self.clock.now();
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.until > now) {
            return Ok(known.credentials.clone());
        }
        match self.read().await {
            Ok(credentials) => {
                let expires = credentials.expiry().map(|expiry| expiry - READ_BEFORE);
                *known = Some(Known {
                    until: expires.unwrap_or(now + READ_EVERY),
                    credentials: credentials.clone(),
                });
                Ok(credentials)
            }
            Err(error) => match known.as_mut() {
                Some(known) if known.credentials.expiry().is_none_or(|at| at > now) => {
                    tracing::warn!(%error, "the object store's credentials cannot be read again");
                    known.until = now + TRY_AGAIN;
                    Ok(known.credentials.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn read(&self) -> Result<Credentials, CredentialsError> {
        let provider = self.provider.as_ref();
        let none = || CredentialsError::not_loaded("no provider is configured");
        let provider = provider.ok_or_else(none)?;
        let read = timeout(READ_WITHIN, provider.provide_credentials()).await;
        read.map_err(|_| CredentialsError::provider_timed_out(READ_WITHIN))?
    }
}

impl ProvideCredentials for KnownCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.latest())
    }
}

/// `lifetime`, or the time until the credentials expire if that is shorter: what they sign ends with them.
pub(crate) fn within_life(
    credentials: &Credentials,
    now: SystemTime,
    lifetime: Duration,
) -> Duration {
    let left = (credentials.expiry()).map(|expiry| expiry.duration_since(now).unwrap_or_default());
    left.map_or(lifetime, |left| left.min(lifetime))
        .max(LEAST_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// Gives out credentials that expire after so many seconds, then fails.
    #[derive(Debug)]
    struct Issuer {
        lives: Vec<Option<u64>>,
        asked: Arc<AtomicU32>,
    }

    impl ProvideCredentials for Issuer {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let count = self.asked.fetch_add(1, Ordering::Relaxed);
            let life = self.lives.get(count as usize);
            let life = life.ok_or_else(|| CredentialsError::not_loaded("down"));
            future::ProvideCredentials::ready(life.map(|life| {
                let expiry = life.map(|seconds| NOW + Duration::from_secs(seconds));
                let token = Some(format!("token {count}"));
                Credentials::new("key", "secret", token, expiry, "test")
            }))
        }
    }

    fn issued(lives: &[Option<u64>]) -> (KnownCredentials, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let issuer = Issuer {
            lives: lives.to_vec(),
            asked: Arc::clone(&asked),
        };
        let provider = Some(SharedCredentialsProvider::new(issuer));
        let known = KnownCredentials::new(provider, StoreClock::new(|| NOW));
        (known, asked)
    }

    #[tokio::test]
    async fn credentials_are_read_once_until_they_are_about_to_expire() {
        for (lives, expected) in [
            (vec![Some(3600), Some(7200)], 1),
            (vec![None, None], 1),
            // A minute before.
            (vec![Some(59), Some(7200)], 2),
        ] {
            let (known, asked) = issued(&lives);
            for _ in 0..5 {
                known.get().await.unwrap();
            }
            assert_eq!(asked.load(Ordering::Relaxed), expected, "{lives:?}");
        }
    }

    #[tokio::test]
    async fn credentials_that_still_live_are_used_while_none_are_issued() {
        let (known, asked) = issued(&[Some(30)]);
        for _ in 0..5 {
            let credentials = known.get().await.unwrap();
            assert_eq!(credentials.session_token(), Some("token 0"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "not at every request");
        let (known, _) = issued(&[]);
        let error = known.get().await.unwrap_err().to_string();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn nothing_that_is_signed_outlives_its_credentials() {
        let minute = Duration::from_mins(1);
        let expiring = |expiry| Credentials::new("key", "secret", None, expiry, "test");
        let later = |seconds: u64| Some(NOW + Duration::from_secs(100 + seconds));
        let now = NOW + Duration::from_secs(100);
        for (expiry, expected) in [
            (None, minute),
            (later(3600), minute),
            (later(40), Duration::from_secs(40)),
            (later(0), LEAST_LIFETIME),
            (Some(NOW), LEAST_LIFETIME),
        ] {
            assert_eq!(within_life(&expiring(expiry), now, minute), expected);
        }
    }
}
