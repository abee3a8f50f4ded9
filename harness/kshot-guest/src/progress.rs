//! Progress of long work: a bar or spinner on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kshot_stack::text::escape_hidden;

/// How often work that is one of many tells what it waits for.
const WAITS_APART: Duration = Duration::from_secs(10 * 60);

/// The progress display on standard error; standard output is left to documents.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
    silent: bool,
    /// Of a silent display that tells waits all the same: when it last did.
    waits: Option<Mutex<Option<Instant>>>,
}

/// One long-running task on the progress display; it ends when dropped.
#[derive(Debug)]
pub struct Task {
    name: String,
    started: Instant,
    bar: Option<ProgressBar>,
    silent: bool,
    last_line: Mutex<Option<Instant>>,
    total: u64,
}

impl Progress {
    /// Bars if standard error is a terminal, plain lines otherwise.
    pub fn detect() -> Self {
        let bars = io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, silent: false, waits: None }
    }

    /// A progress display that prints nothing; for tests and for callers with a display of their own.
    pub fn silent() -> Self {
        Self { bars: None, silent: true, waits: None }
    }

    /// A display that prints nothing but, now and then, what is waited for: for many pieces of work at once,
    /// whose progress is that of the whole.
    pub fn of_waits(&self) -> Self {
        Self { bars: self.bars.clone(), silent: true, waits: Some(Mutex::default()).filter(|_| !self.silent) }
    }

    /// Starts a task of `total` steps, 0 where the number is unknown.
    pub fn task(&self, name: impl Into<String>, total: u64) -> Task {
        let name = escape_hidden(&name.into()).into_owned();
        let bar = self.bars.as_ref().filter(|_| !self.silent).map(|bars| {
            let bar = bars.add(if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) });
            let template = if total == 0 {
                "{spinner} {prefix} {elapsed} {wide_msg}"
            } else {
                "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}"
            };
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let task = Task {
            name,
            started: Instant::now(),
            bar,
            silent: self.silent,
            last_line: Mutex::new(None),
            total,
        };
        task.print_status("...");
        task
    }

    /// Prints one line, above the bars where there are some.
    pub fn print_line(&self, line: &str) {
        if !self.silent {
            self.print(line);
        }
    }

    /// Prints what is waited for, as a noun phrase.
    pub fn print_wait(&self, what: &str) {
        if !self.silent || self.is_wait_due() {
            self.print(&format!("waiting for {what}"));
        }
    }

    fn is_wait_due(&self) -> bool {
        let Some(waits) = &self.waits else { return false };
        let mut last = waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = last.is_none_or(|at| at.elapsed() >= WAITS_APART);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    fn print(&self, line: &str) {
        let line = escape_hidden(line);
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }
}

impl Task {
    /// Reports a step that must not be skipped: without bars it gets a line of its own, however soon after
    /// the last.
    pub fn say(&self, detail: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(escape_hidden(detail).into_owned()),
            None => self.print_status(detail),
        }
    }

    /// Updates the task to step `position`, described by `detail`. Plain lines are printed at most every ten
    /// seconds.
    pub fn update(&self, position: u64, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(escape_hidden(detail).into_owned());
            return;
        }
        let due = {
            let mut last = self.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = last.is_none_or(|at| at.elapsed().as_secs() >= 10);
            if due {
                *last = Some(Instant::now());
            }
            due
        };
        if due {
            let of = if self.total == 0 { String::new() } else { format!(" {position}/{}", self.total) };
            self.print_status(&format!("{of} {detail}"));
        }
    }

    fn print_status(&self, text: &str) {
        if self.bar.is_none() && !self.silent {
            // Standard error may be closed; progress is no reason to fail.
            drop(writeln!(io::stderr(), "{}: {}", self.name, escape_hidden(text.trim_start())));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.print_status(&format!("took {:.1} s", self.started.elapsed().as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_waits_at_once_one_is_told() {
        let whole = Progress { bars: None, silent: false, waits: None };
        let part = whole.of_waits();
        assert!(part.silent);
        assert_eq!([part.is_wait_due(), part.is_wait_due()], [true, false]);
        assert!(!Progress::silent().of_waits().is_wait_due());
    }
}
