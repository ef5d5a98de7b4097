//! Collects the output lines of a process while it runs.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many lines are kept; the oldest are dropped first. The limit is more than any test reads, even from a binary
/// that logs every tick.
const MAX_LINES: usize = 20_000;

/// A longer line is split into several, so that output without line breaks cannot fill the memory.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// The lines that a process has written to stdout and stderr so far.
#[derive(Debug, Default)]
pub(super) struct LineLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    /// How many lines have been dropped from the front.
    dropped: usize,
    /// How many of the two outputs have not ended.
    open_outputs: usize,
}

impl LineLog {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// The lines from number `first` on, and the number from which to continue. The first line ever written is number
    /// 0.
    pub(super) fn lines_since(&self, first: usize) -> (Vec<String>, usize) {
        let inner = self.lock();
        let skipped = first.saturating_sub(inner.dropped);
        (inner.lines.iter().skip(skipped).cloned().collect(), inner.dropped + inner.lines.len())
    }

    /// Whether both outputs have ended.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().open_outputs == 0
    }

    fn push(&self, line: String) {
        let mut inner = self.lock();
        if inner.lines.len() == MAX_LINES {
            inner.lines.pop_front();
            inner.dropped += 1;
        }
        inner.lines.push_back(line);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for LineLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        if inner.dropped > 0 {
            writeln!(formatter, "  ({} earlier lines)", inner.dropped)?;
        }
        inner.lines.iter().try_for_each(|line| writeln!(formatter, "  {line}"))
    }
}

/// Reads an output to its end on a separate thread. If it were read on the test's runtime, which may be busy, the pipe
/// could fill up and block the process.
pub(super) fn read_lines(log: &Arc<LineLog>, output: impl Read + Send + 'static) {
    // Count the output here and not on the thread, so that the log does not look complete before the thread has started.
    log.lock().open_outputs += 1;
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            log.push(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            line.clear();
        }
        log.lock().open_outputs -= 1;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_a_reader_continues_where_it_stopped() {
        let log = LineLog::default();
        for number in 0..MAX_LINES + 2 {
            log.push(number.to_string());
        }
        let lines = log.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_LINES, "2"));
        assert_eq!(log.lines_since(MAX_LINES), (vec!["20000".to_owned(), "20001".to_owned()], MAX_LINES + 2));
        assert_eq!(log.lines_since(MAX_LINES + 2).0, Vec::<String>::new());
        assert_eq!(log.lines_since(0).0.len(), MAX_LINES);
        assert!(log.to_string().starts_with("  (2 earlier lines)\n  2\n"));
    }
}
