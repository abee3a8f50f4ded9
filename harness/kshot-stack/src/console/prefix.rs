//! What stands in front of a message of the kernel: its time, and what loggers put before it.
//!
//! ```text
//! [   12.345678] text
//! [   12.345678][ T1234] text
//! <4>[   12.345678] text
//! [Sat Nov 28 09:20:11 2026] text
//! Nov 28 09:20:11 host kernel: [   12.345678] text
//! kern  :warn  : [   12.345678] text
//! [  +0.000003] text                                  dmesg --time-format delta, reltime, and --show-delta
//! [Nov28 09:20] text
//! [   12.345678 <    0.000003>] text
//! 2026-11-28T09:20:11,345678+00:00 text               dmesg --time-format iso, and what runs tests
//! 4,1234,12345678,-;text                              /dev/kmsg, netconsole
//! > [   12.345678] text
//! ```

/// The longest prefix of one kind, in bytes.
const LONGEST: usize = 100;

/// A message, and who printed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The thread or CPU, where the kernel says (`CONFIG_PRINTK_CALLER`): `T1234`, `C0`.
    pub(super) caller: &'a [u8],
    /// The text, with its own blanks.
    pub(super) text: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message in a line.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut text = unquoted(line);
        // Frames, which are most lines, begin with what no prefix begins with.
        if !text.first().is_some_and(|&byte| byte == b'[' || byte == b'<' || byte.is_ascii_alphanumeric()) {
            return Self { caller: b"", text };
        }
        text = level(text).unwrap_or(text);
        if let Some(rest) = seconds(text) {
            return Self::behind_time(rest);
        }
        text = date(text).or_else(|| iso_time(text)).unwrap_or(text);
        text = logger(text).or_else(|| record(text)).unwrap_or(text);
        seconds(text).map_or(Self { caller: b"", text }, Self::behind_time)
    }

    fn behind_time(rest: &'a [u8]) -> Self {
        let (caller, text) = caller(rest).unwrap_or((b"", rest));
        Self { caller, text: text.strip_prefix(b" ").unwrap_or(text) }
    }
}

/// A line of a mail without what quotes it.
pub(super) fn unquoted(line: &[u8]) -> &[u8] {
    let mut text = line;
    while let Some(rest) = text.trim_ascii_start().strip_prefix(b"> ") {
        text = rest;
    }
    text
}

/// What stands behind `[   12.345678]`, `[  +0.000003]` or `[   12.345678 <    0.000003>]`.
fn seconds(text: &[u8]) -> Option<&[u8]> {
    let whole = text.strip_prefix(b"[")?.trim_ascii_start();
    let behind = behind_number(whole.strip_prefix(b"+").unwrap_or(whole))?;
    let delta = || behind_number(behind.strip_prefix(b" <")?.trim_ascii_start())?.strip_prefix(b">]");
    behind.strip_prefix(b"]").or_else(delta)
}

/// What stands behind `12.345678`.
fn behind_number(text: &[u8]) -> Option<&[u8]> {
    behind_digits(behind_digits(text)?.strip_prefix(b".")?)
}

/// What stands behind the digits that a text begins with.
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    (rest.len() < text.len()).then_some(rest)
}

/// `[ T1234]` or `[    C0]`, and what stands behind it.
fn caller(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(LONGEST).position(|&byte| byte == b']')?;
    let caller = inner[..end].trim_ascii();
    let number = caller.strip_prefix(b"T").or_else(|| caller.strip_prefix(b"C"))?;
    (!number.is_empty() && number.iter().all(u8::is_ascii_digit)).then_some((caller, &inner[end + 1..]))
}

/// What stands behind `<4>`.
fn level(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"<")?;
    let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=3).contains(&digits).then(|| inner[digits..].strip_prefix(b">"))?
}

