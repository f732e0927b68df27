//! Damaged files: each is a picture or an error, in bounded memory, and no panic.

use crate::support::{checkpoint, expected, picture};
use fovea_runner::image::{Preprocessor, inspect};
use fovea_runner::models::Family;

const MAX_BYTES: u64 = 16 << 20;

/// Both of what the server does with a file.
fn read(preprocessor: &Preprocessor, bytes: &[u8]) -> bool {
    inspect(bytes, 1_000_000, MAX_BYTES).is_ok() && preprocessor.run(bytes, MAX_BYTES).is_ok()
}

#[test]
fn flipped_bits_and_cut_ends_are_survived() {
    let preprocessor = Preprocessor::open(&checkpoint(), Family::Blip).unwrap();
    let (mut read_anyway, mut refused) = (0, 0);
    for golden in expected().pictures {
        let whole = picture(&golden.file);
        assert!(read(&preprocessor, &whole), "{}", golden.file);
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
        read_anyway > 0 && refused > 600,
        "{read_anyway} and {refused}"
    );
}
