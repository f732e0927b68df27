//! Markers in the bucket: the installation that the bucket belongs to, and the namespace whose jobs may
//! read a folder below `data/`.
//!
//! A marker is created on condition that there is none, and read again afterwards: of several that
//! create it at once, all find the same owner.

use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Maximum size of a marker, in bytes.
const MAX_MARKER_BYTES: u64 = 4096;

/// An installation of Fovea, by objects of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Uids of objects that belong to the installation or its cluster. Two installations with a common
    /// uid are the same: each of the objects may be deleted and created again, such as the Lease.
    pub uids: BTreeSet<String>,
    /// Namespace and name of its Lease, for people.
    pub name: String,
}

impl Installation {
    /// Whether both are the same installation.
    fn is(&self, other: &Self) -> bool {
        !self.uids.is_disjoint(&other.uids)
    }
}

/// The bucket belongs to another installation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bucket {bucket:?} belongs to another installation of Fovea, {:?} (uids {}), by its object {}. Two installations delete each other's pictures: give this one a bucket of its own. If the other one is gone for good, delete that object, and this installation takes the bucket over",
    owner.name,
    owner.uids.iter().cloned().collect::<Vec<_>>().join(", "),
    ObjectKey::installation()
)]
pub struct ForeignBucket {
    bucket: String,
    owner: Installation,
}

/// Who owns the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketOwner {
    /// The asking installation.
    Us,
    /// The asking installation, from now on: the bucket had no owner.
    UsFromNow,
    /// Another installation.
    Other(ForeignBucket),
}

/// Who owns a namespace's folder below `data/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderOwner {
    /// The namespace with the asked uid.
    Us,
    /// The namespace with the asked uid, from now on: the folder had no owner.
    UsFromNow,
    /// Another namespace, by its uid as the marker has it: any text.
    Other(String),
}

impl Store {
    /// Takes the bucket for `us` if it has no owner; returns the owner. If that is `us`, the marker is brought up to date.
    pub async fn claim_bucket(&self, us: &Installation) -> Result<BucketOwner, StoreError> {
        let key = ObjectKey::installation();
        let json = serde_json::to_vec(us).map_err(|error| StoreError::Config(error.to_string()))?;
        let json = Bytes::from(json);
        let (found, is_new) = self.read_or_create(&key, json.clone()).await?;
        let owner = installation(&found)?;
        if !owner.is(us) {
            return Ok(BucketOwner::Other(self.foreign(owner)));
        }
        if owner != *us {
            self.put(&key, json, "application/json").await?;
        }
        Ok(if is_new {
            BucketOwner::UsFromNow
        } else {
            BucketOwner::Us
        })
    }

    /// Whether the bucket belongs to an installation without this uid; `None` if it has no owner yet, or one with it.
    pub async fn foreign_owner(&self, uid: &str) -> Result<Option<ForeignBucket>, StoreError> {
        let found = self.marker(&ObjectKey::installation()).await?;
        let owner = found.map(|found| installation(&found)).transpose()?;
        let other = owner.filter(|owner| !owner.uids.contains(uid));
        Ok(other.map(|owner| self.foreign(owner)))
    }

    fn foreign(&self, owner: Installation) -> ForeignBucket {
        ForeignBucket {
            bucket: self.bucket.clone(),
            owner,
        }
    }

    /// Takes the folder of the namespace `name` for the namespace with this uid if it has no owner; returns the
    /// owner.
    pub async fn claim_folder(&self, name: &str, uid: &str) -> Result<FolderOwner, StoreError> {
        let key = folder_owner(name)?;
        let (found, is_new) = self
            .read_or_create(&key, Bytes::from(format!("{uid}\n")))
            .await?;
        Ok(match (owner_of_folder(&found, uid), is_new) {
            (FolderOwner::Us, true) => FolderOwner::UsFromNow,
            (owner, _) => owner,
        })
    }

