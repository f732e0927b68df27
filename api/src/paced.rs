//! A connection whose client has to read what is written to it, at the least rate of [`crate::pace`]: of a download, a
//! list or a stream of events. One that does not is closed, which frees all that its response holds.

use crate::metrics::Metrics;
use crate::pace::{MinRate, Pace};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

pub(crate) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// The start of the wait for the client, while there is one.
    since: Option<Instant>,
    /// Ends with the window; there is none before the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    pub(crate) fn new(stream: S, least: MinRate, metrics: Arc<Metrics>) -> Self {
        Self {
            stream,
            pace: Pace::new(least),
            since: None,
            timer: None,
            metrics,
        }
    }

    /// Counts the outcome of a write, and the wait for it.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(outcome) = outcome else {
            ready!(self.waits(context))?;
            return Poll::Pending;
        };
        let waited = self.since.take().map_or_else(Default::default, elapsed);
        let bytes = outcome?;
        self.moved(bytes, waited)?;
        Poll::Ready(Ok(bytes))
    }

    /// Ends with an error once the client is too slow.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let is_new = self.since.is_none();
            let since = *self.since.get_or_insert_with(Instant::now);
            let ends = since + self.pace.rest();
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if is_new {
                timer.as_mut().reset(ends);
            }
            ready!(timer.as_mut().poll(context));
            self.since = None;
            self.moved(0, elapsed(since))?;
        }
    }

    fn moved(&mut self, bytes: usize, waited: std::time::Duration) -> io::Result<()> {
        self.pace.moved(bytes, waited).map_err(|_| {
            self.metrics.too_slow("response");
            io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")
        })
    }
}

fn elapsed(since: Instant) -> std::time::Duration {
    since.elapsed()
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(context, outcome)
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
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const LEAST: MinRate = MinRate {
        bytes_per_second: 10_000,
        window: Duration::from_millis(300),
    };

    /// Writes 20,000 bytes to a client that reads `bytes` of them every 20 ms.
    async fn write_to(bytes: usize) -> io::Result<()> {
        let (ours, mut theirs) = duplex(1000);
        let mut ours = Paced::new(ours, LEAST, Arc::new(Metrics::new()));
        let reads = async {
            let mut buffer = vec![0; bytes];
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while theirs.read_exact(&mut buffer).await.is_ok() {
                ticks.tick().await;
            }
        };
        let writes = async {
            let written = ours.write_all(&vec![0; 20_000]).await;
            drop(ours);
            written
        };
        tokio::join!(writes, reads).0
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_cut_off() {
        assert!(write_to(1000).await.is_ok());
        let cut = write_to(20).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_cut_off_after_the_window() {
        let (ours, _theirs) = duplex(1000);
        let metrics = Arc::new(Metrics::new());
        let mut ours = Paced::new(ours, LEAST, Arc::clone(&metrics));
        let began = Instant::now();
        assert!(ours.write_all(&[0; 2000]).await.is_err());
        assert!(began.elapsed() >= LEAST.window);
        let line = r#"fovea_api_too_slow_total{direction="response"} 1"#;
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }

    #[tokio::test]
    async fn a_silent_connection_is_not_slow() {
        let (ours, mut theirs) = duplex(1000);
        let mut ours = Paced::new(ours, LEAST, Arc::new(Metrics::new()));
        let mut ticks = tokio::time::interval(LEAST.window);
        for _ in 0..3 {
            ticks.tick().await;
            ours.write_all(b"x").await.unwrap();
            theirs.read_u8().await.unwrap();
        }
    }
}
