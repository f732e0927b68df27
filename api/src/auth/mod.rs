//! Authentication, authorization and rate limits.
//!
//! A request is checked in this order: namespace, token, the token's user (uncached tokens within the
//! address's limit), the user's limit, the user's right. It is refused if a check has no result.

mod address;
mod namespace;
mod rate;
mod review;
mod token;
mod verb;

pub(crate) use namespace::{NAMESPACE_HEADER, in_path};

use crate::config::{AuthMode, Config};
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, PartiesOf};
use address::{Proxies, one_client};
use axum::extract::{ConnectInfo, MatchedPath};
use http::request::Parts;
use rate::Rates;
use review::{Identity, ReviewError, Reviews, Right};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use verb::Verb;

/// The user of every request without authentication.
const ANONYMOUS: &str = "anonymous";

/// The user of a request, and the namespace of its jobs. A handler that takes one runs only after
/// the user's right to the handler's method and route has been reviewed.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) namespace: String,
    pub(crate) user: String,
    /// Whose shares of the service's pools the request draws on.
    pub(crate) parties: Parties,
    /// `None` without authentication.
    identity: Option<Arc<Identity>>,
}

#[cfg(test)]
impl Tenant {
    /// The tenant of a service without authentication.
    pub(crate) fn anybody(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            user: ANONYMOUS.to_owned(),
            parties: Parties::NONE,
            identity: None,
        }
    }
}

/// Authenticates and authorizes requests, and limits their rate.
pub(crate) struct Auth {
    /// Reviews of clients' tokens; `None` without authentication.
    reviews: Option<Reviews>,
    default_namespace: String,
    /// If set, the only namespace that is served.
    only_namespace: Option<String>,
    proxies: Proxies,
    rates: Rates,
}

impl Auth {
    pub(crate) fn new(config: &Config, client: kube::Client, metrics: &Metrics) -> Self {
        let audiences = || config.auth.audiences.clone();
        let reviews = match config.auth.mode {
            AuthMode::None => None,
            AuthMode::Kubernetes => {
                let timeout = config.timeouts.kube();
                Some(Reviews::new(client, audiences(), timeout, metrics))
            }
        };
        Self {
            reviews,
            default_namespace: config.namespace.clone(),
            only_namespace: config.only_namespace().map(str::to_owned),
            proxies: Proxies::new(&config.rates),
            rates: Rates::new(&config.rates, config.auth.mode),
        }
    }

    /// Admits a request, as a user in a namespace.
    pub(crate) async fn admit(&self, parts: &Parts) -> Result<Tenant, Problem> {
        let named = namespace::named(&parts.extensions, &parts.headers)?;
        let namespace = named.unwrap_or_else(|| self.default_namespace.clone());
        if let Some(only) = &self.only_namespace
            && *only != namespace
        {
            let detail = format!("this service serves only the namespace {only}");
            return Err(Problem::new(ProblemType::Forbidden, detail));
        }
        self.admit_to(parts, namespace, false).await
    }

    /// Admits a request to a namespace that its route determines, as the compatible routes'
    /// configuration does. With `anonymous` there is no
    /// authentication, and all requests share one user.
    pub(crate) async fn admit_to(
        &self,
        parts: &Parts,
        namespace: String,
        anonymous: bool,
    ) -> Result<Tenant, Problem> {
        let tenant = self.review(parts, namespace, anonymous).await?;
        if let Some(parties) = parts.extensions.get::<PartiesOf>() {
            parties.set(tenant.parties);
        }
        Ok(tenant)
    }

    async fn review(
        &self,
        parts: &Parts,
        namespace: String,
        anonymous: bool,
    ) -> Result<Tenant, Problem> {
        let Some(reviews) = self.reviews.as_ref().filter(|_| !anonymous) else {
            return self.admit_anybody(parts, namespace);
        };
        let unauthenticated = |why| Problem::new(ProblemType::Unauthenticated, why);
        let token = token::bearer(&parts.headers).map_err(unauthenticated)?;
        let client = self.client(parts);
        let admit = || self.rates.token_review(&client);
        let identity = reviews
            .identity(token, &client, admit)
            .await?
            .ok_or_else(|| {
                unauthenticated(
                    "the token is not valid: it has expired, or is for another audience",
                )
            })?;
        let verb = verb_of(parts);
        // Before the access review: each namespace that a user names costs one.
        self.rates.request(&identity.name(), verb.reads())?;
        let right = Right::Jobs(verb);
        if !reviews.may(&identity, right, &namespace).await? {
            return Err(refusal(reviews, &identity, verb, &namespace, names_a_job(parts)).await?);
        }
        Ok(self.tenant(namespace, Some(identity)))
    }

    fn admit_anybody(&self, parts: &Parts, namespace: String) -> Result<Tenant, Problem> {
        self.rates
            .request(&self.client(parts), verb_of(parts).reads())?;
        Ok(self.tenant(namespace, None))
    }

