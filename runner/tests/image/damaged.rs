//! Damaged files: each is a picture or an error, in bounded memory, and no panic.

use crate::goldens::{expected, file};
use fovea_runner::image::{Preprocessor, inspect};

/// Upper bound on the memory of the small intact pictures, in bytes.
const MAX_BYTES: u64 = 16 << 20;
const MAX_PIXELS: u64 = 1_000_000;

/// Runs the server's two steps on a file.
fn read(preprocessor: &Preprocessor, bytes: &[u8]) -> bool {
    inspect(bytes, MAX_PIXELS, MAX_BYTES).is_ok() && preprocessor.run(bytes, MAX_BYTES).is_ok()
}

#[test]
fn flipped_bits_and_cut_ends_give_a_picture_or_an_error() {
    let expected = expected();
    let preprocessor = expected.levels.preprocessor();
    let (mut read_anyway, mut refused) = (0, 0);
    for name in expected.pictures.keys() {
        let whole = file(name);
        for round in 0..60 {
            let mut damaged = whole.clone();
            // Spread over the file, denser at its beginning, where the headers are.
            let place = whole.len() * round * round / 3600;
            damaged[place] ^= 1 << (round % 8);
            let cut = whole.len() - place;
            for bytes in [&damaged[..], &whole[..cut / 2]] {
                if read(&preprocessor, bytes) {
                    read_anyway += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    println!("{read_anyway} read anyway, {refused} refused");
    assert!(
        read_anyway > 1000 && refused > 9000,
        "{read_anyway} and {refused}"
    );
}

#[test]
fn a_file_without_its_second_half_is_refused() {
    let expected = expected();
    let preprocessor = expected.levels.preprocessor();
    for name in expected.pictures.keys() {
        let whole = file(name);
        // In these, the second half is not, or not only, the picture.
        let beyond = [
            "mpo.jpg",
            "animated",
            "pages.tif",
            "trailing-bytes.jpg",
            "1x1",
            "x3.bmp",
        ];
        if beyond.iter().any(|part| name.contains(part)) {
            continue;
        }
        assert!(!read(&preprocessor, &whole[..whole.len() / 2]), "{name}");
    }
}

#[test]
fn an_empty_file_is_no_picture() {
    assert!(inspect(&[], MAX_PIXELS, MAX_BYTES).is_err());
}
