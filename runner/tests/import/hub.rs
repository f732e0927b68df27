//! A fake hub: two servers on two ports, the hub itself and its store of large files.
//!
//! It answers as the hub does (`huggingface_hub` 2.4's `file_download.py` and `_http.py` say how):
//! a file in git by a redirect within itself, with its blob's digest as `ETag`; a large one with a
//! redirect that names digest and size; errors with `X-Error-Code`; ranges on both.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{Method, StatusCode};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;

pub(crate) const REPO: &str = "Salesforce/blip-tiny";
pub(crate) const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";
pub(crate) const TOKEN: &str = "hf_good";
/// Files of at least this many bytes are in the store of large files.
pub(crate) const LARGE: usize = 10_000;

/// Path of files in git.
const RESOLVED: &str = "/api/resolve-cache/models/blip-tiny/";

/// A server that runs as long as the test.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) front: SocketAddr,
    pub(crate) store: SocketAddr,
    world: Arc<Mutex<World>>,
}

/// The servers' files and faults, which tests change.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) files: BTreeMap<String, Bytes>,
    /// Requires the token; the error code of requests without it.
    pub(crate) closed: Option<&'static str>,
    /// Whether requests are redirected to the repository's new name.
    pub(crate) renamed: bool,
    /// Next answers by a part of the path; `None` is the right answer.
    pub(crate) instead: Vec<(&'static str, VecDeque<Option<Response>>)>,
    /// Large files whose bodies break off once, after this many bytes.
    pub(crate) breaks: BTreeMap<String, VecDeque<usize>>,
    /// Served instead of the file's bytes.
    pub(crate) lies: BTreeMap<String, Bytes>,
    /// Whether `Range` headers are ignored.
    pub(crate) no_ranges: bool,
    /// `ETag` of files in the store.
    pub(crate) version: u32,
    /// Every broken body changes the version.
    pub(crate) breaks_change_version: bool,
    pub(crate) seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at_store: bool,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) if_match: Option<String>,
}

#[derive(Clone)]
struct Server {
    at_store: bool,
    hub: Hub,
}

