//! GIF: the first frame on its screen, as Pillow draws it.

use super::bytes::{byte, slice, u16_le};
use super::colour::Palette;
use super::{Header, undecodable};
use crate::image::{Picture, PictureError};
use weezl::decode::Decoder;
use weezl::{BitOrder, LzwStatus};

/// Memory of the LZW decoder, in bytes.
const LZW_BYTES: u64 = 1 << 16;

const EXTENSION: u8 = b'!';
const GRAPHIC_CONTROL: u8 = 0xf9;
const FRAME: u8 = b',';

/// First row and row step of each pass of an interlaced frame.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

/// The first frame, before it is decoded.
struct First<'a> {
    /// The screen's width, or more if the frame exceeds it; `height` likewise.
    width: usize,
    height: usize,
    left: usize,
    top: usize,
    frame_width: usize,
    frame_height: usize,
    interlaced: bool,
    transparent: Option<u8>,
    /// `None` if the indices are grey levels.
    palette: Option<&'a [u8]>,
    code_size: u8,
    /// Offset of its first data block.
    data_at: usize,
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let first = first(bytes)?;
    let frame = first.frame_width as u64 * first.frame_height as u64;
    let screen = first.width as u64 * first.height as u64;
    Ok(Header {
        width: u32::try_from(first.width).map_err(undecodable)?,
        height: u32::try_from(first.height).map_err(undecodable)?,
        decode_bytes: frame + screen + LZW_BYTES,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let first = first(bytes)?;
    let indices = first.indices(bytes)?;
    let mut screen = vec![first.transparent.unwrap_or(0); first.width * first.height];
    if first.frame_width > 0 {
        for (index, row) in indices.chunks_exact(first.frame_width).enumerate() {
            let at = (first.top + first.row(index)) * first.width + first.left;
            screen[at..at + first.frame_width].copy_from_slice(row);
        }
    }
    drop(indices);
    let palette = first.palette.map_or_else(Palette::gray, Palette::rgb);
    let rgb = (screen.iter().flat_map(|&index| palette.colour(index))).collect();
    let (width, height) = (first.width, first.height);
    let side = |side: usize| u32::try_from(side).map_err(undecodable);
    Picture::new(side(width)?, side(height)?, rgb)
}

fn first(bytes: &[u8]) -> Result<First<'_>, PictureError> {
    let (width, height) = (u16_le(bytes, 6)?, u16_le(bytes, 8)?);
    let mut at = 13;
    let mut palette = palette(bytes, byte(bytes, 10)?, &mut at)?;
    let mut transparent = None;
    loop {
        let kind = byte(bytes, at)?;
        at += 1;
        match kind {
            EXTENSION => {
                let label = byte(bytes, at)?;
                at += 1;
                if label == GRAPHIC_CONTROL && byte(bytes, at)? >= 4 {
                    let flags = byte(bytes, at + 1)?;
                    transparent = (flags & 1 == 1).then_some(byte(bytes, at + 4)?);
                }
                while block(bytes, &mut at)?.is_some() {}
            }
            FRAME => break,
            b';' => return Err(undecodable("there is no frame in the GIF")),
            // Padding, which Pillow skips too.
            _ => {}
        }
    }
    let [left, top, frame_width, frame_height] = [
        u16_le(bytes, at)?,
        u16_le(bytes, at + 2)?,
        u16_le(bytes, at + 4)?,
        u16_le(bytes, at + 6)?,
    ]
    .map(usize::from);
    let flags = byte(bytes, at + 8)?;
    at += 9;
    if let Some(own) = self::palette(bytes, flags, &mut at)? {
        palette = Some(own);
    }
    Ok(First {
        width: usize::from(width).max(left + frame_width),
        height: usize::from(height).max(top + frame_height),
        left,
        top,
        frame_width,
        frame_height,
        interlaced: flags & 0x40 != 0,
        transparent,
        palette,
        code_size: byte(bytes, at)?,
        data_at: at + 1,
    })
}

impl First<'_> {
    /// The frame's palette indices, in file order.
    fn indices(&self, bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
        if !(1..=8).contains(&self.code_size) {
            return Err(undecodable("the GIF's code size is not 1 to 8"));
        }
        let mut indices = vec![0; self.frame_width * self.frame_height];
        let mut lzw = Decoder::new(BitOrder::Lsb, self.code_size);
        let (mut at, mut filled) = (self.data_at, 0);
        let (mut data, mut ended) = (&[][..], false);
        while filled < indices.len() {
            if data.is_empty() && !ended {
                match block(bytes, &mut at)? {
                    Some(next) => data = next,
                    None => ended = true,
                }
            }
            let step = lzw.decode_bytes(data, &mut indices[filled..]);
            data = &data[step.consumed_in..];
            filled += step.consumed_out;
            let status = step.status.map_err(undecodable)?;
            // The decoder may still output buffered indices.
            if matches!(status, LzwStatus::Done) || (ended && step.consumed_out == 0) {
                break;
            }
        }
        if filled < indices.len() {
            return Err(PictureError::Truncated);
        }
        Ok(indices)
    }

    /// Position in the frame of the row stored as number `index`.
    fn row(&self, mut index: usize) -> usize {
        if !self.interlaced {
            return index;
        }
        for (start, step) in PASSES {
            let rows = self.frame_height.saturating_sub(start).div_ceil(step);
            if index < rows {
                return start + index * step;
            }
            index -= rows;
        }
        0
    }
}

/// The colour table, if `flags` announce one; moves `at` past it.
fn palette<'a>(
    bytes: &'a [u8],
    flags: u8,
    at: &mut usize,
) -> Result<Option<&'a [u8]>, PictureError> {
    if flags & 0x80 == 0 {
        return Ok(None);
    }
    let table = slice(bytes, *at, 3 << ((flags & 7) + 1))?;
    *at += table.len();
    Ok(Some(table))
}

/// The next block's data, or `None` for the terminator.
fn block<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, PictureError> {
    let length = usize::from(byte(bytes, *at)?);
    let data = slice(bytes, *at + 1, length)?;
    *at += 1 + length;
    Ok((length > 0).then_some(data))
}
