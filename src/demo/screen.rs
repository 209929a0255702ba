//! What the demo shows: check lines, a table that is drawn again each second, lines to paste.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the table is printed where it cannot be drawn again.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Standard output, a terminal or not.
pub(super) struct Screen {
    is_terminal: bool,
    has_color: bool,
    /// Lines of the table on the screen.
    drawn: usize,
    printed_at: Option<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            is_terminal,
            has_color: is_terminal && std::env::var_os("NO_COLOR").is_none(),
            drawn: 0,
            printed_at: None,
        }
    }

    /// A line that says what works.
    pub(super) fn check(&mut self, what: &str) {
        let mark = if self.has_color { "\x1b[32m✓\x1b[0m" } else { "✓" };
        self.text(&format!("{mark} {what}"));
    }

    /// A line that says what was refused or went wrong.
    pub(super) fn warn(&mut self, what: &str) {
        let mark = if self.has_color { "\x1b[33m!\x1b[0m" } else { "!" };
        self.text(&format!("{mark} {what}"));
    }

    /// Lines that stay.
    pub(super) fn text(&mut self, text: &str) {
        self.erase();
        // Whoever closed the output no longer reads; the demo goes on until it is told to end.
        let _ = writeln!(io::stdout(), "{text}");
        self.printed_at = None;
    }

    /// Draws the table in place of the last one. Where there is no terminal, now and then.
    pub(super) fn draw(&mut self, table: &str) {
        if !self.is_terminal {
            if self.printed_at.is_some_and(|at| at.elapsed() < PLAIN_EVERY) {
                return;
            }
            self.printed_at = Some(Instant::now());
        }
        self.erase();
        let _ = write!(io::stdout(), "{table}");
        let _ = io::stdout().flush();
        if self.is_terminal {
            self.drawn = table.lines().count();
        }
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            let _ = write!(io::stdout(), "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}