impl Hub {
    /// Has the golden checkpoint, and files that no import should request.
    pub(crate) async fn start() -> Self {
        let [hub, store] = [listener().await, listener().await];
        let this = Self {
            front: hub.local_addr().unwrap(),
            store: store.local_addr().unwrap(),
            world: Arc::default(),
        };
        for (listener, at_store) in [(hub, false), (store, true)] {
            let hub = this.clone();
            let router = Router::new()
                .fallback(answer)
                .with_state(Server { at_store, hub });
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        let golden = super::setting::golden();
        let entries = golden.read_dir().unwrap().flatten();
        for entry in entries.filter(|entry| entry.path().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("expected") {
                this.put(&name, std::fs::read(entry.path()).unwrap());
            }
        }
        for unwanted in ["tf_model.h5", "onnx/model.onnx", ".gitattributes"] {
            this.put(unwanted, vec![1; 20_000]);
        }
        this
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        self.world().files.insert(name.to_owned(), bytes.into());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.world().files.remove(name).unwrap();
    }

    /// Has bodies of a large file break off, each once after so many bytes.
    pub(crate) fn breaks(&self, name: &str, after: impl Into<VecDeque<usize>>) {
        self.world().breaks.insert(name.to_owned(), after.into());
    }

    /// Serves these bytes in place of the file's.
    pub(crate) fn lies(&self, name: &str, bytes: impl Into<Bytes>) {
        self.world().lies.insert(name.to_owned(), bytes.into());
    }

    /// An index of two shards of weights.
    pub(crate) fn put_index(&self) {
        let shards = serde_json::json!({"a": "model-1.safetensors", "b": "model-2.safetensors"});
        let index = serde_json::json!({"weight_map": shards});
        self.put("model.safetensors.index.json", index.to_string());
    }

    /// Sets the next answers for paths that contain `part`.
    pub(crate) fn instead(&self, part: &'static str, answers: impl IntoIterator<Item = Response>) {
        self.instead_or_not(part, answers.into_iter().map(Some));
    }

    /// Like [`Hub::instead`], with right answers in between.
    pub(crate) fn instead_or_not(
        &self,
        part: &'static str,
        answers: impl IntoIterator<Item = Option<Response>>,
    ) {
        let answers = answers.into_iter().collect();
        self.world().instead.push((part, answers));
    }

    /// The GET requests whose path contains `part`.
    pub(crate) fn gets(&self, part: &str) -> Vec<Seen> {
        let mut gets = self.world().seen.clone();
        gets.retain(|seen| seen.method == Method::GET && seen.path.contains(part));
        gets
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Git's blob digest of a file.
pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex::encode(hasher.finalize())
}

/// An answer without a body.
pub(crate) fn bare(status: u16, headers: &[(&'static str, &str)]) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::empty()).unwrap()
}

async fn answer(State(Server { at_store, hub }): State<Server>, request: Request) -> Response {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut world = hub.world();
    let seen = Seen {
        at_store,
        method: method.clone(),
        path: path.clone(),
        token: header("authorization"),
        range: header("range"),
        if_match: header("if-match"),
    };
    world.seen.push(seen.clone());
    for (part, answers) in &mut world.instead {
        if path.contains(*part)
            && let Some(Some(answer)) = answers.pop_front()
        {
            return answer;
        }
    }
    if at_store {
        return match path.strip_prefix("/store/") {
            Some(name) if world.files.contains_key(name) => {
                let etag = format!("\"store-{}\"", world.version);
                if seen.if_match.is_some_and(|wanted| wanted != etag) {
                    return StatusCode::PRECONDITION_FAILED.into_response();
                }
                body(&mut world, name, seen.range.as_deref(), &[("etag", &etag)])
            }
            _ => StatusCode::FORBIDDEN.into_response(),
        };
    }
    if let Some(code) = world.closed
        && seen.token.as_deref() != Some(&format!("Bearer {TOKEN}"))
    {
        let headers = [("x-error-code", code), ("x-error-message", "Not for you.")];
        return bare(401, &headers);
    }
    if world.renamed && path.contains(REPO) {
        let moved = path.replace(REPO, "new-owner/new-name");
        return bare(307, &[("location", &moved)]);
    }
    let path = path.replace("new-owner/new-name", REPO);
    let not_found = |code| bare(404, &[("x-error-code", code)]);
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
        return match revision {
            "main" | COMMIT | "refs%2Fpr%2F3" => listing(&world),
            _ => not_found("RevisionNotFound"),
        };
    }
    let resolved = [COMMIT, "main"].map(|revision| format!("/{REPO}/resolve/{revision}/"));
    if let Some(name) = (resolved.iter()).find_map(|folder| path.strip_prefix(folder)) {
        let Some(bytes) = world.files.get(name).cloned() else {
            return not_found("EntryNotFound");
        };
        let headers = [("x-repo-commit", COMMIT)];
        if bytes.len() < LARGE {
            let location = format!("{RESOLVED}{name}");
            let etag = [("x-linked-etag", "\"of-the-redirect\"")];
            let location = [("location", location.as_str())];
            return bare(307, &[&headers[..], &etag, &location].concat());
        }
        let etag = format!("\"{}\"", sha256(&bytes));
        let size = bytes.len().to_string();
        let location = format!("http://{}/store/{name}?Signature=secret", hub.store);
        let linked = [
            ("x-linked-etag", etag.as_str()),
            ("x-linked-size", &size),
            ("location", &location),
            ("etag", "\"of-the-redirect\""),
        ];
        return bare(302, &[&headers[..], &linked].concat());
    }
    if let Some(name) = path.strip_prefix(RESOLVED)
        && let Some(bytes) = world.files.get(name).cloned()
    {
        let etag = format!("\"{}\"", git_blob(&bytes));
        let headers = [("x-repo-commit", COMMIT), ("etag", &etag)];
        if seen.if_match.is_some_and(|wanted| wanted != etag) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        return body(&mut world, name, seen.range.as_deref(), &headers);
    }
    not_found("RepoNotFound")
}

fn listing(world: &World) -> Response {
    let names = world.files.keys();
    let siblings: Vec<_> = names
        .map(|name| serde_json::json!({"rfilename": name}))
        .collect();
    axum::Json(serde_json::json!({"sha": COMMIT, "id": REPO, "siblings": siblings})).into_response()
}

/// The file or the requested range, with the configured faults.
fn body(
    world: &mut World,
    name: &str,
    range: Option<&str>,
    headers: &[(&'static str, &str)],
) -> Response {
    let bytes = world.lies.get(name).unwrap_or(&world.files[name]).clone();
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let from = range.filter(|_| !world.no_ranges).map(|range| {
        let from = range.strip_prefix("bytes=").unwrap();
        from.strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let part = match from {
        Some(from) if from >= bytes.len() => return bare(416, &[]),
        Some(from) => {
            let all = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            response = response.status(206).header("content-range", all);
            bytes.slice(from..)
        }
        None => bytes,
    };
    response = response.header("content-length", part.len());
    let length = world.breaks.get_mut(name).and_then(VecDeque::pop_front);
    let body = match length {
        Some(length) => {
            let cut = std::io::Error::other("cut");
            world.version += u32::from(world.breaks_change_version);
            let pieces = [Ok(part.slice(..length.min(part.len()))), Err(cut)];
            Body::from_stream(futures::stream::unfold(
                pieces.into_iter(),
                async |mut pieces| {
                    let piece = pieces.next()?;
                    if piece.is_err() {
                        // Lets the first piece be sent.
                        tokio::task::yield_now().await;
                    }
                    Some((piece, pieces))
                },
            ))
        }
        None => Body::from(part),
    };
    response.body(body).unwrap()
}
