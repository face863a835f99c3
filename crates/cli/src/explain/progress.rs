//! What long reading tells on standard error, where somebody sees it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::table::size;

/// Nothing is said before this.
const PATIENCE: Duration = Duration::from_millis(700);

/// Nor more often than this.
const PAUSE: Duration = Duration::from_millis(200);

/// A line that is written over and over.
pub struct Progress {
    shown: bool,
    name: String,
    next: Instant,
    visible: bool,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        let visible = std::io::stderr().is_terminal();
        Self { shown: false, name: String::new(), next: Instant::now() + PATIENCE, visible }
    }

    /// Another file.
    pub fn file(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    /// So much of it was read, and so many spans are there in all.
    pub fn tell(&mut self, bytes: u64, spans: u64) {
        let now = Instant::now();
        if self.visible && now >= self.next {
            let _ = write!(std::io::stderr(), "\r\x1b[Kreading {}: {}, {spans} spans", self.name, size(bytes));
            self.next = now + PAUSE;
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
