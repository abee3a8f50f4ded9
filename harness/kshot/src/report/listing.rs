//! The stacks of a capture, for people.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::new_table;
use kshot_stack::format::{ListedFrame, ListedStack, Listing};
use kshot_stack::text::count_noun;

/// A table of the `top` most frequent stacks, and what could not be read.
pub fn listing_table(listing: &Listing, top: usize) -> String {
    let Listing { file, format, line, events, stacks, .. } = listing;
    let line = line.map(|line| format!(" from line {line} on")).unwrap_or_default();
    let (all, different) = (count_noun(listing.count(), "stack"), stacks.len());
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{file}: {}{line}, {}, {all}, {different} different",
        format.name(),
        count_noun(*events, "event")
    );
    let mut ordered: Vec<&ListedStack> = stacks.iter().collect();
    ordered.sort_by_key(|stack| Reverse(stack.count));
    let mut table = new_table();
    table.set_header(["count", "task", "event", "stack"]);
    for stack in ordered.iter().take(top) {
        table.add_row([stack.count.to_string(), stack.task.clone(), event(stack), frames(stack)]);
    }
    if !stacks.is_empty() && top > 0 {
        let _ = writeln!(text, "{table}");
    }
    if let Some(more) = different.checked_sub(top).filter(|more| *more > 0) {
        let _ = writeln!(text, "{} not shown: --top {different}", count_noun(more as u64, "stack"));
    }
    listing_notes(listing).iter().for_each(|note| {
        let _ = writeln!(text, "{note}");
    });
    text
}

/// The events that the capture lost and the lines that could not be read, one line per kind.
pub fn listing_notes(listing: &Listing) -> Vec<String> {
    let lost =
        (listing.lost > 0).then(|| format!("{}: {} lost", listing.file, count_noun(listing.lost, "event")));
    let warnings = listing.warnings.iter().map(|warning| {
        let line = warning.line.map(|line| format!(", first in line {line}")).unwrap_or_default();
        format!("{}: {} x {}{line}: {}", listing.file, warning.count, warning.kind, warning.example)
    });
    lost.into_iter().chain(warnings).collect()
}

fn event(stack: &ListedStack) -> String {
    match &stack.function {
        Some(function) if *function != stack.event => format!("{}\nin {function}", stack.event),
        _ => stack.event.clone(),
    }
}

fn frames(stack: &ListedStack) -> String {
    let mut lines: Vec<String> = stack.kernel.iter().map(ListedFrame::to_string).collect();
    if !stack.user.is_empty() {
        lines.push("-- user space --".into());
        lines.extend(stack.user.iter().map(ListedFrame::to_string));
    }
    if lines.is_empty() { "no frames".into() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kshot_stack::format::{Section, TextFormat};

    #[test]
    fn a_table_shows_the_most_frequent_first_and_what_could_not_be_read() {
        let text = "Call Trace:\n ? f+0x1/0x2\n g+0x1/0x2\n g+0x1/0x2 h+0x1/0x2\n\nCall Trace:\n h+0x1/0x2\n\nCall Trace:\n h+0x1/0x2\n";
        let format = TextFormat::CallTrace;
        let section = Section { format, line: 1, parsed: format.parse(text.as_bytes()).unwrap() };
        let read = Listing::of_sections("log", &[section]);
        insta::assert_snapshot!(listing_table(&read[0], 1), @r"
        log: call-trace, 3 events, 3 stacks, 2 different
        ┌───────────────────────────────────────┐
        │ count   task   event        stack     │
        ╞═══════════════════════════════════════╡
        │ 2       ?      call trace   h+0x1/0x2 │
        └───────────────────────────────────────┘
        1 stack not shown: --top 2
        log: 1 x unreadable-line, first in line 4:  g+0x1/0x2 h+0x1/0x2
        ");
    }
}
