//! The text probe: any text that holds stacks, of a command, a file or the console. It arms nothing; commands
//! run and files are read after the steps, once all other probes have stopped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use memchr::memmem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::capture::{Capture, CaptureContent, ProbeFiles, file_stem};
use super::error::{ConsolePartError, ProbeError};
use super::guest::{CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, ProbeGuest, Wanted};
use super::{Armed, Probe, TruthContext};
use crate::deadline::{Deadline, PollResult};
use crate::host::interrupt;
use crate::machine::CONSOLE_LOG;
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::format::TextFormat;
use kshot_stack::stack::ParsedCapture;
use kshot_stack::text::quote;

/// The suffix of the text.
const TEXT: &str = "text.txt";
/// The time for a line that the guest has printed to arrive in `console.log`.
const MARK_LIMIT: Duration = Duration::from_secs(10);
/// The interval between two looks for that line.
const MARK_INTERVAL: Duration = Duration::from_millis(20);

/// Any text that holds stacks, read after the steps.
#[derive(Clone, Debug, Serialize)]
pub struct TextProbe {
    /// Where it comes from.
    pub source: TextSource,
    /// The format of the text.
    pub format: TextFormat,
    /// The function that its stacks pass through, where that is known: they are measured by its truth.
    pub function: Option<String>,
}

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TextSource {
    /// The output of a shell script in the guest; its messages are not part of it.
    Run(String),
    /// A file of the guest.
    File(String),
    /// The console, from the arming of the probe to its end.
    Console,
}

/// What the guest prints all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The console, from the arming of the probe to its end.
    Console,
}

/// Any text that holds stacks: exactly one of `run`, `file` and `from`, and the format.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawText {
    /// A shell script whose output is the text. It runs after the steps, when all other probes have stopped,
    /// and must exit with 0.
    #[serde(default)]
    pub run: Option<String>,
    /// A file of the guest, read then.
    #[serde(default)]
    pub file: Option<String>,
    /// What the guest prints all the time, from the arming of the probe on.
    #[serde(default)]
    pub from: Option<Stream>,
    /// The format of the text.
    pub format: TextFormat,
    /// The function that its stacks pass through, to measure them by the truth that was recorded there;
    /// default: by what the format says of their event.
    #[serde(default)]
    pub function: Option<String>,
}

impl RawText {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<TextProbe, Box<YamlError>> {
        if let Some(function) = &self.function {
            source.check_characters("probes", "a function", function, "_.$")?;
        }
        let keys = [
            ("run", self.run.map(TextSource::Run)),
            ("file", self.file.map(TextSource::File)),
            ("from", self.from.map(|Stream::Console| TextSource::Console)),
        ];
        let text = source.exactly_one("probes", "`text`", keys)?;
        match &text {
            TextSource::Run(script) if script.trim().is_empty() => {
                Err(source.error("probes", "run", "`run` is empty".into()))
            }
            TextSource::File(path) if !path.starts_with('/') || path.contains(char::is_control) => {
                let message = format!("`{}` is not an absolute path", path.escape_debug());
                Err(source.error("probes", path, message))
            }
            _ => Ok(TextProbe { source: text, format: self.format, function: self.function }),
        }
    }
}

impl Probe for TextProbe {
    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        _: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError> {
        if let TextSource::Console = self.source {
            print_mark(guest, Mark::Begin)?;
        }
        Ok(Box::new(self.clone()))
    }

