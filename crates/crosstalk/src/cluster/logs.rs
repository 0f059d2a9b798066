//! The log lines of all nodes on one terminal. It does not know what they mean, only which ones are worries.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStderr,
};

/// Lines that are remembered for the case that a node does not start.
const LAST_WORDS: usize = 5;

/// Which lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All.
    Everything,
    /// Warnings, errors, and what is no log line, such as a panic.
    Worries,
    /// None: while all nodes are being ended, each complains that the others are gone.
    Nothing,
}

/// Forwards lines to standard error; all clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    shown: Arc<Mutex<Shown>>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Log {
    pub(super) fn new(shown: Shown) -> Self {
        Self { shown: Arc::new(Mutex::new(shown)), last: Arc::default() }
    }

    pub(super) fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// A line of this program's own.
    pub(super) fn note(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Reads a node's lines until it ends.
    pub(super) fn forward(&self, stderr: ChildStderr) {
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                log.line(line);
            }
        });
    }

    fn line(&self, line: String) {
        let shown = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown == Shown::Everything || (shown == Shown::Worries && is_worry(&line)) {
            eprintln!("{line}");
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(line);
    }

    pub(super) fn last_words(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect::<Vec<_>>().join("; ")
    }
}

/// Whether a line is a warning, an error, or no log line at all. A log line begins with its time.
fn is_worry(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let timed = words.next().is_some_and(|time| time.len() == 12 && time.as_bytes().get(8) == Some(&b'.'));
    !timed || words.nth(1).is_some_and(|mark| mark == "WARN" || mark == "ERROR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worries_are_told_from_the_story() {
        assert!(!is_worry("15:46:13.623 producer listens on http://127.0.0.1:4401"));
        assert!(!is_worry("15:46:13.623 producer a message that is called WARN"));
        assert!(is_worry("15:46:13.623 producer WARN consumer is not there"));
        assert!(is_worry("thread 'main' panicked at src/main.rs:1:1:"));
        assert!(is_worry(""));
    }
}
