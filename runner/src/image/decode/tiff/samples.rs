//! The layout of a TIFF's samples, and their conversion to RGB.

use super::super::bytes::Endian;
use super::super::colour::{Palette, cmyk, scale_of, unmultiplied, unpack};
use super::super::undecodable;
use super::compression::Compression;
use super::directory::{self as tag, Directory};
use crate::image::PictureError;

/// Extra samples, beside the colours, of one pixel.
const MAX_EXTRA: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gray,
    /// Grey where 0 is white.
    InverseGray,
    Indexed,
    Rgb,
    /// Luma and chroma, which the JPEG decoder has made RGB.
    Ycc,
    Cmyk,
}

/// The number format of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Unsigned,
    Signed,
    Float,
}

/// The samples of a pixel.
pub(super) struct Samples {
    pub(super) kind: Kind,
    /// Number of channels, including extra ones.
    pub(super) count: usize,
    pub(super) bits: u16,
    number: Number,
    /// The fourth channel is alpha, by which the others were multiplied.
    multiplied: bool,
}

impl Samples {
    pub(super) fn of(
        directory: &Directory<'_>,
        compression: Compression,
    ) -> Result<Self, PictureError> {
        let photometric = directory.number(tag::PHOTOMETRIC)?.unwrap_or(0);
        let (kind, colours) = match photometric {
            0 => (Kind::InverseGray, 1),
            1 => (Kind::Gray, 1),
            2 => (Kind::Rgb, 3),
            3 => (Kind::Indexed, 1),
            5 => (Kind::Cmyk, 4),
            6 if compression == Compression::Jpeg => (Kind::Ycc, 3),
            other => {
                let why = format!("a TIFF of colours of kind {other} is not read");
                return Err(undecodable(why));
            }
        };
        let count = directory.number(tag::SAMPLES)?.unwrap_or(1);
        let count = usize::try_from(count).map_err(undecodable)?;
        let all_bits = directory.numbers(tag::BITS)?;
        let bits = all_bits.first().copied().unwrap_or(1);
        if all_bits.iter().any(|&other| other != bits) {
            return Err(undecodable("the TIFF's channels have different depths"));
        }
        let extra = directory.numbers(tag::EXTRA_SAMPLES)?;
        let number = match directory.number(tag::SAMPLE_FORMAT)?.unwrap_or(1) {
            1 => Number::Unsigned,
            2 => Number::Signed,
            3 => Number::Float,
            other => return Err(undecodable(format!("a TIFF of samples of kind {other}"))),
        };
        if !(colours..=colours + MAX_EXTRA).contains(&count) {
            return Err(undecodable(format!("a TIFF of {count} channels")));
        }
        let first_extra = extra.first().copied();
        let samples = Self {
            kind,
            count,
            bits: u16::try_from(bits).map_err(undecodable)?,
            number,
            multiplied: kind == Kind::Rgb && count > colours && first_extra == Some(1),
        };
        samples.check(compression, colours)?;
        Ok(samples)
    }

    /// Refuses the kinds that Pillow supports but this decoder does not.
    fn check(&self, compression: Compression, colours: usize) -> Result<(), PictureError> {
        let known = match (self.kind, self.number) {
            (_, Number::Float) => self.bits == 32 && self.count == 1 && self.kind != Kind::Indexed,
            (Kind::Gray, Number::Signed) => matches!(self.bits, 8 | 16 | 32) && self.count == 1,
            (Kind::Gray | Kind::InverseGray, Number::Unsigned) if self.count == 1 => {
                matches!(self.bits, 1 | 2 | 4 | 8 | 16 | 32)
            }
            (Kind::Gray | Kind::Indexed, Number::Unsigned) if self.count == 2 => self.bits == 8,
            (Kind::Indexed, Number::Unsigned) => {
                self.count == 1 && matches!(self.bits, 1 | 2 | 4 | 8)
            }
            (Kind::Rgb | Kind::Cmyk, Number::Unsigned) => matches!(self.bits, 8 | 16),
            (Kind::Ycc, Number::Unsigned) => self.bits == 8 && self.count == 3,
            _ => false,
        };
        let fits = if compression == Compression::Jpeg {
            self.bits == 8 && self.count == colours && self.kind != Kind::Cmyk
        } else {
            !compression.is_fax() || (self.bits == 1 && self.count == 1)
        };
        if known && fits {
            return Ok(());
        }
        Err(undecodable(format!(
            "a TIFF of {} channels of {} bits, {:?} {:?} in {compression:?}, is not read",
            self.count, self.bits, self.number, self.kind
        )))
    }

