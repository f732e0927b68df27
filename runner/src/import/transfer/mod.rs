//! Downloads a file over HTTP: resumes broken connections, bounds length and tries, verifies the
//! digest, and creates the file atomically.

mod ask;
mod digest;
mod error;
mod http;
mod lock;
mod receive;
mod retry;

pub(super) use crate::s3_error::excerpt;
pub(super) use ask::{ask, ask_body, wait_after};
pub use digest::Digest;
pub(super) use digest::sha256_of_file;
pub use error::TransferError;
pub(super) use error::io_error;
pub(super) use http::{
    Answer, Request, Token, host, hub_client, sending_client, store_client, transport,
};
pub(super) use lock::Lock;
pub(super) use receive::{Wanted, digest_of, receive};
pub use retry::Retry;
pub(super) use retry::Tries;
