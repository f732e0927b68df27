//! From a file's bytes to pixel values, against transformers' PIL processors, by the odd pictures
//! in `tests/golden/pictures`; and against hostile files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod damaged;
mod goldens;
mod parity;
