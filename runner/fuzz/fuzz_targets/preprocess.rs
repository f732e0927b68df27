//! What the server does with a file: its header, then all of it, for each family. Whatever the
//! bytes: a picture within the bounds or an error, and what the header said holds.

#![no_main]

#[path = "../../src/image/mod.rs"]
#[allow(dead_code, unreachable_pub)]
mod image;

/// What the folder `image` takes from its crate.
mod models {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Family {
        Blip,
        Vit,
        ResNet,
        Detr,
    }
}

use image::{PixelValues, Preprocessor, decode, inspect};
use libfuzzer_sys::fuzz_target;
use models::Family;
use std::path::Path;
use std::sync::LazyLock;

/// Small, so that a pass is fast.
const MAX_PIXELS: u64 = 1 << 20;
const MAX_BYTES: u64 = 64 << 20;

/// One that warps, one that crops, and one that keeps the shape.
static PREPROCESSORS: LazyLock<[Preprocessor; 3]> = LazyLock::new(|| {
    [
        (Family::Blip, r#"{"size": 24}"#),
        (Family::ResNet, r#"{"size": 24}"#),
        (Family::Detr, r#"{"size": {"shortest_edge": 24, "longest_edge": 40}}"#),
    ]
    .map(|(family, config)| {
        let path = Path::new("preprocessor_config.json");
        Preprocessor::parse(config, path, Some(family)).expect("a configuration that is read")
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
