//! Rows on a request's head: namespaces, and heads that are bombs.

use super::super::harness::Service;
use super::super::pictures::jpeg;
use super::Row;

pub(super) fn rows(api: &Service) -> Vec<Row> {
    let get = |path: &str| api.http.get(format!("{}{path}", api.base));
    let in_namespace = |name: &[u8]| {
        let value = http::HeaderValue::from_bytes(name).expect("a value");
        api.post(jpeg(0)).header("fovea-namespace", value)
    };
    let many = (0..101).fold(get("/livez"), |request, n| {
        request.header(format!("x-{n}"), "a")
    });
    let long = "a".repeat(63);
    let own = api.namespace.name();
    vec![
        (
            "an empty namespace",
            in_namespace(b""),
            400,
            "malformed-request",
        ),
        (
            "a namespace in capitals",
            in_namespace(b"Default"),
            400,
            "malformed-request",
        ),
        (
            "a namespace that climbs",
            in_namespace(b"../kube-system"),
            400,
            "malformed-request",
        ),
        (
            "a namespace with a dot",
            in_namespace(b"a.b"),
            400,
            "malformed-request",
        ),
        (
            "a namespace beyond ASCII",
            in_namespace(b"\xc3\xa9"),
            400,
            "malformed-request",
        ),
        (
            "a namespace of no text",
            in_namespace(b"\xff"),
            400,
            "malformed-request",
        ),
        (
            "a long namespace",
            in_namespace(format!("{long}a").as_bytes()),
            400,
            "malformed-request",
        ),
        (
            "a list of namespaces",
            in_namespace(b"a,b"),
            400,
            "malformed-request",
        ),
        (
            "two namespaces",
            in_namespace(own.as_bytes()).header("fovea-namespace", own),
            400,
            "malformed-request",
        ),
        (
            "one namespace in the path and another in the header",
            get(&format!("/v1/namespaces/{own}/jobs/a")).header("fovea-namespace", "b"),
            400,
            "malformed-request",
        ),
        (
            "another's namespace",
            in_namespace(b"kube-system"),
            403,
            "forbidden",
        ),
        (
            "another's namespace by path",
            get("/v1/namespaces/kube-system/jobs/a"),
            403,
            "forbidden",
        ),
        (
            "an empty namespace in the path",
            get("/v1/namespaces//jobs/a"),
            400,
            "malformed-request",
        ),
        (
            "an encoded namespace",
            get("/v1/namespaces/%61/jobs/a"),
            400,
            "malformed-request",
        ),
        (
            "a namespace that climbs in the path",
            get("/v1/namespaces/..%2fa/jobs/a"),
            400,
            "malformed-request",
        ),
        (
            "a namespace alone",
            get("/v1/namespaces/a"),
            404,
            "no-such-route",
        ),
        (
            "namespaces within namespaces",
            get("/v1/namespaces/a/namespaces/b/jobs/c"),
            404,
            "no-such-route",
        ),
        (
            "health within a namespace",
            get("/v1/namespaces/a/livez"),
            404,
            "no-such-route",
        ),
        ("many headers", many, 431, "headers-too-large"),
        (
            "a large header",
            get("/livez").header("x", "a".repeat(40_000)),
            431,
            "headers-too-large",
        ),
        (
            "a long path",
            get(&format!("/{}", "a".repeat(9000))),
            414,
            "uri-too-long",
        ),
        (
            "a long query",
            get(&format!("/v1/jobs/a?{}", "a".repeat(9000))),
            414,
            "uri-too-long",
        ),
    ]
}
