//! A client of the hub: the commit of a revision, its files, and their digests and sizes.
//!
//! Its HTTP API, as `huggingface_hub` 2.4 uses it: `/api/models/<repo>/revision/<revision>`, and
//! `/<repo>/resolve/<commit>/<file>`, which redirects to another path of the hub for a file in git,
//! else to a store of large files, with digest (`X-Linked-Etag`) and size in the headers.

use super::config::HubSettings;
use super::error::ImportError;
use super::names::{Commit, FilePath, RepoId, Revision};
use super::transfer::{
    Answer, Digest, Request, TransferError, Wanted, ask, ask_body, hub_client, receive,
};
use fovea_trust::Bundle;
use http::{Method, StatusCode};
use reqwest::{Client, Url};
use serde::Deserialize;
use std::path::Path;

/// Longest description of a repository, in bytes.
const MAX_API_BYTES: u64 = 16 << 20;

const MAX_FILE_BYTES: u64 = 64 << 30;

/// Redirects of one request: to a renamed repository, then to the store of large files.
const MAX_REDIRECTS: usize = 5;

pub(super) struct Hub<'a> {
    settings: &'a HubSettings,
    repo: &'a RepoId,
    client: Client,
}

/// A repository at one commit.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "sha")]
    pub(super) commit: Commit,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.siblings.iter();
        names.map(|sibling| sibling.rfilename.clone()).collect()
    }
}

#[derive(Clone, Debug)]
pub(super) struct FileInfo {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl<'a> Hub<'a> {
    /// `authorities`: those that are trusted in addition to the system's.
    pub(super) fn new(
        settings: &'a HubSettings,
        repo: &'a RepoId,
        authorities: Option<&Bundle>,
    ) -> Result<Self, ImportError> {
        let client = hub_client(settings.silence, authorities).map_err(ImportError::Client)?;
        Ok(Self {
            settings,
            repo,
            client,
        })
    }

    /// Resolves the revision to a commit and lists its files.
    pub(super) async fn listing(&self, revision: &Revision) -> Result<Listing, ImportError> {
        let (owner, name) = (self.repo.owner(), self.repo.name());
        let path = ["api", "models", owner, name, "revision", revision.as_str()];
        let request = self.request(Method::GET, self.url(&path)?);
        let answer = ask_body(&request, MAX_API_BYTES, self.settings.retry).await;
        let what = format!("revision {}", revision.as_str());
        let body = answer.map_err(|error| self.explain(error, &what))?;
        serde_json::from_slice(&body).map_err(|error| self.no_hub(&error.to_string()))
    }

    pub(super) async fn info(
        &self,
        commit: &Commit,
        file: &FilePath,
    ) -> Result<FileInfo, ImportError> {
        let request = self.request(Method::HEAD, self.file_url(commit, file)?);
        let answer = ask(&request, self.settings.retry).await;
        let answer = answer.map_err(|error| self.explain(error, file.as_str()))?;
        if answer.header("x-repo-commit") != Some(&commit.to_string()) {
            return Err(self.no_hub("it names another commit, or none"));
        }
        let etag = answer
            .header("x-linked-etag")
            .or_else(|| answer.header("etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let digest = etag.and_then(Digest::from_etag);
        let digest = digest.ok_or_else(|| self.no_hub("it names no digest of a file"))?;
        let bytes = length(&answer).ok_or_else(|| self.no_hub("it names no length of a file"))?;
        if bytes > MAX_FILE_BYTES {
            return Err(ImportError::Transfer(TransferError::TooLarge {
                name: file.to_string(),
                bytes,
                limit: MAX_FILE_BYTES,
            }));
        }
        Ok(FileInfo { digest, bytes })
    }

    /// Downloads the file to `place`; unfinished bytes are kept in `partial`.
    pub(super) async fn file(
        &self,
        commit: &Commit,
        file: &FilePath,
        FileInfo { digest, bytes }: FileInfo,
        [partial, place]: [&Path; 2],
    ) -> Result<(), ImportError> {
        let request = self.request(Method::GET, self.file_url(commit, file)?);
        let name = file.as_str();
        let wanted = Wanted {
            name,
            bytes,
            digest,
        };
        let received = receive(&request, &wanted, partial, place, self.settings.retry).await;
        received.map_err(|error| self.explain(error, name))
    }

    fn request(&self, method: Method, url: Url) -> Request<'_> {
        Request {
            client: &self.client,
            method,
            url,
            token: self.settings.token.as_ref(),
            redirects: MAX_REDIRECTS,
        }
    }

    fn file_url(&self, commit: &Commit, file: &FilePath) -> Result<Url, ImportError> {
        let commit = commit.to_string();
        let mut path = vec![self.repo.owner(), self.repo.name(), "resolve", &commit];
        path.extend(file.as_str().split('/'));
        self.url(&path)
    }

    fn url(&self, path: &[&str]) -> Result<Url, ImportError> {
        let mut url = self.settings.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().extend(path)),
            Err(()) => return Err(self.no_hub("it takes no paths")),
        }
        Ok(url)
    }

    /// Replaces the hub's known errors by actionable ones.
    fn explain(&self, error: TransferError, what: &str) -> ImportError {
        let TransferError::Status { status, code, .. } = &error else {
            return error.into();
        };
        let repo = self.repo.to_string();
        match (*status, code.as_deref()) {
            (_, Some("GatedRepo")) => ImportError::Gated { repo },
            (_, Some("RepoNotFound")) if *status == StatusCode::NOT_FOUND => {
                ImportError::NotFound {
                    what: "repository".to_owned(),
                    repo,
                }
            }
            (StatusCode::UNAUTHORIZED, _) => ImportError::Unauthorized {
                repo,
                with_token: self.settings.token.is_some(),
            },
            (StatusCode::FORBIDDEN, _) => ImportError::Forbidden { repo },
            (StatusCode::NOT_FOUND, _) => ImportError::NotFound {
                what: what.to_owned(),
                repo,
            },
            _ => error.into(),
        }
    }

    fn no_hub(&self, why: &str) -> ImportError {
        ImportError::NoHub {
            endpoint: self.settings.endpoint.to_string(),
            why: super::transfer::excerpt(why),
        }
    }
}

fn length(answer: &Answer) -> Option<u64> {
    let linked = answer.header("x-linked-size");
    linked
        .or_else(|| answer.header("content-length"))?
        .parse()
        .ok()
}
