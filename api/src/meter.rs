//! Reserves what a connection buffers of a request's head. Most heads are small, and part of the memory of each
//! connection; a client could otherwise send long ones over all connections at once, and end none.

use crate::budget::{Budget, Reservation};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a head that are part of a connection's own memory.
const FREE_BYTES: usize = 8 * 1024;

/// What a connection has read since its latest request.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    budget: Budget,
    /// Reserved for a head that is longer than [`FREE_BYTES`]: the most that is read of one.
    head_bytes: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    read: usize,
    reserved: Option<Reservation>,
    /// A request is being answered: what is read now is its body, which `upload` charges.
    is_answering: bool,
}

impl Meter {
    pub(crate) fn new(budget: Budget, head_bytes: usize) -> Self {
        Self {
            budget,
            head_bytes,
            state: Arc::default(),
        }
    }

    /// The head is whole.
    pub(crate) fn begin(&self) {
        *self.lock() = State {
            is_answering: true,
            ..State::default()
        };
    }

    /// The request is answered, and the next head may come.
    pub(crate) fn end(&self) {
        *self.lock() = State::default();
    }

    /// Counts bytes that were read; whether there is memory for them.
    fn count(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        if state.is_answering {
            return true;
        }
        // One read may bring a short head and much of its body.
        let is_long = state.read >= FREE_BYTES;
        state.read += bytes;
        if is_long && state.reserved.is_none() {
            state.reserved = self.budget.try_reserve(self.head_bytes).ok();
            return state.reserved.is_some();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose reads are counted. It breaks if there is no memory for a long head.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    pub(crate) stream: S,
    pub(crate) meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let read = into.filled().len() - before;
        Poll::Ready(if self.meter.count(read) {
            Ok(())
        } else {
            Err(io::Error::other(
                "there is no memory for the request's head",
            ))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn a_short_head_with_a_body_in_the_same_read_is_not_reserved() {
        let meter = Meter::new(Budget::new(0), 40_000);
        assert!(meter.count(4 * FREE_BYTES));
        assert!(!meter.count(1), "the head goes on");
        meter.begin();
        meter.end();
        assert!(meter.count(4 * FREE_BYTES));
    }

    #[tokio::test]
    async fn a_long_head_is_reserved_until_it_is_whole_and_broken_if_there_is_no_memory() {
        let budget = Budget::new(50_000);
        let (mut client, server) = tokio::io::duplex(100_000);
        let mut server = Metered {
            stream: server,
            meter: Meter::new(budget.clone(), 40_000),
        };
        let mut into = vec![0; FREE_BYTES];
        client.write_all(&vec![b'a'; 100_000]).await.unwrap();
        server.read_exact(&mut into).await.unwrap();
        assert!(budget.try_reserve(50_000).is_ok());
        server.read_exact(&mut into).await.unwrap();
        assert!(budget.try_reserve(10_001).is_err());

        // A body is not the meter's.
        server.meter.begin();
        server.read_exact(&mut vec![0; 30_000]).await.unwrap();
        let rest = budget.try_reserve(50_000).unwrap();
        server.meter.end();
        server.read_exact(&mut into).await.unwrap();
        assert!(server.read_exact(&mut into).await.is_err());
        drop(rest);
    }
}
