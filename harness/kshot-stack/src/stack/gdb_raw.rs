//! The truth of the function tracer as a capture: first where the breakpoint is; then for each event
//! registers and all that is on the kernel's stack, from which the stack of the traced function can be
//! unwound; then how many events there were.
//!
//! ```text
//! {"break": "trace_function", "pc": "0xffffffff801c8a80"}
//! {"event": 1, "pc": "0xffffffff801c8a80", "sp": "0x980000000183bc60",
//!     "registers": [[16, "0xffffffff80a11788"], [29, "0x980000000183bc60"], ...], "memory": "98000000018a4b00..."}
//! {"events": 26389}
//! ```
//!
//! (Each on one line.) Of each traced place there are only the first ones.

use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

use super::Warning;
use super::lines::{self, Kind, Warnings, hexadecimal};

/// Four kernel stacks of 64 KiB in hexadecimal.
const LONGEST_LINE: usize = 512 << 10;

/// The registers and the stacks of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawHit {
    /// The event, from 1.
    pub number: u64,
    /// The program counter.
    pub pc: u64,
    /// Registers, by DWARF's number.
    pub registers: Vec<(u16, u64)>,
    /// The stack that the processor was on, and those that it came from.
    pub stacks: Vec<StackCopy>,
    /// The top addresses of the stacks that C code may switch to
    /// ([`ArchRow::switched_stacks`](crate::arch::ArchRow::switched_stacks)).
    pub tops: Vec<u64>,
    /// The real return addresses of calls that return to a trampoline.
    pub returns: Vec<Returns>,
}

/// A stack from some address to its top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCopy {
    /// The address.
    pub base: u64,
    /// What is there.
    pub memory: Vec<u8>,
}

/// The real return addresses of calls that return to one trampoline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The trampoline's address.
    pub trampoline: u64,
    /// The return addresses, innermost call first.
    pub addresses: Vec<u64>,
}

/// All of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawHits {
    /// The events, in order.
    pub raw: Vec<RawHit>,
    /// How many events there were; `None` where the capture did not come to its end.
    pub events: Option<u64>,
    /// What could not be read, counted by kind.
    pub warnings: Vec<Warning>,
}

/// Reads a capture.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead) -> io::Result<RawHits> {
    let (mut all, mut warnings) = (RawHits::default(), Warnings::default());
    lines::each_of(LONGEST_LINE, input, &mut warnings, |line, warnings| {
        match serde_json::from_slice(line) {
            Ok(Line::Break { .. }) => {}
            Ok(Line::End { events }) => all.events = Some(events),
            Ok(Line::Event(event)) => match raw(&event) {
                Some(raw) => all.raw.push(raw),
                None => warnings.note(Kind::UnreadableLine, line),
            },
            Err(_) => warnings.note(Kind::UnreadableLine, line),
        }
    })?;
    all.warnings = warnings.into_inner();
    Ok(all)
}

impl RawHit {
    /// The line of the capture that holds it.
    pub fn line(&self) -> Line {
        let hexadecimal = |value: u64| format!("{value:#x}");
        let mut stacks = self.stacks.iter().map(|stack| EventStack {
            sp: hexadecimal(stack.base),
            memory: stack.memory.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect(),
        });
        let EventStack { sp, memory } = stacks.next().unwrap_or_default();
        Line::Event(Event {
            event: self.number,
            pc: hexadecimal(self.pc),
            sp,
            registers: self.registers.iter().map(|&(number, value)| (number, hexadecimal(value))).collect(),
            memory,
            before: stacks.collect(),
            tops: self.tops.iter().copied().map(hexadecimal).collect(),
        })
    }

    /// Whether an address is on one of the stacks, or at its top.
    pub fn holds(&self, address: u64) -> bool {
        let size = |stack: &StackCopy| stack.memory.len() as u64;
        let holds = |stack: &StackCopy| address.checked_sub(stack.base).is_some_and(|at| at <= size(stack));
        self.stacks.iter().any(holds)
    }

