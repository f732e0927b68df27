//! Decompression of strips and tiles.

use super::super::{bytes::byte, jpeg, undecodable};
use super::fax::{self, Coding};
use crate::image::PictureError;
use flate2::{Decompress, FlushDecompress};
use weezl::decode::Decoder;
use weezl::{BitOrder, LzwStatus};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    /// Group 3 without end-of-line codes; each line starts on a byte boundary.
    FaxRle,
    Fax3,
    Fax4,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

impl Compression {
    pub(super) fn of(number: u64) -> Result<Self, PictureError> {
        Ok(match number {
            1 => Self::None,
            2 => Self::FaxRle,
            3 => Self::Fax3,
            4 => Self::Fax4,
            5 => Self::Lzw,
            7 => Self::Jpeg,
            8 | 32946 => Self::Deflate,
            32773 => Self::PackBits,
            34925 => return Err(undecodable("a TIFF compressed with LZMA is not read")),
            50000 => return Err(undecodable("a TIFF compressed with Zstandard is not read")),
            50001 => return Err(undecodable("a TIFF compressed with WebP is not read")),
            other => return Err(undecodable(format!("a TIFF with compression {other}"))),
        })
    }

    pub(super) fn is_fax(self) -> bool {
        matches!(self, Self::FaxRle | Self::Fax3 | Self::Fax4)
    }
}

/// A strip or tile, which is compressed separately.
pub(super) struct Part<'a> {
    pub(super) data: &'a [u8],
    pub(super) width: u32,
    pub(super) height: u32,
    /// Decompressed length, in bytes.
    pub(super) length: usize,
    /// JPEG only: whether there is one channel.
    pub(super) gray: bool,
    /// JPEG only: whether the channels are luma and chroma.
    pub(super) ycc: bool,
    /// JPEG only: the tables that all parts share.
    pub(super) tables: &'a [u8],
}

impl Part<'_> {
    pub(super) fn decompress(&self, compression: Compression) -> Result<Vec<u8>, PictureError> {
        match compression {
            Compression::None => {
                let stored = self.data.get(..self.length);
                stored.map(<[u8]>::to_vec).ok_or(PictureError::Truncated)
            }
            Compression::Lzw => self.lzw(),
            Compression::Deflate => self.deflate(),
            Compression::PackBits => self.pack_bits(),
            Compression::Jpeg => self.jpeg(),
            Compression::FaxRle => self.fax(Coding::AlignedLines),
            Compression::Fax3 => self.fax(Coding::Group3),
            Compression::Fax4 => self.fax(Coding::Group4),
        }
    }

    fn fax(&self, coding: Coding) -> Result<Vec<u8>, PictureError> {
        fax::decode(self.data, self.width as usize, self.height as usize, coding)
    }

    fn lzw(&self) -> Result<Vec<u8>, PictureError> {
        let mut out = vec![0; self.length];
        let mut decoder = Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
        let (mut data, mut filled) = (self.data, 0);
        while filled < out.len() {
            let step = decoder.decode_bytes(data, &mut out[filled..]);
            data = &data[step.consumed_in..];
            filled += step.consumed_out;
            match step.status.map_err(undecodable)? {
                LzwStatus::Ok => {}
                LzwStatus::NoProgress | LzwStatus::Done => break,
            }
        }
        if filled < out.len() {
            return Err(PictureError::Truncated);
        }
        Ok(out)
    }

    fn deflate(&self) -> Result<Vec<u8>, PictureError> {
        let mut out = vec![0; self.length];
        let mut decoder = Decompress::new(true);
        decoder
            .decompress(self.data, &mut out, FlushDecompress::Finish)
            .map_err(undecodable)?;
        if decoder.total_out() < self.length as u64 {
            return Err(PictureError::Truncated);
        }
        Ok(out)
    }

    fn pack_bits(&self) -> Result<Vec<u8>, PictureError> {
        let mut out = Vec::with_capacity(self.length);
        let mut at = 0;
        while out.len() < self.length {
            let room = self.length - out.len();
            let head = byte(self.data, at)?;
            at += 1;
            if head < 128 {
                let count = usize::from(head) + 1;
                let literal = self.data.get(at..at + count);
                let literal = literal.ok_or(PictureError::Truncated)?;
                out.extend_from_slice(&literal[..count.min(room)]);
                at += count;
            } else if head > 128 {
                let count = 257 - usize::from(head);
                let value = byte(self.data, at)?;
                out.resize(out.len() + count.min(room), value);
                at += 1;
            }
        }
        Ok(out)
    }

    /// Decodes the part's stream with the shared tables and an Adobe segment for the TIFF's colours.
    fn jpeg(&self) -> Result<Vec<u8>, PictureError> {
        const START: [u8; 2] = [0xff, 0xd8];
        const END: [u8; 2] = [0xff, 0xd9];
        let own = self
            .data
            .strip_prefix(&START)
            .ok_or(PictureError::Truncated)?;
        let tables = self.tables.strip_prefix(&START).unwrap_or_default();
        let tables = tables.strip_suffix(&END).unwrap_or(tables);
        let mut stream = START.to_vec();
        if !self.gray {
            stream.extend_from_slice(b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0");
            stream.push(u8::from(self.ycc));
        }
        stream.extend_from_slice(tables);
        stream.extend_from_slice(own);
        let pixels = jpeg::decode_stream(&stream, self.width, self.height, self.gray)?;
        if pixels.len() != self.length {
            return Err(PictureError::Truncated);
        }
        Ok(pixels)
    }
}
