//! Rows on the routes that read and end jobs.

use super::super::harness::Service;
use super::Row;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const NOBODY: &str = "6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f";

pub(super) fn rows(api: &Service) -> Vec<Row> {
    let tables = [of_lists(api), of_jobs(api), of_pools(api)];
    tables.into_iter().flatten().collect()
}

fn token(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn of_lists(api: &Service) -> Vec<Row> {
    let list = |query: &str| api.http.get(format!("{}/v1/jobs?{query}", api.base));
    let invalid = |name, query: &str| (name, list(query), 422, "invalid-field");
    let foreign = |name, token: &str| {
        let query = format!("continue={token}");
        (name, list(&query), 400, "invalid-continue")
    };
    let own = api.namespace.name();
    let after = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0";
    let of = |namespace: &str, version: u8, filter: Value, after: &str| {
        token(
            &json!({"version": version, "namespace": namespace, "filter": filter, "after": after}),
        )
    };
    vec![
        (
            "unknown parameter of a list",
            list("colour=red"),
            422,
            "unknown-field",
        ),
        (
            "a label selector",
            list("labelSelector=a"),
            422,
            "unknown-field",
        ),
        (
            "limit twice",
            list("limit=1&limit=2"),
            422,
            "duplicate-field",
        ),
        (
            "bad UTF-8 in a list",
            list("phase=%ff"),
            400,
            "malformed-request",
        ),
        invalid("limit 0", "limit=0"),
        invalid("limit 501", "limit=501"),
        invalid("limit -1", "limit=-1"),
        invalid("limit of letters", "limit=all"),
        invalid("no limit", "limit="),
        invalid("unknown phase", "phase=Done"),
        invalid("phase in small letters", "phase=pending"),
        invalid("a phase that selects more", "phase=Failed,metadata.name=a"),
        invalid("no phase", "phase="),
        invalid("unknown task in a list", "task=image-to-image"),
        foreign("no token", ""),
        foreign("a token of noise", "%00%01"),
        foreign("a token that is no base64", "!!"),
        foreign("a long token", &"a".repeat(7000)),
        foreign("a token that is no JSON", &URL_SAFE_NO_PAD.encode("a")),
        foreign("the API server's token", after),
        foreign(
            "another namespace's token",
            &of("kube-system", 1, json!({}), after),
        ),
        foreign("a later version's token", &of(own, 2, json!({}), after)),
        foreign("a token with nothing in it", &of(own, 1, json!({}), "")),
        foreign("a token with noise in it", &of(own, 1, json!({}), "noise")),
        foreign("a token that climbs", &of(own, 1, json!({}), &climbing())),
        foreign(
            "a token with an unknown phase",
            &of(own, 1, json!({"phase": "Done"}), after),
        ),
        (
            "another filter than the first page's",
            list(&format!(
                "phase=Running&continue={}",
                of(own, 1, json!({"phase": "Failed"}), after)
            )),
            400,
            "invalid-continue",
        ),
    ]
}

/// A token in the API server's format that starts in another namespace.
fn climbing() -> String {
    let json = json!({"v": "meta.k8s.io/v1", "rv": 1, "start": "../kube-system/a"});
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn of_jobs(api: &Service) -> Vec<Row> {
    let url = |rest: &str| format!("{}/v1/jobs/{rest}", api.base);
    let get = |rest: &str| api.http.get(url(rest));
    let post = |rest: &str| api.http.post(url(rest));
    let delete = |rest: &str| api.http.delete(url(rest));
    let of = |rest: &str| format!("{NOBODY}/{rest}");
    let with_query = format!("{NOBODY}?force=true");
    let wait = |id: &str| get(id).header("prefer", "wait=5");
    vec![
        ("a wait for nobody", wait(NOBODY), 404, "no-such-job"),
        ("a wait for no name", wait("No_Such"), 404, "no-such-job"),
        ("events of nobody", get(&of("events")), 404, "no-such-job"),
        ("events of no name", get("%ff/events"), 404, "no-such-job"),
        (
            "the picture of nobody",
            get(&of("input")),
            404,
            "no-such-job",
        ),
        (
            "the picture of what climbs",
            get("..%2fa/input"),
            404,
            "no-such-job",
        ),
        (
            "the result of nobody",
            get(&of("result")),
            404,
            "no-such-job",
        ),
        ("cancelling nobody", post(&of("cancel")), 404, "no-such-job"),
        (
            "cancelling what climbs",
            post("..%2fa/cancel"),
            404,
            "no-such-job",
        ),
        ("deleting nobody", delete(NOBODY), 404, "no-such-job"),
        ("deleting what climbs", delete("..%2fa"), 404, "no-such-job"),
        (
            "a read with a parameter",
            get(&with_query),
            422,
            "unknown-field",
        ),
        (
            "events with a parameter",
            get(&of("events?a")),
            422,
            "unknown-field",
        ),
        (
            "a picture with a parameter",
            get(&of("input?w=9")),
            422,
            "unknown-field",
        ),
        (
            "a result with a parameter",
            get(&of("result?a=b")),
            422,
            "unknown-field",
        ),
        (
            "a cancel with a parameter",
            post(&of("cancel?a=b")),
            422,
            "unknown-field",
        ),
        (
            "a delete with a parameter",
            delete(&with_query),
            422,
            "unknown-field",
        ),
        (
            "reading a cancel",
            get(&of("cancel")),
            405,
            "method-not-allowed",
        ),
        (
            "posting events",
            post(&of("events")),
            405,
            "method-not-allowed",
        ),
        (
            "deleting a picture",
            delete(&of("input")),
            405,
            "method-not-allowed",
        ),
        (
            "nothing of a job",
            get(&of("nothing")),
            404,
            "no-such-route",
        ),
    ]
}

fn of_pools(api: &Service) -> Vec<Row> {
    let url = |path: &str| format!("{}{path}", api.base);
    let get = |path: &str| api.http.get(url(path));
    vec![
        (
            "pools with a parameter",
            get("/v1/pools?all"),
            422,
            "unknown-field",
        ),
        (
            "models with a parameter",
            get("/v1/models?task=a"),
            422,
            "unknown-field",
        ),
        (
            "posting a pool",
            api.http.post(url("/v1/pools")),
            405,
            "method-not-allowed",
        ),
        ("one model", get("/v1/models/blip"), 404, "no-such-route"),
    ]
}
