//! Some pictures of an archive, with what belongs to them. Pure.

use super::names::{Role, role, stem};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// Cut to 16 bytes: an archive has at most a million members.
pub(super) type Digest = [u8; 16];

pub(super) fn digest(name: &str) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(name)[..16]);
    digest
}

/// Pictures by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    names: HashSet<Digest>,
    stems: HashSet<Digest>,
}

impl Selection {
    pub(crate) fn add(&mut self, name: &str) {
        self.names.insert(digest(name));
        self.stems.insert(digest(stem(name)));
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

    #[test]
    fn a_picture_is_taken_with_its_texts_and_not_with_its_siblings() {
        let mut selection = Selection::default();
        assert!(selection.is_empty());
        selection.add("cats/1.left.jpg");
        for name in ["cats/1.left.jpg", "cats/1.json", "cats/1.left.cls"] {
            assert!(selection.takes(name), "{name}");
        }
        for name in ["cats/1.right.jpg", "cats/1.npy", "cats/2.json", "1.json"] {
            assert!(!selection.takes(name), "{name}");
        }
    }
}
