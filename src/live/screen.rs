//! Draws a table over the last one on a terminal; elsewhere prints one below the other.

use std::io::{self, IsTerminal as _, Write as _};

use terminal_size::{Height, Width, terminal_size};

/// Standard output.
pub(super) struct Screen {
    pub(super) is_terminal: bool,
    /// Lines of the table on the screen.
    drawn: usize,
    is_first: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), drawn: 0, is_first: true }
    }

    /// How many lines there is room for, where that is known.
    pub(super) fn height(&self) -> Option<usize> {
        let size = self.is_terminal.then(terminal_size).flatten();
        size.map(|(_, Height(height))| usize::from(height))
    }

    /// Replaces what was drawn before. What is wider than the terminal is cut, as a line that wraps could not be drawn over.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.is_terminal {
            let gap = if std::mem::take(&mut self.is_first) { "" } else { "\n" };
            write!(out, "{gap}{text}")?;
            return out.flush();
        }
        let width = terminal_size().map_or(usize::MAX, |(Width(width), _)| usize::from(width));
        if self.drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.drawn = 0;
        for line in text.lines() {
            let line: String = line.chars().take(width).collect();
            writeln!(out, "{line}")?;
            self.drawn += 1;
        }
        out.flush()
    }
}
