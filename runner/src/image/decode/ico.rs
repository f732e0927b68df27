//! Icons: the picture that Pillow chooses, without its mask.

use super::bmp::Bitmap;
use super::bytes::{byte, u16_le, u32_le};
use super::{Format, Header, png};
use crate::image::{Picture, PictureError};

/// Bytes before the directory's entries, and of each entry.
const HEADER: usize = 6;
const ENTRY: usize = 16;

/// The picture that was chosen from the file's directory.
enum Icon<'a> {
    Png(&'a [u8]),
    Bitmap(Box<Bitmap<'a>>),
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    match chosen(bytes)? {
        Icon::Png(png) => png::inspect(png),
        Icon::Bitmap(bitmap) => Ok(bitmap.header()),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    match chosen(bytes)? {
        // An icon's EXIF is ignored.
        Icon::Png(png) => Ok(png::decode(png)?.picture),
        Icon::Bitmap(bitmap) => bitmap.decode(),
    }
}

/// Chooses the largest picture; among equals, the first with the least depth.
fn chosen(bytes: &[u8]) -> Result<Icon<'_>, PictureError> {
    let mut best = None;
    for entry in 0..usize::from(u16_le(bytes, 4)?) {
        let at = HEADER + ENTRY * entry;
        let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
        let area = side(byte(bytes, at)?) * side(byte(bytes, at + 1)?);
        let (colours, bits) = (byte(bytes, at + 2)?, u16_le(bytes, at + 6)?);
        let depth = match (bits, colours) {
            (0, 0 | 1) => 256,
            (0, colours) => u32::from(colours - 1).ilog2() + 1,
            (bits, _) => bits.into(),
        };
        let offset = u32_le(bytes, at + 12)? as usize;
        let rank = (area, std::cmp::Reverse(depth));
        if best.is_none_or(|(best, _)| rank > best) {
            best = Some((rank, offset));
        }
    }
    let (_, offset) = best.ok_or(PictureError::Empty)?;
    let data = bytes.get(offset..).ok_or(PictureError::Truncated)?;
    if matches!(Format::of(data), Ok(Format::Png)) {
        return Ok(Icon::Png(data));
    }
    let mut bitmap = Bitmap::read(data, 0, None)?;
    // The mask below it counts.
    bitmap.height /= 2;
    Ok(Icon::Bitmap(Box::new(bitmap)))
}
