//! Notices that a list names a key twice, in whatever order it names keys.

use crate::StoreError;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// The latest keys that are remembered, at least: stores that repeat keys do so from one page to the next.
const REMEMBERED: usize = 20_000;

/// The latest keys of a list, by their hashes: less than a megabyte.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    hasher: RandomState,
    before: HashSet<u64>,
    latest: HashSet<u64>,
}

impl Repeats {
    /// Fails if the list has named this key lately.
    pub(crate) fn take(&mut self, key: &str) -> Result<(), StoreError> {
        let hash = self.hasher.hash_one(key);
        if self.before.contains(&hash) || !self.latest.insert(hash) {
            return Err(StoreError::List(format!("one names {key:?} twice")));
        }
        if self.latest.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.latest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_again_is_an_error_in_any_order_and_of_any_number_of_keys() {
        let mut repeats = Repeats::default();
        for key in ["b", "a", "c/x", "c", "ü"] {
            repeats.take(key).unwrap();
        }
        let error = repeats.take("c").unwrap_err().to_string();
        assert!(error.contains("\"c\" twice"), "{error}");
        let mut repeats = Repeats::default();
        for number in 0..3 * REMEMBERED {
            repeats.take(&number.to_string()).unwrap();
        }
        let latest = 2 * REMEMBERED + REMEMBERED / 2;
        repeats.take(&latest.to_string()).unwrap_err();
        assert!(repeats.before.len() + repeats.latest.len() <= 2 * REMEMBERED);
    }
}
