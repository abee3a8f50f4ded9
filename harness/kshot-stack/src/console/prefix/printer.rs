//! Who printed a message, as it stands behind its time.
//!
//! ```text
//! [   12.345678][ T1234] text                           CONFIG_PRINTK_CALLER
//! [   12.345678][ T1234@C0] text                        Android
//! [   12.345678]  [0:      swapper/0:    1] text        Samsung
//! [   12.345678] I[0:      swapper/0:    1] text
//! [   12.345678]  (1)[1234:kworker/0:1]text             MediaTek
//! [   12.345678] -(0)[1234:sh][name:traps&]text
//! [   12.345678s][pid:1,cpu0,swapper/0]text             Huawei
//! [   12.345678s][2026:11:28 09:20:11][pid:1,cpu0,swapper/0]text
//! [   12.345678] c0   1234 text                         Unisoc
//! [   12.345678] c0 text
//! [   12.345678] [K] text                               HTC, who do not say it
//! ```

use super::{behind_blank, behind_digits};

/// The longest of them, in bytes.
const LONGEST: usize = 48;

/// Who printed a message, and what stands behind that.
pub(super) fn of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?.trim_ascii_start();
    let [b'T' | b'C', number @ ..] = inner else { return of_vendor(text) };
    let behind = behind_digits(number)?;
    let caller = &inner[..inner.len() - behind.len()];
    let behind = behind.strip_prefix(b"@C").and_then(behind_digits).unwrap_or(behind);
    Some((caller, behind_blank(behind.strip_prefix(b"]")?)))
}

/// The same as kernels of vendors print it.
pub(super) fn of_vendor(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.starts_with(b"c") {
        return of_unisoc(text);
    }
    if let Some(behind) = text.strip_prefix(b"[K] ") {
        return Some((b"", behind));
    }
    // No frame begins so, and most lines are frames.
    let begins = match text {
        [b' ', b'[' | b'(', ..] | [b'.' | b'-', b'(', ..] => &text[1..],
        [b'A'..=b'Z', b'[', b'0'..=b'9', b':', ..] => &text[1..],
        [b'[' | b'(', ..] => text,
        _ => return None,
    };
    let begins = match begins {
        [b'(', cpu @ ..] => behind_digits(cpu)?.strip_prefix(b")")?,
        _ => begins,
    };
    // No address in brackets begins so: `[<ffffffff8191c190>]`.
    if !matches!(begins, [b'[', b'0'..=b'9' | b'p', ..]) {
        return None;
    }
    let of_mediatek = begins.len() < text.len().saturating_sub(2);
    let (inner, behind) = in_brackets(begins)?;
    let is_time = inner.len() == b"2026:11:28 09:20:11".len() && behind_digits(inner) == Some(&inner[4..]);
    let (inner, behind) = if is_time { in_brackets(behind)? } else { (inner, behind) };
    let is_printer = match inner.strip_prefix(b"pid:") {
        Some(number) => behind_digits(number)?.starts_with(b",cpu"),
        None if of_mediatek => behind_digits(inner)?.starts_with(b":"),
        None => is_samsungs(inner),
    };
    let behind = behind_name(behind).filter(|_| of_mediatek).unwrap_or(behind);
    is_printer.then_some((inner, behind_blank(behind)))
}

/// What stands behind the name of a part of the kernel: `[name:traps&]`.
fn behind_name(text: &[u8]) -> Option<&[u8]> {
    in_brackets(text).filter(|(inner, _)| inner.starts_with(b"name:")).map(|(_, behind)| behind)
}

/// What stands in brackets, and behind them.
fn in_brackets(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(LONGEST).position(|&byte| byte == b']')?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// Whether it is the CPU, the task and its number: `0:      swapper/0:    1`.
fn is_samsungs(inner: &[u8]) -> bool {
    let Some(behind) = behind_digits(inner).and_then(|behind| behind.strip_prefix(b":")) else {
        return false;
    };
    let Some(colon) = behind.iter().rposition(|&byte| byte == b':') else { return false };
    let (task, number) = (behind[..colon].trim_ascii(), behind[colon + 1..].trim_ascii_start());
    // `[0:1:2]` may be anything.
    let has_width = behind.starts_with(b" ") || colon >= 15;
    has_width && !task.is_empty() && behind_digits(number).is_some_and(<[u8]>::is_empty)
}

/// The CPU and the task's number in `c0   1234 text`, or the CPU alone in `c0 text`.
fn of_unisoc(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let of_cpu = behind_digits(&text[1..]).filter(|behind| text.len() - behind.len() <= b"c12".len());
    let behind = of_cpu?.strip_prefix(b" ")?;
    let of_task = || behind_digits(behind.trim_ascii_start())?.strip_prefix(b" ");
    let behind = of_task().unwrap_or(behind);
    let caller = &text[..text.len() - behind.len() - 1];
    Some((caller, behind))
}

/// A message without who printed it, where it says so as kernels of vendors do.
pub(in crate::console) fn behind(text: &str) -> &str {
    let behind = of_vendor(text.as_bytes()).map_or(text.len(), |(_, behind)| behind.len());
    &text[text.len() - behind..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendor_tells_who_printed() {
        for (line, caller) in [
            ("[   T93]  f+0x1/0x2", "T93"),
            ("[   T93@C1]  f+0x1/0x2", "T93"),
            (" [0:      swapper/0:    1]  f+0x1/0x2", "0:      swapper/0:    1"),
            ("I[1:  kworker/1:0: 1234]  f+0x1/0x2", "1:  kworker/1:0: 1234"),
            (" (1)[1234:kworker/0:1] f+0x1/0x2", "1234:kworker/0:1"),
            (".(0)[1234:kworker/0:1]  f+0x1/0x2", "1234:kworker/0:1"),
            ("-(0)[1234:sh]  f+0x1/0x2", "1234:sh"),
            ("[pid:1,cpu0,swapper/0] f+0x1/0x2", "pid:1,cpu0,swapper/0"),
            ("[2026:11:28 09:20:11][pid:1,cpu0,sh]  f+0x1/0x2", "pid:1,cpu0,sh"),
            ("c0   1234  f+0x1/0x2", "c0   1234"),
            ("c1 f+0x1/0x2", "c1"),
        ] {
            let (read, behind) =
                of(line.as_bytes()).or_else(|| of_vendor(line.as_bytes())).unwrap_or_default();
            assert_eq!(
                (String::from_utf8_lossy(read).as_ref(), behind.trim_ascii()),
                (caller, &b"f+0x1/0x2"[..])
            );
        }
    }

    #[test]
    fn what_only_begins_so_is_nobodys() {
        for line in [
            " [<c0101234>] f+0x1/0x2",
            "[drm:f:123456] text",
            " [0:1:2] text",
            "[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x1/0x2",
            " (1) text",
            "(1)[2] text",
            "c0: text",
            "c0101234 text",
            "[ Cat] text",
            "[2026:11:28 09:20:11] text",
        ] {
            assert_eq!(of(line.as_bytes()).or_else(|| of_vendor(line.as_bytes())), None, "{line}");
        }
    }
}
