//! What `bpf_stacks` of `images/guest` writes: the stack that a BPF program is told at each hit of its event
//! (`bpf_get_stack()` and `bpf_get_stackid()` of kernel/bpf/stackmap.c).
//!
//! ```text
//! 113 mkdir
//!         ffffffff8028f4d8
//!         ffffffff8028f6a0
//! 114 a task
//! failed 14
//! lost 2
//! ```
//!
//! Where the kernel has no stack to tell, the helper fails with EFAULT. The addresses get their names from
//! `/proc/kallsyms`.

use std::io::{self, BufRead};
use std::sync::{Arc, LazyLock};

use super::fold::{Fold, Numbers, Texts};
use super::kallsyms::Kallsyms;
use super::lines::{self, DEEPEST_STACK, Kind, LineParser, Warnings, decimal, hexadecimal, split_at};
use super::{Frame, ParsedCapture, Stack};

/// The event of stacks whose event is not known.
pub(super) const EVENT: &str = "bpf-stacks";
/// EFAULT of include/uapi/asm-generic/errno-base.h, the same on every architecture.
const NO_STACK: u64 = 14;

/// The event that a BPF program was at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfEvent {
    /// Its name, a function's or a tracepoint's.
    pub name: String,
    /// The function that each stack begins in, where it begins there and not in code of BPF.
    pub function: Option<String>,
}

/// Reads a capture. `symbols` are those of the kernel that it was recorded on.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead, symbols: &Kallsyms, event: &BpfEvent) -> io::Result<ParsedCapture> {
    lines::parse(input, Parser::new(symbols, event))
}

/// [`parse`] of a capture of which nothing else is known: its frames are addresses.
///
/// # Errors
/// As [`parse`].
pub fn parse_unnamed(input: impl BufRead) -> io::Result<ParsedCapture> {
    lines::parse(input, parser_unnamed())
}

/// What reads such a capture line by line.
pub(crate) fn parser_unnamed() -> impl LineParser {
    static UNNAMED: LazyLock<(Kallsyms, BpfEvent)> =
        LazyLock::new(|| (Kallsyms::default(), BpfEvent { name: EVENT.into(), function: None }));
    let (symbols, event) = &*UNNAMED;
    Parser::new(symbols, event)
}

/// Whether a line, with the one behind it, is one of this format: a hit.
pub(crate) fn is_of(line: &[u8], next: &[u8]) -> bool {
    let is_address = |text: &[u8]| text.len() >= 8 && text.iter().all(u8::is_ascii_hexdigit);
    let follows = next.strip_prefix(b"\t").is_some_and(is_address) || next == b"failed 14";
    split_at(line, b" ").is_some_and(|(pid, task)| whole_number(pid).is_some() && !task.is_empty()) && follows
}

struct Parser<'a> {
    symbols: &'a Kallsyms,
    event: &'a BpfEvent,
    /// The stack whose frames come.
    open: Option<Numbers>,
    hits: u64,
    lost: u64,
    stacks: Fold<Numbers>,
    tasks: Texts<String>,
    frames: Texts<Arc<Frame>>,
}

impl<'a> Parser<'a> {
    fn new(symbols: &'a Kallsyms, event: &'a BpfEvent) -> Self {
        let (stacks, tasks, frames) = (Fold::default(), Texts::default(), Texts::default());
        Self { symbols, event, open: None, hits: 0, lost: 0, stacks, tasks, frames }
    }

    fn frame(&mut self, text: &[u8], warnings: &mut Warnings) {
        let read = |text: &[u8]| Some(Arc::new(frame(hexadecimal(text)?, self.symbols)));
        let Some(number) = self.frames.number(text, read) else {
            return warnings.note(Kind::UnreadableLine, text);
        };
        match &mut self.open {
            None => warnings.note(Kind::StrayFrame, text),
            Some(open) if open.frames.len() == DEEPEST_STACK => warnings.note(Kind::DeepStack, text),
            Some(open) => open.frames.push(number),
        }
    }

    fn lose(&mut self, number: u64, line: &[u8], warnings: &mut Warnings) {
        self.lost = self.lost.saturating_add(number);
        warnings.note(Kind::LostEvents, line);
    }

    fn end(&mut self) {
        if let Some(stack) = self.open.take() {
            self.stacks.add(&stack, self.hits);
        }
    }
}

