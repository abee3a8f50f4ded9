//! What quotes a line: of a mail, of a commit's message, of a test's output, of a chat.
//!
//! ```text
//! > text
//! >>> text
//! >[   12.345678] text
//! | text
//! # text
//! 12:03 <nick> text                     irssi
//! [12:03:45] <@nick> text
//! 2026-11-28 12:03:45 <nick> text
//! Nov 28 12:03:45 <nick>  text
//! <nick> text
//! 12:03:45  nick | text                 weechat
//! 12:03:45 text
//! MESSAGE=text                          journalctl -o export
//! JD> text
//! - {"dt": "2026-11-28T09:20:11", "lvl": "target", "msg": "text"}
//! ```

use super::behind_digits;

/// What journalctl names a message, between other fields of the same.
const FIELD: &[u8] = b"MESSAGE";
/// The longest time in front of a name, and the longest name, in bytes.
const LONGEST: usize = 32;
/// What the kernel prints so: which stack the frames behind it are on.
const MARKERS: [&[u8]; 10] = [
    b"IRQ",
    b"EOI",
    b"NMI",
    b"EOE",
    b"TASK",
    b"SOFTIRQ",
    b"SYSENTER",
    b"UNKNOWN",
    b"ENTRY_TRAMPOLINE",
    b"ESPFIX",
];

/// Who said a line, where it is of a chat, and the line without what quotes it.
pub(super) fn unquoted(line: &[u8]) -> (&[u8], &[u8]) {
    let (mut by, mut text): (&[u8], _) = (b"", line);
    loop {
        // Most lines begin with a blank, a letter, or the time of the kernel, `[   12.345678]`.
        let quoted = match text {
            [b' ' | b'\t' | b'>', ..] => behind_quote(text.trim_ascii_start()),
            [b'|', text @ ..] => Some(text.strip_prefix(b" ").unwrap_or(text)),
            [b'#', text @ ..] => text.strip_prefix(b" "),
            [b'-', ..] => of_lava(text),
            [b'A'..=b'Z', ..] => behind_initials(text),
            [b'<' | b'0'..=b'9', ..] | [b'[', b'0'..=b'9', ..] => None,
            _ => return (by, text),
        };
        if let Some(behind) = quoted {
            text = behind;
        } else if let Some(behind) = behind_field(text) {
            (by, text) = (FIELD, behind);
        } else if let Some((name, behind)) = said(text).filter(|_| by.is_empty()) {
            (by, text) = (name, behind);
        } else if let Some(behind) = behind_clock(text) {
            text = behind;
        } else {
            return (by, text);
        }
    }
}

/// What stands behind `> `; or behind `>` alone, where the rest cannot be KASAN's mark of a line of memory,
/// `>ffff888004d2a000: fa fb`.
fn behind_quote(text: &[u8]) -> Option<&[u8]> {
    match text.strip_prefix(b">")? {
        [b' ', behind @ ..] => Some(behind),
        behind @ [b'>' | b'[' | b'A'..=b'Z', ..] => Some(behind),
        _ => None,
    }
}

/// What stands behind the time of a day: `12:03:45 `, `12:03:45.678 `.
fn behind_clock(text: &[u8]) -> Option<&[u8]> {
    const SHAPE: &[u8] = b"dd:dd:dd";
    let (time, behind) = text.split_at_checked(SHAPE.len())?;
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    let behind = match behind {
        [b'.' | b',', fraction @ ..] => behind_digits(fraction)?,
        _ => behind,
    };
    time.iter().zip(SHAPE).all(fits).then(|| behind.strip_prefix(b" "))?
}

/// What stands behind the initials of whom a mail quotes: `JD> `.
fn behind_initials(text: &[u8]) -> Option<&[u8]> {
    let initials = text.iter().take(3).take_while(|byte| byte.is_ascii_uppercase()).count();
    (initials > 1).then(|| text[initials..].strip_prefix(b"> "))?
}

/// What stands behind the name of the field that holds a message.
fn behind_field(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(FIELD)?.strip_prefix(b"=")
}

/// The text in a line of a log of LAVA.
fn of_lava(text: &[u8]) -> Option<&[u8]> {
    const TEXT: &[u8] = b"\"msg\": \"";
    let begins = text.starts_with(b"- {\"dt\": ");
    let at = begins.then(|| memchr::memmem::find(text, TEXT))?;
    Some(&text[at? + TEXT.len()..])
}

