//! The list of a namespace's answers, for jobs with `spec.reuse`.

use crate::batch::invalid;
use crate::{ObjectKey, Part, Store, StoreError};
use std::time::SystemTime;

/// One page of a list of answers.
#[derive(Debug)]
pub struct AnswersPage {
    /// Name of each object, as [`ObjectKey::answers`] takes it, and the time of its last write.
    pub objects: Vec<(String, SystemTime)>,
    /// Continuation token of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Store {
    /// One page of a namespace's answers: the page with the token `next`, or the first.
    pub async fn list_answers(
        &self,
        namespace: &str,
        namespace_uid: &str,
        next: Option<String>,
    ) -> Result<AnswersPage, StoreError> {
        let prefix = ObjectKey::all_answers(namespace, namespace_uid).map_err(invalid)?;
        let page = self.list_below(Part::Reuse, prefix.clone(), next).await?;
        let named = page.objects.into_iter().filter_map(|listed| {
            let (key, _) = listed.object?;
            let name = key.as_str().strip_prefix(&prefix)?;
            Some((name.to_owned(), listed.modified))
        });
        Ok(AnswersPage {
            objects: named.collect(),
            next: page.next,
        })
    }
}
