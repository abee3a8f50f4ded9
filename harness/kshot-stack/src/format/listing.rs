//! The stacks of one capture, as `kshot stacks --format json` prints them: a document for each format in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Section, TextFormat};
use crate::stack::{Frame, Stack, StackUsage, Warning};
use crate::text::printable;

/// The version of the document. It grows when a reader of the old one would go wrong.
pub const SCHEMA: u32 = 1;

/// The stacks of one capture that are of one format. What it holds of the capture's text is printable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// The version of this document's form, 1.
    pub schema: u32,
    /// The file, `-` for standard input.
    pub file: String,
    /// The format that they were read in.
    pub format: TextFormat,
    /// The line that the first of this format is in, from 1, where the capture holds others, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// How many events the capture holds, with or without a stack.
    pub events: u64,
    /// How many the kernel says it lost.
    pub lost: u64,
    /// What could not be read, counted by kind.
    pub warnings: Vec<Warning>,
    /// Equal stacks once, in the order of their first appearance.
    pub stacks: Vec<ListedStack>,
}

/// Equal stacks of a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedStack {
    /// How many there were.
    pub count: u64,
    /// The name of the task, `?` where the capture does not say.
    pub task: String,
    /// The event: a traced function, a probe or a trace event; the word of a console's report; else the
    /// format.
    pub event: String,
    /// The function that it was taken in, `null` where the capture does not say.
    pub function: Option<String>,
    /// The frames in the kernel, from the innermost outwards.
    pub kernel: Vec<ListedFrame>,
    /// The frames in user space, from the innermost outwards.
    pub user: Vec<ListedFrame>,
}

/// One frame, as the capture tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedFrame {
    /// The symbol, `null` where the capture has none.
    pub symbol: Option<String>,
    /// The address in hexadecimal, `null` where the capture has none.
    pub address: Option<String>,
    /// Bytes from the start of the symbol.
    pub offset: Option<u64>,
    /// The size of the symbol in bytes.
    pub size: Option<u64>,
    /// The module that it is in.
    pub module: Option<String>,
    /// Whether the compiler inlined it into the next frame.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inlined: bool,
    /// Whether the unwinder did not come by it (`?` on a console).
    #[serde(default, skip_serializing_if = "is_false")]
    pub guess: bool,
    /// How much of the stack it takes, where the capture says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<StackUsage>,
}

impl Listing {
    /// The sections of `file`, each by itself.
    pub fn of_sections(file: &str, sections: &[Section]) -> Vec<Self> {
        let line = |section: &Section| (sections.len() > 1).then_some(section.line);
        sections.iter().map(|section| Self { line: line(section), ..Self::new(file, section) }).collect()
    }

    /// A section of `file`.
    fn new(file: &str, Section { format, parsed, .. }: &Section) -> Self {
        let stacks = parsed.stacks.iter().map(|(stack, count)| ListedStack::new(stack, *count)).collect();
        Self {
            schema: SCHEMA,
            file: clean(file),
            format: *format,
            line: None,
            events: parsed.events,
            lost: parsed.lost,
            warnings: parsed.warnings.clone(),
            stacks,
        }
    }

    /// How many stacks the capture holds, equal ones counted.
    pub fn count(&self) -> u64 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(stack.count))
    }

    /// The document as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }
}

impl ListedStack {
    fn new(stack: &Stack, count: u64) -> Self {
        let frames = |user: bool| {
            stack
                .frames
                .iter()
                .filter(|frame| frame.user == user)
                .map(|frame| ListedFrame::new(frame))
                .collect()
        };
        Self {
            count,
            task: clean(&stack.task),
            event: clean(&stack.event),
            function: stack.function.as_deref().map(clean),
            kernel: frames(false),
            user: frames(true),
        }
    }

