//! CCITT's codings of black-and-white lines: group 3 in one dimension, with or without
//! end-of-line codes, and group 4.

use crate::image::PictureError;
use crate::image::decode::undecodable;
use fax::decoder::{DecodeStatus, Group4Decoder};
use fax::maps::{black, white};
use fax::{BitReader as _, ByteReader};
use std::convert::Infallible;

/// Leading zeros of an end-of-line code, more than any other code has.
const END_OF_LINE_ZEROS: u8 = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Group 3 without end-of-line codes; each line starts on a byte boundary.
    AlignedLines,
    /// Group 3 with an end-of-line code before each line.
    Group3,
    Group4,
}

/// Decodes to rows of bits, padded to whole bytes: 1 is black.
pub(super) fn decode(
    data: &[u8],
    width: usize,
    height: usize,
    coding: Coding,
) -> Result<Vec<u8>, PictureError> {
    let mut rows = Vec::with_capacity(width.div_ceil(8) * height);
    if coding == Coding::Group4 {
        let columns = u16::try_from(width).map_err(undecodable)?;
        let bytes = data.iter().map(|&byte| Ok::<u8, Infallible>(byte));
        let mut decoder = Group4Decoder::new(bytes, columns).map_err(undecodable)?;
        for _ in 0..height {
            match decoder.advance() {
                Ok(DecodeStatus::Incomplete) => push_row(decoder.transition(), width, &mut rows),
                Ok(DecodeStatus::End) | Err(_) => return Err(PictureError::Truncated),
            }
        }
        return Ok(rows);
    }
    let bytes = data.iter().map(|&byte| Ok::<u8, Infallible>(byte));
    let mut reader = ByteReader::new(bytes).map_err(undecodable)?;
    for _ in 0..height {
        match coding {
            Coding::Group3 => skip_end_of_line(&mut reader),
            _ => {
                let _ = reader.consume(reader.bits_to_byte_boundary());
            }
        }
        let changes = line(&mut reader, width)?;
        push_row(&changes, width, &mut rows);
    }
    Ok(rows)
}

/// Skips fill bits and an end-of-line code, if there is one.
fn skip_end_of_line<I: Iterator<Item = Result<u8, Infallible>>>(reader: &mut ByteReader<I>) {
    if reader.peek(END_OF_LINE_ZEROS) != Some(0) {
        return;
    }
    while reader.peek(1) == Some(0) {
        let _ = reader.consume(1);
    }
    let _ = reader.consume(1);
}

/// Decodes one line to the columns where the colour changes; a line begins in white.
fn line<I: Iterator<Item = Result<u8, Infallible>>>(
    reader: &mut ByteReader<I>,
    width: usize,
) -> Result<Vec<u16>, PictureError> {
    let mut changes = Vec::new();
    let (mut at, mut is_black) = (0usize, false);
    while at < width {
        // Codes of 64 and more are followed by others of the same colour.
        loop {
            let run = if is_black {
                black::decode(reader)
            } else {
                white::decode(reader)
            };
            let run = run.ok_or(PictureError::Truncated)?;
            at += usize::from(run);
            if run < 64 {
                break;
            }
            if at > width {
                return Err(undecodable("a line of the fax is too long"));
            }
        }
        changes.push(u16::try_from(at.min(width)).map_err(undecodable)?);
        is_black = !is_black;
    }
    Ok(changes)
}

fn push_row(changes: &[u16], width: usize, rows: &mut Vec<u8>) {
    let start = rows.len();
    rows.resize(start + width.div_ceil(8), 0);
    let row = &mut rows[start..];
    let end = [u16::try_from(width).unwrap_or(u16::MAX)];
    // Black runs lie between an odd change and the next one.
    let mut changes = changes
        .iter()
        .chain(&end)
        .map(|&at| usize::from(at).min(width));
    while let (Some(from), Some(to)) = (changes.next(), changes.next()) {
        for at in from..to {
            row[at / 8] |= 0x80 >> (at % 8);
        }
    }
}
