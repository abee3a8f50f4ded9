//! How a script is sent to the guest's shell and how its end is recognised. Pure.

use std::hash::{BuildHasher, Hasher, RandomState};

use kshot_stack::text::{printable, quote};

/// A random word that marks the end of one command's output.
#[derive(Clone, Debug)]
pub(super) struct EndMarker(String);

/// Finds the end marker, `\0kshot-<nonce> <status>\n`, in a stream. SSH does not distinguish an exit status
/// from a closed channel, so the guest's shell writes the status behind the output.
#[derive(Debug)]
pub(super) struct EndMarkerParser {
    mark: Vec<u8>,
    /// Bytes that may be the start of the marker.
    held: Vec<u8>,
}

/// The output and exit status in one piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutputPiece {
    /// Output of the command.
    pub(super) bytes: Vec<u8>,
    /// The exit status, once the marker has arrived; later bytes are ignored.
    pub(super) status: Option<i32>,
}

impl EndMarker {
    pub(super) fn new() -> Self {
        // RandomState is seeded by the kernel's randomness.
        let word = || RandomState::new().build_hasher().finish();
        Self(format!("{:016x}{:016x}", word(), word()))
    }
}

/// The longest exit status behind a mark, in bytes: that of an `i32`.
const STATUS_MOST: usize = 11;

impl EndMarkerParser {
    pub(super) fn new(nonce: &EndMarker) -> Self {
        Self { mark: format!("\0kshot-{} ", nonce.0).into_bytes(), held: Vec::new() }
    }

    pub(super) fn feed(&mut self, piece: &[u8]) -> OutputPiece {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut from = 0;
        while let Some(at) = self.find_mark(&bytes, from) {
            let digits = &bytes[at + self.mark.len()..];
            let end = digits.iter().position(|byte| *byte == b'\n');
            let status = end.and_then(|end| std::str::from_utf8(&digits[..end]).ok()?.parse().ok());
            if status.is_some() {
                bytes.truncate(at);
                return OutputPiece { bytes, status };
            }
            if end.is_none() && digits.len() <= STATUS_MOST {
                self.held = bytes.split_off(at);
                return OutputPiece { bytes, status: None };
            }
            // The guest can read the mark in our command line: without a status behind it, it is output.
            from = at + 1;
        }
        let begun = (1..self.mark.len()).rev().find(|length| bytes.ends_with(&self.mark[..*length]));
        self.held = bytes.split_off(bytes.len() - begun.unwrap_or(0));
        OutputPiece { bytes, status: None }
    }

    fn find_mark(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        Some(from + rest.windows(self.mark.len()).position(|window| window == self.mark)?)
    }
}

/// The command that reads a script from standard input and runs it, with standard error merged into standard
/// output. The script itself is no argument because dropbear limits commands to 9,000 bytes.
pub(super) fn command(nonce: &EndMarker) -> String {
    format!("exec 2>&1; sh -c \"$(cat)\" </dev/null; printf '\\0kshot-{} %d\\n' $?", nonce.0)
}

/// The command of the persistent shell, which runs lines from standard input: see [`line`].
pub(super) const SHELL: &str = "exec sh 2>&1";

/// The line for [`SHELL`] that runs a script, with standard error merged into standard output.
pub(super) fn line(nonce: &EndMarker, script: &str) -> String {
    format!("sh -c {} </dev/null; printf '\\0kshot-{} %d\\n' $?\n", quote(script), nonce.0)
}

/// Whether a script needs an SSH channel of its own: it may leave a background process that holds its output
/// open (daemon(3) closes it), or contains a byte that no shell line can.
pub(super) fn needs_channel(script: &str) -> bool {
    script.contains(['&', '\0'])
}

/// The script that prints the length of each file, a line each, and then their contents, or only the reason
/// if it cannot.
pub(super) fn copy(paths: &[&str]) -> String {
    let paths = paths.iter().map(|path| quote(path)).collect::<Vec<_>>().join(" ");
    format!("stat -c %s -- {paths} || exit; cat -- {paths}")
}

/// Separates the length lines from the file contents in the output of [`copy`].
#[derive(Debug)]
pub(super) struct LengthParser {
    text: Vec<u8>,
    /// How many lines are still to come.
    missing: usize,
}

impl LengthParser {
    pub(super) fn new(files: usize) -> Self {
        Self { text: Vec::new(), missing: files }
    }

    /// The part of `piece` that belongs to the files.
    pub(super) fn feed<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        const LONGEST: usize = 4096;
        let mut rest = piece;
        while self.missing > 0 && !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            self.missing -= usize::from(end.is_some());
            // The start of an overlong line is enough for the message.
            self.text.extend_from_slice(&line[..line.len().min(LONGEST - self.text.len())]);
            rest = behind;
        }
        rest
    }

    /// The lengths, once all have come.
    pub(super) fn lengths(&self) -> Option<Vec<u64>> {
        let text = std::str::from_utf8(&self.text).ok()?.strip_suffix('\n').filter(|_| self.missing == 0)?;
        text.lines().map(|line| line.parse().ok()).collect()
    }

    /// The lines, whatever they contain.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// The first line of a text, printable and short enough for a message.
pub(super) fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    let text = text.trim();
    let first = printable(text.lines().next().unwrap_or_default().as_bytes());
    let mut shown: String = first.chars().take(LONGEST).collect();
    if shown.len() < first.len() || text.lines().nth(1).is_some() {
        shown.push_str(" ...");
    }
    shown
}