    /// The stack as flame graphs are made from: the task, then functions from the outermost inwards, and how
    /// often. Between user space and the kernel stands `-`, as bcc's `profile -df` has it. Guesses are left
    /// out.
    pub fn folded(&self) -> String {
        // A semicolon in a name would end it.
        let word = |name: &str| name.replace(';', ":");
        let names = |frames: &[ListedFrame]| {
            let frames = frames.iter().rev().filter(|frame| !frame.guess);
            frames.map(|frame| word(&frame.name())).collect::<Vec<_>>()
        };
        let mut parts = vec![word(&self.task)];
        let (user, kernel) = (names(&self.user), names(&self.kernel));
        let border = !user.is_empty() && !kernel.is_empty();
        parts.extend(user);
        parts.extend(border.then(|| "-".to_owned()));
        parts.extend(kernel);
        format!("{} {}", parts.join(";"), self.count)
    }
}

impl ListedFrame {
    fn new(frame: &Frame) -> Self {
        Self {
            symbol: frame.symbol.as_deref().map(clean),
            address: frame.address.map(|address| format!("{address:x}")),
            offset: frame.offset,
            size: frame.size,
            module: frame.module.as_deref().map(clean),
            inlined: frame.inlined,
            guess: frame.guess,
            usage: frame.usage,
        }
    }

    /// The function, the address where it has no name, `?` where neither is known.
    pub fn name(&self) -> String {
        match (&self.symbol, &self.address) {
            (Some(symbol), _) => symbol.clone(),
            (None, Some(address)) => format!("0x{address}"),
            (None, None) => "?".into(),
        }
    }
}

impl std::fmt::Display for ListedFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.guess { "? " } else { "" })?;
        f.write_str(&self.name())?;
        if let Some(offset) = self.offset {
            write!(f, "+{offset:#x}")?;
        }
        if let Some(size) = self.size {
            write!(f, "/{size:#x}")?;
        }
        if let Some(module) = &self.module {
            write!(f, " [{module}]")?;
        }
        if self.inlined {
            f.write_str(" (inlined)")?;
        }
        if let Some(StackUsage { depth, size }) = self.usage {
            write!(f, "  {size} of {depth} bytes")?;
        }
        Ok(())
    }
}

fn clean(text: &str) -> String {
    printable(text.as_bytes())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(format: TextFormat, text: &str) -> Listing {
        let section = Section { format, line: 1, parsed: format.parse(text.as_bytes()).unwrap() };
        Listing::of_sections("a\u{202e}b", &[section]).remove(0)
    }

    #[test]
    fn user_space_stands_outside_of_the_kernel_behind_a_border() {
        let text = "a;b 1 1.5: probe:f:\n\tffffffff80000004 f+0x4 ([kernel.kallsyms])\n\tffffffff80000014 g+0x4 ([kernel.kallsyms])\n\t1234 main+0x4 (/bin/a)\n\n";
        let listing = listing(TextFormat::PerfScript, text);
        assert_eq!(listing.stacks[0].folded(), "a:b;main;-;g;f 1");
        let names = |frames: &[ListedFrame]| frames.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&listing.stacks[0].kernel), ["f+0x4", "g+0x4"]);
        assert_eq!(names(&listing.stacks[0].user), ["main+0x4"]);
    }

    #[test]
    fn guesses_are_shown_and_not_counted_as_frames() {
        let listing = listing(
            TextFormat::CallTrace,
            "Call Trace:\n ? f+0x1/0x2\n g+0x1/0x2 [tun]\n 0xffffffff80000010\n",
        );
        let stack = &listing.stacks[0];
        assert_eq!(stack.folded(), "?;0xffffffff80000010;g 1");
        assert_eq!(
            (stack.kernel[0].to_string(), stack.kernel[1].to_string()),
            ("? f+0x1/0x2".into(), "g+0x1/0x2 [tun]".into())
        );
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let text =
            "a\u{202e} 1 1.5: probe:f:\n\tffffffff80000004 f\u{1b}[2J\u{202e}+0x4 ([kernel.kallsyms])\n\n";
        let json = listing(TextFormat::PerfScript, text).to_json_line();
        assert!(!json.chars().any(crate::text::is_hidden), "{json}");
        assert_eq!(serde_json::from_str::<Listing>(&json).unwrap().file, "a\\u{202e}b");
    }
}
