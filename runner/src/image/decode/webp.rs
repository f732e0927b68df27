//! WebP; of an animation, the first frame on its canvas.

use super::bytes::{slice, u16_le, u32_le};
use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use image_webp::{DecodingError, WebPDecoder};
use std::io::Cursor;

/// Bytes before the chunks of a file, and before those of an animation frame.
const RIFF_HEADER: usize = 12;
const ANIMATION_FRAME_HEADER: usize = 16;

/// Fixed memory of the decoder, in bytes.
const DECODER_BYTES: u64 = 1 << 18;

/// Upper bound on a lossless stream's Huffman tables, per byte of the stream: 146 bytes can
/// describe a group of tables of 79 kB, which the decoder keeps in a growing list.
const TABLES_PER_BYTE: u64 = 576;

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let mut decoder = open(bytes)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width).saturating_mul(u64::from(height));
    // The output; a lossy frame's planes and blocks, or a lossless frame's channels and transforms;
    // an animation's canvas and frame, in four channels each.
    let per_pixel = match (decoder.is_animated(), decoder.is_lossy()) {
        (true, _) => 4 + 4 + 4 + 4,
        (false, true) => 4 + 2 + 4,
        (false, false) => 4 + 4 + 4,
    };
    let lossless = (streams(bytes, RIFF_HEADER).into_iter()).map(|stream| stream.lossless_bytes);
    let tables = lossless.max().unwrap_or(0).saturating_mul(TABLES_PER_BYTE);
    Ok(Header {
        width,
        height,
        decode_bytes: pixels
            .saturating_mul(per_pixel)
            .saturating_add(tables)
            // Copied metadata.
            .saturating_add(bytes.len() as u64)
            .saturating_add(DECODER_BYTES),
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
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(error)?;
    // The decoder allocates memory for metadata before it checks the file's length.
    decoder.set_memory_limit(bytes.len());
    let (width, height) = decoder.dimensions();
    // The decoder would check the sizes only after decoding.
    let streams = streams(bytes, RIFF_HEADER);
    if streams
        .iter()
        .any(|stream| stream.width > width || stream.height > height)
    {
        return Err(undecodable("a frame of the WebP is larger than its canvas"));
    }
    Ok(decoder)
}

/// A stream of coded pixels or alpha.
#[derive(Default)]
struct Stream {
    /// From the stream's header, in pixels; 0 for alpha, which has none.
    width: u32,
    height: u32,
    /// Length of the data in lossless coding.
    lossless_bytes: u64,
}

/// The streams in the chunks from `at` on, including those of animation frames.
fn streams(bytes: &[u8], mut at: usize) -> Vec<Stream> {
    let at_top = at == RIFF_HEADER;
    let mut streams = Vec::new();
    while let (Ok(name), Ok(length)) = (slice(bytes, at, 4), u32_le(bytes, at + 4)) {
        let data = &bytes[at + 8..];
        let data = &data[..data.len().min(length as usize)];
        let lossless_bytes = data.len() as u64;
        match name {
            b"VP8 " => {
                if let (Ok(width), Ok(height)) = (u16_le(data, 6), u16_le(data, 8)) {
                    streams.push(Stream {
                        width: u32::from(width & 0x3fff),
                        height: u32::from(height & 0x3fff),
                        lossless_bytes: 0,
                    });
                }
            }
            b"VP8L" => {
                if let Ok(sides) = u32_le(data, 1) {
                    streams.push(Stream {
                        width: (sides & 0x3fff) + 1,
                        height: (sides >> 14 & 0x3fff) + 1,
                        lossless_bytes,
                    });
                }
            }
            b"ALPH" => streams.push(Stream {
                lossless_bytes,
                ..Stream::default()
            }),
            // Frames do not nest.
            b"ANMF" if at_top => streams.extend(self::streams(data, ANIMATION_FRAME_HEADER)),
            _ => {}
        }
        at += 8 + (length as usize).next_multiple_of(2);
    }
    streams
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        other => undecodable(other),
    }
}
