//! The runner's preprocessing equals transformers'.

use crate::goldens::{MAX_BYTES, expected, file, levels};
use fovea_runner::image::{PictureError, decode};
use sha2::{Digest as _, Sha256};

/// Files that are not read as in transformers, and why. All others are equal to the last bit.
const DIFFERENCES: [(&str, &str); 4] = [
    ("lab.tif", "refused: CIE Lab would need colour management"),
    ("lzma.tif", "refused: no scanner or camera writes LZMA"),
    (
        "ycbcr.tif",
        "refused: luma and chroma without JPEG, hardly written any more",
    ),
    ("zstd.tif", "refused: no scanner or camera writes Zstandard"),
];

fn refused(name: &str) -> bool {
    DIFFERENCES.iter().any(|(file, _)| *file == name)
}

#[test]
fn every_picture_decodes_as_in_load_image_or_is_refused_with_a_reason() {
    let mut differing = Vec::new();
    for (name, picture) in expected().pictures {
        match decode(&file(&name), MAX_BYTES) {
            Err(PictureError::Undecodable(why)) if refused(&name) => {
                assert!(why.contains("TIFF"), "{why}");
            }
            Err(error) => differing.push(format!("{name}: {error}")),
            Ok(_) if refused(&name) => differing.push(format!("{name}: is read")),
            Ok(ours) if ours.dimensions() != picture.size => {
                let (ours, theirs) = (ours.dimensions(), picture.size);
                differing.push(format!("{name}: {ours:?} instead of {theirs:?}"));
            }
            Ok(ours) if hex::encode(Sha256::digest(ours.as_raw())) != picture.sha256 => {
                differing.push(format!("{name}: other pixels"));
            }
            Ok(_) => {}
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn every_picture_is_resized_to_transformers_own_levels() {
    let (expected, levels) = (expected(), levels());
    let preprocessor = expected.levels.preprocessor();
    for name in expected.pictures.keys().filter(|name| !refused(name)) {
        let ours = preprocessor.run(&file(name), MAX_BYTES).unwrap();
        let theirs = levels[name].iter().map(|&level| f32::from(level));
        assert!(ours.values().iter().copied().eq(theirs), "{name}");
    }
}

#[test]
fn every_configuration_gives_transformers_own_values_to_the_last_bit() {
    let mut differing = Vec::new();
    for (configuration, answers) in expected().configurations {
        let preprocessor = answers.configuration.preprocessor();
        for (name, theirs) in answers.pixel_values {
            let ours = preprocessor.run(&file(&name), MAX_BYTES);
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Some(theirs)) => (ours, theirs),
                (Err(PictureError::TooThin { .. }), None) => continue,
                (ours, theirs) => {
                    let (ours, theirs) = (ours.err(), theirs.is_some());
                    differing.push(format!("{configuration}, {name}: {ours:?}, {theirs}"));
                    continue;
                }
            };
            let bytes: Vec<u8> = ours.values().iter().flat_map(|v| v.to_le_bytes()).collect();
            let digest = hex::encode(Sha256::digest(bytes));
            if ours.shape() != theirs.shape || digest != theirs.sha256 {
                let (ours, theirs) = (ours.shape(), theirs.shape);
                differing.push(format!("{configuration}, {name}: {ours:?}, {theirs:?}"));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}
