//! Bounds-checked numbers and slices of a file's bytes.

use crate::image::PictureError;

/// `length` bytes from `at` on.
pub(super) fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], PictureError> {
    at.checked_add(length)
        .and_then(|end| bytes.get(at..end))
        .ok_or(PictureError::Truncated)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], PictureError> {
    slice(bytes, at, N)?
        .try_into()
        .map_err(|_| PictureError::Truncated)
}

pub(super) fn byte(bytes: &[u8], at: usize) -> Result<u8, PictureError> {
    bytes.get(at).copied().ok_or(PictureError::Truncated)
}

pub(super) fn u16_le(bytes: &[u8], at: usize) -> Result<u16, PictureError> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_le(bytes: &[u8], at: usize) -> Result<u32, PictureError> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The byte order that a TIFF structure states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    pub(super) fn sample(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u16(self, bytes: &[u8], at: usize) -> Result<u16, PictureError> {
        array(bytes, at).map(|bytes| self.sample(bytes))
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Result<u32, PictureError> {
        let bytes = array(bytes, at)?;
        Ok(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    pub(super) fn u64(self, bytes: &[u8], at: usize) -> Result<u64, PictureError> {
        let bytes = array(bytes, at)?;
        Ok(match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        })
    }
}