    /// The owner of the folder of the namespace `name`, asked for the namespace with this uid; `None` if it has
    /// no owner yet.
    pub async fn folder_owner(
        &self,
        name: &str,
        uid: &str,
    ) -> Result<Option<FolderOwner>, StoreError> {
        let found = self.marker(&folder_owner(name)?).await?;
        Ok(found.map(|found| owner_of_folder(&found, uid)))
    }

    /// The marker's content, and whether this call created it.
    async fn read_or_create(
        &self,
        key: &ObjectKey,
        content: Bytes,
    ) -> Result<(Bytes, bool), StoreError> {
        if let Some(found) = self.marker(key).await? {
            return Ok((found, false));
        }
        let is_new = self.put_if_absent(key, content).await?;
        match self.marker(key).await? {
            Some(found) => Ok((found, is_new)),
            None => Err(StoreError::Unavailable(format!(
                "{key} was deleted while it was being created"
            ))),
        }
    }

    async fn marker(&self, key: &ObjectKey) -> Result<Option<Bytes>, StoreError> {
        self.get_opt(key, MAX_MARKER_BYTES).await
    }

    /// Writes an object if there is none with this key; returns whether it did. `false` also if the answer to
    /// a try that wrote it was lost: the object says whose it is.
    pub async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<bool, StoreError> {
        let put = self.client.put_object().bucket(&self.bucket);
        let put = put.key(key.as_str()).if_none_match("*");
        match put.body(ByteStream::from(body)).send().await {
            Ok(_) => Ok(true),
            // 412: there is one; 409: another request is creating it.
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|answer| matches!(answer.status().as_u16(), 409 | 412)) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError::from_sdk(&error, &self.bucket, key.as_str())),
        }
    }
}

fn folder_owner(name: &str) -> Result<ObjectKey, StoreError> {
    ObjectKey::folder_owner(name).map_err(|error| StoreError::Config(error.to_string()))
}

fn owner_of_folder(marker: &[u8], uid: &str) -> FolderOwner {
    let owner = String::from_utf8_lossy(marker);
    if owner.trim() == uid {
        FolderOwner::Us
    } else {
        FolderOwner::Other(owner.trim().chars().take(80).collect())
    }
}

fn installation(marker: &[u8]) -> Result<Installation, StoreError> {
    serde_json::from_slice(marker).map_err(|error| {
        StoreError::Config(format!(
            "the object {} does not name an installation: delete it if the bucket is this installation's: {error}",
            ObjectKey::installation()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uids: &[&str]) -> Installation {
        Installation {
            uids: uids.iter().map(|uid| (*uid).to_owned()).collect(),
            name: "x".to_owned(),
        }
    }

    #[test]
    fn an_installation_is_known_by_any_of_its_uids() {
        assert!(of(&["cluster", "lease"]).is(&of(&["cluster", "new lease"])));
        assert!(of(&["namespace", "lease"]).is(&of(&["cluster", "lease"])));
        assert!(!of(&["cluster", "lease"]).is(&of(&["other", "other lease"])));
        assert!(!of(&[]).is(&of(&[])));
    }

    #[test]
    fn a_folder_s_marker_may_be_written_by_hand_and_its_text_is_bounded() {
        assert_eq!(owner_of_folder(b" 4c1d\r\n", "4c1d"), FolderOwner::Us);
        assert_eq!(
            owner_of_folder(b"4c1d2", "4c1d"),
            FolderOwner::Other("4c1d2".to_owned())
        );
        let FolderOwner::Other(text) = owner_of_folder(&[0xff; 4096], "4c1d") else {
            panic!("it is nobody's");
        };
        assert!(text.len() <= 240);
    }

    #[test]
    fn a_marker_that_names_no_installation_says_what_to_do() {
        let error = installation(b"<html>").unwrap_err().to_string();
        assert!(error.contains("system/installation") && error.contains("delete it"));
    }
}
