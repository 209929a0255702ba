//! Takes buffers out of a message's body and decompresses them, within a budget.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::ipc;

use super::{Refusal, lz4};

/// Before the compressed bytes of a buffer stands the length that they will have, or -1 where they are not compressed.
const PREFIX_BYTES: usize = 8;

/// How many bytes may still be decoded.
pub(super) struct Budget {
    max: usize,
    left: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { max, left: max }
    }

    /// Books bytes before they are allocated.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let max = self.max;
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| Refusal::too_large(format!("the columns would take more than {max} bytes decompressed")))?;
        Ok(())
    }
}

/// One array as the metadata describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) rows: usize,
    pub(super) has_nulls: bool,
}

/// The body of a record batch or a dictionary, read from front to back.
pub(super) struct Body<'a> {
    bytes: &'a [u8],
    batch: ipc::RecordBatch<'a>,
    next_node: usize,
    next_buffer: usize,
    is_compressed: bool,
    budget: &'a mut Budget,
}

impl<'a> Body<'a> {
    pub(super) fn new(batch: ipc::RecordBatch<'a>, bytes: &'a [u8], budget: &'a mut Budget) -> Result<Self, Refusal> {
        let is_compressed = match batch.compression() {
            None => false,
            Some(compression) if compression.codec() == ipc::CompressionType::LZ4_FRAME => true,
            Some(_) => return Err(Refusal::malformed("buffers are compressed otherwise than with LZ4")),
        };
        Ok(Self { bytes, batch, next_node: 0, next_buffer: 0, is_compressed, budget })
    }

    /// The description of the next array.
    pub(super) fn node(&mut self) -> Result<Node, Refusal> {
        let nodes = self.batch.nodes().filter(|nodes| self.next_node < nodes.len());
        let node = *nodes.ok_or_else(|| Refusal::malformed("fewer arrays than columns"))?.get(self.next_node);
        self.next_node += 1;
        let rows = usize::try_from(node.length()).map_err(|_| Refusal::malformed("an array of negative length"))?;
        // Whatever the type, an entry takes at least a bit of some buffer that is within the budget.
        if rows > self.budget.max.saturating_mul(8) {
            return Err(Refusal::malformed("an array claims more entries than a batch can hold"));
        }
        Ok(Node { rows, has_nulls: node.null_count() != 0 })
    }

    /// The validity of an array: its next buffer, which counts only when the node says that there are nulls.
    pub(super) fn validity(&mut self, node: Node) -> Result<Option<NullBuffer>, Refusal> {
        let bits = self.buffer()?;
        if !node.has_nulls {
            return Ok(None);
        }
        if bits.len() < node.rows.div_ceil(8) {
            return Err(Refusal::malformed("a validity bitmap is shorter than its array"));
        }
        Ok(Some(NullBuffer::new(BooleanBuffer::new(bits, 0, node.rows))))
    }

    /// The next buffer, decompressed, in memory of its own: it must not keep the whole message alive.
    pub(super) fn buffer(&mut self) -> Result<Buffer, Refusal> {
        let raw = self.raw_buffer()?;
        if !self.is_compressed || raw.is_empty() {
            self.budget.take(raw.len())?;
            return Ok(Buffer::from(raw));
        }
        let (prefix, compressed) =
            raw.split_first_chunk::<PREFIX_BYTES>().ok_or_else(|| Refusal::malformed("a buffer without its length"))?;
        match i64::from_le_bytes(*prefix) {
            -1 => {
                self.budget.take(compressed.len())?;
                Ok(Buffer::from(compressed))
            }
            claimed => {
                let claimed =
                    usize::try_from(claimed).map_err(|_| Refusal::malformed("a buffer claims a negative length"))?;
                self.budget.take(claimed)?;
                lz4::decompress(compressed, claimed)
            }
        }
    }

    /// Checks that nothing was left over.
    pub(super) fn expect_end(&self) -> Result<(), Refusal> {
        let nodes = self.batch.nodes().map_or(0, |nodes| nodes.len());
        let buffers = self.batch.buffers().map_or(0, |buffers| buffers.len());
        if nodes == self.next_node && buffers == self.next_buffer {
            return Ok(());
        }
        Err(Refusal::malformed("more arrays than columns"))
    }

    fn raw_buffer(&mut self) -> Result<&'a [u8], Refusal> {
        let buffers = self.batch.buffers().filter(|buffers| self.next_buffer < buffers.len());
        let buffer = *buffers.ok_or_else(|| Refusal::malformed("fewer buffers than columns"))?.get(self.next_buffer);
        self.next_buffer += 1;
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        range
            .and_then(|(offset, length)| self.bytes.get(offset..offset.checked_add(length)?))
            .ok_or_else(|| Refusal::malformed("a buffer lies outside its message"))
    }
}
