//! One frame of a stack in ftrace's text (`seq_print_ip_sym` of `kernel/trace/trace_output.c`).

use std::sync::Arc;

use super::Frame;
use super::fold::Texts;
use super::lines::{Kind, Warnings, hexadecimal, split_at, symbol};

impl Texts<Arc<Frame>> {
    /// The number of the frame in `text`, by `read`. One that cannot be read is a frame without a name, and a
    /// warning about its `line`.
    pub(super) fn frame(
        &mut self,
        text: &[u8],
        line: &[u8],
        warnings: &mut Warnings,
        read: impl FnOnce(&[u8]) -> Option<Frame>,
    ) -> usize {
        if let Some(known) = self.number(text, |text| read(text).map(Arc::new)) {
            return known;
        }
        warnings.note(Kind::UnreadableLine, line);
        self.insert(text, Arc::new(unreadable_frame(text)))
    }
}

/// `register_netdevice+0x1c/0x798 [tun] <ffffffff803feffc>`, each part but the first optional; a build ID may
/// stand behind the module, and trace-cmd puts the address in round brackets. `0` and `0x1234` are addresses
/// that kallsyms has no name for, `[FTRACE TRAMPOLINE]` and `[unknown/kretprobe'd]` what stands for a place
/// in a tracer's own code.
pub(crate) fn frame(text: &[u8]) -> Option<Frame> {
    let text = text.trim_ascii();
    let mut frame = Frame::default();
    // ` => <ffffffff>`: a user frame without a file.
    if let Some(address) = bracketed(text, b'<', b'>').and_then(hexadecimal) {
        frame.address = Some(address);
        return Some(frame);
    }
    let mut rest = if text.starts_with(b"[") {
        let (marker, rest) = text.split_at(text.iter().position(|&byte| byte == b']')? + 1);
        frame.symbol = Some(std::str::from_utf8(marker).ok().filter(|marker| is_marker(marker))?.to_owned());
        rest
    } else {
        let (first, rest) = text.split_at(text.iter().position(|&byte| byte == b' ').unwrap_or(text.len()));
        if first == b"0" || first.starts_with(b"0x") {
            frame.address = Some(hexadecimal(first)?);
        } else {
            let (name, place) =
                split_at(first, b"+0x").map_or((first, None), |(name, place)| (name, Some(place)));
            frame.symbol = Some(symbol(name).filter(|name| !name.starts_with(['/', '<', '?']))?.to_owned());
            if let Some(place) = place {
                let (offset, size) =
                    split_at(place, b"/").map_or((place, None), |(at, size)| (at, Some(size)));
                frame.offset = Some(hexadecimal(offset)?);
                frame.size = size.map(|size| hexadecimal(size).ok_or(())).transpose().ok()?;
            }
        }
        rest
    };
    while let Some(part) = rest.strip_prefix(b" ") {
        if let Some(module) = part.strip_prefix(b"[") {
            let (module, behind) = split_at(module, b"]")?;
            let (name, _build) = split_at(module, b" ").unwrap_or((module, b""));
            frame.module = Some(symbol(name)?.to_owned());
            rest = behind;
        } else {
            let (address, behind) = match part.strip_prefix(b"(") {
                Some(address) => split_at(address, b")")?,
                None => split_at(part.strip_prefix(b"<")?, b">")?,
            };
            frame.address = Some(hexadecimal(address)?);
            rest = behind;
        }
    }
    rest.is_empty().then_some(frame)
}

/// A frame of which only an address can be told, if that.
pub(super) fn unreadable_frame(text: &[u8]) -> Frame {
    let last = text.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
    let address = last.and_then(|word| bracketed(word, b'<', b'>')).and_then(hexadecimal);
    Frame { address, ..Frame::default() }
}

/// Whether it is what the kernel prints in place of a name: `[FTRACE TRAMPOLINE]`.
fn is_marker(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && text.len() > 2
}

fn bracketed(word: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    word.strip_prefix(&[open]).and_then(|word| word.strip_suffix(&[close]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    #[test]
    fn each_part_of_a_frame_is_read() {
        let read = |text: &str| frame(text.as_bytes());
        let full = read("tun_get+0x18/0x40 [tun 0123abcd] <ffffffffc0001234>").unwrap();
        assert_eq!((full.symbol.as_deref(), full.module.as_deref()), (Some("tun_get"), Some("tun")));
        assert_eq!(
            (full.offset, full.size, full.address),
            (Some(0x18), Some(0x40), Some(0xffff_ffff_c000_1234))
        );
        let offset = read("f+0x18").unwrap();
        assert_eq!((offset.offset, offset.size), (Some(0x18), None));
        let hook = read("[unknown/kretprobe'd] <ffffffff80113cb0>").unwrap();
        let found = (hook.symbol.as_deref(), hook.address);
        assert_eq!(found, (Some("[unknown/kretprobe'd]"), Some(0xffff_ffff_8011_3cb0)));
        assert!(hook.is_marker() && hook.in_kernel(Arch::Mips64.row()));
        assert_eq!(read("[FTRACE TRAMPOLINE]").unwrap().address, None);
        assert_eq!(read("f (ffffffff80113cb0)").unwrap().address, Some(0xffff_ffff_8011_3cb0));
        assert_eq!(read("0xffffffffc0002014").unwrap().address, Some(0xffff_ffff_c000_2014));
        for text in
            ["", "[", "[]", "a-25      [000] .....     0.274600: f", "f+0x", "/bin/sh[+0x1]", "??", "f g"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn of_an_unreadable_frame_the_address_stays() {
        assert_eq!(unreadable_frame(b"\xff\xfe <ffffffff80113cb0>").address, Some(0xffff_ffff_8011_3cb0));
        assert_eq!(unreadable_frame(b"what is this"), Frame::default());
    }
}
