//! Some pictures of an archive, with what belongs to them.

use super::names::{Role, role, stem};
use crate::budget::{Budget, Reservation};
use crate::error::Problem;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// Pictures whose memory is reserved at a time.
const GROUP: usize = 16_384;
/// Memory of so many pictures, in bytes: two tables of digests, which are copied when they grow.
const GROUP_BYTES: usize = 2 * 1024 * 1024;

/// Cut to 16 bytes: an archive has at most a million members.
pub(super) type Digest = [u8; 16];

pub(super) fn digest(name: &str) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(name)[..16]);
    digest
}

/// Pictures by their names.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    names: HashSet<Digest>,
    stems: HashSet<Digest>,
    held: Vec<Reservation>,
}

impl Selection {
    /// Adds a picture, for which it reserves memory.
    pub(crate) async fn add(&mut self, name: &str, budget: &Budget) -> Result<(), Problem> {
        if self.names.len() == self.held.len() * GROUP {
            self.held.push(budget.reserve(GROUP_BYTES).await?);
        }
        self.names.insert(digest(name));
        self.stems.insert(digest(stem(name)));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the member is one of the pictures, or belongs to one.
    pub(super) fn takes(&self, name: &str) -> bool {
        match role(name) {
            Role::Picture => self.names.contains(&digest(name)),
            Role::Text => self.stems.contains(&digest(stem(name))),
            Role::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProblemType;

    #[tokio::test]
    async fn the_memory_of_many_pictures_is_reserved_and_free_again_afterwards() {
        let budget = Budget::new(2 * GROUP_BYTES);
        let mut selection = Selection::default();
        for number in 0..2 * GROUP {
            let added = selection.add(&format!("{number}.jpg"), &budget).await;
            assert!(added.is_ok(), "{number}");
        }
        assert!(budget.try_reserve(1).is_err());
        let refused = selection.add("one-more.jpg", &budget).await.unwrap_err();
        assert_eq!(refused.kind, ProblemType::Overloaded);
        drop(selection);
        assert!(budget.try_reserve(2 * GROUP_BYTES).is_ok());
    }

    #[tokio::test]
    async fn a_picture_is_taken_with_its_texts_and_not_with_its_siblings() {
        let mut selection = Selection::default();
        assert!(selection.is_empty());
        let budget = Budget::new(GROUP_BYTES);
        selection.add("cats/1.left.jpg", &budget).await.unwrap();
        for name in ["cats/1.left.jpg", "cats/1.json", "cats/1.left.cls"] {
            assert!(selection.takes(name), "{name}");
        }
        for name in ["cats/1.right.jpg", "cats/1.npy", "cats/2.json", "1.json"] {
            assert!(!selection.takes(name), "{name}");
        }
    }
}
