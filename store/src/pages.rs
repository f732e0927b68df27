//! Lists of the users' objects, and of a batch's own, page by page.

use crate::listing::Listing;
use crate::repeats::Repeats;
use crate::{MAX_PAGE, ObjectKey, PageTokens, Store, StoreError};
use std::collections::BTreeSet;

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
    tokens: PageTokens,
    repeats: Repeats,
    ended: bool,
}

impl DataPages<'_> {
    /// The next page, of at most [`crate::MAX_PAGE`] objects; `None` after the last one. An error, such as
    /// a key that comes twice, is final.
    pub async fn next(&mut self) -> Result<Option<Vec<DataObject>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let listing = Listing::below(&self.prefix);
        let page = self.store.list_page(listing, self.tokens.token()).await?;
        let mut objects = Vec::with_capacity(page.objects.len());
        for mut object in page.objects {
            self.repeats.take(&object.key)?;
            object.key.drain(..self.root);
            objects.push(DataObject {
                key: object.key,
                bytes: object.bytes,
            });
        }
        self.ended = page.next.is_none();
        self.tokens.follow(page.next, objects.is_empty())?;
        Ok(Some(objects))
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
        let listing = Listing {
            prefix: "data/",
            delimiter: Some("/"),
            max_keys: MAX_PAGE,
        };
        let (mut tokens, mut namespaces) = (PageTokens::default(), BTreeSet::new());
        loop {
            let page = self.list_page(listing, tokens.token()).await?;
            let before = namespaces.len();
            let folders = page.folders.iter();
            let folders = folders.filter_map(|folder| folder.strip_prefix("data/"));
            namespaces.extend(folders.map(|name| name.trim_end_matches('/').to_owned()));
            if page.next.is_none() {
                return Ok(namespaces.into_iter().collect());
            }
            tokens.follow(page.next, namespaces.len() == before)?;
        }
    }

    /// The objects below `prefix`, whose keys are told without their first `root` bytes.
    pub(crate) fn pages(&self, prefix: String, root: usize) -> DataPages<'_> {
        DataPages {
            store: self,
            prefix,
            root,
            tokens: PageTokens::default(),
            repeats: Repeats::default(),
            ended: false,
        }
    }
}
