//! Reviews of tokens and rights by the API server, cached for ten seconds, including refusals.
//! Concurrent requests share a review. Without a review's result a request is refused.

use super::rate::TooMany;
use super::verb::Verb;
use crate::metrics::Metrics;
use crate::shares::{Parties, Refused, Shares};
use fovea_crds::{InferenceJob, RunnerPool};
use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use moka::future::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Lifetime of a cached review, after which a revoked token or right takes effect.
const LIFETIME: Duration = Duration::from_secs(10);
/// Maximum number of cached tokens; the least used are evicted.
const MAX_TOKENS: u64 = 20_000;
/// Maximum number of cached access reviews.
const MAX_RIGHTS: u64 = 50_000;
/// Concurrent reviews; further ones wait.
const MAX_REVIEWS: usize = 64;

/// Why a review has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// Too many unknown tokens from one address.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too many reviews at the same time.
    #[error("no place for a review: {0:?}")]
    Refused(Refused),
    #[error("the API server does not answer reviews: {0}")]
    Unavailable(String),
    /// This service lacks the right to create reviews.
    #[error("grant this service `create` on tokenreviews and subjectaccessreviews: {0}")]
    Misconfigured(String),
}

/// What a user may do in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Right {
    Jobs(Verb),
    Pools(Verb),
}

impl Right {
    pub(super) const GET_POOLS: Self = Self::Pools(Verb::Get);

    /// Both are of one API group.
    fn resource(self) -> String {
        match self {
            Self::Jobs(_) => InferenceJob::plural(&()).into_owned(),
            Self::Pools(_) => RunnerPool::plural(&()).into_owned(),
        }
    }

    fn verb(self) -> Verb {
        let (Self::Jobs(verb) | Self::Pools(verb)) = self;
        verb
    }
}

/// A token's user, as of one review.
#[derive(Debug)]
pub(super) struct Identity {
    /// Key of cached rights, so that none outlives the review of its token.
    review: u64,
    info: UserInfo,
}

impl Identity {
    pub(super) fn name(&self) -> &str {
        self.info.username.as_deref().unwrap_or_default()
    }
}

pub(super) struct Reviews {
    tokens: Api<TokenReview>,
    rights: Api<SubjectAccessReview>,
    audiences: Vec<String>,
    timeout: Duration,
    under_way: Shares,
    count: AtomicU64,
    known_tokens: Cache<[u8; 32], Option<Arc<Identity>>>,
    known_rights: Cache<(u64, String, Right), bool>,
}

impl Reviews {
    pub(super) fn new(
        client: Client,
        audiences: Vec<String>,
        timeout: Duration,
        metrics: &Metrics,
    ) -> Self {
        Self {
            tokens: Api::all(client.clone()),
            rights: Api::all(client),
            audiences,
            timeout,
            under_way: Shares::new("reviews", MAX_REVIEWS, metrics),
            count: AtomicU64::new(0),
            known_tokens: Cache::builder()
                .max_capacity(MAX_TOKENS)
                .time_to_live(LIFETIME)
                .build(),
            known_rights: Cache::builder()
                .max_capacity(MAX_RIGHTS)
                .time_to_live(LIFETIME)
                .build(),
        }
    }

    /// The token's user; `None` if it is invalid or for another audience. `admit` runs before a review, which
    /// draws on the share of `address`.
    pub(super) async fn identity(
        &self,
        token: &str,
        address: &IpAddr,
        admit: impl FnOnce() -> Result<(), TooMany>,
    ) -> Result<Option<Arc<Identity>>, ReviewError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let review = async {
            admit()?;
            let spec = TokenReviewSpec {
                audiences: Some(self.audiences.clone()),
                token: Some(token.to_owned()),
            };
            let review = TokenReview {
                spec,
                ..TokenReview::default()
            };
            let parties = Parties::one(address);
            let answer = self.create(parties, &self.tokens, &review).await?;
            Ok::<_, ReviewError>(accepted(answer.status, &self.audiences).map(|info| {
                let review = self.count.fetch_add(1, Ordering::Relaxed);
                Arc::new(Identity { review, info })
            }))
        };
        let found = self.known_tokens.try_get_with(key, review).await;
        found.map_err(|error| ReviewError::clone(&error))
    }

    /// Whether the user has the right in `namespace`.
    pub(super) async fn may(
        &self,
        identity: &Identity,
        right: Right,
        namespace: &str,
    ) -> Result<bool, ReviewError> {
        let review = async {
            let UserInfo {
                username,
                uid,
                groups,
                extra,
            } = identity.info.clone();
            let attributes = ResourceAttributes {
                group: Some(InferenceJob::group(&()).into_owned()),
                resource: Some(right.resource()),
                verb: Some(right.verb().as_str().to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                user: username,
                uid,
                groups,
                extra,
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview {
                spec,
                ..SubjectAccessReview::default()
            };
            let parties = Parties::of(None, Some(identity.name()));
            let answer = self.create(parties, &self.rights, &review).await?;
            Ok::<_, ReviewError>(answer.status.is_some_and(|status| status.allowed))
        };
        let key = (identity.review, namespace.to_owned(), right);
        let found = self.known_rights.try_get_with(key, review).await;
        found.map_err(|error| ReviewError::clone(&error))
    }

    /// Creates one review, bounded in time.
    async fn create<K>(
        &self,
        parties: Parties,
        reviews: &Api<K>,
        review: &K,
    ) -> Result<K, ReviewError>
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let deadline = Instant::now() + self.timeout;
        let _permit =
            (self.under_way.acquire(parties, self.timeout).await).map_err(ReviewError::Refused)?;
        let params = PostParams::default();
        let created = reviews.create(&params, review);
        match timeout_at(deadline, created).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => {
                Err(ReviewError::Misconfigured(status.message.clone()))
            }
            Ok(Err(error)) => Err(ReviewError::Unavailable(error.to_string())),
            Err(_) => Err(ReviewError::Unavailable("no answer in time".to_owned())),
        }
    }
}

/// The user, if the token is valid for one of `audiences`. An API server that does not support
/// audiences returns none, in which case the token could be for any service.
fn accepted(status: Option<TokenReviewStatus>, audiences: &[String]) -> Option<UserInfo> {
    let status = status?;
    let granted = status.audiences.unwrap_or_default();
    let ours = granted.iter().any(|granted| audiences.contains(granted));
    let user = status
        .user
        .filter(|_| status.authenticated == Some(true) && ours)?;
    user.username
        .as_ref()
        .is_some_and(|name| !name.is_empty())
        .then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(authenticated: Option<bool>, audiences: &[&str], user: &str) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated,
            audiences: Some(audiences.iter().map(|&name| name.to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn only_a_token_for_one_of_our_audiences_has_a_user() {
        let ours = ["fovea".to_owned(), "other".to_owned()];
        let user = |status| accepted(Some(status), &ours).and_then(|user| user.username);
        let good = status(Some(true), &["x", "fovea"], "u");
        assert_eq!(user(good.clone()).as_deref(), Some("u"));
        for refused in [
            status(Some(false), &["fovea"], "u"),
            status(None, &["fovea"], "u"),
            status(Some(true), &[], "u"),
            status(Some(true), &["x"], "u"),
            status(Some(true), &["fovea"], ""),
            TokenReviewStatus {
                audiences: None,
                ..good.clone()
            },
            TokenReviewStatus { user: None, ..good },
        ] {
            assert_eq!(user(refused.clone()), None, "{refused:?}");
        }
        assert!(accepted(None, &ours).is_none());
    }
}
