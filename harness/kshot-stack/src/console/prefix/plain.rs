//! A line as a terminal shows it, without what web pages and loggers make of it.
//!
//! ```text
//! \x1b[32m[   12.345678] \x1b[0mtext                    colours
//! [32m[   12.345678] [0mtext                            colours that lost their escape
//! text^M                                                ends of lines that were made visible
//! text<br>
//! [&lt;ffffffff81051a00&gt;] f+0x7f/0xc0               a web page's source
//! text - kernel                                         Cisco's switches
//! {"log":"text\n","stream":"stdout"}                    docker
//! {"MESSAGE":"text","PRIORITY":"4"}                     journalctl -o json
//! 06-15 04:48:22.666     0     0 W WARNING : text       logcat of Android, of the message `WARNING: text`
//! 06-15 04:48:22.666     0     0 W         : text
//! ```

use std::borrow::Cow;

use serde::Deserialize;

/// What stands at the end of a line and is no part of it.
const ENDS: [&[u8]; 11] = [
    b"^M",
    b"\\r",
    b"\"}",
    b"\0",
    "␍␊".as_bytes(),
    "␍".as_bytes(),
    b" - kernel",
    b"<br>",
    b"<br/>",
    b"<br />",
    b"</pre>",
];
const BLANK: &[u8] = "\u{a0}".as_bytes();
/// What web pages write for a letter.
const ENTITIES: [(&[u8], u8); 8] = [
    (b"&lt;", b'<'),
    (b"&gt;", b'>'),
    (b"&amp;", b'&'),
    (b"&quot;", b'"'),
    (b"&#34;", b'"'),
    (b"&#39;", b'\''),
    (b"&#x27;", b'\''),
    (b"&nbsp;", b' '),
];
/// How logcat puts a message of the kernel, of which it takes the first word for the name of a program.
const LOGCAT: &[u8] = b"dd-dd dd:dd:dd.ddd     0     0 ";

/// The message in a line of JSON.
#[derive(Deserialize)]
struct Logged<'a> {
    #[serde(borrow, alias = "MESSAGE")]
    log: Cow<'a, str>,
}

/// A line as a terminal shows it: without colours, zeros, the mark of a byte order, and the end of a line that
/// was made visible; with plain blanks and letters, which web pages make others of; out of what loggers pack
/// it in.
pub(crate) fn plain(line: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(line) { Cow::Borrowed(line) } else { made_plain(line) }
}

/// Whether a line is plain as it stands: most are.
fn is_plain(line: &[u8]) -> bool {
    let begins = !matches!(line, [0 | 0xef | b'<' | b'{' | b'0' | b'1', ..] | [b'[', b'0'..=b'9', ..]);
    begins
        && !line.last().is_some_and(|&last| may_end(last))
        && memchr::memchr3(b'\x1b', BLANK[0], b'&', line).is_none()
}

/// The same of a line that may not be plain.
fn made_plain(line: &[u8]) -> Cow<'_, [u8]> {
    let packed = match line {
        [b'{', b'"', ..] => logged(line).map(|text| plain(text.as_bytes()).into_owned()),
        [b'0' | b'1', _, b'-', ..] => of_logcat(line),
        _ => None,
    };
    if let Some(text) = packed {
        return Cow::Owned(text);
    }
    let line = without_ends(line);
    let has_lost_escapes = behind_code(line).is_some();
    let first = memchr::memchr3(b'\x1b', BLANK[0], b'&', line).unwrap_or(line.len());
    if !has_lost_escapes && !(first..line.len()).any(|at| is_shown(&line[at..])) {
        return Cow::Borrowed(line);
    }
    let (mut plain, mut rest) = (Vec::with_capacity(line.len()), line);
    while let Some((&byte, behind)) = rest.split_first() {
        let behind_lost = || behind_code(rest).filter(|_| has_lost_escapes);
        rest = if let Some(behind) = behind_colour(rest).or_else(behind_lost) {
            behind
        } else {
            let (byte, behind) = letter(rest).unwrap_or((byte, behind));
            plain.push(byte);
            behind
        };
    }
    Cow::Owned(plain)
}

/// A line without what stands before and behind it.
fn without_ends(line: &[u8]) -> &[u8] {
    let mut line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    while let Some(0) = line.first() {
        line = &line[1..];
    }
    line = line.strip_prefix(b"<pre>").unwrap_or(line);
    while line.last().is_some_and(|&last| may_end(last))
        && let Some(text) = ENDS.iter().find_map(|end| line.strip_suffix(*end))
    {
        line = text;
    }
    line
}

/// Whether one of [`ENDS`] ends so.
fn may_end(last: u8) -> bool {
    matches!(last, b'M' | b'r' | b'}' | b'l' | b'>' | 0 | 0x80..)
}

/// Whether a text begins with what is shown as something else.
fn is_shown(text: &[u8]) -> bool {
    text[0] == b'\x1b' || letter(text).is_some()
}

