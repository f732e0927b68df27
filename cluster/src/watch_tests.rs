use super::*;
use axum::body::Body;
use http::{Request, Response, StatusCode, Uri};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// Bound on every wait.
const PATIENCE: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits {
    page: Duration::from_secs(1),
    answer: Duration::from_secs(1),
    silence: Duration::from_secs(1),
    list_every: Duration::from_hours(1),
};

enum Reply {
    /// The objects with their versions, at the cluster's version.
    List(u64, &'static [(&'static str, u64)]),
    /// The same, and the token of a further page.
    Page(u64, &'static [(&'static str, u64)], &'static str),
    /// The token has expired.
    Gone,
    /// Lines of a watch that ends then.
    Watch(Vec<String>),
    /// Lines of a watch that falls silent then.
    Silence(Vec<String>),
    /// No answer.
    Nothing,
}

/// An API server that gives each request the next reply, and none after the last.
#[derive(Clone)]
struct Server {
    replies: Arc<Mutex<Vec<Reply>>>,
    /// Kinds of the requests so far.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(mut replies: Vec<Reply>) -> Self {
        replies.reverse();
        Self {
            replies: Arc::new(Mutex::new(replies)),
            asked: Arc::default(),
        }
    }

    fn watch(&self, limits: Limits) -> Events<ConfigMap> {
        let this = self.clone();
        let answer = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (this, uri) = (this.clone(), request.uri().clone());
            async move { Ok::<_, Infallible>(this.answer(&uri).await) }
        });
        let api = Api::namespaced(Client::new(answer, "default"), "default");
        bounded(api, None, &Watches::default(), limits)
    }

    async fn answer(&self, uri: &Uri) -> Response<Body> {
        let query = uri.query().unwrap_or_default();
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let kind = if let Some(version) = parameter("resourceVersion") {
            format!("watch from {version}")
        } else if let Some(token) = parameter("continue") {
            format!("page {token}")
        } else if parameter("limit") == Some("1") {
            "check".to_owned()
        } else {
            "list".to_owned()
        };
        self.asked.lock().unwrap().push(kind);
        let reply = self.replies.lock().unwrap().pop();
        match reply {
            Some(Reply::List(version, objects)) => page(version, objects, ""),
            Some(Reply::Page(version, objects, token)) => page(version, objects, token),
            Some(Reply::Gone) => {
                let mut response = Response::new(Body::from(gone().to_string()));
                *response.status_mut() = StatusCode::GONE;
                response
            }
            Some(Reply::Watch(lines)) => Response::new(Body::from(lines.concat())),
            Some(Reply::Silence(lines)) => {
                let lines = futures::stream::iter(lines.into_iter().map(Ok::<_, Infallible>));
                let silence = futures::stream::pending();
                Response::new(Body::from_stream(lines.chain(silence)))
            }
            Some(Reply::Nothing) | None => std::future::pending().await,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn page(version: u64, objects: &[(&str, u64)], token: &str) -> Response<Body> {
    let items = objects.iter().map(|(name, version)| object(name, *version));
    let list = json!({
        "apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": version.to_string(), "continue": token},
        "items": items.collect::<Vec<_>>(),
    });
    Response::new(Body::from(list.to_string()))
}

fn object(name: &str, version: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "resourceVersion": version.to_string()},
    })
}

fn line(kind: &str, name: &str, version: u64) -> String {
    format!(
        "{}\n",
        json!({"type": kind, "object": object(name, version)})
    )
}

fn gone() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "code": 410, "message": "too old", "reason": "Expired"})
}

fn expired() -> String {
    format!("{}\n", json!({"type": "ERROR", "object": gone()}))
}

/// The next `count` events, as words.
async fn next(events: &mut Events<ConfigMap>, count: usize) -> Vec<String> {
    let next = async {
        let mut words = Vec::new();
        while words.len() < count {
            words.push(match events.next().await.unwrap() {
                Ok(event) => event.to_string(),
                Err(error) => error.to_string(),
            });
        }
        words
    };
    timeout(PATIENCE, next).await.unwrap()
}

#[tokio::test]
async fn a_watch_that_is_not_answered_or_falls_silent_goes_on_where_it_was() {
    let server = Server::new(vec![
        Reply::List(5, &[("a", 4)]),
        Reply::Nothing,
        Reply::List(5, &[]),
        Reply::Silence(vec![line("ADDED", "b", 6)]),
        Reply::List(7, &[]),
        Reply::Silence(vec![line("DELETED", "b", 7)]),
    ]);
    let mut events = server.watch(LIMITS);
    let expected = [
        "Init",
        "InitApply(a)",
        "InitDone",
        "no answer within 1 s",
        "Apply(b)",
        "the watch was silent for 1 s",
        "Delete(b)",
    ];
    assert_eq!(next(&mut events, expected.len()).await, expected);
    let expected = [
        "list",
        "watch from 5",
        "check",
        "watch from 5",
        "check",
        "watch from 6",
    ];
    assert_eq!(server.asked(), expected);
}

