//! Rows on a request's head: namespaces, and oversized heads.

use super::super::harness::Service;
use super::super::pictures::jpeg;
use super::Row;

/// Longer than a valid namespace name.
const LONG: &[u8] = &[b'a'; 64];

pub(super) fn namespaces(api: &Service) -> Vec<Row> {
    let get = |path: &str| api.http.get(format!("{}{path}", api.base));
    let in_namespace = |name: &[u8]| {
        let value = http::HeaderValue::from_bytes(name).expect("a value");
        api.post(jpeg(0)).header("fovea-namespace", value)
    };
    let malformed: [(_, &[u8]); 8] = [
        ("an empty namespace", b""),
        ("a namespace in capitals", b"Default"),
        ("a namespace that climbs", b"../kube-system"),
        ("a namespace with a dot", b"a.b"),
        ("a namespace beyond ASCII", b"\xc3\xa9"),
        ("a namespace of no text", b"\xff"),
        ("a long namespace", LONG),
        ("a list of namespaces", b"a,b"),
    ];
    let paths = [
        ("another's by path", "/kube-system/jobs/a", 403, "forbidden"),
        ("empty in the path", "//jobs/a", 400, "malformed-request"),
        ("encoded", "/%61/jobs/a", 400, "malformed-request"),
        ("climbing", "/..%2fa/jobs/a", 400, "malformed-request"),
        ("alone", "/a", 404, "no-such-route"),
        ("twice", "/a/namespaces/b/jobs/c", 404, "no-such-route"),
        ("health within one", "/a/livez", 404, "no-such-route"),
    ];
    let own = api.namespace.name();
    let mut rows = vec![
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
    ];
    rows.extend(malformed.map(|(what, name)| (what, in_namespace(name), 400, "malformed-request")));
    rows.extend(paths.map(|(what, path, status, problem)| {
        (what, get(&format!("/v1/namespaces{path}")), status, problem)
    }));
    rows
}

pub(super) fn bombs(api: &Service) -> Vec<Row> {
    let get = |path: &str| api.http.get(format!("{}{path}", api.base));
    let many = (0..101).fold(get("/livez"), |request, n| {
        request.header(format!("x-{n}"), "a")
    });
    let large = get("/livez").header("x", "a".repeat(40_000));
    let long = "a".repeat(9000);
    vec![
        ("many headers", many, 431, "headers-too-large"),
        ("a large header", large, 431, "headers-too-large"),
        ("a long path", get(&format!("/{long}")), 414, "uri-too-long"),
        (
            "a long query",
            get(&format!("/v1/jobs/a?{long}")),
            414,
            "uri-too-long",
        ),
    ]
}
