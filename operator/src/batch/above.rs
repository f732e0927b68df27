//! Objects whose key is also a folder's: `cats` beside `cats/1.jpg`. Amazon S3 lists both; MinIO, and stores that
//! keep objects as files, hide or refuse what is below. Fovea reads no such folder and writes into none.

use fovea_crds::Failure;
use fovea_store::{ObjectKey, Store, StoreError};

/// What is known of such stores.
pub(super) const HIDDEN: &str = "some stores, such as MinIO, list nothing below an object";

/// Folders that are looked at, from the innermost one on.
const MAX_FOLDERS: usize = 16;

/// The key of an object that is the folder `path` below `data/<namespace>/` or one that this is in; `None`
/// if there is none. An empty object does not count: stores show folders so.
pub(super) async fn object_above(
    store: &Store,
    namespace: &str,
    path: &str,
) -> Result<Option<ObjectKey>, StoreError> {
    for folder in folders(path).take(MAX_FOLDERS) {
        let key = ObjectKey::data(namespace, folder);
        let key = key.map_err(|error| StoreError::Config(error.to_string()))?;
        match store.head(&key, 1).await {
            Ok(bytes) if !bytes.is_empty() => return Ok(Some(key)),
            Err(error) if !error.is_refusal() => return Err(error),
            // There is none, or a folder that cannot be read.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Refuses the output `prefix` below `data/<namespace>/` if it is below an object: the inner error.
pub(crate) async fn check_output(
    store: &Store,
    namespace: &str,
    prefix: &str,
) -> Result<Result<(), Failure>, StoreError> {
    let found = object_above(store, namespace, prefix).await?;
    Ok(found.map_or(Ok(()), |key| {
        Err(Failure {
            reason: "InvalidOutput".to_owned(),
            message: format!(
                "{key} is an object, and {HIDDEN}: rename it, or choose another spec.output.prefix"
            ),
            retryable: false,
        })
    }))
}

/// A path and what it is in, from the inside out.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path: &&str| above(path))
}

fn above(path: &str) -> Option<&str> {
    Some(path.rsplit_once('/')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_looked_at_before_what_it_is_in() {
        let all: Vec<_> = folders("a/b c/d").collect();
        assert_eq!(all, ["a/b c/d", "a/b c", "a"]);
        assert_eq!(folders("a").count(), 1);
    }
}