/// What stands behind `[Sat Nov 28 09:20:11 2026] ` or `[Nov28 09:20] `.
fn date(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(LONGEST).position(|&byte| byte == b']')?;
    let colons = inner[..end].iter().filter(|&&byte| byte == b':').count();
    let digits = inner[..end].iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_short = end == "Nov28 09:20".len() && inner[0].is_ascii_uppercase() && colons == 1 && digits == 6;
    (colons >= 2 && digits >= 6 || is_short)
        .then(|| inner[end + 1..].strip_prefix(b" ").unwrap_or(&inner[end + 1..]))
}

/// What stands behind `2026-11-28T09:20:11.345678Z ` or `2026-11-28 09:20:11,345 `.
fn iso_time(text: &[u8]) -> Option<&[u8]> {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd";
    let time = text.get(..SHAPE.len())?;
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b'T' | b' '),
        _ => byte == shape,
    };
    let end = SHAPE.len() + text[SHAPE.len()..].iter().take(LONGEST).position(|&byte| byte == b' ')?;
    time.iter().zip(SHAPE).all(fits).then(|| &text[end + 1..])
}

/// What stands behind `4,1234,12345678,-;` (Documentation/ABI/testing/dev-kmsg).
fn record(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    for _ in 0..3 {
        rest = behind_digits(rest)?.strip_prefix(b",")?;
    }
    let end = rest.iter().take(LONGEST).position(|&byte| byte == b';')?;
    Some(&rest[end + 1..])
}

/// What stands behind `host kernel: ` or `kern  :warn  : `.
fn logger(text: &[u8]) -> Option<&[u8]> {
    let head = &text[..text.len().min(LONGEST)];
    let behind = |mark: &[u8]| {
        let at = head.windows(mark.len()).position(|window| window == mark)?;
        Some(&text[at + mark.len()..])
    };
    if text.starts_with(b"kern ") { behind(b" : ") } else { behind(b" kernel: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_what_loggers_put_before_it() {
        let cases = [
            ("[   12.345678] text", "", "text"),
            ("[   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[   12.345678][ T1234]  text", "T1234", " text"),
            ("[   12.345678] [    C0] text", "", "[    C0] text"),
            ("<4>[   12.345678] text", "", "text"),
            ("[Sat Nov 28 09:20:11 2026] text", "", "text"),
            ("Nov 28 09:20:11 host kernel: [   12.345678][    C1] text", "C1", "text"),
            ("Nov 28 09:20:11 host kernel:  f+0x1/0x2", "", " f+0x1/0x2"),
            ("kern  :warn  : [   12.345678] text", "", "text"),
            ("> > [   12.345678] text", "", "text"),
            ("[  +0.000003]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("[Nov28 09:20] text", "", "text"),
            ("[   12.345678 <    0.000003>] text", "", "text"),
            ("2026-11-28T09:20:11,345678+00:00 text", "", "text"),
            ("2026-11-28T09:20:11.3456789Z [   12.345678]  f+0x1/0x2", "", " f+0x1/0x2"),
            ("2026-11-28T09:20:11+0000 host kernel: text", "", "text"),
            ("2026-11-28 09:20:11,345 text", "", "text"),
            ("4,1234,12345678,-;text", "", "text"),
            ("4,1234,12345678,-,caller=T93; f+0x1/0x2", "", " f+0x1/0x2"),
            ("[<ffffffff8191c190>] f+0x1/0x2", "", "[<ffffffff8191c190>] f+0x1/0x2"),
            (
                "[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x1/0x2",
                "",
                "[c0000000f8a3b7c0] [c000000000a1b2c4] f+0x1/0x2",
            ),
            (" f+0x1/0x2", "", " f+0x1/0x2"),
            ("", "", ""),
        ];
        for (line, caller, text) in cases {
            let message = Message { caller: caller.as_bytes(), text: text.as_bytes() };
            assert_eq!(Message::of(line.as_bytes()), message, "{line}");
        }
    }
}
