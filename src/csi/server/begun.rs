//! Whether a connection has begun: whoever opens one and says nothing holds a place that others need.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::limits::BEGINNING;
use super::seats::Seat;

/// What every client sends at once (RFC 9113, 3.4): the preface of 24 bytes, then a SETTINGS frame with its header of 9.
const PREFACE: usize = 24 + 9;

/// A connection whose received bytes are counted until it has begun, and whose place is told when something goes either way.
#[derive(Debug)]
pub struct Begun {
    stream: UnixStream,
    received: Arc<AtomicUsize>,
    seat: Arc<Seat>,
}

impl Begun {
    /// Counts what this stream receives.
    pub fn of(stream: UnixStream, seat: Arc<Seat>) -> (Self, Arc<AtomicUsize>) {
        let received = Arc::new(AtomicUsize::new(0));
        (Self { stream, received: received.clone(), seat }, received)
    }

    /// An answer is not given before its caller has it, however slowly he reads.
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.seat.wrote(written.is_pending());
        written
    }
}

/// Returns when the time to begin is over and nothing has begun; never, once it has.
pub async fn silent(received: Arc<AtomicUsize>) {
    tokio::time::sleep(BEGINNING).await;
    if received.load(Ordering::Relaxed) >= PREFACE {
        std::future::pending::<()>().await;
    }
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.seat.heard();
        // Beyond the preface nobody looks.
        if this.received.load(Ordering::Relaxed) < PREFACE {
            this.received.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
