//! The truth as a capture: first where the breakpoint is, then a stack a line, innermost frame first.
//!
//! ```text
//! {"break": "register_netdevice", "pc": "0xffffffff80412780"}
//! {"task": "eoe_filter", "pid": 41, "frames": [
//!     {"pc": "0xffffffff80412780", "function": "register_netdevice", "start": "0xffffffff80412780", "size": 1940,
//!      "file": "net/core/dev.c", "line": 10159, "inlined": false},
//!     {"pc": "0xffffffff803b9e54", "function": "tun_set_iff", "start": null, "size": null,
//!      "file": "drivers/net/tun.c", "line": 2865, "inlined": true}, ...], "end": "a system-call or thread entry"}
//! ```
//!
//! (Each on one line.) The task's name and the shape of the stack are the guest's.

use std::io::{self, BufRead};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::lines::{self, DEEPEST_STACK, Kind, Warnings, hexadecimal, printable, symbol};
use super::{Frame, ParsedCapture, Stack};
use crate::arch::ArchRow;

/// A frame with its file takes some 200 bytes.
const LONGEST_LINE: usize = DEEPEST_STACK * 1024;

/// Reads the stacks. A breakpoint that was never hit is a warning, and so is a stack whose end cannot be
/// told.
///
/// # Errors
/// What `input` fails with; never because of what a line holds.
pub fn parse(input: impl BufRead, row: &ArchRow) -> io::Result<ParsedCapture> {
    let (mut parsed, mut warnings) = (ParsedCapture::default(), Warnings::default());
    let (mut function, mut stacks) = (None, IndexMap::new());
    lines::each_of(LONGEST_LINE, input, &mut warnings, |line, warnings| {
        match serde_json::from_slice(line) {
            Ok(Line::Break { function: name, .. }) => function = Some(name),
            Ok(Line::Stack(raw)) => {
                parsed.events += 1;
                let stack = stack(raw, function.as_deref().unwrap_or_default(), row, warnings);
                *stacks.entry(stack).or_default() += 1;
            }
            Err(_) => warnings.note(Kind::UnreadableLine, line),
        }
    })?;
    if parsed.events == 0 {
        let function = function.unwrap_or_default();
        warnings.note(Kind::NeverHit, format!("the breakpoint at {function}").as_bytes());
    }
    parsed.stacks = stacks.into_iter().collect();
    parsed.warnings = warnings.into_inner();
    Ok(parsed)
}

/// A line of the capture.
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
    /// A hit.
    Stack(HitStack),
}

/// The stack of one hit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HitStack {
    /// The name of the task (`comm`).
    pub task: String,
    /// Its process id, the kernel's `pid`.
    #[serde(default)]
    pub pid: u64,
    /// The frames, innermost first.
    pub frames: Vec<HitFrame>,
    /// Why there are no more.
    #[serde(default)]
    pub end: Option<String>,
    /// Whether that is short of an entry and of user space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A frame of a hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitFrame {
    /// Its address, hexadecimal: where the hit is, or where a call returns to.
    pub pc: String,
    /// The function as DWARF or else the symbol table names it.
    pub function: Option<String>,
    /// Where the function starts, hexadecimal; none for one that is inlined.
    #[serde(default)]
    pub start: Option<String>,
    /// Its size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// The file of the source, from the top of the tree.
    #[serde(default)]
    pub file: Option<String>,
    /// The line in it.
    #[serde(default)]
    pub line: Option<u32>,
    /// Whether the compiler inlined it into the next frame.
    pub inlined: bool,
    /// Whether it is in user space, where an address does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
}

fn stack(raw: HitStack, function: &str, row: &ArchRow, warnings: &mut Warnings) -> Stack {
    if raw.cut {
        warnings.note(Kind::CutTruth, raw.end.as_deref().unwrap_or_default().as_bytes());
    }
    if raw.frames.len() > DEEPEST_STACK {
        warnings.note(Kind::DeepStack, raw.task.as_bytes());
    }
    let frames = raw.frames.into_iter().take(DEEPEST_STACK).filter_map(|raw| {
        let read = frame(&raw, row);
        if read.is_none() {
            warnings.note(Kind::StrayFrame, raw.pc.as_bytes());
        }
        read
    });
    Stack {
        frames: frames.map(Arc::new).collect(),
        task: printable(raw.task.as_bytes()),
        event: function.to_owned(),
        function: Some(function.to_owned()),
    }
}

fn frame(raw: &HitFrame, row: &ArchRow) -> Option<Frame> {
    let address = hexadecimal(raw.pc.as_bytes())?;
    let start = raw.start.as_deref().and_then(|start| hexadecimal(start.as_bytes()));
    Some(Frame {
        address: Some(address),
        symbol: raw.function.as_deref().and_then(|name| symbol(name.as_bytes())).map(ToOwned::to_owned),
        offset: start.and_then(|start| address.checked_sub(start)),
        size: raw.size,
        user: raw.user || !row.in_kernel(address),
        inlined: raw.inlined,
        ..Frame::default()
    })
}

#[cfg(test)]
mod tests;
