//! Runs hostile bytes through the server's steps for a picture: the header, then the whole file,
//! for each image processor. Any bytes give an error or a picture within the bounds that matches
//! its header.

#![no_main]

#[path = "../../src/image/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod image;

use image::{ImageProcessor, PixelValues, Preprocessor, decode, inspect};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;

/// Small, so that each input runs fast.
const MAX_PIXELS: u64 = 1 << 20;
const MAX_BYTES: u64 = 64 << 20;

/// One that stretches, one that crops, and one that keeps the aspect ratio.
static PREPROCESSORS: LazyLock<[Preprocessor; 3]> = LazyLock::new(|| {
    [
        (ImageProcessor::Blip, r#"{"size": 24}"#),
        (ImageProcessor::ConvNext, r#"{"size": 24}"#),
        (ImageProcessor::Detr, r#"{"size": {"shortest_edge": 24, "longest_edge": 40}}"#),
    ]
    .map(|(processor, config)| {
        let path = Path::new("preprocessor_config.json");
        Preprocessor::parse(config, path, Some(processor)).expect("a valid configuration")
    })
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = inspect(bytes, MAX_PIXELS, MAX_BYTES) else {
        return;
    };
    assert!(header.decode_bytes <= MAX_BYTES);
    assert!(u64::from(header.width) * u64::from(header.height) <= MAX_PIXELS);
    let Ok(picture) = decode(bytes, MAX_BYTES) else {
        return;
    };
    let (width, height) = picture.dimensions();
    assert!(
        (width, height) == (header.width, header.height)
            || (height, width) == (header.width, header.height)
    );
    for preprocessor in PREPROCESSORS.iter() {
        if let Ok(pixels) = preprocessor.run(bytes, MAX_BYTES) {
            check(&pixels, preprocessor);
        }
    }
});

fn check(pixels: &PixelValues, preprocessor: &Preprocessor) {
    let [channels, height, width] = pixels.shape();
    assert_eq!(pixels.values().len() as i64, channels * height * width);
    let (most_height, most_width) = preprocessor.largest();
    assert!(height * width <= i64::from(most_height) * i64::from(most_width));
    assert!(pixels.values().iter().all(|value| value.is_finite()));
}
