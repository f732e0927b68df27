//! Requests one page of a list, and names its keys as they were written, whatever the store does to them on the
//! way.
//!
//! Lists are requested with `encoding-type=url`, so that a key that XML cannot express does not break the page.
//! Amazon S3 and MinIO leave a `/` as it is, Ceph RGW writes `%2F`, and other stores ignore the request; the SDK
//! hands out keys as they come. The order of keys is the store's own: not all sort by bytes.

use crate::{MAX_PAGE, Store, StoreError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::time::SystemTime;

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing<'a> {
    pub prefix: &'a str,
    /// Keys that have it after the prefix are listed as folders.
    pub delimiter: Option<&'a str>,
    /// Maximum number of keys and folders on the page.
    pub max_keys: usize,
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub objects: Vec<PageObject>,
    /// Folders, if there is a delimiter: below the prefix, with their final delimiter.
    pub folders: Vec<String>,
    /// Continuation token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// One object of a page.
#[derive(Debug)]
pub(crate) struct PageObject {
    pub key: String,
    pub bytes: u64,
    /// Time of its last write, by the store's clock.
    pub modified: Option<SystemTime>,
}

impl<'a> Listing<'a> {
    /// Everything below `prefix`, in pages of S3's own limit.
    pub(crate) fn below(prefix: &'a str) -> Self {
        Self {
            prefix,
            delimiter: None,
            max_keys: MAX_PAGE,
        }
    }
}

impl Store {
    /// Requests the page with the token `next`, or the first one.
    pub(crate) async fn list_page(
        &self,
        listing: Listing<'_>,
        next: Option<String>,
    ) -> Result<Page, StoreError> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(listing.prefix)
            .set_delimiter(listing.delimiter.map(str::to_owned))
            .max_keys(i32::try_from(listing.max_keys).unwrap_or(i32::MAX))
            .encoding_type(EncodingType::Url)
            .set_continuation_token(next)
            .send()
            .await;
        let answer = answer.map_err(|error| StoreError::from_sdk(&error, &self.bucket, ""))?;
        page(listing.prefix, &answer)
    }
}

fn page(prefix: &str, answer: &ListObjectsV2Output) -> Result<Page, StoreError> {
    let encoding = encoding(prefix, answer);
    let written = |key: Option<&str>| {
        let key = key.ok_or_else(|| incomplete("names no key"))?;
        let key = encoding.decode(key).into_owned();
        if key.starts_with(prefix) {
            return Ok(key);
        }
        let found = format!("one of {prefix:?} names {key:?}");
        Err(StoreError::List(found))
    };
    let objects = answer.contents().iter().map(|object| {
        let modified = object.last_modified().copied();
        let bytes = object.size().and_then(|size| u64::try_from(size).ok());
        Ok(PageObject {
            key: written(object.key())?,
            bytes: bytes.unwrap_or(0),
            modified: modified.and_then(|time| SystemTime::try_from(time).ok()),
        })
    });
    let folders = answer.common_prefixes().iter();
    let folders = folders.map(|folder| written(folder.prefix()));
    Ok(Page {
        objects: objects.collect::<Result<_, StoreError>>()?,
        folders: folders.collect::<Result<_, StoreError>>()?,
        next: next_token(answer)?,
    })
}

/// How the keys of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    AsWritten,
    Url,
}

impl Encoding {
    fn decode(self, key: &str) -> Cow<'_, str> {
        match self {
            Self::AsWritten => key.into(),
            Self::Url => decoded(key).into(),
        }
    }
}

/// A store that encodes keys names the encoding, and one that does not know it names none: there a `%2F` is the
/// key's own. Keys that are below the prefix only once they are decoded are encoded in any case.
fn encoding(prefix: &str, answer: &ListObjectsV2Output) -> Encoding {
    let keys = answer.contents().iter().map(|object| object.key());
    let folders = answer.common_prefixes().iter();
    let mut all = keys.chain(folders.map(|folder| folder.prefix())).flatten();
    let only_decoded = |key: &str| !key.starts_with(prefix) && decoded(key).starts_with(prefix);
    if answer.encoding_type() == Some(&EncodingType::Url) || all.any(only_decoded) {
        Encoding::Url
    } else {
        Encoding::AsWritten
    }
}

/// A key of a list with `encoding-type=url`, where a space may be a `+`.
fn decoded(key: &str) -> String {
    let spaces = key.replace('+', " ");
    percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
}

pub(crate) fn incomplete(what: &str) -> StoreError {
    StoreError::List(format!("one {what}"))
}

/// The token of the next page; `None` on the last one.
fn next_token(answer: &ListObjectsV2Output) -> Result<Option<String>, StoreError> {
    if answer.is_truncated() != Some(true) {
        return Ok(None);
    }
    let token = answer.next_continuation_token().map(str::to_owned);
    let token = token.ok_or_else(|| incomplete("does not say how it goes on"))?;
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::Object;
    use proptest::prelude::*;

    fn answer(encoding: Option<EncodingType>, keys: &[&str]) -> ListObjectsV2Output {
        let keys = keys.iter().map(|key| Object::builder().key(*key).build());
        ListObjectsV2Output::builder()
            .set_encoding_type(encoding)
            .set_contents(Some(keys.collect()))
            .build()
    }

    fn keys(encoding: Option<EncodingType>, keys: &[&str]) -> Vec<String> {
        let page = page("data/a b/", &answer(encoding, keys)).unwrap();
        page.objects.into_iter().map(|object| object.key).collect()
    }

    #[test]
    fn a_key_comes_as_it_was_written_however_the_store_encodes_it() {
        let written = ["data/a b/c+d%2Fü/e", "data/a b/%2B"];
        for encoded in [
            // Amazon S3 and MinIO.
            ["data/a+b/c%2Bd%252F%C3%BC/e", "data/a+b/%252B"],
            // Ceph RGW and nanio.
            [
                "data%2Fa%20b%2Fc%2Bd%252F%C3%BC%2Fe",
                "data%2Fa%20b%2F%252B",
            ],
        ] {
            assert_eq!(keys(Some(EncodingType::Url), &encoded), written);
        }
        // A store that does not know it.
        assert_eq!(keys(None, &written), written);
        // One that encodes and does not say so.
        let silent = ["data%2Fa%20b%2F%252B", "data%2Fa%20b%2Fx"];
        assert_eq!(keys(None, &silent), ["data/a b/%2B", "data/a b/x"]);
    }

    #[test]
    fn a_list_that_names_what_was_not_asked_for_is_an_error() {
        for (encoding, key) in [
            (Some(EncodingType::Url), "data/other/x"),
            (None, "data/other/x"),
            (None, "data%2Fother%2Fx"),
        ] {
            let found = page("data/a b/", &answer(encoding, &[key]));
            let error = found.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("names"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_encoding_is_undone(key in "[ +%/a-zäü2F]{0,20}") {
            use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
            let all = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decoded(&all), key.clone());
            let like_s3 = all.replace("%2F", "/").replace("%20", "+");
            prop_assert_eq!(decoded(&like_s3), key);
        }
    }
}
