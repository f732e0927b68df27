//! The namespace of a request: from its path, `/v1/namespaces/{namespace}/...`, or from the header
//! `Fovea-Namespace`.
//!
//! The path's prefix is removed before routing, so that every route accepts it, and added to the
//! `Location` of the response.

use crate::error::{Problem, ProblemType};
use crate::validate::is_label;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};

pub(crate) const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("fovea-namespace");
/// Prefix of all routes with a namespace.
const VERSION: &str = "/v1/";
const PREFIX: &str = "/v1/namespaces/";

/// The namespace in the path, not validated yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathNamespace(pub(crate) String);

pub(crate) async fn in_path(mut request: Request, next: Next) -> Response {
    let Some((namespace, uri)) = split(request.uri()) else {
        return next.run(request).await;
    };
    *request.uri_mut() = uri;
    let prefix = format!("{PREFIX}{namespace}/");
    request.extensions_mut().insert(PathNamespace(namespace));
    let mut response = next.run(request).await;
    let located = response.headers().get(LOCATION);
    let rest = located.and_then(|location| location.to_str().ok()?.strip_prefix(VERSION));
    if let Some(location) =
        rest.and_then(|rest| HeaderValue::try_from(format!("{prefix}{rest}")).ok())
    {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// `/v1/namespaces/{namespace}/{rest}?{query}` as the namespace and `/v1/{rest}?{query}`.
fn split(uri: &Uri) -> Option<(String, Uri)> {
    let (namespace, rest) = uri.path().strip_prefix(PREFIX)?.split_once('/')?;
    let path = match uri.query() {
        Some(query) => format!("{VERSION}{rest}?{query}"),
        None => format!("{VERSION}{rest}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Some((namespace.to_owned(), Uri::from_parts(parts).ok()?))
}

/// The namespace in the path or the header, if any.
pub(crate) fn named(
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<Option<String>, Problem> {
    let malformed = |why: String| Err(Problem::new(ProblemType::MalformedRequest, why));
    let mut header = None;
    for value in headers.get_all(NAMESPACE_HEADER) {
        if header.is_some() {
            return malformed("Fovea-Namespace: send it once".to_owned());
        }
        header = Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let path = extensions
        .get::<PathNamespace>()
        .map(|PathNamespace(name)| name.clone());
    let name = match (path, header) {
        (Some(path), Some(header)) if path != header => {
            return malformed(
                "the path and the header Fovea-Namespace name different namespaces: one of them is enough"
                    .to_owned(),
            );
        }
        (path, header) => path.or(header),
    };
    match name {
        Some(name) if !is_label(&name) => malformed(format!(
            "{:?} is not the name of a namespace: at most 63 of a-z, 0-9 and -",
            name.chars().take(80).collect::<String>()
        )),
        name => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_split(uri: &str) -> Option<(String, String)> {
        let (namespace, uri) = split(&uri.parse().unwrap())?;
        Some((namespace, uri.to_string()))
    }

    #[test]
    fn a_namespace_is_removed_from_the_path_once() {
        let taken = |namespace: &str, rest: &str| Some((namespace.to_owned(), rest.to_owned()));
        assert_eq!(after_split("/v1/namespaces/a/jobs"), taken("a", "/v1/jobs"));
        assert_eq!(
            after_split("/v1/namespaces/a/jobs/7?b=c%2f"),
            taken("a", "/v1/jobs/7?b=c%2f")
        );
        assert_eq!(after_split("/v1/namespaces//jobs"), taken("", "/v1/jobs"));
        assert_eq!(
            after_split("/v1/namespaces/a/namespaces/b/jobs"),
            taken("a", "/v1/namespaces/b/jobs")
        );
        for other in [
            "/v1/jobs",
            "/v1/namespaces",
            "/v1/namespaces/a",
            "/v2/namespaces/a/jobs",
        ] {
            assert_eq!(after_split(other), None, "{other}");
        }
    }

    #[test]
    fn path_and_header_must_not_differ() {
        let namespace = |path: Option<&str>, header: &[&'static str]| {
            let mut extensions = Extensions::new();
            if let Some(path) = path {
                extensions.insert(PathNamespace(path.to_owned()));
            }
            let mut headers = HeaderMap::new();
            for value in header {
                headers.append(NAMESPACE_HEADER, HeaderValue::from_static(value));
            }
            named(&extensions, &headers).map_err(|problem| problem.kind.status().as_u16())
        };
        let a = || Ok(Some("a".to_owned()));
        assert_eq!(namespace(None, &[]), Ok(None));
        assert_eq!(namespace(Some("a"), &[]), a());
        assert_eq!(namespace(None, &["a"]), a());
        assert_eq!(namespace(Some("a"), &["a"]), a());
        for (path, header) in [
            (Some("a"), &["b"][..]),
            (None, &["a", "a"]),
            (None, &[""]),
            (None, &["a/b"]),
            (Some(""), &[]),
            (Some("%61"), &[]),
            (Some(".."), &[]),
        ] {
            assert_eq!(namespace(path, header), Err(400), "{path:?} {header:?}");
        }
    }
}
