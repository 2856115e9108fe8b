//! A connection that can be reset from elsewhere.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A TCP connection; once its [`Breaker`] says so, every operation fails, and dropping it sends a reset.
#[derive(Debug)]
pub struct Breakable {
    stream: TcpStream,
    breaker: Breaker,
}

/// Breaks one connection.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_broken: AtomicBool,
    reading: AtomicWaker,
    writing: AtomicWaker,
}

impl Breaker {
    /// The connection is reset as soon as it is dropped by who serves it, which gets an error at once.
    pub fn reset(&self) {
        self.0.is_broken.store(true, Ordering::Release);
        self.0.reading.wake();
        self.0.writing.wake();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.is_broken.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Breakable {
    pub fn new(stream: TcpStream) -> (Self, Breaker) {
        let breaker = Breaker::default();
        (Self { stream, breaker: breaker.clone() }, breaker)
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if self.breaker.check().is_err() {
            // Where this fails the peer sees an ordinary end, which is broken enough.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.breaker.0.reading.register(context.waker());
        self.breaker.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.breaker.0.writing.register(context.waker());
        self.breaker.check()?;
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.breaker.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.breaker.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.breaker.0.writing.register(context.waker());
        self.breaker.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