/// The last non-empty line of an output, in the form of [`brief`].
pub(super) fn last_line(output: &[u8]) -> String {
    let line = output.split(|byte| *byte == b'\n').rfind(|line| !line.trim_ascii().is_empty());
    brief(&printable(line.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(pieces: &[&[u8]], nonce: &EndMarker) -> OutputPiece {
        let mut tail = EndMarkerParser::new(nonce);
        let mut all = OutputPiece { bytes: Vec::new(), status: None };
        for piece in pieces {
            let OutputPiece { bytes, status } = tail.feed(piece);
            all.bytes.extend(bytes);
            all.status = all.status.or(status);
        }
        all
    }

    #[test]
    fn output_without_a_final_newline_keeps_its_last_byte() {
        let nonce = EndMarker("n".into());
        assert_eq!(
            whole(&[b"a\nb\0kshot-n 3\n"], &nonce),
            OutputPiece { bytes: b"a\nb".into(), status: Some(3) }
        );
        assert_eq!(whole(&[b"\0kshot-n 0\n"], &nonce), OutputPiece { bytes: b"".into(), status: Some(0) });
    }

    #[test]
    fn a_mark_of_another_command_is_output() {
        let nonce = EndMarker("n".into());
        let other = b"\0kshot-m 0\n";
        assert_eq!(
            whole(&[other, b"\0kshot-n 1\n"], &nonce),
            OutputPiece { bytes: other.into(), status: Some(1) }
        );
    }

    #[test]
    fn a_stream_that_is_cut_has_no_status() {
        assert_eq!(whole(&[b"abc\0kshot-n 12"], &EndMarker("n".into())).status, None);
    }

    #[test]
    fn files_begin_behind_the_lines_of_their_lengths() {
        let all = |files, pieces: &[&[u8]]| {
            let mut head = LengthParser::new(files);
            let rest: Vec<u8> = pieces.iter().flat_map(|piece| head.feed(piece).to_vec()).collect();
            (head.lengths(), rest)
        };
        assert_eq!(all(1, &[b"1", b"2\nab\n", b"c"]), (Some(vec![12]), b"ab\nc".to_vec()));
        assert_eq!(all(2, &[b"1\n", b"2\n3\nab"]), (Some(vec![1, 2]), b"3\nab".to_vec()));
        assert_eq!(all(1, &[b"0\n"]), (Some(vec![0]), Vec::new()));
        assert_eq!(all(1, &[b"stat: can't stat"]).0, None);
        assert_eq!(all(2, &[b"1\nstat: can't stat 'b'\n"]).0, None);
        assert_eq!(all(2, &[b"12\n"]).0, None, "a line is missing");
        assert_eq!(all(1, &[b"12"]).0, None, "the line has no end");
        let mut head = LengthParser::new(1);
        (0..10).for_each(|_| assert_eq!(head.feed(&[b'1'; 1000]), b""));
        assert_eq!(head.text().len(), 4096);
    }

    #[test]
    fn a_mark_without_a_status_is_output_and_holds_nothing_back() {
        let nonce = EndMarker::new();
        let mark = format!("\0kshot-{} ", nonce.0);
        let end = format!("{mark}3\n");
        for forged in [format!("{mark}soon\n"), mark.clone(), format!("{mark}{}", "1".repeat(50))] {
            let stream = [forged.as_bytes(), b"more", end.as_bytes()].concat();
            let pieces: Vec<_> = stream.chunks(7).collect();
            let wanted = OutputPiece { bytes: [forged.as_bytes(), b"more"].concat(), status: Some(3) };
            assert_eq!(whole(&pieces, &nonce), wanted, "{forged:?}");
        }
        let mut parser = EndMarkerParser::new(&nonce);
        parser.feed(mark.as_bytes());
        let passed = parser.feed(&[b'1'; 4096]);
        assert_eq!(passed.bytes.len(), mark.len() + 4096, "nothing is held");
    }

    #[test]
    fn what_may_go_on_in_the_background_has_a_channel_of_its_own() {
        assert!(needs_channel("sleep 60 &"));
        assert!(needs_channel("echo a\0b"));
        assert!(!needs_channel("/isam/user/eoe_filter -n lo -t tap0 -E"));
    }

    #[test]
    fn no_word_for_the_guest_escapes_its_quotes() {
        assert_eq!(quote("register_netdevice"), "'register_netdevice'");
        assert_eq!(quote("a'; reboot; '$(b)"), r"'a'\''; reboot; '\''$(b)'");
    }

    #[test]
    fn a_long_script_is_named_by_its_beginning() {
        assert_eq!(brief("echo a"), "echo a");
        assert_eq!(brief("echo a\necho b"), "echo a ...");
        assert_eq!(brief(&"x".repeat(500)).len(), 84);
    }

    proptest! {
        #[test]
        fn the_mark_is_found_wherever_the_stream_is_cut(
            output in proptest::collection::vec(any::<u8>(), 0..200), status in 0..256_i32, cut in 1..40_usize,
        ) {
            let nonce = EndMarker::new();
            let stream = [&output[..], format!("\0kshot-{} {status}\n", nonce.0).as_bytes()].concat();
            let pieces: Vec<_> = stream.chunks(cut).collect();
            prop_assert_eq!(whole(&pieces, &nonce), OutputPiece { bytes: output, status: Some(status) });
        }

        #[test]
        fn quoting_is_undone_by_a_shell(text in "[ -~\n]{0,40}") {
            let quoted = quote(&text);
            prop_assert_eq!(quoted.replace(r"'\''", "\u{1}").replace('\'', "").replace('\u{1}', "'"), text);
        }
    }
}
