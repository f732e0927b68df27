//! BMP, and the bitmaps in icons: the kinds that Pillow reads.

use super::bytes::{byte, slice, u16_le, u32_le};
use super::colour::{Palette, unpack};
use super::{Header, undecodable};
use crate::image::{Picture, PictureError};

/// Bytes of the file's header, which precedes the bitmap's.
const FILE_HEADER: usize = 14;
/// Bytes of OS/2's old bitmap header, and of the header that the newer ones extend.
const CORE_HEADER: u32 = 12;
const INFO_HEADER: u32 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Raw,
    Rle8,
    Rle4,
}

/// How the pixels are stored.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Palette indices of this many bits.
    Indexed(u8),
    /// 16 bits, of which 5 or 6 are green.
    Words { green_bits: u32 },
    /// `size` bytes per pixel; `rgb` are the positions of red, green and blue.
    Bytes { size: usize, rgb: [usize; 3] },
}

/// A bitmap before its pixels are read.
pub(super) struct Bitmap<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    top_down: bool,
    compression: Compression,
    layout: Layout,
    palette: Palette,
    pixels: &'a [u8],
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    Ok(in_file(bytes)?.header())
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    in_file(bytes)?.decode()
}

fn in_file(bytes: &[u8]) -> Result<Bitmap<'_>, PictureError> {
    let pixels_at = u32_le(bytes, 10)? as usize;
    Bitmap::read(bytes, FILE_HEADER, Some(pixels_at))
}

impl<'a> Bitmap<'a> {
    /// Reads the bitmap whose header is at `at`. Without `pixels_at` the pixels follow the palette.
    pub(super) fn read(
        bytes: &'a [u8],
        at: usize,
        pixels_at: Option<usize>,
    ) -> Result<Self, PictureError> {
        let size = u32_le(bytes, at)?;
        let header = slice(bytes, at, size as usize)?;
        let mut end = at + size as usize;
        let (width, height, top_down, bits, compression, colours, quad) = match size {
            CORE_HEADER => {
                let sides = (u16_le(header, 4)?.into(), u16_le(header, 6)?.into());
                (sides.0, sides.1, false, u16_le(header, 10)?, 0, 0, 3)
            }
            INFO_HEADER | 52 | 56 | 64 | 108 | 124 => {
                let (width, height) = (u32_le(header, 4)?, u32_le(header, 8)?);
                // Pillow tests this byte for the sign.
                let top_down = byte(header, 11)? == 0xff;
                let height = if top_down {
                    height.wrapping_neg()
                } else {
                    height
                };
                let (bits, colours) = (u16_le(header, 14)?, u32_le(header, 32)?);
                let compression = u32_le(header, 16)?;
                (width, height, top_down, bits, compression, colours, 4)
            }
            _ => return Err(undecodable(format!("a BMP header of {size} bytes"))),
        };
        let (compression, layout) = match (compression, bits) {
            (0, 1 | 4 | 8) => (Compression::Raw, Layout::Indexed(bits.to_le_bytes()[0])),
            (0, 16) => (Compression::Raw, Layout::Words { green_bits: 5 }),
            (0, 24) => (Compression::Raw, bytes_layout(3, [2, 1, 0])),
            (0, 32) => (Compression::Raw, bytes_layout(4, [2, 1, 0])),
            (1, 8) => (Compression::Rle8, Layout::Indexed(8)),
            (2, 4) => (Compression::Rle4, Layout::Indexed(4)),
            (3, 16 | 24 | 32) => {
                let mut mask = |number: usize| {
                    if size >= 52 {
                        return u32_le(header, 40 + 4 * number);
                    }
                    end += 4;
                    u32_le(bytes, end - 4)
                };
                let masks = [mask(0)?, mask(1)?, mask(2)?];
                (Compression::Raw, masked(bits, masks)?)
            }
            _ => {
                let why = format!("a BMP of {bits} bits with compression {compression}");
                return Err(undecodable(why));
            }
        };
        let mut palette = Palette::gray();
        let mut default_at = end;
        if let Layout::Indexed(bits) = layout {
            let colours = if colours == 0 { 1 << bits } else { colours };
            // A file may store more colours than there are indices; they are ignored.
            let length = (colours as usize).saturating_mul(quad);
            let table = slice(bytes, end, length.min(256 * quad))?;
            palette = Palette::of(table.chunks_exact(quad).map(|c| [c[2], c[1], c[0]]));
            default_at = end.saturating_add(length);
        }
        let pixels_at = match pixels_at {
            // Pillow corrects an offset that points into the palette.
            Some(stated) if stated == FILE_HEADER + size as usize => default_at.max(stated),
            Some(0) | None => default_at,
            Some(stated) => stated,
        };
        Ok(Self {
            width,
            height,
            top_down,
            compression,
            layout,
            palette,
            pixels: bytes.get(pixels_at..).ok_or(PictureError::Truncated)?,
        })
    }

    pub(super) fn header(&self) -> Header {
        // Compressed pixels are expanded to one index each.
        let indices = u64::from(self.width).saturating_mul(u64::from(self.height));
        Header {
            width: self.width,
            height: self.height,
            decode_bytes: if self.compression == Compression::Raw {
                u64::from(self.width) * 3
            } else {
                indices
            },
        }
    }

