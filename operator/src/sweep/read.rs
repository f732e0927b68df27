//! Reads all jobs and namespaces consistently, with only the fields that the sweeper needs. An
//! incomplete list, or one with an object that cannot be decoded, is an error.

use super::SweepError;
use super::decide::{Chunk, Named};
use fovea_cluster::{self as cluster, Page, read_page};
use fovea_crds::InferenceJob;
use fovea_store::Sha256;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::ObjectList;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;

/// Maximum number of objects per page.
const PAGE: u32 = 200;

/// Upper bound on the request for one page.
const PAGE_LIMIT: Duration = Duration::from_secs(30);

/// The fields of a job that refer to the bucket. The others are skipped, so that a job that this
/// version cannot decode still protects its objects.
#[derive(Clone, Debug, Deserialize)]
struct Referrer {
    metadata: Identity,
    spec: ReferrerSpec,
}

#[derive(Clone, Debug, Deserialize)]
struct Identity {
    namespace: Option<String>,
    uid: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ReferrerSpec {
    input: ReferrerInput,
}

#[derive(Clone, Debug, Deserialize)]
struct ReferrerInput {
    upload: Option<Upload>,
    object: Option<Path>,
    prefix: Option<Path>,
    manifest: Option<Path>,
    archives: Option<Path>,
}

/// An input below `data/<namespace>/`.
#[derive(Clone, Debug, Deserialize)]
struct Path {
    #[serde(alias = "prefix")]
    key: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Upload {
    sha256: String,
}

/// Passes every job, or every job in `namespace`, to `chunk`.
pub(super) async fn jobs(
    client: &Client,
    namespace: Option<&str>,
    chunk: &mut Chunk,
) -> Result<(), SweepError> {
    let url = InferenceJob::url_path(&(), namespace);
    let mut params = first_page();
    loop {
        let page: Page<Referrer> = bounded(read_page(client, &url, &params)).await?;
        let next = page.next();
        for job in page.items {
            let (Some(namespace), Some(uid)) = (&job.metadata.namespace, &job.metadata.uid) else {
                return Err(SweepError::Unreadable("a job without namespace or uid"));
            };
            let ReferrerInput {
                upload,
                object,
                prefix,
                manifest,
                archives,
            } = job.spec.input;
            let sha256: Option<Sha256> = upload
                .map(|upload| upload.sha256.parse())
                .transpose()
                .map_err(|_| SweepError::Unreadable("a job whose upload is no digest"))?;
            let path = object.or(prefix).or(manifest).or(archives);
            let path = path.map(|path| path.key);
            chunk.job(namespace, uid, Named { sha256, path });
        }
        match next {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// The uid of each namespace by name; only that of `only` if it is given.
pub(super) async fn namespaces(
    client: &Client,
    only: Option<&str>,
) -> Result<HashMap<String, String>, SweepError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut params = first_page();
    let mut found = HashMap::new();
    if let Some(name) = only {
        let answer = async || cluster::found(api.get_metadata(name).await, name);
        let namespace = bounded(answer()).await?;
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

/// Without a resourceVersion the first page is current, and the next pages are as old as the first.
fn first_page() -> ListParams {
    ListParams::default().limit(PAGE)
}

async fn bounded<T>(page: impl Future<Output = Result<T, kube::Error>>) -> Result<T, SweepError> {
    match tokio::time::timeout(PAGE_LIMIT, page).await {
        Ok(page) => Ok(page?),
        Err(_) => Err(SweepError::TooSlow),
    }
}
