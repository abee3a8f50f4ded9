//! Prints the stacks of a capture as flame graphs are made from, a line each: `task;outermost;..;innermost count`.
//!
//! `collapse ftrace|perf CAPTURE`. It does the work of inferno-collapse-perf, for `scripts/bench` to compare with.
#![expect(clippy::print_stderr, reason = "a program of its own")]

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::process::ExitCode;

use kshot_stack::stack::{Parsed, ftrace_text, perf_script};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [format, path] = arguments.as_slice() else {
        eprintln!("usage: collapse ftrace|perf CAPTURE");
        return ExitCode::from(128);
    };
    match read(format, path).and_then(|parsed| print(&parsed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::from(128)
        }
    }
}

fn read(format: &str, path: &str) -> io::Result<Parsed> {
    let capture = BufReader::with_capacity(64 << 10, File::open(path)?);
    match format {
        "ftrace" => ftrace_text::parse(capture),
        "perf" => perf_script::parse(capture),
        _ => Err(io::Error::other(format!("{format} is neither ftrace nor perf"))),
    }
}

fn print(parsed: &Parsed) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (stack, count) in &parsed.stacks {
        let frames: Vec<String> = stack.frames.iter().rev().map(|frame| frame.name()).collect();
        writeln!(out, "{};{} {count}", stack.task, frames.join(";"))?;
    }
    out.flush()
}
