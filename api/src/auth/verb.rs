//! The right that a request needs, derived from its method and whether its route names a job, as the
//! API server does. No route has to declare it.

use http::Method;

/// A verb of Kubernetes' access rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Create,
    Get,
    List,
    Patch,
    Delete,
    /// All verbs, for a request to which no other fits.
    Any,
}

impl Verb {
    /// `creates`: the route names a job and creates another one.
    pub(crate) fn of(method: &Method, names_a_job: bool, creates: bool) -> Self {
        match (method.as_str(), names_a_job) {
            ("GET" | "HEAD", true) => Self::Get,
            ("GET" | "HEAD", false) => Self::List,
            ("POST", false) => Self::Create,
            ("POST", true) if creates => Self::Create,
            // A cancel, which writes `spec.cancel`.
            ("POST", true) => Self::Patch,
            ("DELETE", true) => Self::Delete,
            _ => Self::Any,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Any => "*",
        }
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Get | Self::List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_needs_the_right_that_kubectl_would_need() {
        for (method, names_a_job, verb) in [
            (Method::POST, false, "create"),
            (Method::GET, true, "get"),
            (Method::HEAD, true, "get"),
            (Method::GET, false, "list"),
            (Method::POST, true, "patch"),
            (Method::DELETE, true, "delete"),
        ] {
            assert_eq!(
                Verb::of(&method, names_a_job, false).as_str(),
                verb,
                "{method}"
            );
        }
    }

    #[test]
    fn a_job_that_is_made_from_another_needs_the_right_to_create() {
        assert_eq!(Verb::of(&Method::POST, true, true), Verb::Create);
        assert_eq!(Verb::of(&Method::GET, true, true), Verb::Get);
    }

    #[test]
    fn any_other_request_needs_all_rights() {
        for method in [Method::PUT, Method::PATCH, Method::OPTIONS, Method::TRACE] {
            assert_eq!(Verb::of(&method, true, false), Verb::Any);
        }
        assert_eq!(Verb::of(&Method::DELETE, false, false), Verb::Any);
    }
}
