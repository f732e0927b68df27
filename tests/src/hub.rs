//! A stand-in for the Hugging Face hub, reachable from pods: one repository with the demo's captioner.

use crate::authority::Authority;
use crate::served::{serve_at, serve_tls_at};
use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use fovea_harness::stack;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

pub const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";
pub const REPO: &str = "fovea/captioner";

pub struct Hub {
    /// The value for `HF_ENDPOINT`.
    pub url: String,
    authority: Option<Authority>,
    _serving: AbortOnDropHandle<()>,
}

type Files = Arc<BTreeMap<String, Bytes>>;

impl Hub {
    pub async fn start(address: Ipv4Addr) -> Result<Self> {
        let (url, serving) = serve_at(address, Self::routes()?).await?;
        Ok(Self {
            url,
            authority: None,
            _serving: serving,
        })
    }

    /// By https, with a certificate of the authority in [`Hub::ca_file`].
    pub async fn start_private(address: Ipv4Addr) -> Result<Self> {
        let authority = Authority::new()?;
        let (url, serving) = serve_tls_at(address, Self::routes()?, &authority).await?;
        Ok(Self {
            url,
            authority: Some(authority),
            _serving: serving,
        })
    }

    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::file)
    }

    fn routes() -> Result<Router> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(stack::repository().join("models/demo/blip"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(entry.path())?.into());
        }
        let revision = format!("/api/models/{REPO}/revision/{{revision}}");
        Ok(Router::new()
            .route(&revision, get(listing))
            .route(&format!("/{REPO}/resolve/{COMMIT}/{{file}}"), get(file))
            .with_state(Arc::new(files)))
    }
}

async fn listing(State(files): State<Files>, Path(revision): Path<String>) -> Response {
    if revision != "main" && revision != COMMIT {
        return not_found("RevisionNotFound");
    }
    let siblings = files.keys().map(|name| json!({"rfilename": name}));
    let siblings: Vec<_> = siblings.collect();
    axum::Json(json!({"sha": COMMIT, "siblings": siblings})).into_response()
}

fn not_found(code: &'static str) -> Response {
    (StatusCode::NOT_FOUND, [("x-error-code", code)]).into_response()
}

async fn file(State(files): State<Files>, Path(name): Path<String>) -> Response {
    let Some(bytes) = files.get(&name).cloned() else {
        return not_found("EntryNotFound");
    };
    let mut headers = HeaderMap::new();
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
    headers.insert(header::ETAG, etag.parse().expect("a header"));
    headers.insert("x-repo-commit", COMMIT.parse().expect("a header"));
    (headers, bytes).into_response()
}