    fn capture_suffix(&self, _: ProbeFiles<'_>) -> &'static str {
        TEXT
    }

    fn guest_file(&self, probe: &str) -> Option<String> {
        match self.source {
            TextSource::Run(_) | TextSource::File(_) => Some(text_file(probe)),
            TextSource::Console => None,
        }
    }

    fn parse(&self, capture: &Capture, _: &ArchRow) -> io::Result<ParsedCapture> {
        let mut parsed = self.format.parse(capture.open()?)?;
        if self.function.is_some() {
            parsed.stacks.iter_mut().for_each(|(stack, _)| stack.function.clone_from(&self.function));
        }
        Ok(parsed)
    }
}

impl Armed for TextProbe {
    fn stop(&self, _: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        Ok(())
    }

    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        let text = text_file(fetcher.guest.probe);
        let (doing, script) = match &self.source {
            TextSource::Run(script) => ("its command", format!("{{\n{script}\n}} > {}", quote(&text))),
            TextSource::File(path) => ("reading its file", format!("cat {} > {}", quote(path), quote(&text))),
            TextSource::Console => return fetch_console(fetcher),
        };
        fetcher.guest.run(doing, &script, CAPTURE_LIMIT)?;
        fetcher.fetch_as(&[Wanted { from: &text, suffix: TEXT, content: CaptureContent::Stacks }])
    }
}

/// The guest's file with the text of a command or a file.
fn text_file(probe: &str) -> String {
    format!("/tmp/kshot-{}.text", file_stem(probe))
}

/// Cuts the probe's part out of the console's log, once its end has arrived.
fn fetch_console(fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
    print_mark(&mut fetcher.guest, Mark::End)?;
    let marks = [Mark::Begin, Mark::End].map(|mark| mark.text(&fetcher.guest));
    let log = fetcher.folder.join(CONSOLE_LOG);
    let part = part_of_console(&log, &marks);
    if let Err(ConsolePartError::TimedOut(_)) = part {
        // A guest that is gone is the reason; this tells it.
        fetcher.guest.run("looking for its part of the console", "true", COMMAND_LIMIT)?;
    }
    let part =
        part.map_err(|source| ProbeError::Console { probe: fetcher.guest.probe.to_owned(), source })?;
    fetcher.write(&part, TEXT, CaptureContent::Stacks)
}

/// A line that the probe prints on the console to mark its part.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Begin,
    End,
}

impl Mark {
    fn text(self, guest: &ProbeGuest<'_>) -> String {
        let word = match self {
            Self::Begin => "begins",
            Self::End => "ends",
        };
        format!("kshot-guest: probe {} {word}", guest.file_stem())
    }
}

/// Prints a mark as the kernel prints (Documentation/ABI/testing/dev-kmsg), so that it comes after what the
/// kernel printed before; as a critical message, so that `quiet` does not suppress it.
fn print_mark(guest: &mut ProbeGuest<'_>, mark: Mark) -> Result<(), ProbeError> {
    let script = format!("echo {} > /dev/kmsg", quote(&format!("<2>{}", mark.text(guest))));
    guest.run("marking its part of the console", &script, COMMAND_LIMIT).map(drop)
}

/// The text between the two marks.
fn part_of_console(log: &Path, [begin, end]: &[String; 2]) -> Result<Vec<u8>, ConsolePartError> {
    let deadline = Deadline::new(format!("`{end}` on the console"), MARK_LIMIT);
    let (mut log, mut text) = (File::open(log)?, Vec::new());
    deadline.poll(|limit| {
        if interrupt::arrived() {
            return Err(ConsolePartError::Interrupted);
        }
        // What is new: the log grows while it is read.
        log.read_to_end(&mut text)?;
        if let Some(part) = between(&text, begin.as_bytes(), end.as_bytes()) {
            return Ok(PollResult::Done(part.to_vec()));
        }
        // The log is a file, and nothing signals that it has grown.
        std::thread::park_timeout(limit.min(MARK_INTERVAL));
        Ok(PollResult::Pending(None))
    })
}

