//! WebP: of an animated one, the first frame on its canvas.

use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use image_webp::{DecodingError, WebPDecoder};
use std::io::Cursor;

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
    WebPDecoder::new(Cursor::new(bytes)).map_err(error)
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        other => undecodable(other),
    }
}
