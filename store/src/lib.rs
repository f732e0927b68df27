//! The bucket: its layout, and bounded access to it over any S3-compatible endpoint.
//!
//! Keys are computed from uids and digests, never read from a status. Only the constructors of
//! [`ObjectKey`], which know the layout, build one: every key that exists is safe to put or presign.

mod answers;
mod batch;
mod client;
mod clock;
mod config;
mod credentials;
mod digest;
mod endpoint;
mod error;
mod key;
mod list;
mod listing;
mod multipart;
mod not_s3;
mod observe;
mod owner;
mod pages;
mod pieces;
mod post;
mod probe;
mod proxied;
mod read;
mod record;
mod refusal;
mod repeats;
mod sign;
mod tokens;
mod trusting;

pub use answers::AnswersPage;
pub use batch::{Formatted, PartMetadata, PartName, SignedPut, choose as choose_parts};
pub use client::Store;
pub use clock::ClockSkew;
pub use config::StoreConfig;
pub use digest::{InvalidDigest, Sha256};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::StoreError;
pub use key::{BATCH_UPLOADS, InvalidKey, MAX_KEY_BYTES, ModelFolder, ModelPrefix, ObjectKey};
pub use list::{Deletion, Listed, MAX_PAGE, ObjectPage, Owned, Part};
pub use multipart::{MAX_MULTIPART_BYTES, ObjectWriter};
pub use observe::{StoreObserver, StoreOutcome};
pub use owner::{BucketOwner, FolderOwner, ForeignBucket, Installation};
pub use pages::{DataObject, DataPages};
pub use pieces::{ObjectPieces, PIECE_BYTES};
pub use post::{MAX_POST_BYTES, PostForm};
pub use probe::{ProbeError, StoreFault};
pub use read::{ObjectReader, Presentation};
pub use record::{MAX_RECORD_BYTES, can_have_record};
pub use sign::Signer;
pub use tokens::PageTokens;