/// Who said a line of a chat, and what.
pub(crate) fn said(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let time = match text.first()? {
        b'<' => 0,
        b'[' if !is_clock(text) => return None,
        b'0'..=b'9' | b'[' => length_of_time(text)?,
        b'A'..=b'S' if behind_month(text).is_some() => length_of_time(text)?,
        _ => return None,
    };
    let (time, said) = text.split_at(time);
    let (name, behind) = if said.starts_with(b"<") { in_angles(said)? } else { before_bar(said)? };
    (is_name(name) && (time.is_empty() || is_time(time))).then_some((name, behind))
}

/// How long the time is in front of who said it.
fn length_of_time(text: &[u8]) -> Option<usize> {
    let mark = memchr::memchr2(b'<', b'|', &text[..text.len().min(LONGEST)])?;
    if text[mark] == b'<' {
        return Some(mark);
    }
    Some(text[..mark].trim_ascii_end().iter().rposition(|&byte| byte == b' ')? + 1)
}

/// What stands behind `Nov `.
fn behind_month(text: &[u8]) -> Option<&[u8]> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    text.get(3).filter(|&&byte| byte == b' ')?;
    MONTHS.chunks(3).find_map(|month| text.strip_prefix(month)?.strip_prefix(b" "))
}

/// The name in `<nick> `, `< nick> ` or `<@nick> `, and what stands behind it.
fn in_angles(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text[1..].trim_ascii_start();
    let inner = inner.strip_prefix(b"@").or_else(|| inner.strip_prefix(b"+")).unwrap_or(inner);
    let close = inner.iter().take(LONGEST).position(|&byte| byte == b'>')?;
    let behind = &inner[close + 1..];
    let behind = behind.strip_prefix(b" ").or_else(|| behind.strip_prefix(b"\t"))?;
    Some((&inner[..close], behind))
}

/// The name in `nick | `, and what stands behind it.
fn before_bar(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = text.iter().take(LONGEST).position(|&byte| byte == b' ')?;
    Some((&text[..blank], text[blank..].trim_ascii_start().strip_prefix(b"| ")?))
}

/// Whether a text begins as `[12:03` does.
fn is_clock(text: &[u8]) -> bool {
    matches!(text, [b'[', b'0'..=b'9', b':', ..] | [b'[', b'0'..=b'9', b'0'..=b'9', b':', ..])
}

/// Whether it is a time of a day, with or without its date, and a blank behind it.
fn is_time(text: &[u8]) -> bool {
    let without_month = behind_month(text).unwrap_or(text);
    let minutes = |part: &[u8]| part[0].is_ascii_digit() && part[1] == b':' && part[2].is_ascii_digit();
    text.ends_with(b" ")
        && without_month.iter().all(|byte| byte.is_ascii_digit() || b":-/.T[] ".contains(byte))
        && without_month.windows(3).any(minutes)
}

/// Whether somebody may be called so: `<4>` is a level, and `<IRQ>` a stack.
fn is_name(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-[]\\`^{}|.".contains(byte);
    name.iter().all(is_letter) && name.iter().any(u8::is_ascii_alphabetic) && !MARKERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, String) {
        let (by, text) = unquoted(line.as_bytes());
        (String::from_utf8_lossy(by).into(), String::from_utf8_lossy(text).into())
    }

    #[test]
    fn a_line_of_a_chat_is_its_text_and_who_said_it() {
        for before in [
            "12:03 <a_b> ",
            "[12:03:45] <@a_b> ",
            "12:03:45 < a_b> ",
            "2026-11-28 12:03:45 <a_b> ",
            "2026-11-28T12:03:45  <a_b> ",
            "Nov 28 12:03:45 <+a_b>\t",
            "<a_b> ",
            "12:03:45 a_b | ",
            "> 12:03 <a_b> ",
            "12:03 <a_b> > ",
            "- {\"dt\": \"2026-11-28T09:20:11\", \"lvl\": \"target\", \"msg\": \"12:03 <a_b> ",
        ] {
            assert_eq!(read(&format!("{before} f+0x1/0x2")), ("a_b".into(), " f+0x1/0x2".into()), "{before}");
        }
    }

    #[test]
    fn what_the_kernel_prints_so_is_nobodys() {
        for line in [
            "<IRQ> f+0x1/0x2",
            "<#DB> f+0x1/0x2",
            "<4>[   12.345678] text",
            "<4> text",
            "          <idle>-0     [003] d..2.    58.289092: <stack trace>",
            "Nov 28 09:20:11 host kernel: <TASK> f+0x1/0x2",
            "Nov 28 09:20:11 host kernel: <nick> f+0x1/0x2",
            "[   12.345678] <nick> text",
            " 0)   0.123 us    |  f();",
            "the quick brown | fox",
            "word | text",
        ] {
            assert_eq!(read(line), (String::new(), line.into()));
        }
    }
}
