//! A TIFF's first directory: its tags by their numbers.

use super::super::bytes::{Endian, byte, slice};
use super::super::undecodable;
use crate::image::PictureError;
use std::collections::BTreeMap;

pub(super) const WIDTH: u16 = 256;
pub(super) const HEIGHT: u16 = 257;
pub(super) const BITS: u16 = 258;
pub(super) const COMPRESSION: u16 = 259;
pub(super) const PHOTOMETRIC: u16 = 262;
pub(super) const FILL_ORDER: u16 = 266;
pub(super) const STRIP_OFFSETS: u16 = 273;
pub(super) const ORIENTATION: u16 = 274;
pub(super) const SAMPLES: u16 = 277;
pub(super) const ROWS_PER_STRIP: u16 = 278;
pub(super) const STRIP_BYTES: u16 = 279;
pub(super) const PLANAR: u16 = 284;
pub(super) const T4_OPTIONS: u16 = 292;
pub(super) const PREDICTOR: u16 = 317;
pub(super) const COLOUR_MAP: u16 = 320;
pub(super) const TILE_WIDTH: u16 = 322;
pub(super) const TILE_HEIGHT: u16 = 323;
pub(super) const TILE_OFFSETS: u16 = 324;
pub(super) const TILE_BYTES: u16 = 325;
pub(super) const EXTRA_SAMPLES: u16 = 338;
pub(super) const SAMPLE_FORMAT: u16 = 339;
pub(super) const JPEG_TABLES: u16 = 347;
pub(super) const XMP: u16 = 700;

/// Upper bound on the numbers of a tag, such as offsets of one-row strips.
const MAX_VALUES: u64 = 1 << 20;

/// A tag's type, number of values, and their offset in the file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    count: u64,
    at: usize,
}

pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    pub(super) endian: Endian,
    entries: BTreeMap<u16, Entry>,
}

impl<'a> Directory<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, PictureError> {
        let endian = if byte(bytes, 0)? == b'I' {
            Endian::Little
        } else {
            Endian::Big
        };
        let big = endian.u16(bytes, 2)? == 43;
        // BigTIFF has offsets and counts of eight bytes.
        let word = if big { 8 } else { 4 };
        let number = |at: usize| -> Result<u64, PictureError> {
            if big {
                endian.u64(bytes, at)
            } else {
                endian.u32(bytes, at).map(u64::from)
            }
        };
        let place = |at: u64| usize::try_from(at).map_err(|_| PictureError::Truncated);
        let directory = place(number(word)?)?;
        let (count, first) = if big {
            (place(endian.u64(bytes, directory)?)?, 8)
        } else {
            (usize::from(endian.u16(bytes, directory)?), 2)
        };
        let mut entries = BTreeMap::new();
        let entry_bytes = 4 + 2 * word;
        for entry in 0..count {
            let at = entry
                .checked_mul(entry_bytes)
                .and_then(|offset| offset.checked_add(directory + first))
                .ok_or(PictureError::Truncated)?;
            let (tag, kind) = (endian.u16(bytes, at)?, endian.u16(bytes, at + 2)?);
            let count = number(at + 4)?;
            let inline = at + 4 + word;
            let length = size_of_kind(kind).saturating_mul(count);
            let at = if length <= word as u64 {
                inline
            } else {
                place(number(inline)?)?
            };
            entries.insert(tag, Entry { kind, count, at });
        }
        Ok(Self {
            bytes,
            endian,
            entries,
        })
    }

    /// The integers of a tag; empty if it is absent.
    pub(super) fn numbers(&self, tag: u16) -> Result<Vec<u64>, PictureError> {
        let Some(Entry { kind, count, at }) = self.entries.get(&tag).copied() else {
            return Ok(Vec::new());
        };
        if count > MAX_VALUES {
            return Err(undecodable(format!("tag {tag} has {count} values")));
        }
        let size = size_of_kind(kind);
        (0..count)
            .map(|index| {
                let offset = usize::try_from(index * size).map_err(undecodable)?;
                let at = at.checked_add(offset).ok_or(PictureError::Truncated)?;
                match kind {
                    1 | 7 => byte(self.bytes, at).map(u64::from),
                    3 => self.endian.u16(self.bytes, at).map(u64::from),
                    4 | 13 => self.endian.u32(self.bytes, at).map(u64::from),
                    16 | 18 => self.endian.u64(self.bytes, at),
                    _ => Err(undecodable(format!("tag {tag} is not of whole numbers"))),
                }
            })
            .collect()
    }

    /// Number of values of the longest tag, at most [`MAX_VALUES`].
    pub(super) fn largest(&self) -> u64 {
        let counts = self.entries.values().map(|entry| entry.count);
        counts.max().unwrap_or(0).min(MAX_VALUES)
    }

    pub(super) fn number(&self, tag: u16) -> Result<Option<u64>, PictureError> {
        Ok(self.numbers(tag)?.first().copied())
    }

    /// The first number of a tag; an error if it exceeds 32 bits.
    pub(super) fn side(&self, tag: u16) -> Result<Option<u32>, PictureError> {
        let side = self.number(tag)?.map(u32::try_from).transpose();
        side.map_err(undecodable)
    }

    pub(super) fn data(&self, tag: u16) -> Option<&'a [u8]> {
        let Entry { kind, count, at } = self.entries.get(&tag).copied()?;
        let length = usize::try_from(size_of_kind(kind).checked_mul(count)?).ok()?;
        slice(self.bytes, at, length).ok()
    }
}

/// Bytes per value of a type.
fn size_of_kind(kind: u16) -> u64 {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => 4,
    }
}
