//! The Secret with a pool's certificate and tokens, and the object store's certificate authorities: a kubelet
//! updates them in running pods.

use super::Subject;
use crate::pool::access::{Contents, STORE_AUTHORITIES};
use crate::pool::external::TOKEN_SECRET_TYPE;
use fovea_trust::Bundle;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

pub(crate) fn secret(subject: &Subject<'_>, contents: &Contents, store: Option<&Bundle>) -> Secret {
    let mut metadata = subject.metadata();
    metadata.annotations = Some(contents.annotations.clone());
    let contents = contents.data.iter();
    let contents = contents.map(|(key, text)| (key.as_str(), text.as_str()));
    let store = store.map(|bundle| (STORE_AUTHORITIES, bundle.pem()));
    Secret {
        metadata,
        type_: Some(TOKEN_SECRET_TYPE.to_owned()),
        data: Some(
            contents
                .chain(store)
                .map(|(key, text)| (key.to_owned(), ByteString(text.into())))
                .collect(),
        ),
        ..Secret::default()
    }
}
