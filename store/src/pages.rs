//! Lists of the users' objects, and of a batch's own, page by page.

use crate::list::{incomplete, next_token};
use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

/// Maximum number of pages of a list without an object, one after the other.
const MAX_EMPTY_PAGES: u32 = 1000;

/// One object of a user's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataObject {
    /// Key relative to `data/<namespace>/`, as the store has it: [`ObjectKey::data`] may refuse it.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// The objects below a prefix, in the store's order, page by page.
#[derive(Debug)]
pub struct DataPages<'a> {
    store: &'a Store,
    /// Including the final `/`.
    prefix: String,
    /// How much of a full key is left out.
    root: usize,
    tokens: Tokens,
    ended: bool,
}

impl DataPages<'_> {
    /// The next page, of at most [`crate::MAX_PAGE`] objects; `None` after the last one. An error is final.
    pub async fn next(&mut self) -> Result<Option<Vec<DataObject>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.tokens.next.clone();
        let (mut objects, next) = self.store.list_keys(&self.prefix, next).await?;
        for object in &mut objects {
            if !object.key.starts_with(&self.prefix) {
                return Err(StoreError::Unavailable(format!(
                    "a list of {:?} names {:?}",
                    self.prefix, object.key
                )));
            }
            object.key.drain(..self.root);
        }
        self.ended = next.is_none();
        self.tokens.follow(next, objects.is_empty())?;
        Ok(Some(objects))
    }
}

/// Continuation tokens of one list, which must not go round in a circle.
#[derive(Debug, Default)]
struct Tokens {
    next: Option<String>,
    /// An earlier token: that of the latest page whose number is a power of two.
    mark: Option<String>,
    pages: u64,
    empty: u32,
}

impl Tokens {
    /// Finds a circle of any length, by Brent's algorithm.
    fn follow(&mut self, next: Option<String>, is_empty: bool) -> Result<(), StoreError> {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if next.is_some() && next == self.mark || self.empty > MAX_EMPTY_PAGES {
            return Err(StoreError::Unavailable("a list does not end".to_owned()));
        }
        self.pages += 1;
        if self.pages.is_power_of_two() {
            self.mark.clone_from(&next);
        }
        self.next = next;
        Ok(())
    }
}

impl Store {
    /// The objects below `data/<namespace>/<prefix>/`. No request is sent before the first page is asked for.
    pub fn list_data(&self, namespace: &str, prefix: &str) -> Result<DataPages<'_>, StoreError> {
        let folder = ObjectKey::data(namespace, prefix)
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let root = format!("data/{namespace}/");
        Ok(self.pages(format!("{folder}/"), root.len()))
    }

    /// The namespaces that have a folder below `data/`.
    pub async fn data_namespaces(&self) -> Result<Vec<String>, StoreError> {
        let (mut tokens, mut namespaces) = (Tokens::default(), Vec::new());
        loop {
            let answer = self.list_folders("data/", tokens.next.clone()).await?;
            let folders = answer.common_prefixes().iter();
            let folders = folders.filter_map(|folder| folder.prefix()?.strip_prefix("data/"));
            let before = namespaces.len();
            // Names of namespaces are unchanged by the encoding.
            namespaces.extend(folders.map(|name| name.trim_end_matches('/').to_owned()));
            let next = next_token(&answer)?;
            if next.is_none() {
                return Ok(namespaces);
            }
            tokens.follow(next, namespaces.len() == before)?;
        }
    }

    /// The objects below `prefix`, whose keys are told without their first `root` bytes.
    pub(crate) fn pages(&self, prefix: String, root: usize) -> DataPages<'_> {
        DataPages {
            store: self,
            prefix,
            root,
            tokens: Tokens::default(),
            ended: false,
        }
    }

    /// One page of objects with their full keys, and the token of the next one.
    async fn list_keys(
        &self,
        prefix: &str,
        next: Option<String>,
    ) -> Result<(Vec<DataObject>, Option<String>), StoreError> {
        let answer = self.list_request(prefix, next).await?;
        // A store that does not know the encoding does not name it either.
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let key = object.key().ok_or_else(|| incomplete("names no key"))?;
            let bytes = object.size().and_then(|size| u64::try_from(size).ok());
            objects.push(DataObject {
                key: if is_encoded {
                    decoded(key)
                } else {
                    key.to_owned()
                },
                bytes: bytes.unwrap_or(0),
            });
        }
        let next = next_token(&answer)?;
        Ok((objects, next))
    }
}

/// A key of a list with `encoding-type=url`, where a space may be a `+`.
fn decoded(key: &str) -> String {
    let spaces = key.replace('+', " ");
    percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_goes_round_in_a_circle_ends_with_an_error() {
        for (before, circle) in [(0, 1), (0, 2), (5, 1), (7, 3), (100, 17)] {
            let mut tokens = Tokens::default();
            let token = |page: u64| {
                let page = if page < before {
                    page
                } else {
                    before + (page - before) % circle
                };
                Some(page.to_string())
            };
            let end = (0..10 * (before + circle)).find(|page| {
                let followed = tokens.follow(token(*page), false);
                followed.is_err()
            });
            assert!(end.is_some(), "{before} {circle}");
        }
        let mut tokens = Tokens::default();
        let mut all = (0..10_000u32).map(|page| tokens.follow(Some(page.to_string()), false));
        assert!(all.all(|followed| followed.is_ok()));
        let mut empty = (0..10_000u32).map(|page| tokens.follow(Some(page.to_string()), true));
        assert!(empty.any(|followed| followed.is_err()));
    }

    #[test]
    fn a_listed_key_is_decoded() {
        assert_eq!(decoded("a+b/c%2Bd%C3%BC.jpg"), "a b/c+dü.jpg");
    }
}
