//! Lines in one, their ends written out, as in a string of JSON or of a program.
//!
//! ```text
//! {"log": "[   12.3] Call Trace:\n[   12.3]  f+0x1/0x2\n", "level": "err"}
//! ```

use memchr::memmem;

use crate::stack::lines::hexadecimal;

/// How an end is written.
const END: &[u8] = b"\\n";
/// The fewest ends in a line that holds others.
const FEWEST: usize = 2;

/// The lines that one holds. What stands in front of a string, or behind it, is a line of its own.
pub(super) fn parts(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    if memmem::find_iter(line, END).take(FEWEST).count() < FEWEST {
        return None;
    }
    let (mut parts, mut part, mut rest) = (Vec::new(), Vec::new(), line);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'"' => parts.push(std::mem::take(&mut part)),
            b'\\' => match escaped(behind) {
                Some((b'\n', behind)) => {
                    parts.push(std::mem::take(&mut part));
                    rest = behind;
                }
                Some((letter, behind)) => {
                    part.push(letter);
                    rest = behind;
                }
                None => part.push(byte),
            },
            _ => part.push(byte),
        }
    }
    parts.push(part);
    Some(parts)
}

/// The letter that a backslash stands in front of, and what follows.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = text.split_first()?;
    Some(match first {
        b'n' => (b'\n', rest),
        b'r' => (b'\r', rest),
        b't' => (b'\t', rest),
        b'"' | b'\\' | b'/' => (first, rest),
        b'u' => (u8::try_from(hexadecimal(rest.get(..4)?)?).ok().filter(u8::is_ascii)?, &rest[4..]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_parted_at_the_ends_of_its_lines() {
        let parts = |text: &str| {
            let parts = parts(text.as_bytes())?;
            Some(parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            parts(r#"{"log": "a \"b\"\n\tc \u003cd\u003e\\n\n", "x": 1}"#).unwrap(),
            ["{", "log", ": ", "a \"b\"", "\tc <d>\\n", "", ", ", "x", ": 1}"]
        );
        assert_eq!(parts(r"a\nb\c\uzz\n").unwrap(), ["a", r"b\c\uzz", ""]);
        for other in ["", r"a\nb", "a\nb\nc"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
