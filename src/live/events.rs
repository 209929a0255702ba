//! Server-sent events, as far as the engine writes them: lines of `event:`, `data:` and comments.

use anyhow::bail;

/// Longest event; the engine's are one row each.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event. Without a name it is a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Puts events together from pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
    /// Up to here there is no line break.
    searched: usize,
    event: Event,
}

impl Events {
    /// Takes in a piece of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.searched));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event of what was taken in.
    pub(super) fn event(&mut self) -> anyhow::Result<Option<Event>> {
        while let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[self.searched..self.searched + length]).into_owned();
            self.searched += length + 1;
            let line = line.trim_end_matches('\r');
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.event.name = value.to_owned(),
                "data" => self.event.data.push_str(value),
                "" if line.is_empty() && self.event != Event::default() => {
                    return Ok(Some(std::mem::take(&mut self.event)));
                }
                // A comment, or a field that says nothing here.
                _ => {}
            }
        }
        if self.buffer.len() - self.searched > EVENT_BYTES_MAX {
            bail!("the engine sent an event of more than {EVENT_BYTES_MAX} bytes");
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_stream_is_cut() {
        let stream =
            ": following\n\ndata: {\"a\":1}\n\n: nothing new\n\nevent: end\r\ndata: {\"rows\":1}\r\n\r\ndata: cut";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        let expected = [event("", "{\"a\":1}"), event("end", "{\"rows\":1}")];
        for size in 1..stream.len() {
            let (mut events, mut seen) = (Events::default(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                events.push(piece);
                while let Some(event) = events.event().unwrap() {
                    seen.push(event);
                }
            }
            assert_eq!(seen, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut events = Events::default();
        events.push(&vec![b'x'; EVENT_BYTES_MAX + 1]);
        assert!(events.event().is_err());
    }
}
