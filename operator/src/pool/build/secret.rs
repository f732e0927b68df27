//! The Secret with a pool's certificate and tokens.

use super::Subject;
use crate::pool::access::Contents;
use crate::pool::external::TOKEN_SECRET_TYPE;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

pub(crate) fn secret(subject: &Subject<'_>, contents: &Contents) -> Secret {
    let mut metadata = subject.metadata();
    metadata.annotations = Some(contents.annotations.clone());
    let data = contents.data.iter();
    Secret {
        metadata,
        type_: Some(TOKEN_SECRET_TYPE.to_owned()),
        data: Some(
            data.map(|(key, text)| (key.clone(), ByteString(text.clone().into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    }
}
