//! Finds the questions in an object of answers while it is read, without keeping the answers. Pure.

use super::index::Place;
use fovea_protocol::MAX_ANSWER_BYTES;
use fovea_store::Sha256;

/// Length of a question.
const QUESTION: usize = 64;

/// Bound on the answers of one object: more than a part has pictures.
const MAX_LINES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The questions so far, and where their lines are.
    pub(super) lines: Vec<(Sha256, Place)>,
    /// Begin of the current line.
    from: u64,
    /// Its bytes so far, without its end.
    bytes: u64,
    head: Vec<u8>,
}

impl Scan {
    /// Takes the next piece of the object.
    pub(super) fn take(&mut self, piece: &[u8]) {
        for rest in piece.split_inclusive(|byte| *byte == b'\n') {
            let line = rest.strip_suffix(b"\n").unwrap_or(rest);
            let missing = QUESTION - self.head.len();
            self.head.extend(line.iter().take(missing));
            self.bytes += line.len() as u64;
            if line.len() < rest.len() {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let question = std::str::from_utf8(&self.head).ok();
        let question = question.and_then(|text| text.parse().ok());
        let place = Place::new(self.from, self.bytes);
        if let (Some(question), Some(place)) = (question, place)
            && self.bytes <= MAX_ANSWER_BYTES as u64
            && self.lines.len() < MAX_LINES
        {
            self.lines.push((question, place));
        }
        self.from += self.bytes + 1;
        self.bytes = 0;
        self.head.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn questions_are_found_wherever_the_pieces_are_cut(
            lines in prop::collection::vec("[a-z]{0,200}", 0..6),
            cuts in prop::collection::vec(1usize..90, 1..40),
        ) {
            let question = |at: usize| Sha256::of(&at.to_be_bytes());
            let mut text = String::new();
            let mut expected = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                let from = text.len() as u64;
                // Every third line is none of ours.
                let line = match at % 3 {
                    2 => line.clone(),
                    _ => format!("{} {line}", question(at)),
                };
                if at % 3 != 2 {
                    expected.push((question(at), Place::new(from, line.len() as u64).unwrap()));
                }
                text += &line;
                text.push('\n');
            }
            // Without its end it is no line.
            text += &question(99).to_string();
            let mut scan = Scan::default();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                scan.take(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(scan.lines, expected);
        }
    }
}
