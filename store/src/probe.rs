//! Whether the store keeps what is written to it, and lists what it keeps: a few small objects are written below
//! `system/probes/<id>/`, read, listed page by page, and deleted.
//!
//! About twenty small requests. Two probes at once do not meet, since each has an id of its own. What a probe
//! that was killed has left is swept.

use crate::key::{PROBE_NAMES, PROBES};
use crate::listing::Listing;
use crate::{ObjectKey, PageTokens, Store, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use std::collections::BTreeMap;

/// Keys on a page: few, so that the list has several pages.
const PAGE: usize = 2;

/// Maximum number of pages of the list: stores may end one with an empty page, or fill pages badly.
const MAX_PAGES: usize = 4 * PROBE_NAMES.len();

/// Maximum number of keys in a message.
const MAX_NAMED: usize = 3;

/// What is wrong with a store that answers every request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// It serves objects, but a list does not name what is there.
    #[error(
        "the object store's lists cannot be relied on: {0}. Nothing is swept, and batches wait. Use a store that is known to work, or another version of it"
    )]
    Lists(String),
    /// An object that was written is not there, or not as it was written.
    #[error(
        "the object store does not keep what is written to it: {0}. Check --s3-endpoint, and what stands between it and us; else use another store"
    )]
    Writes(String),
}