    /// So many bytes of the stacks.
    pub fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.stacks.iter().find_map(|stack| {
            let at = usize::try_from(address.checked_sub(stack.base)?).ok()?;
            stack.memory.get(at..at.checked_add(length)?)
        })
    }
}

/// A line of a capture.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Where the breakpoint is.
    Break {
        /// The function.
        #[serde(rename = "break")]
        function: String,
        /// Its address, hexadecimal.
        pc: String,
    },
    /// An event.
    Event(Event),
    /// The end.
    End {
        /// How many events there were.
        events: u64,
    },
}

/// The text of [`RawHit`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    event: u64,
    pc: String,
    sp: String,
    registers: Vec<(u16, String)>,
    memory: String,
    /// The stacks that the processor came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<EventStack>,
    /// The tops of stacks that C code switches to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tops: Vec<String>,
}

/// The text of a [`StackCopy`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct EventStack {
    sp: String,
    memory: String,
}

/// The hexadecimal digit of a number below 16.
fn digit(number: u8) -> char {
    char::from_digit(number.into(), 16).unwrap_or('0')
}

fn raw(event: &Event) -> Option<RawHit> {
    let number = |text: &str| hexadecimal(text.as_bytes());
    let registers = event.registers.iter().map(|(register, value)| Some((*register, number(value)?)));
    let before = event.before.iter().map(|stack| copy(&stack.sp, &stack.memory));
    Some(RawHit {
        number: event.event,
        pc: number(&event.pc)?,
        registers: registers.collect::<Option<_>>()?,
        stacks: [copy(&event.sp, &event.memory)].into_iter().chain(before).collect::<Option<_>>()?,
        tops: event.tops.iter().map(|top| number(top)).collect::<Option<_>>()?,
        returns: Vec::new(),
    })
}

fn copy(base: &str, memory: &str) -> Option<StackCopy> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = memory.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    let memory = bytes.collect::<Option<_>>().filter(|_| rest.is_empty())?;
    Some(StackCopy { base: hexadecimal(base.as_bytes())?, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_stacks_are_read_and_garbage_is_counted() {
        let text = r#"{"break": "trace_function", "pc": "0xffffffff801c8a80"}
{"event": 7, "pc": "0xffffffff801c8a80", "sp": "0x98", "registers": [[29, "0x98"]], "memory": "00ff0a"}
{"event": 7, "pc": "0x1", "sp": "0x98", "registers": [], "memory": "01", "before": [{"sp": "0x40", "memory": "02"}], "tops": ["0xf8"]}
{"event": 8, "pc": "0xffffffff801c8a80", "sp": "0x98", "registers": [[29, "x"]], "memory": ""}
{"event": 9, "pc": "0x1", "sp": "0x98", "registers": [], "memory": "0"}
{"events": 12}
garbage
"#;
        let all = parse(text.as_bytes()).unwrap();
        let stack = |base, memory: &[u8]| StackCopy { base, memory: memory.into() };
        let one = RawHit {
            number: 7,
            pc: 0xffff_ffff_801c_8a80,
            registers: vec![(29, 0x98)],
            stacks: vec![stack(0x98, &[0, 0xff, 0x0a])],
            ..RawHit::default()
        };
        let interrupt = RawHit {
            number: 7,
            pc: 1,
            stacks: vec![stack(0x98, &[1]), stack(0x40, &[2])],
            tops: vec![0xf8],
            ..RawHit::default()
        };
        assert_eq!(all.raw, [one, interrupt]);
        for (raw, line) in all.raw.iter().zip(text.lines().skip(1)) {
            assert_eq!(
                serde_json::to_string(&raw.line()).unwrap(),
                line.replace(": ", ":").replace(", ", ",")
            );
        }
        assert_eq!(all.events, Some(12));
        assert_eq!(all.warnings.iter().map(|warning| warning.count).sum::<u64>(), 3);
    }

    #[test]
    fn a_capture_that_was_cut_short_has_no_number_of_events() {
        assert_eq!(parse(&b"{\"break\": \"trace_function\", \"pc\": \"0x1\"}\n"[..]).unwrap().events, None);
    }
}
