//! Bytes between asynchronous code and a thread that reads and writes.

use bytes::{Buf as _, Bytes};
use std::io::{self, BufWriter, Read, Write};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Pieces under way in one direction.
const PIECES: usize = 4;
/// Length of a written piece, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A reader of the bytes that are sent. They end when the sender is dropped.
pub(crate) fn channel_reader() -> (Sender<Bytes>, impl Read + Send + use<>) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let current = Bytes::new();
    (sender, ChannelReader { pieces, current })
}

/// A writer of bytes that are received. It fails once the receiver is dropped.
pub(crate) fn channel_writer() -> (impl Write + Send + use<>, Receiver<Bytes>) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (
        BufWriter::with_capacity(PIECE_BYTES, ChannelWriter(sender)),
        pieces,
    )
}

struct ChannelReader {
    pieces: Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

struct ChannelWriter(Sender<Bytes>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
