//! Looks at how long the messages say that they are, before they are read.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A message that claims to be longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong {
    bytes: usize,
    max: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes: at most {} are read", self.bytes, self.max)
    }
}

impl std::error::Error for TooLong {}

/// A connection on which every message of the client is at most as long as it may be; a longer one is an error of reading.
pub(super) struct Measured<T> {
    inner: T,
    lengths: Lengths,
}

impl<T> Measured<T> {
    pub(super) fn new(inner: T, max: usize) -> Self {
        Self { inner, lengths: Lengths::new(max) }
    }

    /// Looks at what was read before.
    pub(super) fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lengths.note(bytes)
    }

    /// What messages may have from now on.
    pub(super) fn set_max(&mut self, max: usize) {
        self.lengths.max = max;
    }

    pub(super) fn too_long(&self) -> Option<TooLong> {
        self.lengths.too_long
    }
}

/// Where in the client's messages its bytes are.
#[derive(Debug)]
struct Lengths {
    max: usize,
    /// The next message's type, which the very first has none of, and its length.
    head: Vec<u8>,
    head_bytes: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    too_long: Option<TooLong>,
}

const LENGTH_BYTES: usize = 4;

impl Lengths {
    fn new(max: usize) -> Self {
        Self { max, head: Vec::with_capacity(LENGTH_BYTES + 1), head_bytes: LENGTH_BYTES, left: 0, too_long: None }
    }

    fn note(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(self.head_bytes - self.head.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.head.len() == self.head_bytes {
                let length = self.head.iter().rev().take(LENGTH_BYTES).rev();
                // Read without a sign: a negative length is one that is too long.
                let length = length.fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
                if length > self.max {
                    let too_long = TooLong { bytes: length, max: self.max };
                    self.too_long = Some(too_long);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, too_long));
                }
                // The length counts itself; one that does not is refused by who reads the message.
                self.left = length.saturating_sub(LENGTH_BYTES);
                self.head.clear();
                self.head_bytes = LENGTH_BYTES + 1;
            }
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Measured<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(this.lengths.note(&buffer.filled()[before..])),
            other => other,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Measured<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: Option<u8>, length: u32, body: usize) -> Vec<u8> {
        tag.into_iter().chain(length.to_be_bytes()).chain(std::iter::repeat_n(b'x', body)).collect()
    }

    #[test]
    fn lengths_are_seen_however_the_bytes_come() {
        let good = [message(None, 12, 8), message(Some(b'Q'), 100, 96), message(Some(b'S'), 4, 0)].concat();
        let long = [good.clone(), message(Some(b'Q'), 101, 0)].concat();
        let negative = [good.clone(), message(Some(b'Q'), u32::MAX, 0)].concat();
        for size in 1..good.len() {
            let noted = |bytes: &[u8]| {
                let mut lengths = Lengths::new(100);
                bytes.chunks(size).try_for_each(|piece| lengths.note(piece)).map_err(|_| lengths.too_long.unwrap())
            };
            assert!(noted(&good).is_ok(), "pieces of {size}");
            assert_eq!(noted(&long).unwrap_err(), TooLong { bytes: 101, max: 100 }, "pieces of {size}");
            assert!(noted(&negative).is_err(), "pieces of {size}");
        }
    }

    #[test]
    fn a_length_that_does_not_count_itself_ends_nothing() {
        let mut lengths = Lengths::new(100);
        assert!(lengths.note(&message(None, 0, 0)).is_ok());
        assert!(lengths.note(&message(Some(b'Q'), 3, 0)).is_ok());
        assert_eq!(lengths.left, 0);
    }
}
