//! One frame of SystemTap's `print_backtrace()` and `print_ubacktrace()` (its `runtime/sym.c`,
//! `_stp_snprint_addr`).
//!
//! ```text
//!  0xffffffff81145a50 : sys_open+0x0/0x30 [kernel]
//!  0xffffffffa02b5d6a [xfs]
//!  0xffffffffc0427b40
//!  0xffffffff810a8cd8 : kthread+0xd8/0xf0 [kernel] (inexact)
//!  0x7f6c72b6497a : __nanosleep+0x14/0x60 [/usr/lib64/libc-2.31.so]
//! ```
//!
//! What the unwinder did not come by is `inexact`: a word on the stack that may be an address of code.

use super::Frame;
use super::ftrace_frame;
use super::lines::{hexadecimal, split_at, symbol};

/// The fewest digits of an address.
const ADDRESS_DIGITS: usize = 8;

/// A frame without its indentation. An address alone reads as one of any call trace.
pub(crate) fn frame(text: &[u8]) -> Option<Frame> {
    let (address, place) = split_at(text.strip_prefix(b"0x")?, b" ")?;
    let address = hexadecimal(address).filter(|_| address.len() >= ADDRESS_DIGITS)?;
    let (place, guess) = match place.strip_suffix(b"(inexact)") {
        Some(place) => (place.trim_ascii_end(), true),
        None => (place, false),
    };
    let (place, object) = match place.strip_suffix(b"]") {
        Some(place) => {
            let at = place.iter().rposition(|&byte| byte == b'[')?;
            (place[..at].trim_ascii_end(), &place[at + 1..])
        }
        None => (place, &b""[..]),
    };
    let frame = match place.strip_prefix(b": ") {
        Some(place) => ftrace_frame::frame(place).filter(|frame| frame.size.is_some())?,
        None if place.is_empty() && (guess || !object.is_empty()) => Frame::default(),
        None => return None,
    };
    let user = object.starts_with(b"/");
    // Of a program `[/bin/a+0x1234]`.
    let module = Some(object).filter(|object| !user && !object.is_empty() && *object != b"kernel");
    let module = module.map(|module| symbol(module).map(str::to_owned).ok_or(())).transpose().ok()?;
    Some(Frame { address: Some(address), module, user, guess, ..frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_frame_is_read() {
        let read = |text: &str| {
            let frame = frame(text.as_bytes())?;
            Some((frame.address?, frame.symbol.clone(), frame.module.clone(), frame.user, frame.guess))
        };
        let named = Some("f".to_owned());
        for (text, expected) in [
            (
                "0xffffffff81145a50 : f+0x0/0x30 [kernel]",
                (0xffff_ffff_8114_5a50, named.clone(), None, false, false),
            ),
            (
                "0xffffffffa01145a0 : f+0x0/0x30 [ext4]",
                (0xffff_ffff_a011_45a0, named.clone(), Some("ext4".into()), false, false),
            ),
            (
                "0xffffffff810a8cd8 : f+0xd8/0xf0 [kernel] (inexact)",
                (0xffff_ffff_810a_8cd8, named.clone(), None, false, true),
            ),
            ("0xffffffffa02b5d6a [xfs]", (0xffff_ffff_a02b_5d6a, None, Some("xfs".into()), false, false)),
            ("0xffffffff8100b0f2 (inexact)", (0xffff_ffff_8100_b0f2, None, None, false, true)),
            (
                "0x7f6c72b6497a : f+0x14/0x60 [/usr/lib64/libc-2.31.so]",
                (0x7f6c_72b6_497a, named, None, true, false),
            ),
            ("0x55d0c1a2b3c4 [/usr/bin/sleep+0x13c4]", (0x55d0_c1a2_b3c4, None, None, true, false)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in [
            "0xffffffff81145a50",
            "0xffffffff81145a50 : f",
            "0xffffffff81145a50 <f+16>:",
            "0xffff888100a3a000       93       92  1    0   R  0xffff888100a3ab80 *sh",
            "0x10 [a]",
            "ffffffff81145a50 : f+0x0/0x30 [kernel]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
