//! Stacks as lines, for tests: everything a [`ParsedCapture`] holds can be seen.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use super::{Frame, ParsedCapture, Stack};

pub(crate) fn parsed(parsed: &ParsedCapture) -> String {
    let mut text = head(parsed);
    for (each, count) in &parsed.stacks {
        let times = if *count == 1 { String::new() } else { format!("{count} x ") };
        write!(text, "\n{times}{}\n", stack(each)).unwrap();
    }
    text
}

/// Each stack of the capture, also equal ones.
pub(crate) fn in_order(parsed: &ParsedCapture, order: &[usize]) -> String {
    let mut text = head(parsed);
    for &place in order {
        write!(text, "\n{}\n", stack(&parsed.stacks[place].0)).unwrap();
    }
    text
}

fn head(parsed: &ParsedCapture) -> String {
    let mut text = format!("events {}, lost {}\n", parsed.events, parsed.lost);
    for warning in &parsed.warnings {
        writeln!(text, "warning {} x {}: {}", warning.count, warning.kind, warning.example).unwrap();
    }
    text
}

/// The first line is task, event and, where it adds something, function.
pub(crate) fn stack(stack: &Stack) -> String {
    let mut text = format!("{} {}", stack.task, stack.event);
    if let Some(function) =
        stack.function.as_ref().filter(|function| !stack.event.ends_with(function.as_str()))
    {
        write!(text, " in {function}").unwrap();
    }
    for each in &stack.frames {
        write!(text, "\n{}", frame(each)).unwrap();
    }
    text
}

fn frame(frame: &Frame) -> String {
    let mut words = Vec::new();
    words.extend(frame.guess.then(|| "(guess)".into()));
    if frame.user {
        words.push("[user]".into());
    }
    let address = frame.address.map(|address| format!("{address:x}"));
    let offset = frame.offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default();
    let size = frame.size.map(|size| format!("/{size:#x}")).unwrap_or_default();
    words.extend(address);
    words.extend(frame.symbol.as_ref().map(|symbol| format!("{symbol}{offset}{size}")));
    words.extend(frame.module.as_ref().map(|module| format!("({module})")));
    words.extend(frame.inlined.then(|| "inlined".into()));
    words.extend(frame.usage.map(|usage| format!("{} of {} bytes", usage.size, usage.depth)));
    if words.is_empty() { "?".into() } else { words.join(" ") }
}

/// Each stack on one line: `count task event in function: frames`, with `?` before a guess.
pub(crate) fn lines(parsed: &ParsedCapture) -> Vec<String> {
    let line = |(stack, count): &(Stack, u64)| {
        let name = |frame: &Arc<Frame>| format!("{}{}", if frame.guess { "?" } else { "" }, frame.name());
        let frames: Vec<_> = stack.frames.iter().map(name).collect();
        let function = stack.function.as_ref().map(|function| format!(" in {function}")).unwrap_or_default();
        format!("{count} {} {}{function}: {}", stack.task, stack.event, frames.join(" "))
    };
    parsed.stacks.iter().map(line).collect()
}

/// The kinds of the warnings, and how often.
pub(crate) fn warnings(parsed: &ParsedCapture) -> Vec<(&str, u64)> {
    parsed.warnings.iter().map(|warning| (warning.kind.as_str(), warning.count)).collect()
}

/// Every capture of a folder of `tests/data`, by its file's stem, in order. There is at least one.
pub(crate) fn captures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = data(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|is| is == "txt")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "captures are missing");
    let stem = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (stem(path), std::fs::read(path).unwrap())).collect()
}

pub(crate) fn data(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Compares what every capture of a folder reads as with the snapshots beside them. There are at least
/// `least`.
pub(crate) fn assert_snapshots(
    folder: &str,
    least: usize,
    parse: impl Fn(&[u8]) -> io::Result<ParsedCapture>,
) {
    let captures = captures(folder);
    assert!(captures.len() >= least, "captures are missing");
    for (name, bytes) in captures {
        assert_snapshot(folder, &name, &parsed(&parse(&bytes).unwrap()));
    }
}

/// Compares with `tests/data/<folder>/<name>.snap`.
pub(crate) fn assert_snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(data(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
