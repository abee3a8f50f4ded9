//! The versions of the host's programs, as they tell them.

use std::time::Duration;

use super::program::{OnInterrupt, output_of};
use super::tool::find_program;

/// The time that a program may take to tell its version: 50 ms on an idle host.
const LIMIT: Duration = Duration::from_secs(5);

/// The version that `program --version` tells, `None` if there is no such program or it prints no version in
/// time.
pub fn program_version(program: &str) -> Option<String> {
    let path = find_program(program)?;
    let output = output_of(&duct::cmd!(path, "--version"), program, LIMIT, OnInterrupt::Kill).ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

/// The version in the first line of what `--version` prints: the first word outside of parentheses that
/// begins with a digit.
///
/// ```text
/// QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)
/// GNU gdb (Debian 13.1-3) 13.1
/// ```
fn version_in(text: &str) -> Option<String> {
    let mut depth = 0_usize;
    let outside: String = text
        .lines()
        .next()?
        .chars()
        .filter(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        })
        .collect();
    let mut words = outside.split(|character: char| character.is_whitespace() || character == ')');
    let word = words.find(|word| word.starts_with(|character: char| character.is_ascii_digit()))?;
    let printable = |character: char| character.is_ascii_graphic();
    word.chars().all(printable).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_outside_of_the_parentheses() {
        for (text, version) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", Some("7.2.22")),
            ("GNU gdb (Debian 13.1-3) 13.1\n", Some("13.1")),
            ("GNU gdb (Fedora Linux) 14.2-3.fc40\n", Some("14.2-3.fc40")),
            ("\n7.2\n", None),
            ("no version\n", None),
            ("", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version, "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(program_version("kshot-no-such-program"), None);
        assert!(program_version("tar").is_some());
    }
}