    /// A user and a namespace each have a share. Without authentication there is one tenant, and with one
    /// namespace its share is everybody's.
    fn tenant(&self, namespace: String, identity: Option<Arc<Identity>>) -> Tenant {
        let user = identity
            .as_ref()
            .map_or(ANONYMOUS, |identity| identity.name());
        let parties = if self.reviews.is_none() {
            Parties::NONE
        } else {
            let namespace = self.only_namespace.is_none().then_some(namespace.as_str());
            Parties::of(namespace, Some(user))
        };
        Tenant {
            namespace,
            user: user.to_owned(),
            parties,
            identity,
        }
    }

    /// Whether the user may read the RunnerPools of a namespace; never without authentication.
    pub(crate) async fn may_get_pools(
        &self,
        tenant: &Tenant,
        namespace: &str,
    ) -> Result<bool, Problem> {
        match (&self.reviews, &tenant.identity) {
            (Some(reviews), Some(identity)) => {
                Ok(reviews.may(identity, Right::GET_POOLS, namespace).await?)
            }
            _ => Ok(false),
        }
    }

    /// The client's address, as limits count it.
    fn client(&self, parts: &Parts) -> IpAddr {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip());
        one_client(self.proxies.client(peer, &parts.headers))
    }
}

/// Route of a job's own that creates another job.
pub(crate) const BATCH_RETRY: &str = "/v1/batches/{id}/retry";

fn names_a_job(parts: &Parts) -> bool {
    let route = parts.extensions.get::<MatchedPath>();
    route.is_some_and(|route| route.as_str().contains('{'))
}

fn verb_of(parts: &Parts) -> Verb {
    let route = parts.extensions.get::<MatchedPath>();
    let creates = route.is_some_and(|route| route.as_str() == BATCH_RETRY);
    Verb::of(&parts.method, names_a_job(parts), creates)
}

/// The problem for a user without the right. A user without the right to read a job gets the one for
/// a job that does not exist.
async fn refusal(
    reviews: &Reviews,
    identity: &Identity,
    verb: Verb,
    namespace: &str,
    names_a_job: bool,
) -> Result<Problem, ReviewError> {
    let get = Right::Jobs(Verb::Get);
    if names_a_job && (verb == Verb::Get || !reviews.may(identity, get, namespace).await?) {
        return Ok(Problem::no_such_job());
    }
    let detail = format!(
        "{} may not {} inferencejobs.fovea.dev in the namespace {namespace}: ask for a Role that allows it",
        identity.name(),
        verb.as_str(),
    );
    Ok(Problem::new(ProblemType::Forbidden, detail))
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::TooMany(error) => error.into(),
            ReviewError::Refused(refused) => {
                let full = ProblemType::ClusterUnavailable;
                refused.problem(full, "reviews of tokens and rights", 2)
            }
            ReviewError::Misconfigured(_) => Self::internal(error),
            ReviewError::Unavailable(_) => Self::new(
                ProblemType::ClusterUnavailable,
                "the cluster could not check your token or your rights: try again",
            )
            .caused_by(error)
            .retry_after(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use http::Request;
    use std::convert::Infallible;

    /// With authentication, and an API server that answers everything with 500.
    fn auth() -> Auth {
        let config = Config::parse_from(["fovea-api", "--auth", "kubernetes"]);
        let failing = tower::service_fn(|_: Request<kube::client::Body>| async {
            let body = axum::body::Body::empty();
            let answer = http::Response::builder().status(500).body(body);
            Ok::<_, Infallible>(answer.unwrap())
        });
        let client = kube::Client::new(failing, "default");
        Auth::new(&config, client, &Metrics::new())
    }

    fn parts(authorization: Option<&str>) -> Parts {
        let mut request = Request::post("/upload-image");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn only_routes_that_are_configured_as_anonymous_admit_requests_without_a_token() {
        let auth = auth();
        let admit = |authorization, anonymous| {
            let parts = parts(authorization);
            let auth = &auth;
            async move {
                let admitted = auth.admit_to(&parts, "ns".to_owned(), anonymous).await;
                admitted.map_err(|problem| problem.kind)
            }
        };
        let tenant = admit(None, true).await.unwrap();
        assert_eq!(
            (tenant.namespace.as_str(), tenant.user.as_str()),
            ("ns", ANONYMOUS)
        );
        // A token is not checked there.
        assert!(admit(Some("Bearer a"), true).await.is_ok());
        assert_eq!(
            admit(None, false).await.unwrap_err(),
            ProblemType::Unauthenticated
        );
        assert_eq!(
            admit(Some("Bearer a"), false).await.unwrap_err(),
            ProblemType::ClusterUnavailable
        );
    }
}
