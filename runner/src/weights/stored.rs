//! A tensor's location, shape and type in a file, for all formats.

use std::path::Path;
use tch::Kind;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Index in the checkpoint's files.
    pub(super) file: usize,
    /// Offset of its first element in the file, in bytes.
    pub(super) offset: u64,
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next in each dimension, where they do not simply follow
    /// one another with the last dimension fastest.
    pub(super) strides: Option<Vec<usize>>,
}

/// The type of a tensor's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Floating-point numbers that this build reads.
    Float(Kind),
    /// Any other type, by the file's name for it; it cannot be loaded.
    Other(String),
}

/// Number of elements of a tensor of this shape; `None` on overflow.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// A file's own name, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
