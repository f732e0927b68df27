//! The records of a CSV, read in bounded memory.
//!
//! A quote that is not closed makes all that follows, up to the next quote, part of one cell. A record therefore
//! has a bound, and beyond it only its first line is left out: the lines after it are read again.

use super::text::{Lines, MAX_LINE_BYTES, ManifestError};
use csv_core::{ReadRecordResult, Reader};
use memchr::{memchr_iter, memchr2};
use std::io::BufRead;

/// Records of a text, in bounded memory.
pub(super) struct Records<'a, R> {
    input: &'a mut R,
    reader: Reader,
    lines: Lines,
    /// Text from the current record on, as far as it has been read.
    text: Vec<u8>,
    /// Where the next record begins in it.
    next: usize,
    /// The record's cells, one after the other.
    cells: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    count: usize,
    is_endless: bool,
}

impl<'a, R: BufRead> Records<'a, R> {
    /// Records of at most so many cells, and one more.
    pub(super) fn new(input: &'a mut R, max_cells: usize) -> Self {
        Self {
            input,
            reader: Reader::new(),
            lines: Lines::default(),
            text: Vec::with_capacity(2 * MAX_LINE_BYTES),
            next: 0,
            cells: vec![0; MAX_LINE_BYTES],
            ends: vec![0; max_cells + 1],
            count: 0,
            is_endless: false,
        }
    }

    /// Reads the next record; returns the number of its first line. Of a record that is too long, as one with a
    /// quote that is not closed, only the first line is left out: the next record begins with the next line.
    pub(super) fn next(&mut self) -> Result<Option<u64>, ManifestError> {
        self.skip_empty_lines()?;
        let (from, number) = (self.next, self.lines.count() + 1);
        (self.count, self.is_endless) = (0, false);
        let (mut at, mut length) = (from, 0);
        loop {
            let mut is_over = at - from == MAX_LINE_BYTES;
            if at == self.text.len() && !is_over && !self.fill()? {
                if at == from {
                    return Ok(None);
                }
                // The last line may have no end.
                if self.text.last() == Some(&b'\n') {
                    is_over = true;
                } else {
                    self.text.push(b'\n');
                }
            }
            if is_over {
                return self.leave_out_line(from, number);
            }
            let (at_most, to) = (from + MAX_LINE_BYTES, self.text.len());
            let (result, read, written, ended) = self.reader.read_record(
                &self.text[at..to.min(at_most)],
                &mut self.cells[length..],
                &mut self.ends[self.count..],
            );
            at += read;
            length += written;
            self.count += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return self.leave_out_line(from, number);
                }
                ReadRecordResult::Record | ReadRecordResult::End => {
                    self.next = at;
                    self.lines.add(line_ends(&self.text[from..at]))?;
                    return Ok(Some(number));
                }
            }
        }
    }

    /// Ends the record that begins at `from` with its first line.
    fn leave_out_line(&mut self, from: usize, number: u64) -> Result<Option<u64>, ManifestError> {
        self.reader.reset();
        (self.count, self.is_endless) = (0, true);
        if let Some(end) = memchr2(b'\n', b'\r', &self.text[from..]) {
            self.next = from + end;
        } else {
            self.skip_line()?;
            self.text.clear();
            self.next = 0;
        }
        Ok(Some(number))
    }

    /// Reads on to the end of a line.
    fn skip_line(&mut self) -> Result<(), ManifestError> {
        loop {
            let text = self.input.fill_buf()?;
            let end = memchr2(b'\n', b'\r', text);
            let skipped = end.unwrap_or(text.len());
            let is_over = end.is_some() || text.is_empty();
            self.input.consume(skipped);
            if is_over {
                return Ok(());
            }
        }
    }

    /// Stops at the next record. The record of a line that is none would end here, and its number be wrong.
    fn skip_empty_lines(&mut self) -> Result<(), ManifestError> {
        loop {
            if self.next >= MAX_LINE_BYTES || self.next == self.text.len() {
                self.text.drain(..self.next);
                self.next = 0;
            }
            if self.text.is_empty() && !self.fill()? {
                return Ok(());
            }
            let text = &self.text[self.next..];
            let is_end = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
            let skipped = text.iter().take_while(is_end).count();
            let is_over = skipped < text.len();
            self.lines.add(line_ends(&text[..skipped]))?;
            self.next += skipped;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Reads more text; whether there was any.
    fn fill(&mut self) -> Result<bool, ManifestError> {
        let text = self.input.fill_buf()?;
        let (read, is_end) = (text.len(), text.is_empty());
        self.text.extend_from_slice(text);
        self.input.consume(read);
        Ok(!is_end)
    }

    /// The record's cells; or what is wrong with it.
    pub(super) fn cells(&self) -> Result<Vec<&str>, String> {
        if self.is_endless {
            return Err(format!(
                "it does not end within {} KiB or has too many cells; perhaps a quote is not closed",
                MAX_LINE_BYTES / 1024
            ));
        }
        let mut cells = Vec::with_capacity(self.count);
        let mut from = 0;
        for end in &self.ends[..self.count] {
            let cell = self.cells.get(from..*end).unwrap_or_default();
            let text = std::str::from_utf8(cell);
            cells.push(text.map_err(|_| "it is not UTF-8".to_owned())?);
            from = *end;
        }
        Ok(cells)
    }
}

fn line_ends(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}