/// The lines between the first line that holds `begin` and the next that holds `end`.
fn between<'a>(text: &'a [u8], begin: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let from = memmem::find(text, begin)?;
    let from = from + text[from..].iter().position(|&byte| byte == b'\n')? + 1;
    let to = memmem::find(&text[from..], end)?;
    // The whole line has to be there.
    text[from + to..].iter().position(|&byte| byte == b'\n')?;
    let to = text[from..from + to].iter().rposition(|&byte| byte == b'\n').map_or(0, |line_end| line_end + 1);
    Some(&text[from..from + to])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{ProbeKind, ProbeSpec};
    use crate::session::fake::FakeGuest;
    use kshot_stack::blame::Blamed;

    const FORMAT: TextFormat = TextFormat::ProcStack;

    fn spec(source: TextSource) -> ProbeSpec {
        ProbeSpec {
            name: "it's".into(),
            kind: ProbeKind::Text(TextProbe { source, format: FORMAT, function: None }),
        }
    }

    #[test]
    fn a_command_runs_and_a_file_is_read_when_all_has_stopped() {
        let sources = [
            (
                TextSource::Run("cat /proc/$(pidof held)/stack # its own".into()),
                "{\ncat /proc/$(pidof held)/stack # its own\n} > '/tmp/kshot-it%27s.text'",
            ),
            (
                TextSource::File("/sys/kernel/tracing/stack_trace".into()),
                "cat '/sys/kernel/tracing/stack_trace' > '/tmp/kshot-it%27s.text'",
            ),
        ];
        for (source, script) in sources {
            let folder = tempfile::tempdir().unwrap();
            let mut guest = FakeGuest::answering(&[(0, ""), (0, "[<0>] f+0x1/0x2\n")]);
            let spec = spec(source);
            let armed = spec.arm(&mut guest, None).unwrap();
            armed.stop(&mut guest).unwrap();
            assert!(guest.requests.is_empty(), "it arms nothing");
            let captures = armed.fetch(&mut guest, folder.path()).unwrap();
            assert_eq!(captures[0].content, CaptureContent::Stacks);
            assert_eq!(spec.find_capture(folder.path()).as_slice(), captures);
            assert_eq!(guest.requests, [script, "fetch /tmp/kshot-it%27s.text"]);
        }
    }

    #[test]
    fn a_command_that_fails_is_the_guests_fault_and_no_empty_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = FakeGuest::answering(&[(1, "cat: can't open '/proc//stack'\n")]);
        let armed = spec(TextSource::Run("cat /proc//stack".into())).arm(&mut guest, None).unwrap();
        let error = armed.fetch(&mut guest, folder.path()).unwrap_err();
        assert_eq!(error.blame(), kshot_stack::blame::Blame::Guest);
        assert!(error.to_string().contains("can't open"), "{error}");
    }

    #[test]
    fn a_console_gives_the_lines_between_the_marks() {
        let folder = tempfile::tempdir().unwrap();
        let log = "boot\r\n[  1.0] kshot-guest: probe it%27s begins\r\n[  1.1] Call Trace:\r\n[  1.2]  f+0x1/0x2\r\n[  1.3] kshot-guest: probe it%27s ends\r\nmore\r\n";
        std::fs::write(folder.path().join(CONSOLE_LOG), log).unwrap();
        let mut guest = FakeGuest::answering(&[(0, ""), (0, "")]);
        let armed = spec(TextSource::Console).arm(&mut guest, None).unwrap();
        let captures = armed.fetch(&mut guest, folder.path()).unwrap();
        let text = std::fs::read_to_string(&captures[0].path).unwrap();
        assert_eq!(text, "[  1.1] Call Trace:\r\n[  1.2]  f+0x1/0x2\r\n");
        assert_eq!(guest.requests[0], "echo '<2>kshot-guest: probe it%27s begins' > /dev/kmsg");
    }

    #[test]
    fn an_end_that_is_not_there_or_not_whole_is_none() {
        for text in ["", "begin\n", "begin\nend", "end\nbegin\n"] {
            assert_eq!(between(text.as_bytes(), b"begin", b"end"), None, "{text}");
        }
        assert_eq!(between(b"begin\nend\n", b"begin", b"end"), Some(&b""[..]));
    }
}
