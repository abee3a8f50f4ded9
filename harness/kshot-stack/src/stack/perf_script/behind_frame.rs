//! What stands in lines of their own behind a frame, or behind the last of a sample: none of it is a frame.

use super::super::lines::{decimal, hexadecimal};

/// `  dev.c:10083` of `-F srcline`, behind its frame, or `  [kernel.kallsyms][ffffffff80273ae0]` where the
/// source is not known
pub(super) fn is_source(line: &[u8]) -> bool {
    let number = memchr::memrchr(b':', line).map(|colon| &line[colon + 1..]);
    let of_file = || number.and_then(decimal).is_some_and(|(_, rest)| rest.is_empty());
    let address = || Some(&line[memchr::memrchr(b'[', line)? + 1..line.len() - 1]);
    let is_unknown = || line.ends_with(b"]") && address().and_then(hexadecimal).is_some();
    line.starts_with(b"  ") && (of_file() || is_unknown())
}

/// ` insn: 41 5e` of `-F insn`, ` ilen: 2` of `-F insnlen`
pub(super) fn is_instruction(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    text.starts_with(b"insn: ") || text.starts_with(b"ilen: ")
}

/// ` 0xffffffff8110a3b0/0xffffffff8110a3b1/P/-/-/0  f+0x1/g+0x2/M/-/-/3 ` of `-F brstack`, `-F brstacksym`
pub(super) fn is_branches(line: &[u8]) -> bool {
    let mut parts =
        line.trim_ascii().split(|&byte| byte == b' ').next().unwrap_or_default().split(|&byte| byte == b'/');
    let mut is_next = |fits: fn(&[u8]) -> bool| parts.next().is_some_and(fits);
    let is_place = |place: &[u8]| !place.is_empty();
    let is_flag = |flag: &[u8]| flag.len() == 1;
    is_next(is_place)
        && is_next(is_place)
        && is_next(|flag| matches!(flag, b"P" | b"M" | b"-"))
        && is_next(is_flag)
        && is_next(is_flag)
}