#[tokio::test]
async fn a_list_that_is_not_answered_begins_again() {
    let server = Server::new(vec![Reply::Nothing, Reply::List(5, &[("a", 4)])]);
    let mut events = server.watch(LIMITS);
    let expected = [
        "Init",
        "no answer within 1 s",
        "Init",
        "InitApply(a)",
        "InitDone",
    ];
    assert_eq!(next(&mut events, expected.len()).await, expected);
}

#[tokio::test]
async fn a_list_whose_next_page_fails_or_has_expired_begins_again() {
    let server = Server::new(vec![
        Reply::Page(5, &[("a", 1), ("b", 2)], "two"),
        Reply::Gone,
        Reply::Page(7, &[("a", 1), ("b", 2)], "two"),
        Reply::Nothing,
        Reply::Page(8, &[("a", 1)], "two"),
        Reply::List(8, &[("b", 8)]),
        Reply::Silence(vec![line("ADDED", "c", 9)]),
    ]);
    let mut events = server.watch(LIMITS);
    let mut told = next(&mut events, 13).await;
    let expired = told.remove(3);
    assert!(expired.starts_with("ApiError: too old"), "{expired}");
    let expected = [
        "Init",
        "InitApply(a)",
        "InitApply(b)",
        "Init",
        "InitApply(a)",
        "InitApply(b)",
        "no answer within 1 s",
        "Init",
        "InitApply(a)",
        "InitApply(b)",
        "InitDone",
        "Apply(c)",
    ];
    assert_eq!(told, expected);
    assert_eq!(server.asked().last().unwrap(), "watch from 8");
}

#[tokio::test]
async fn a_cluster_that_was_restored_from_an_older_snapshot_is_listed_again() {
    let server = Server::new(vec![
        Reply::List(9, &[]),
        // Only a bookmark has the version that is lost.
        Reply::Silence(vec![line("BOOKMARK", "", 12)]),
        Reply::List(11, &[]),
        Reply::List(11, &[("a", 10)]),
        Reply::Silence(vec![expired()]),
        Reply::List(4, &[("a", 3)]),
        Reply::List(4, &[("a", 3)]),
        Reply::Silence(vec![line("ADDED", "b", 5)]),
    ]);
    let mut events = server.watch(LIMITS);
    let expected = [
        "Init",
        "InitDone",
        "the watch was silent for 1 s",
        "the cluster was set back from resourceVersion 12 to 11",
        "Init",
        "InitApply(a)",
        "InitDone",
        "the events since the last one are no longer kept: too old",
        "Init",
        "the cluster was set back from resourceVersion 11 to 4",
        "Init",
        "InitApply(a)",
        "InitDone",
        "Apply(b)",
    ];
    assert_eq!(next(&mut events, expected.len()).await, expected);
    assert_eq!(server.asked().last().unwrap(), "watch from 4");
}

#[tokio::test]
async fn everything_is_listed_again_from_time_to_time() {
    let server = Server::new(vec![
        Reply::List(5, &[]),
        Reply::Watch(vec![line("BOOKMARK", "", 5)]),
        Reply::List(6, &[("missed", 6)]),
    ]);
    let mut events = server.watch(Limits {
        list_every: Duration::ZERO,
        ..LIMITS
    });
    let expected = ["Init", "InitDone", "Init", "InitApply(missed)", "InitDone"];
    assert_eq!(next(&mut events, expected.len()).await, expected);
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_not_repeated_without_a_pause() {
    let server = Server::new(vec![
        Reply::List(5, &[]),
        Reply::Watch(Vec::new()),
        Reply::List(5, &[]),
        Reply::Watch(vec![line("ADDED", "b", 6)]),
    ]);
    let mut events = server.watch(LIMITS);
    let expected = ["Init", "InitDone", "the watch ended at once", "Apply(b)"];
    assert_eq!(next(&mut events, expected.len()).await, expected);
}

#[tokio::test]
async fn an_event_that_does_not_decode_holds_up_no_other() {
    let odd = json!({"type": "ADDED", "object": {"metadata": "odd"}});
    let server = Server::new(vec![
        Reply::List(5, &[]),
        Reply::Silence(vec![format!("{odd}\n"), line("ADDED", "b", 6)]),
    ]);
    let mut events = server.watch(LIMITS);
    let told = next(&mut events, 4).await;
    assert_eq!(
        (&*told[0], &*told[1], &*told[3]),
        ("Init", "InitDone", "Apply(b)")
    );
}
