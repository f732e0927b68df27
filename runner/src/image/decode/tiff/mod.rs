//! TIFF and `BigTIFF`: the first page, in the common kinds that Pillow reads.

mod compression;
mod directory;
mod fax;
mod samples;

use super::bytes::{Endian, slice};
use super::colour::Palette;
use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use compression::{Compression, Part};
use directory::{self as tag, Directory};
use samples::{Kind, Samples};

/// Memory per part for its offset and length, in bytes.
const NUMBER_BYTES: u64 = 2 * 16;
/// Memory of the decompressor, in bytes.
const DECOMPRESS_BYTES: u64 = 1 << 18;

/// Size of the parts; strips are as wide as the picture.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    width: u32,
    height: u32,
    tiled: bool,
}

/// The first page, before it is decoded.
struct Page<'a> {
    bytes: &'a [u8],
    directory: Directory<'a>,
    width: u32,
    height: u32,
    compression: Compression,
    samples: Samples,
    /// Each channel has its own parts.
    planar: bool,
    predictor: bool,
    /// Bits in each byte are reversed.
    reversed: bool,
    tiling: Tiling,
}

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let page = Page::open(bytes)?;
    let part = u64::from(page.tiling.width) * u64::from(page.tiling.height);
    // A decompressed part of one or all channels; the JPEG decoder; a copy of the file with reversed
    // bits or with tables.
    let jpeg = if page.compression == Compression::Jpeg {
        6
    } else {
        0
    };
    let fax = if page.compression.is_fax() { 32 } else { 0 };
    let per_pixel = u64::from(page.samples.bits).div_ceil(8) * page.samples.count as u64;
    let decode_bytes = (part.saturating_mul(per_pixel + jpeg))
        .saturating_add(bytes.len() as u64 * (1 + fax))
        .saturating_add(page.directory.largest().saturating_mul(NUMBER_BYTES))
        .saturating_add(DECOMPRESS_BYTES);
    Ok(Header {
        width: page.width,
        height: page.height,
        decode_bytes,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, PictureError> {
    let page = Page::open(bytes)?;
    let directory = &page.directory;
    let metadata = Metadata {
        exif: None,
        xmp: directory.data(tag::XMP),
    };
    let orientation = match directory.side(tag::ORIENTATION)? {
        Some(orientation) => orientation,
        None => metadata.orientation(),
    };
    Ok(Frame {
        picture: page.decode()?,
        orientation,
    })
}

impl<'a> Page<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, PictureError> {
        let directory = Directory::read(bytes)?;
        let missing = || undecodable("the TIFF does not say how large it is");
        let width = directory.side(tag::WIDTH)?.ok_or_else(missing)?;
        let height = directory.side(tag::HEIGHT)?.ok_or_else(missing)?;
        if width == 0 || height == 0 {
            return Err(PictureError::Empty);
        }
        let compression = Compression::of(directory.number(tag::COMPRESSION)?.unwrap_or(1))?;
        if compression == Compression::Fax3
            && directory.number(tag::T4_OPTIONS)?.unwrap_or(0) & 1 == 1
        {
            return Err(undecodable("a fax in two-dimensional group 3 is not read"));
        }
        let samples = Samples::of(&directory, compression)?;
        let predictor = match directory.number(tag::PREDICTOR)?.unwrap_or(1) {
            _ if !matches!(compression, Compression::Lzw | Compression::Deflate) => false,
            1 => false,
            2 if matches!(samples.bits, 8 | 16) => true,
            other => return Err(undecodable(format!("a TIFF with predictor {other}"))),
        };
        let tiling = match directory.side(tag::TILE_WIDTH)? {
            Some(tile_width) => Tiling {
                width: tile_width,
                height: directory.side(tag::TILE_HEIGHT)?.unwrap_or(0),
                tiled: true,
            },
            None => Tiling {
                width,
                // The largest number means a single strip.
                height: (directory.number(tag::ROWS_PER_STRIP)?)
                    .and_then(|rows| u32::try_from(rows).ok())
                    .map_or(height, |rows| rows.min(height)),
                tiled: false,
            },
        };
        if tiling.width == 0 || tiling.height == 0 {
            return Err(undecodable("the TIFF's tiles are empty"));
        }
        Ok(Self {
            bytes,
            width,
            height,
            compression,
            planar: directory.number(tag::PLANAR)? == Some(2) && samples.count > 1,
            predictor,
            reversed: directory.number(tag::FILL_ORDER)? == Some(2)
                && compression != Compression::Jpeg,
            samples,
            tiling,
            directory,
        })
    }

    fn decode(&self) -> Result<Picture, PictureError> {
        let palette = self.palette()?;
        let (offsets, lengths) = if self.tiling.tiled {
            (tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let offsets = self.directory.numbers(offsets)?;
        let lengths = self.directory.numbers(lengths)?;
        let across = self.width.div_ceil(self.tiling.width);
        let down = self.height.div_ceil(self.tiling.height);
        let parts = across as usize * down as usize;
        let planes = if self.planar { self.samples.count } else { 1 };
        let mut rgb = vec![0; self.width as usize * self.height as usize * 3];
        for part in 0..parts {
            let (x, y) = (part % across as usize, part / across as usize);
            let left = x * self.tiling.width as usize;
            let top = y * self.tiling.height as usize;
            // The last strip may be shorter; tiles are not.
            let part_height = if self.tiling.tiled {
                self.tiling.height
            } else {
                self.tiling
                    .height
                    .min(self.height - u32::try_from(top).map_err(undecodable)?)
            };
            let mut decoded = Vec::with_capacity(planes);
            for plane in 0..planes {
                let index = plane * parts + part;
                let offset = *offsets.get(index).ok_or(PictureError::Truncated)?;
                let data = self.data(offset, lengths.get(index).copied())?;
                decoded.push(self.part(data, part_height)?);
            }
            self.draw(
                &decoded,
                (left, top),
                part_height as usize,
                &palette,
                &mut rgb,
            );
        }
        Picture::new(self.width, self.height, rgb)
    }

    /// A part's bytes; an uncompressed part may extend beyond its stated length.
    fn data(&self, offset: u64, length: Option<u64>) -> Result<&'a [u8], PictureError> {
        let offset = usize::try_from(offset).map_err(undecodable)?;
        let rest = self.bytes.get(offset..).ok_or(PictureError::Truncated)?;
        match length {
            Some(length) if self.compression != Compression::None => {
                slice(rest, 0, usize::try_from(length).map_err(undecodable)?)
            }
            _ => Ok(rest),
        }
    }

    /// A part's samples; each row starts on a byte boundary.
    fn part(&self, data: &[u8], part_height: u32) -> Result<Vec<u8>, PictureError> {
        let channels = if self.planar { 1 } else { self.samples.count };
        let row = self.row_bytes(channels);
        let length = row * part_height as usize;
        let turned: Vec<u8>;
        let data = if self.reversed {
            let read = if self.compression == Compression::None {
                slice(data, 0, length)?
            } else {
                data
            };
            turned = read.iter().map(|byte| byte.reverse_bits()).collect();
            &turned
        } else {
            data
        };
        let part = Part {
            data,
            width: self.tiling.width,
            height: part_height,
            length,
            gray: channels == 1,
            ycc: self.samples.kind == Kind::Ycc,
            tables: self.directory.data(tag::JPEG_TABLES).unwrap_or_default(),
        };
        let mut decoded = part.decompress(self.compression)?;
        if self.predictor {
            for row in decoded.chunks_exact_mut(row) {
                undo_differences(row, channels, self.samples.bits, self.directory.endian);
            }
        }
        Ok(decoded)
    }

    fn row_bytes(&self, channels: usize) -> usize {
        (self.tiling.width as usize * channels * usize::from(self.samples.bits)).div_ceil(8)
    }

    /// Copies a part, of one or several planes, into the picture.
    fn draw(
        &self,
        planes: &[Vec<u8>],
        (left, top): (usize, usize),
        part_height: usize,
        palette: &Palette,
        rgb: &mut [u8],
    ) {
        let width = self.width as usize;
        let columns = (self.tiling.width as usize).min(width - left);
        let rows = part_height.min(self.height as usize - top);
        let row_bytes = self.row_bytes(if self.planar { 1 } else { self.samples.count });
        for row in 0..rows {
            let at = ((top + row) * width + left) * 3;
            let to = &mut rgb[at..at + columns * 3];
            let rows: Vec<&[u8]> = (planes.iter())
                .map(|plane| &plane[row * row_bytes..(row + 1) * row_bytes])
                .collect();
            self.samples
                .to_rgb(&rows, self.directory.endian, palette, to);
        }
    }

    /// The colour map: all reds, all greens, all blues, of 16 bits each.
    fn palette(&self) -> Result<Palette, PictureError> {
        if self.samples.kind != Kind::Indexed {
            return Ok(Palette::gray());
        }
        let map = self.directory.numbers(tag::COLOUR_MAP)?;
        let colours = map.len() / 3;
        let high_byte = |value: u64| u8::try_from(value >> 8).unwrap_or(u8::MAX);
        Ok(Palette::of((0..colours).map(|index| {
            [0, 1, 2].map(|channel| high_byte(map[channel * colours + index]))
        })))
    }
}

/// Adds to each sample the previous sample of its channel.
fn undo_differences(row: &mut [u8], channels: usize, bits: u16, endian: Endian) {
    if bits == 8 {
        for at in channels..row.len() {
            row[at] = row[at].wrapping_add(row[at - channels]);
        }
        return;
    }
    for at in (2 * channels..row.len() - 1).step_by(2) {
        let before = endian.sample([row[at - 2 * channels], row[at - 2 * channels + 1]]);
        let value = endian.sample([row[at], row[at + 1]]).wrapping_add(before);
        row[at..at + 2].copy_from_slice(&match endian {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        });
    }
}