/// Why a store has not passed its probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The store is not what Fovea relies on.
    #[error(transparent)]
    Fault(#[from] StoreFault),
    /// A request failed, so that nothing is known.
    #[error("the object store could not be probed: {0}")]
    Store(#[from] StoreError),
}

/// An object of a probe that was written.
struct Written {
    key: ObjectKey,
    content: Bytes,
    /// Its version, in a versioned bucket: a deletion of it leaves nothing behind.
    version: Option<String>,
}

impl Store {
    /// Probes the store. `id`: a UUID that no other probe has.
    pub async fn probe(&self, id: &str) -> Result<(), ProbeError> {
        let keys = ObjectKey::probe(id).map_err(|error| StoreError::Config(error.to_string()))?;
        let puts = keys.map(|key| self.put_for_probe(id, key));
        let mut written = Vec::new();
        let mut failed = None;
        for put in join_all(puts).await {
            match put {
                Ok(object) => written.push(object),
                Err(error) => failed = Some(error),
            }
        }
        let found = match failed {
            None => self.read_and_list(id, &written).await,
            Some(error) => Err(error.into()),
        };
        // Whatever was found: nothing stays.
        let deletions = written.iter().map(|object| self.delete_version(object));
        let deleted: Result<Vec<_>, _> = join_all(deletions).await.into_iter().collect();
        found?;
        deleted?;
        self.nothing_stays(id).await
    }

    async fn read_and_list(&self, id: &str, written: &[Written]) -> Result<(), ProbeError> {
        // One that is encoded and one that is not.
        let read = written.iter().step_by(PROBE_NAMES.len() / 2);
        try_join_all(read.map(|object| self.read_back(object))).await?;
        let listed = self.listed(id).await?;
        let names = written.iter().map(|object| object.key.as_str());
        match difference(names, &listed) {
            None => Ok(()),
            Some(difference) => Err(StoreFault::Lists(difference).into()),
        }
    }

    async fn put_for_probe(&self, id: &str, key: ObjectKey) -> Result<Written, StoreError> {
        let content = Bytes::from(format!("{id} {key}"));
        let put = self.client.put_object().bucket(&self.bucket);
        let put = put.key(key.as_str()).content_type("text/plain");
        let answer = put.body(ByteStream::from(content.clone())).send().await;
        let answer =
            answer.map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let version = answer.version_id().filter(|version| *version != "null");
        let version = version.map(str::to_owned);
        Ok(Written {
            key,
            content,
            version,
        })
    }

    async fn read_back(&self, object: &Written) -> Result<(), ProbeError> {
        let Written { key, content, .. } = object;
        let lost =
            |what: String| -> Result<(), ProbeError> { Err(StoreFault::Writes(what).into()) };
        match self.get(key, content.len() as u64).await {
            Ok(found) if found == *content => Ok(()),
            Ok(_) | Err(StoreError::TooLarge { .. }) => {
                lost(format!("{key} was written, and reads as something else"))
            }
            Err(StoreError::NotFound { .. }) => {
                lost(format!("it took {key}, and then there is no such object"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Every key that lists of the probe's folder name, page by page, repeated ones too.
    async fn listed(&self, id: &str) -> Result<Vec<String>, ProbeError> {
        let prefix = format!("{PROBES}{id}/");
        let listing = Listing {
            max_keys: PAGE,
            ..Listing::below(&prefix)
        };
        let (mut tokens, mut keys) = (PageTokens::default(), Vec::new());
        for _ in 0..MAX_PAGES {
            let page = match self.list_page(listing, tokens.token()).await {
                Err(StoreError::List(what)) => return Err(StoreFault::Lists(what).into()),
                page => page?,
            };
            let is_empty = page.objects.is_empty();
            keys.extend(page.objects.into_iter().map(|object| object.key));
            if page.next.is_none() {
                return Ok(keys);
            }
            if tokens.follow(page.next, is_empty).is_err() {
                break;
            }
        }
        let endless = format!("one of {} objects does not end", PROBE_NAMES.len());
        Err(StoreFault::Lists(endless).into())
    }

    async fn delete_version(&self, object: &Written) -> Result<(), StoreError> {
        let key = object.key.as_str();
        let deletion = self.client.delete_object().bucket(&self.bucket).key(key);
        let deleted = deletion.set_version_id(object.version.clone()).send().await;
        match deleted.map_err(|error| StoreError::from_sdk(&error, &self.bucket, key)) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn nothing_stays(&self, id: &str) -> Result<(), ProbeError> {
        let left = self.listed(id).await?;
        if left.is_empty() {
            return Ok(());
        }
        let found = format!("after their deletion they name {}", some(left.iter()));
        Err(StoreFault::Lists(found).into())
    }
}

/// How a list differs from what was written, in any order; `None` if it does not.
fn difference<'a>(written: impl Iterator<Item = &'a str>, listed: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = written.map(|key| (key, 0)).collect();
    let mut others = Vec::new();
    for key in listed {
        match counts.get_mut(key.as_str()) {
            Some(count) => *count += 1,
            None => others.push(key),
        }
    }
    let having = |wanted: fn(usize) -> bool| {
        let keys = counts.iter().filter(move |(_, count)| wanted(**count));
        keys.map(|(key, _)| *key)
    };
    let mut found = Vec::new();
    for (what, keys) in [
        ("they leave out", some(having(|count| count == 0))),
        ("they repeat", some(having(|count| count > 1))),
        ("they name what was not written", some(others.iter())),
    ] {
        if !keys.is_empty() {
            found.push(format!("{what} {keys}"));
        }
    }
    (!found.is_empty()).then(|| found.join(", "))
}

/// A few of the keys, quoted; empty if there is none.
fn some<T: std::fmt::Debug>(keys: impl Iterator<Item = T>) -> String {
    let mut keys: Vec<String> = keys
        .take(MAX_NAMED + 1)
        .map(|key| format!("{key:?}"))
        .collect();
    if keys.len() > MAX_NAMED {
        keys.truncate(MAX_NAMED);
        keys.push("more".to_owned());
    }
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(listed: &[&str]) -> Option<String> {
        let listed: Vec<String> = listed.iter().map(|key| (*key).to_owned()).collect();
        difference(["a", "a b", "a%2Fb"].into_iter(), &listed)
    }

    #[test]
    fn a_list_in_any_order_is_what_was_written() {
        assert_eq!(compared(&["a", "a b", "a%2Fb"]), None);
        assert_eq!(compared(&["a%2Fb", "a", "a b"]), None);
    }

    #[test]
    fn what_a_list_loses_repeats_or_makes_up_is_named() {
        for (listed, found) in [
            (&["a", "a b"][..], r#"they leave out "a%2Fb""#),
            (&["a", "a b", "a", "a%2Fb"], r#"they repeat "a""#),
            (
                &["a", "a b", "a/b"],
                r#"they leave out "a%2Fb", they name what was not written "a/b""#,
            ),
            (&[], r#"they leave out "a", "a b", "a%2Fb""#),
        ] {
            assert_eq!(compared(listed).as_deref(), Some(found), "{listed:?}");
        }
        let five = (0..5).map(|number| number.to_string());
        assert_eq!(some(five), r#""0", "1", "2", more"#);
    }
}
