//! WebP: of an animated one, the first frame on its canvas.

use super::bytes::{slice, u16_le, u32_le};
use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use image_webp::{DecodingError, WebPDecoder};
use std::io::Cursor;

/// Before the chunks of a file, and of an animation's frame.
const RIFF_HEADER: usize = 12;
const ANIMATION_FRAME_HEADER: usize = 16;

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let mut decoder = open(bytes)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width).saturating_mul(u64::from(height));
    // With alpha or without; a lossy frame's planes; a lossless frame's four channels and its
    // transforms; an animation's canvas and frame, in four channels each.
    let per_pixel = match (decoder.is_animated(), decoder.is_lossy()) {
        (true, _) => 4 + 4 + 4 + 4,
        (false, true) => 4 + 2 + 2,
        (false, false) => 4 + 4 + 4,
    };
    Ok(Header {
        width,
        height,
        decode_bytes: pixels.saturating_mul(per_pixel),
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, PictureError> {
    let mut decoder = open(bytes)?;
    let (width, height) = decoder.dimensions();
    let size = decoder.output_buffer_size().ok_or(PictureError::Empty)?;
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(error)?;
    if decoder.has_alpha() {
        samples = (samples.chunks_exact(4))
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect();
    }
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let metadata = Metadata {
        exif: exif.as_deref(),
        xmp: xmp.as_deref(),
    };
    Ok(Frame {
        picture: Picture::new(width, height, samples)?,
        orientation: metadata.orientation(),
    })
}

fn open(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, PictureError> {
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(error)?;
    let (width, height) = decoder.dimensions();
    // The decoder finds out only once it has decoded them.
    for (frame_width, frame_height) in frames(bytes, RIFF_HEADER) {
        if frame_width > width || frame_height > height {
            return Err(undecodable("a frame of the WebP is larger than its canvas"));
        }
    }
    Ok(decoder)
}

/// Widths and heights that the coded frames state, of those among the chunks from `at` on and of
/// those in an animation's frames.
fn frames(bytes: &[u8], mut at: usize) -> Vec<(u32, u32)> {
    let mut sizes = Vec::new();
    while let (Ok(name), Ok(length)) = (slice(bytes, at, 4), u32_le(bytes, at + 4)) {
        let data = &bytes[at + 8..];
        let data = &data[..data.len().min(length as usize)];
        match name {
            b"VP8 " => {
                if let (Ok(width), Ok(height)) = (u16_le(data, 6), u16_le(data, 8)) {
                    sizes.push((u32::from(width & 0x3fff), u32::from(height & 0x3fff)));
                }
            }
            b"VP8L" => {
                if let Ok(sides) = u32_le(data, 1) {
                    sizes.push(((sides & 0x3fff) + 1, (sides >> 14 & 0x3fff) + 1));
                }
            }
            b"ANMF" => sizes.extend(frames(data, ANIMATION_FRAME_HEADER)),
            _ => {}
        }
        at += 8 + (length as usize).next_multiple_of(2);
    }
    sizes
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        other => undecodable(other),
    }
}
