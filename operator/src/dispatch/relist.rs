//! What a watch has listed so far, while it lists everything again.

use std::collections::HashSet;
use std::hash::Hash;

/// `None` while nothing is listed.
#[derive(Debug)]
pub(super) struct Relist<K>(Option<HashSet<K>>);

impl<K> Default for Relist<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Clone + Eq + Hash> Relist<K> {
    pub(super) fn begin(&mut self) {
        self.0 = Some(HashSet::new());
    }

    /// The watch has delivered `key`.
    pub(super) fn see<Q: ?Sized + ToOwned<Owned = K>>(&mut self, key: &Q) {
        if let Some(seen) = &mut self.0 {
            seen.insert(key.to_owned());
        }
    }

    /// Ends the list, and returns those of the `known` keys that it did not hold.
    pub(super) fn end<'a>(&mut self, known: impl Iterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        let Some(seen) = self.0.take() else {
            return Vec::new();
        };
        known.filter(|key| !seen.contains(*key)).cloned().collect()
    }
}
