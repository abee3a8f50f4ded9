//! Prints what consoles say, a line each: the file, the kinds of its events, how many frames their call
//! traces hold.
//!
//! `console LOG..`, for `scripts/score-console`. Of a log with a head of `NAME: value` lines and an empty
//! line behind it, as test data of other projects has, the head is left out.
#![expect(clippy::print_stderr, reason = "a program of its own")]

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use kshot_stack::console::recognise;

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("usage: console LOG..");
        return ExitCode::from(128);
    }
    for path in paths {
        if let Err(error) = print(&path) {
            eprintln!("{path}: {error}");
            return ExitCode::from(128);
        }
    }
    ExitCode::SUCCESS
}

fn print(path: &str) -> io::Result<()> {
    let log = fs::read(path)?;
    let events = recognise(body(&log));
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let frames: usize = events.iter().map(|event| event.frames.len() + event.guesses.len()).sum();
    writeln!(io::stdout().lock(), "{path}\t{}\t{frames}", kinds.join(","))
}

fn body(log: &[u8]) -> &[u8] {
    let Some(end) = log.windows(2).position(|window| window == b"\n\n") else { return log };
    let is_head = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        !name.is_empty() && name.len() < line.len() && name.iter().all(u8::is_ascii_uppercase)
    };
    if log[..end].split(|byte| *byte == b'\n').all(is_head) { &log[end..] } else { log }
}
