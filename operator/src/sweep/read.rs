//! All jobs and namespaces by consistent reads, as little of each as the sweeper needs. A list that
//! breaks off, or that holds what cannot be read, is an error as a whole.

use super::SweepError;
use super::decide::Chunk;
use fovea_crds::InferenceJob;
use fovea_store::Sha256;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::{ListMeta, ObjectList, ObjectMeta, Request};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;

/// Objects of one page. A job may hold 88 KiB of inline picture, so that a page is 18 MB at most.
const PAGE: u32 = 200;

/// Longest time for one page.
const PAGE_LIMIT: Duration = Duration::from_secs(30);

/// Of a job, what it needs of the bucket; the rest is skipped, so that a job that this version
/// cannot read as a whole counts all the same.
#[derive(Clone, Debug, Deserialize)]
struct Referrer {
    metadata: ObjectMeta,
    spec: ReferrerSpec,
}

#[derive(Clone, Debug, Deserialize)]
struct ReferrerSpec {
    input: ReferrerInput,
}

#[derive(Clone, Debug, Deserialize)]
struct ReferrerInput {
    upload: Option<Upload>,
}

#[derive(Clone, Debug, Deserialize)]
struct Upload {
    sha256: String,
}

/// A page. Unlike in [`ObjectList`] nothing stands in for what it lacks.
#[derive(Debug, Deserialize)]
struct Page {
    metadata: ListMeta,
    items: Vec<Referrer>,
}

/// Tells `chunk` of every job that there is, or that there is in `namespace`.
pub(super) async fn jobs(
    client: &Client,
    namespace: Option<&str>,
    chunk: &mut Chunk,
) -> Result<(), SweepError> {
    let request = Request::new(InferenceJob::url_path(&(), namespace));
    let mut params = first_page();
    loop {
        let page = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let page: Page = bounded(client.request(page)).await?;
        for job in page.items {
            let (Some(namespace), Some(uid)) = (&job.metadata.namespace, &job.metadata.uid) else {
                return Err(SweepError::Unreadable("a job without namespace or uid"));
            };
            let sha256 = job.spec.input.upload.map(|upload| upload.sha256.parse());
            let sha256: Option<Sha256> = sha256
                .transpose()
                .map_err(|_| SweepError::Unreadable("a job whose upload is no digest"))?;
            chunk.job(namespace, uid, sha256);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Every namespace's uid, by its name; only that of `only` where it is given.
pub(super) async fn namespaces(
    client: &Client,
    only: Option<&str>,
) -> Result<HashMap<String, String>, SweepError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut params = first_page();
    let mut found = HashMap::new();
    if let Some(name) = only {
        let namespace = bounded(api.get_metadata_opt(name)).await?;
        found.extend(namespace.and_then(|namespace| Some((name.to_owned(), namespace.uid()?))));
        return Ok(found);
    }
    loop {
        let page: ObjectList<_> = bounded(api.list_metadata(&params)).await?;
        for namespace in page.items {
            let uid = namespace.uid();
            let uid = uid.ok_or(SweepError::Unreadable("a namespace without a uid"))?;
            found.insert(namespace.name_any(), uid);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// No resourceVersion: the first page is as of now, and its followers are as of the first.
fn first_page() -> ListParams {
    ListParams::default().limit(PAGE)
}

async fn bounded<T>(page: impl Future<Output = Result<T, kube::Error>>) -> Result<T, SweepError> {
    match tokio::time::timeout(PAGE_LIMIT, page).await {
        Ok(page) => Ok(page?),
        Err(_) => Err(SweepError::TooSlow),
    }
}
