//! From a file's bytes to pixel values, against transformers' PIL processors, by the odd pictures
//! in `tests/golden/pictures`; and against hostile files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share"
)]

mod damaged;
mod goldens;
mod parity;
