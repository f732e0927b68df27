//! Turns a file's bytes into a model's input: decodes, resizes, normalises.

mod config;
mod decode;
mod filter;
mod geometry;
mod normalize;
mod picture;
mod pixel_values;
mod preprocess;
mod processor;
mod resize;

pub use decode::{Header, MAX_PIXELS, decode, inspect};
pub use geometry::OutputSize;
pub use picture::Picture;
pub use pixel_values::PixelValues;
pub use preprocess::{Preprocessor, PreprocessorError};
pub use processor::ImageProcessor;

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file has no bytes, or the picture has no pixels.
    #[error("the picture is empty; send its bytes")]
    Empty,
    /// The first bytes match no supported format.
    #[error("the format is not supported; send JPEG, PNG, GIF, BMP, TIFF, ICO or WebP")]
    UnknownFormat,
    /// The file ends before the picture does.
    #[error("the file is truncated: the picture's end is missing; send it again")]
    Truncated,
    /// The file is damaged, or uses an unsupported feature.
    #[error("the picture cannot be decoded: {0}")]
    Undecodable(String),
    /// One side would scale to zero pixels.
    #[error("{width} x {height} pixels are too long and thin for this model; crop the picture")]
    TooThin { width: u32, height: u32 },
    #[error("{width} x {height} pixels are more than the {max_pixels} allowed; scale it down")]
    TooManyPixels {
        width: u32,
        height: u32,
        max_pixels: u64,
    },
    /// Decoding would take more memory than is allowed.
    #[error(
        "decoding and resizing it takes more than the {max_bytes} bytes allowed; scale it down"
    )]
    TooMuchMemory { max_bytes: u64 },
}
