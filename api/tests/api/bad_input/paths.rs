//! Rows on paths and methods.

use super::super::harness::Service;
use super::super::pictures::jpeg;
use super::Row;

pub(super) fn rows(api: &Service) -> Vec<Row> {
    let get = |path: &str| api.http.get(format!("{}{path}", api.base));
    let long = format!("/v1/jobs/{}", "a".repeat(254));
    vec![
        (
            "an unknown id",
            get("/v1/jobs/6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f"),
            404,
            "no-such-job",
        ),
        (
            "a malformed id",
            get("/v1/jobs/No_Such"),
            404,
            "no-such-job",
        ),
        (
            "an id that climbs",
            get("/v1/jobs/..%2f..%2fsecrets"),
            404,
            "no-such-job",
        ),
        (
            "an id with a query in it",
            get("/v1/jobs/a%3fwatch=1"),
            404,
            "no-such-job",
        ),
        ("a bad UTF-8 id", get("/v1/jobs/%ff"), 404, "no-such-job"),
        ("a long id", get(&long), 404, "no-such-job"),
        ("an empty id", get("/v1/jobs/"), 404, "no-such-route"),
        ("no route", get("/v2/jobs"), 404, "no-such-route"),
        ("root", get("/"), 404, "no-such-route"),
        (
            "PUT",
            api.http.put(format!("{}/v1/jobs", api.base)).body(jpeg(0)),
            405,
            "method-not-allowed",
        ),
        (
            "POST to a job",
            api.http.post(format!("{}/v1/jobs/a", api.base)),
            405,
            "method-not-allowed",
        ),
        (
            "POST to health",
            api.http.post(format!("{}/livez", api.base)),
            405,
            "method-not-allowed",
        ),
    ]
}
