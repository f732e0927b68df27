//! Damaged files: each is a picture or an error, in bounded memory, and no panic.

use crate::goldens::{expected, file};
use fovea_runner::image::{Preprocessor, inspect};

/// More than any of the small pictures takes when it is whole.
const MAX_BYTES: u64 = 16 << 20;
const MAX_PIXELS: u64 = 1_000_000;

/// Both of what the server does with a file.
fn read(preprocessor: &Preprocessor, bytes: &[u8]) -> bool {
    inspect(bytes, MAX_PIXELS, MAX_BYTES).is_ok() && preprocessor.run(bytes, MAX_BYTES).is_ok()
}

#[test]
fn flipped_bits_and_cut_ends_are_survived() {
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
        // Of these, the second half is not, or not all of it, the picture.
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
fn nothing_is_a_picture_of_no_bytes() {
    assert!(inspect(&[], MAX_PIXELS, MAX_BYTES).is_err());
}
