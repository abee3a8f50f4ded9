//! One frame of bpftrace, of bcc's tools, or of others like them.

use crate::stack::Frame;
use crate::stack::lines::{decimal, hexadecimal, is_symbol, number, printable, split_at};

/// What stands for a name that could not be told.
const UNKNOWN: &[u8] = b"[unknown]";
/// The digits of an address, at least.
const ADDRESS_DIGITS: usize = 8;

/// What a line says of a frame. Some versions of bcc's tools print names as Python's bytes: `b'tcp_sendmsg'`.
pub(super) fn frame_text(line: &[u8]) -> &[u8] {
    without_bytes(line.trim_ascii())
}

/// A text without what Python puts around bytes.
pub(super) fn without_bytes(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"b'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// A frame without the number that libbpf-tools print before it: `#0  0xffffffff8110a3b0 __schedule+0x2d6`,
/// `0 [<ffffffff8110a3b0>] f+0x2a`.
pub(super) fn without_number(text: &[u8]) -> &[u8] {
    let rest = match text {
        [b'#', rest @ ..] => decimal(rest).map(|(_, rest)| rest).filter(|rest| rest.starts_with(b" ")),
        [b'0'..=b'9', ..] => decimal(text).map(|(_, rest)| rest).filter(|rest| rest.starts_with(b" [<")),
        _ => None,
    };
    rest.map_or(text, <[u8]>::trim_ascii_start)
}

/// The address that a frame begins with, and what stands behind it.
fn addressed(text: &[u8]) -> Option<(u64, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"[<") {
        let (address, rest) = split_at(rest, b">]")?;
        return Some((hexadecimal(address)?, rest.trim_ascii_start()));
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b'x').count();
    let (address, rest) = text.split_at(digits);
    let rest = match rest {
        [] | [b' ', ..] => rest,
        // `7f7d67091f70:printf_core+0x101 [libc.so]`
        [b':', rest @ ..] if rest.ends_with(b"]") => rest,
        _ => return None,
    };
    // One of a program may be short, `0x4b5f00`.
    let is_long = address.starts_with(b"0x") || address.len() >= ADDRESS_DIGITS;
    Some((hexadecimal(address).filter(|_| is_long)?, rest.trim_ascii_start()))
}

/// Whether a text is a name alone, or one behind its address.
pub(super) fn is_bare(text: &[u8]) -> bool {
    match addressed(text) {
        Some((_, name)) => !name.contains(&b' '),
        None => is_name(text) || text == UNKNOWN,
    }
}

/// Whether a text is a frame with its place, without a size: `f+16`, `f+0x1 [kernel]`.
pub(super) fn is_placed(text: &[u8]) -> bool {
    let text = without_number(text);
    let named = addressed(text).map_or(text, |(_, named)| named);
    let (first, rest) = split_at(named, b" ").unwrap_or((named, b""));
    let is_object = rest.is_empty() || matches!((rest[0], rest[rest.len() - 1]), (b'[', b']') | (b'(', b')'));
    let place = || {
        let (name, offset) = first.split_at(first.iter().rposition(|&byte| byte == b'+')?);
        number(&offset[1..]).filter(|_| is_name(name))
    };
    if let Some((_, named)) = of_dtrace(text) {
        return !named.contains(&b' ');
    }
    // `ffffffffaacb0c56:schedule [kernel]`
    let is_joined = || !rest.is_empty() && is_name(first) && text[..text.len() - named.len()].ends_with(b":");
    is_object && (place().is_some() || is_joined())
}

/// Whether a text may be a frame among others that have a place. The names of C++ hold blanks.
pub(super) fn is_frame(text: &[u8]) -> bool {
    is_placed(text)
        || addressed(without_number(text)).is_some()
        || text.ends_with(b"]") && split_at(text, b"+0x").is_some()
}

/// The object and the place in it of a frame of DTrace's: ``vmlinux`vfs_write+0x1``.
pub(super) fn of_dtrace(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at(text, b"`").filter(|(object, place)| is_name(object) && is_name(place))
}

/// Whether it begins as a function's name does.
pub(super) fn is_name(text: &[u8]) -> bool {
    is_symbol(text) && (text[0].is_ascii_alphabetic() || matches!(text[0], b'_' | b'$' | b'.'))
}

/// `tcp_transmit_skb+1308`, `ffffffff813d0af8 __clear_user+0x18 [kernel]`, `main`, `[unknown]`.
pub(super) fn frame(text: &[u8]) -> Option<Frame> {
    let mut frame = Frame::default();
    let mut rest = without_number(text);
    if let Some((address, named)) = addressed(rest) {
        (frame.address, rest) = (Some(address), named);
    }
    for (open, close) in [(b'[', b']'), (b'(', b')')] {
        if !rest.ends_with(&[close]) || rest == UNKNOWN {
            continue;
        }
        // Behind an address that has no name the object stands alone.
        let alone = (rest[0] == open && frame.address.is_some()).then_some(0);
        let at = rest.windows(2).rposition(|pair| pair == [b' ', open]).map(|blank| blank + 1).or(alone);
        if let Some(at) = at {
            let object = &rest[at + 1..rest.len() - 1];
            frame.user = object.contains(&b'.') && !object.starts_with(b"[") || object.contains(&b'/');
            let is_module =
                !frame.user && object != b"kernel" && !object.starts_with(b"[kernel") && is_name(object);
            frame.module = is_module.then(|| printable(object));
            rest = rest[..at].trim_ascii_end();
        }
    }
    if rest.is_empty() || rest == UNKNOWN || rest == b"<null sym>" {
        return (frame.address.is_some() || !rest.is_empty()).then_some(frame);
    }
    // `f+0x12 a.c:34`
    if let Some((placed, source)) = split_at(rest, b" ").filter(|(first, _)| is_placed(first))
        && split_at(source, b":").is_some()
    {
        rest = placed;
    }
    if let Some((object, place)) = of_dtrace(rest) {
        (frame.user, rest) = (object.contains(&b'.'), place);
        frame.module = (!frame.user && object != b"vmlinux").then(|| printable(object));
    }
    let place = rest.iter().rposition(|&byte| byte == b'+');
    frame.offset = place.and_then(|at| number(&rest[at + 1..]));
    let name = if frame.offset.is_some() { &rest[..place.unwrap_or(rest.len())] } else { rest };
    frame.symbol = Some(printable(name));
    // C++ names hold blanks.
    (is_name(name) || name.contains(&b'(') || name.contains(&b':')).then_some(frame)
}
