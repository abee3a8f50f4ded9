//! The lines of the tracer of memory-mapped IO (`kernel/trace/trace_mmiotrace.c`), which has events and texts
//! of programs alone.
//!
//! ```text
//! VERSION 20070824
//! PCIDEV 0010 80861237 0 0 0 0 0 0 0 0
//! MAP 42.184031 1 0xfebc0000 0xffffb8d340080000 0x0 0x20000 0
//! R 4 42.184055 1 0xfebc0008 0x80080783 0x0 0
//! UNMAP 42.190113 1 0x0 0
//! MARK 64.584328 hello <-world
//! ```

use super::lines::{decimal, split_at};

/// Whether a line is an event.
pub(super) fn is_event(line: &[u8]) -> bool {
    const EVENTS: [&[u8]; 3] = [b"MAP", b"UNMAP", b"MARK"];
    let Some((word, rest)) = split_at(line, b" ") else { return false };
    match word {
        b"R" | b"W" => decimal(rest).is_some_and(|(_, rest)| rest.strip_prefix(b" ").is_some_and(is_time)),
        _ => EVENTS.contains(&word) && is_time(rest),
    }
}

/// Whether a line is of the heading.
pub(super) fn is_heading(line: &[u8]) -> bool {
    line.starts_with(b"VERSION ") || line.starts_with(b"PCIDEV ")
}

/// `42.184031 `
fn is_time(text: &[u8]) -> bool {
    let seconds = decimal(text).and_then(|(_, rest)| rest.strip_prefix(b".")).and_then(decimal);
    seconds.is_some_and(|(_, rest)| rest.starts_with(b" "))
}