    /// Converts a row of one or several planes to the pixels of `rgb`.
    pub(super) fn to_rgb(
        &self,
        planes: &[&[u8]],
        endian: Endian,
        palette: &Palette,
        rgb: &mut [u8],
    ) {
        let pixels = rgb.chunks_exact_mut(3);
        match self.kind {
            Kind::Indexed | Kind::Gray | Kind::InverseGray if self.bits <= 8 => {
                self.bytes_to_rgb(planes[0], palette, rgb);
            }
            Kind::Indexed | Kind::Gray | Kind::InverseGray => {
                let size = usize::from(self.bits / 8);
                for (pixel, sample) in pixels.zip(planes[0].chunks_exact(size * self.count)) {
                    pixel.fill(self.clipped(&sample[..size], endian));
                }
            }
            Kind::Rgb | Kind::Ycc | Kind::Cmyk => {
                for (index, pixel) in pixels.enumerate() {
                    let level = |channel: usize| self.level(planes, index, channel, endian);
                    let colour = if self.kind == Kind::Cmyk {
                        cmyk([0, 1, 2, 3].map(level))
                    } else if self.multiplied {
                        unmultiplied([0, 1, 2, 3].map(level))
                    } else {
                        [0, 1, 2].map(level)
                    };
                    pixel.copy_from_slice(&colour);
                }
            }
        }
    }

    /// Converts one channel of at most 8 bits; a second channel of 8 bits is ignored.
    fn bytes_to_rgb(&self, row: &[u8], palette: &Palette, rgb: &mut [u8]) {
        let bits = self.bits.to_le_bytes()[0];
        let scale = if self.kind == Kind::Indexed {
            1
        } else {
            scale_of(bits)
        };
        let invert = if self.kind == Kind::InverseGray {
            u8::MAX
        } else {
            0
        };
        let values = unpack(row, bits).step_by(self.count);
        for (pixel, value) in rgb.chunks_exact_mut(3).zip(values) {
            pixel.copy_from_slice(&palette.colour((value * scale) ^ invert));
        }
    }

    /// The high byte of a channel of a pixel.
    fn level(&self, planes: &[&[u8]], pixel: usize, channel: usize, endian: Endian) -> u8 {
        let size = usize::from(self.bits / 8);
        let high = usize::from(size == 2 && endian == Endian::Little);
        if planes.len() == 1 {
            planes[0][(pixel * self.count + channel) * size + high]
        } else {
            planes[channel][pixel * size + high]
        }
    }

    /// A number of more than 8 bits, clipped to a level as in Pillow.
    fn clipped(&self, sample: &[u8], endian: Endian) -> u8 {
        let wide = match *sample {
            [a, b] => {
                let value = endian.sample([a, b]);
                if self.number == Number::Signed {
                    i32::from(value.cast_signed())
                } else {
                    i32::from(value)
                }
            }
            [a, b, c, d] => {
                let value = match endian {
                    Endian::Little => u32::from_le_bytes([a, b, c, d]),
                    Endian::Big => u32::from_be_bytes([a, b, c, d]),
                };
                if self.number == Number::Float {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "Pillow truncates here, too; what is out of range saturates"
                    )]
                    let whole = f32::from_bits(value) as i32;
                    whole
                } else {
                    value.cast_signed()
                }
            }
            _ => 0,
        };
        u8::try_from(wide.clamp(0, 255)).unwrap_or(u8::MAX)
    }
}
