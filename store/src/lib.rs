//! The bucket: which object lies where, and bounded access to it over any S3-compatible endpoint.
//!
//! Keys are computed from uids and digests, never read out of a status; [`ObjectKey`] can only
//! be made by the constructors that know the layout, so what holds one may be put or presigned.

mod client;
mod config;
mod digest;
mod error;
mod key;
mod list;
mod observe;
mod post;
mod read;

pub use client::Store;
pub use config::StoreConfig;
pub use digest::{InvalidDigest, Sha256};
pub use error::StoreError;
pub use key::{InvalidKey, MAX_KEY_BYTES, ModelFolder, ModelPrefix, ObjectKey};
pub use list::{Deletion, Listed, MAX_PAGE, ObjectPage, Owned, Part};
pub use observe::{StoreObserver, StoreOutcome};
pub use post::{MAX_POST_BYTES, PostForm};
pub use read::{ObjectReader, Presentation};