impl LineParser for Parser<'_> {
    fn line(&mut self, line: &[u8], warnings: &mut Warnings) -> bool {
        if let Some(text) = line.strip_prefix(b"\t") {
            self.frame(text, warnings);
            return true;
        }
        let (word, rest) = split_at(line, b" ").unwrap_or((line, b""));
        match (word, whole_number(rest)) {
            // The hit stays, without frames.
            (b"failed", Some(NO_STACK)) if self.open.is_some() => self.end(),
            (b"failed", Some(_)) if self.open.take().is_some() => self.lose(1, line, warnings),
            (b"lost", Some(number)) => self.lose(number, line, warnings),
            _ if whole_number(word).is_some() && word.len() < line.len() => {
                self.end();
                self.hits += 1;
                self.open = Some(Numbers { task: self.tasks.word(rest), ..Numbers::default() });
            }
            _ => return false,
        }
        true
    }

    fn other(&mut self, line: &[u8], warnings: &mut Warnings) {
        warnings.note(Kind::OtherLine, line);
    }

    fn finish(mut self: Box<Self>, _: &mut Warnings) -> ParsedCapture {
        self.end();
        let (event, tasks, frames) = (self.event, &self.tasks, &self.frames);
        let (stacks, _) = self.stacks.finish(|stack: Numbers| Stack {
            task: tasks.get(stack.task).clone(),
            event: event.name.clone(),
            function: event.function.clone(),
            frames: stack.frames.iter().map(|&frame| frames.get(frame).clone()).collect(),
        });
        ParsedCapture { events: self.hits, lost: self.lost, stacks, ..ParsedCapture::default() }
    }
}

fn whole_number(text: &[u8]) -> Option<u64> {
    decimal(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

fn frame(address: u64, symbols: &Kallsyms) -> Frame {
    let mut frame = Frame { address: Some(address), ..Frame::default() };
    if let Some(place) = symbols.place(address) {
        frame.set_place(place);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "\
ffffffff80100000 T _text
ffffffff8028f4d0 T vfs_mkdir
ffffffff8028f600 T do_mkdirat
ffffffff80290000 T vfs_rmdir
ffffffffc0003000 t bpf_prog_6deef7357e7b4530_stacks\t[bpf]
";

    fn read(text: &str) -> ParsedCapture {
        let symbols = Kallsyms::read(SYMBOLS.as_bytes()).unwrap();
        let event = BpfEvent { name: "vfs_mkdir".into(), function: Some("vfs_mkdir".into()) };
        parse(text.as_bytes(), &symbols, &event).unwrap()
    }

    fn frames(stack: &Stack) -> Vec<String> {
        stack.frames.iter().map(|frame| frame.name()).collect()
    }

    #[test]
    fn equal_stacks_count_and_addresses_get_their_names() {
        let one = "7 a task\n\tffffffff8028f4d8\n\tffffffff8028f6a0\n";
        let parsed = read(&format!("{one}{one}8 x\n\tffffffffc0003010\n\t1234\n"));
        assert_eq!((parsed.events, parsed.lost, parsed.stacks.len()), (3, 0, 2));
        let (stack, count) = &parsed.stacks[0];
        assert_eq!((stack.task.as_str(), *count, stack.subject()), ("a task", 2, "vfs_mkdir"));
        assert_eq!(frames(stack), ["vfs_mkdir", "do_mkdirat"]);
        assert_eq!(frames(&parsed.stacks[1].0), ["bpf_prog_6deef7357e7b4530_stacks", "?"]);
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    }

    #[test]
    fn a_hit_without_a_stack_is_an_empty_stack_and_another_failure_a_loss() {
        let parsed = read("7 a\nfailed 14\n8 a\nfailed 17\nlost 3\n");
        assert_eq!((parsed.events, parsed.lost), (2, 4));
        assert_eq!(parsed.stacks.len(), 1);
        assert!(parsed.stacks[0].0.frames.is_empty());
        assert_eq!(parsed.warnings[0].count, 2);
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let parsed = read("\tffffffff8028f4d8\n7 a\n\txyz\nnonsense\n7\nfailed 14\nfailed 14\n");
        assert_eq!((parsed.events, parsed.stacks.len()), (1, 1));
        let kinds: Vec<_> =
            parsed.warnings.iter().map(|warning| (warning.kind.as_str(), warning.count)).collect();
        assert_eq!(kinds, [("stray-frame", 1), ("unreadable-line", 4)]);
    }
}