/// The letter that a text begins with and that is written as another, and what stands behind it.
fn letter(text: &[u8]) -> Option<(u8, &[u8])> {
    match text.first()? {
        b'&' => ENTITIES.iter().find_map(|(entity, letter)| Some((*letter, text.strip_prefix(*entity)?))),
        _ => Some((b' ', text.strip_prefix(BLANK)?)),
    }
}

/// What stands behind a code that changes the colour or erases the rest of the line: `\x1b[31m`, `\x1b[K`.
fn behind_colour(text: &[u8]) -> Option<&[u8]> {
    let code = text.strip_prefix(b"\x1b[")?;
    let end = code.iter().position(|byte| (b'@'..=b'~').contains(byte))?;
    matches!(code[end], b'm' | b'K').then(|| &code[end + 1..])
}

/// What stands behind a code that lost its escape, `[31m` or `[0;31m`.
fn behind_code(text: &[u8]) -> Option<&[u8]> {
    let code = text.strip_prefix(b"[")?;
    let digits = code.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    (1..=5).contains(&digits).then(|| code[digits..].strip_prefix(b"m"))?
}

/// The message in a line of JSON, without the end of its line.
fn logged(line: &[u8]) -> Option<Cow<'_, str>> {
    let Logged { log } = serde_json::from_slice(line).ok()?;
    let text = log.trim_end_matches(['\r', '\n']);
    Some(if text.len() == log.len() { log } else { Cow::Owned(text.to_owned()) })
}

/// A message of the kernel's that logcat prints, as other loggers put it.
fn of_logcat(line: &[u8]) -> Option<Vec<u8>> {
    let (time, text) = line.split_at_checked(LOGCAT.len())?;
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    let [b'A'..=b'Z', b' ', text @ ..] = text else { return None };
    if !time.iter().zip(LOGCAT).all(fits) || text.starts_with(b"kernel ") {
        return None;
    }
    let (name, message) = match memchr::memmem::find(text, b" : ") {
        Some(colon) if !text[..colon].contains(&b':') => (text[..colon].trim_ascii(), &text[colon + 3..]),
        _ => (&b""[..], text),
    };
    let colon: &[u8] = if name.is_empty() { b"" } else { b": " };
    Some([b"kernel: ", name, colon, message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_a_terminal_shows_it() {
        for line in [
            "\x1b[32m[   12.3] \x1b[0m\x1b[33mtun\x1b[0m: a\x1b[K",
            "[32m[   12.3] [0m[0;33mtun[0m: a",
            "[   12.3] tun: a^M",
            "[   12.3] tun: a\\r",
            "[   12.3] tun: a␍␊",
            "[   12.3] tun: a<br>",
            "<pre>[   12.3] tun: a<br /></pre>",
            "[   12.3] tun: a - kernel",
            "\u{feff}[   12.3] tun: a",
            "\0\0[   12.3] tun: a\0",
            "[\u{a0}\u{a0} 12.3]\u{a0}tun: a",
            "[&nbsp;&nbsp; 12.3] tun: a",
            "[   12.3] tun: a",
            "{\"log\":\"[   12.3] tun: a\\n\",\"stream\":\"stdout\",\"time\":\"2021-01-01T12:00:00.1Z\"}",
            "{\"PRIORITY\":\"4\",\"MESSAGE\":\"\\u001b[0m[   12.3] tun: a\"}",
        ] {
            assert_eq!(String::from_utf8_lossy(&plain(line.as_bytes())), "[   12.3] tun: a", "{line}");
        }
        assert_eq!(plain(b"[&lt;c1&gt;] f &amp; g"), &b"[<c1>] f & g"[..]);
        assert_eq!(plain(b"b&#x27;a&#39; &#34;"), &b"b'a' \""[..]);
        for other in [
            &b"a\x1b[1"[..],
            b"a\x1bb",
            b"a\x1b[2J",
            b" #0: (&x->lock){+.+.}",
            b"[  12m] a",
            b"a[31mb",
            b"{\"log\":1}",
            b"{\"a\":\"log\",\"b\":1}",
        ] {
            assert_eq!(&plain(other)[..], other);
        }
    }

    #[test]
    fn a_word_that_logcat_takes_for_a_program_is_given_back() {
        for (line, message) in [
            ("06-15 04:48:22.666     0     0 W         : f+0x1/0x2", "kernel: f+0x1/0x2"),
            ("06-15 04:48:22.666     0     0 W CPU     : 3 PID: 93", "kernel: CPU: 3 PID: 93"),
            ("06-15 04:48:22.666     0     0 W kernel  : f+0x1/0x2", ""),
            ("06-15 04:48:22.666  1234  1234 W CPU     : 3 PID: 93", ""),
            ("06-15 04:48:22.666     0     0 W Call trace: ", "kernel: Call trace: "),
            ("06-15 04:48:22.666     0     0 W [<c1>] f+0x1/0x2", "kernel: [<c1>] f+0x1/0x2"),
        ] {
            let message = if message.is_empty() { line } else { message };
            assert_eq!(String::from_utf8_lossy(&plain(line.as_bytes())), message);
        }
    }
}
