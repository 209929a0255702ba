//! Splits an Arrow IPC stream into its messages.
//!
//! <https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>: a continuation marker, the length of
//! the metadata, the metadata (a flatbuffer), and a body of the length that the metadata says.

use arrow::ipc;

use super::Refusal;

const CONTINUATION: [u8; 4] = [0xff; 4];

/// One message and its body.
pub(super) struct Frame<'a> {
    pub(super) message: ipc::Message<'a>,
    pub(super) body: &'a [u8],
}

/// The messages of a stream, in order.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next message, which must be there.
    pub(super) fn next_required(&mut self, what: &str) -> Result<Frame<'a>, Refusal> {
        self.next()?.ok_or_else(|| Refusal::malformed(format!("the stream ends where {what} was expected")))
    }

    /// Checks that nothing follows but the end of the stream.
    pub(super) fn expect_end(mut self) -> Result<(), Refusal> {
        match self.next()? {
            None if self.rest.is_empty() => Ok(()),
            _ => Err(Refusal::malformed("something follows the record batch: send one batch in each message")),
        }
    }

    /// `None` at the end of the stream: the end marker, or no more bytes.
    fn next(&mut self) -> Result<Option<Frame<'a>>, Refusal> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.take(4)? != CONTINUATION {
            return Err(Refusal::malformed("a message does not begin with the marker of an Arrow IPC stream"));
        }
        let metadata_bytes = self.take_length()?;
        if metadata_bytes == 0 {
            return Ok(None);
        }
        let metadata = self.take(metadata_bytes)?;
        let message = ipc::root_as_message(metadata)
            .map_err(|error| Refusal::malformed(format!("a message's metadata is broken: {error}")))?;
        let body_bytes = usize::try_from(message.bodyLength())
            .map_err(|_| Refusal::malformed("a message claims a body of negative length"))?;
        Ok(Some(Frame { message, body: self.take(body_bytes)? }))
    }

    fn take_length(&mut self) -> Result<usize, Refusal> {
        let bytes = self.take(4)?.try_into().map_err(|_| Refusal::malformed("a message's length is missing"))?;
        usize::try_from(i32::from_le_bytes(bytes))
            .map_err(|_| Refusal::malformed("a message claims metadata of negative length"))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| {
            Refusal::malformed(format!("cut off: {bytes} bytes were claimed and {} are left", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(taken)
    }
}
