//! Checks a picture's header. No pixel is decoded here: hostile pictures are decoded by the runner,
//! which holds no secrets.

use crate::error::{Problem, ProblemType};
use image::{ImageError, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Memory that a decoder may allocate for a header (colour profiles, texts).
const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;
const FORMATS: &str = "JPEG, PNG, GIF, BMP, TIFF, ICO and WebP";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) format: ImageFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Why bytes are refused as a picture.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PictureError {
    #[error("the picture is empty: send the bytes of a picture")]
    Empty,
    #[error("the bytes do not begin as a picture does: {FORMATS} are read")]
    Unknown,
    #[error("{0} pictures are not read: {FORMATS} are")]
    Unsupported(String),
    #[error("the bytes begin as {format} but their header cannot be read: {why}")]
    Header { format: String, why: String },
    #[error(
        "the picture's header asks for more memory than a picture of {max_pixels} pixels needs: send a smaller one"
    )]
    Oversized { max_pixels: u64 },
    #[error(
        "the picture has {width} x {height} pixels, {max_pixels} are allowed: send a smaller one"
    )]
    TooManyPixels {
        width: u32,
        height: u32,
        max_pixels: u64,
    },
}

impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        let kind = match error {
            PictureError::Empty => ProblemType::MissingPicture,
            PictureError::Unknown | PictureError::Unsupported(_) | PictureError::Header { .. } => {
                ProblemType::NotAPicture
            }
            PictureError::TooManyPixels { .. } | PictureError::Oversized { .. } => {
                ProblemType::TooManyPixels
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// Reads format and size from magic bytes and header, regardless of a file name or Content-Type.
pub(crate) fn inspect(bytes: &[u8], max_pixels: u64) -> Result<Picture, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    let format = image::guess_format(bytes).map_err(|_| PictureError::Unknown)?;
    if !is_read(format) {
        return Err(PictureError::Unsupported(format!("{format:?}")));
    }
    let header = |why: String| PictureError::Header {
        format: format!("{format:?}"),
        why,
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_HEADER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let (width, height) = reader.into_dimensions().map_err(|error| match error {
        // Such as a row of pixels larger than the bound.
        ImageError::Limits(_) => PictureError::Oversized { max_pixels },
        error => header(error.to_string().trim_end().to_owned()),
    })?;
    if width == 0 || height == 0 {
        return Err(header(format!("it says {width} x {height} pixels")));
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(PictureError::TooManyPixels {
            width,
            height,
            max_pixels,
        });
    }
    Ok(Picture {
        format,
        width,
        height,
    })
}

/// The format by the first bytes, if it is supported.
pub(crate) fn format(head: &[u8]) -> Option<ImageFormat> {
    image::guess_format(head)
        .ok()
        .filter(|format| is_read(*format))
}

fn is_read(format: ImageFormat) -> bool {
    matches!(
        format,
        ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::Gif
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::Ico
            | ImageFormat::WebP
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat as F};
    use proptest::prelude::*;

    const MAX: u64 = 178_956_970;

    fn picture(format: F) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let image = if format == F::Ico || format == F::WebP {
            DynamicImage::new_rgba8(7, 5)
        } else {
            DynamicImage::new_rgb8(7, 5)
        };
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A PNG's signature and IHDR, and an IDAT begun.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0]);
        let crc = crc32(&bytes[12..]);
        bytes.extend(crc.to_be_bytes());
        bytes.extend(b"\0\0\0\x0aIDAT\x78\x9c");
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
            })
        })
    }

    #[test]
    fn every_format_that_is_promised_is_read() {
        for format in [F::Jpeg, F::Png, F::Gif, F::Bmp, F::Tiff, F::Ico, F::WebP] {
            let found = inspect(&picture(format), MAX);
            assert_eq!(
                found,
                Ok(Picture {
                    format,
                    width: 7,
                    height: 5
                }),
                "{format:?}"
            );
        }
    }

    #[test]
    fn a_truncated_jpeg_whose_header_is_whole_is_left_to_the_runner() {
        let noise = image::RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([
                (x * y * 7 % 251) as u8,
                (x * 31 % 251) as u8,
                (y * 57 % 251) as u8,
            ])
        });
        let mut whole = Cursor::new(Vec::new());
        noise.write_to(&mut whole, F::Jpeg).unwrap();
        let whole = whole.into_inner();
        assert!(inspect(&whole[..whole.len() / 2 + 400], MAX).is_ok());
        assert!(matches!(
            inspect(&whole[..300], MAX),
            Err(PictureError::Header { .. })
        ));
    }

    #[test]
    fn what_is_no_picture_is_told_apart() {
        assert_eq!(inspect(b"", MAX), Err(PictureError::Empty));
        for wrong in [
            &b"hello, world"[..],
            b"<svg/>",
            b"%PDF-1.7",
            b"\0",
            b"\xff\xd8",
            &[0; 4096],
        ] {
            assert_eq!(inspect(wrong, MAX), Err(PictureError::Unknown), "{wrong:?}");
        }
        for (wrong, format) in [
            (&b"qoif\0\0\0\0"[..], "Qoi"),
            (b"P6 1 1 255 ", "Pnm"),
            (b"DDS \0\0\0\0", "Dds"),
        ] {
            assert_eq!(
                inspect(wrong, MAX),
                Err(PictureError::Unsupported(format.into()))
            );
        }
    }

    #[test]
    fn a_pixel_bomb_is_refused_by_its_header() {
        let bomb = |width, height| inspect(&png_header(width, height), MAX);
        assert!(bomb(16_384, 10_922).is_ok());
        assert!(matches!(
            bomb(16_384, 10_923),
            Err(PictureError::TooManyPixels { .. })
        ));
        assert!(matches!(
            bomb(2_000_000_000, 2_000_000_000),
            Err(PictureError::Oversized { .. })
        ));
        assert!(bomb(0, 5).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_after_a_magic_number_make_it_panic(magic in 0..7usize, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let magic: &[u8] = [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"\0\0\x01\0", b"RIFF\0\0\0\0WEBP"][magic];
            let _ = inspect(&[magic, &tail].concat(), MAX);
        }

        #[test]
        fn no_change_of_a_byte_makes_it_panic(format in 0..7usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = picture([F::Jpeg, F::Png, F::Gif, F::Bmp, F::Tiff, F::Ico, F::WebP][format]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = inspect(&bytes, MAX);
        }
    }
}