    pub(super) fn decode(&self) -> Result<Picture, PictureError> {
        let (width, height) = (self.width as usize, self.height as usize);
        let runs;
        let (pixels, stride, layout) = match self.compression {
            Compression::Raw => {
                let bits = match self.layout {
                    Layout::Indexed(bits) => usize::from(bits),
                    Layout::Words { .. } => 16,
                    Layout::Bytes { size, .. } => 8 * size,
                };
                let stride = (width * bits).div_ceil(32) * 4;
                // The last row may lack its padding.
                let needed = stride * (height - 1) + (width * bits).div_ceil(8);
                let pixels = slice(self.pixels, 0, needed)?;
                (pixels, stride, self.layout)
            }
            Compression::Rle8 | Compression::Rle4 => {
                runs = self.runs()?;
                (&runs[..], width, Layout::Indexed(8))
            }
        };
        let mut rgb = Vec::with_capacity(width * height * 3);
        for row in 0..height {
            let row = if self.top_down { row } else { height - 1 - row };
            let from = row * stride;
            let to = pixels.len().min(from + stride);
            self.row(&pixels[from..to], layout, &mut rgb);
        }
        Picture::new(self.width, self.height, rgb)
    }

    fn row(&self, row: &[u8], layout: Layout, rgb: &mut Vec<u8>) {
        let width = self.width as usize;
        match layout {
            Layout::Indexed(bits) => {
                let indices = unpack(row, bits).take(width);
                rgb.extend(indices.flat_map(|index| self.palette.colour(index)));
            }
            Layout::Words { green_bits } => {
                let words = row
                    .chunks_exact(2)
                    .map(|w| u16::from_le_bytes([w[0], w[1]]));
                rgb.extend((words.take(width)).flat_map(|word| word_to_rgb(word, green_bits)));
            }
            Layout::Bytes { size, rgb: order } => {
                let pixels = row.chunks_exact(size).take(width);
                rgb.extend(pixels.flat_map(|pixel| order.map(|at| pixel[at])));
            }
        }
    }

    /// The indices of a run-length encoded bitmap; as in Pillow, skipped pixels are 0.
    fn runs(&self) -> Result<Vec<u8>, PictureError> {
        let width = self.width as usize;
        let size = width * self.height as usize;
        let rle4 = self.compression == Compression::Rle4;
        let mut indices = Vec::with_capacity(size);
        let (mut at, mut x) = (0, 0);
        while indices.len() < size {
            let (count, value) = (byte(self.pixels, at)?, byte(self.pixels, at + 1)?);
            at += 2;
            match (count, value) {
                (0, 0) => {
                    let end = indices.len().next_multiple_of(width);
                    indices.resize(end, 0);
                    x = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let right = usize::from(byte(self.pixels, at)?);
                    let up = usize::from(byte(self.pixels, at + 1)?);
                    at += 2;
                    let end = indices.len() + right + up * width;
                    indices.resize(end.min(size), 0);
                    x = indices.len() % width;
                }
                (0, literal) => {
                    let count = usize::from(literal).min(size - indices.len());
                    let stored = if rle4 { count.div_ceil(2) } else { count };
                    let data = slice(self.pixels, at, stored)?;
                    indices.extend(unpack(data, if rle4 { 4 } else { 8 }).take(count));
                    x += usize::from(literal);
                    // Padded to 16-bit words.
                    at += stored.next_multiple_of(2);
                }
                (run, value) => {
                    let room = width.saturating_sub(x).min(size - indices.len());
                    let count = usize::from(run).min(room);
                    let pair = if rle4 {
                        [value >> 4, value & 15]
                    } else {
                        [value; 2]
                    };
                    indices.extend((0..count).map(|place| pair[place % 2]));
                    x += count;
                }
            }
        }
        if indices.len() < size {
            return Err(PictureError::Truncated);
        }
        Ok(indices)
    }
}

fn bytes_layout(size: usize, rgb: [usize; 3]) -> Layout {
    Layout::Bytes { size, rgb }
}

/// The masks of red, green and blue that Pillow supports.
fn masked(bits: u16, masks: [u32; 3]) -> Result<Layout, PictureError> {
    Ok(match (bits, masks) {
        (16, [0xf800, 0x7e0, 0x1f]) => Layout::Words { green_bits: 6 },
        (16, [0x7c00, 0x3e0, 0x1f]) => Layout::Words { green_bits: 5 },
        (24, [0xff_0000, 0xff00, 0xff]) => bytes_layout(3, [2, 1, 0]),
        (32, [0xff_0000, 0xff00, 0xff] | [0, 0, 0]) => bytes_layout(4, [2, 1, 0]),
        (32, [0xff00_0000, 0xff_0000, 0xff00]) => bytes_layout(4, [3, 2, 1]),
        (32, [0xff00_0000, 0xff00, 0xff]) => bytes_layout(4, [3, 1, 0]),
        (32, [0xff, 0xff00, 0xff_0000]) => bytes_layout(4, [0, 1, 2]),
        _ => {
            return Err(undecodable(format!(
                "a BMP of {bits} bits with masks {masks:x?}"
            )));
        }
    })
}

/// Converts a word with blue in the lowest five bits and red above green.
fn word_to_rgb(word: u16, green_bits: u32) -> [u8; 3] {
    let level = |shift: u32, bits: u32| {
        let most = (1 << bits) - 1;
        let value = (u32::from(word) >> shift) & most;
        u8::try_from(value * 255 / most).unwrap_or(u8::MAX)
    };
    [level(5 + green_bits, 5), level(5, green_bits), level(0, 5)]
}
