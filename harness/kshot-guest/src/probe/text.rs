//! The text probe: any text that holds stacks, of a command, a file or the console. It arms nothing; commands run and files are
//! read after the steps, once all other probes have stopped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CAPTURE_LIMIT, COMMAND_LIMIT, CaptureFetcher, CaptureFormat, ProbeError, ProbeGuest, TEXT};
use crate::deadline::{Deadline, PollResult};
use crate::machine::CONSOLE_LOG;
use crate::session::Guest;
use kshot_stack::format::TextFormat;
use kshot_stack::text::quote;

/// The time for a line that the guest has printed to arrive in `console.log`.
const MARK_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked for.
const MARK_INTERVAL: Duration = Duration::from_millis(20);

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TextSource {
    /// The output of a shell script in the guest; its messages are not part of it.
    Run(String),
    /// A file of the guest.
    File(String),
    /// The host's own record of what the guest does.
    Of(Stream),
}

/// What the guest prints all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The console, from the arming of the probe to its end.
    Console,
}

/// A text probe.
#[derive(Debug)]
pub(super) struct TextProbe {
    source: TextSource,
    format: TextFormat,
}

impl TextProbe {
    pub(super) fn start<G: Guest>(
        guest: &mut ProbeGuest<'_, G>,
        source: &TextSource,
        format: TextFormat,
    ) -> Result<Self, ProbeError<G::Error>> {
        if let TextSource::Of(Stream::Console) = source {
            print_mark(guest, Mark::Begin)?;
        }
        Ok(Self { source: source.clone(), format })
    }

    pub(super) fn fetch<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        let text = format!("/tmp/kshot-{}.text", fetcher.guest.file_stem());
        let (doing, script) = match &self.source {
            TextSource::Run(script) => ("its command", format!("{{\n{script}\n}} > {}", quote(&text))),
            TextSource::File(path) => ("reading its file", format!("cat {} > {}", quote(path), quote(&text))),
            TextSource::Of(Stream::Console) => return self.fetch_console(fetcher),
        };
        fetcher.guest.run(doing, &script, CAPTURE_LIMIT)?;
        fetcher.fetch_as(&text, TEXT, CaptureFormat::Text(self.format))
    }

    /// Cuts the probe's part out of the console's log, where its end has arrived.
    fn fetch_console<G: Guest>(
        &self,
        fetcher: &mut CaptureFetcher<'_, G>,
    ) -> Result<(), ProbeError<G::Error>> {
        print_mark(&mut fetcher.guest, Mark::End)?;
        let marks = [Mark::Begin, Mark::End].map(|mark| mark.text(&fetcher.guest));
        let log = fetcher.folder.join(CONSOLE_LOG);
        let part = part_of_console(&log, &marks)
            .map_err(|source| ProbeError::Console { probe: fetcher.guest.probe.to_owned(), source })?;
        fetcher.write(&part, TEXT, CaptureFormat::Text(self.format))
    }
}

/// Why the probe's part of the console cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Its end did not arrive.
    #[error(transparent)]
    TimedOut(#[from] crate::deadline::TimedOut),
    /// The log cannot be read.
    #[error("cannot read {CONSOLE_LOG}")]
    Read(#[from] std::io::Error),
}

/// A line that the probe prints on the console.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Begin,
    End,
}

impl Mark {
    fn text<G: Guest>(self, guest: &ProbeGuest<'_, G>) -> String {
        let word = match self {
            Self::Begin => "begins",
            Self::End => "ends",
        };
        format!("kshot-guest: probe {} {word}", guest.file_stem())
    }
}

/// Prints a mark as the kernel prints (Documentation/ABI/testing/dev-kmsg), so that it stands behind what the kernel printed
/// before; as a critical message, so that `quiet` lets it pass.
fn print_mark<G: Guest>(guest: &mut ProbeGuest<'_, G>, mark: Mark) -> Result<(), ProbeError<G::Error>> {
    let script = format!("echo {} > /dev/kmsg", quote(&format!("<2>{}", mark.text(guest))));
    guest.run("marking its part of the console", &script, COMMAND_LIMIT).map(drop)
}

/// What stands between the lines with the two marks.
fn part_of_console(log: &Path, [begin, end]: &[String; 2]) -> Result<Vec<u8>, ConsoleError> {
    let deadline = Deadline::new(format!("`{end}` on the console"), MARK_LIMIT);
    deadline.poll(|limit| {
        let text = fs::read(log)?;
        if let Some(part) = between(&text, begin.as_bytes(), end.as_bytes()) {
            return Ok(PollResult::Done(part.to_vec()));
        }
        // The log is a file: nothing wakes who waits for its growth.
        std::thread::park_timeout(limit.min(MARK_INTERVAL));
        Ok(PollResult::Pending(None))
    })
}

/// The lines between the first line that holds `begin` and the next that holds `end`.
fn between<'a>(text: &'a [u8], begin: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let find = |text: &[u8], mark: &[u8]| text.windows(mark.len()).position(|window| window == mark);
    let from = find(text, begin)?;
    let from = from + text[from..].iter().position(|&byte| byte == b'\n')? + 1;
    let to = find(&text[from..], end)?;
    // The whole line has to be there.
    text[from + to..].iter().position(|&byte| byte == b'\n')?;
    let to = text[from..from + to].iter().rposition(|&byte| byte == b'\n').map_or(0, |line_end| line_end + 1);
    Some(&text[from..from + to])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{ProbeKind, ProbeSpec, arm, find_captures};
    use crate::session::fake::FakeGuest;
    use kshot_stack::fault::Fault;

    const FORMAT: TextFormat = TextFormat::ProcStack;

    fn spec(source: TextSource) -> ProbeSpec {
        ProbeSpec { name: "it's".into(), kind: ProbeKind::Text { source, format: FORMAT } }
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
            let armed = arm(&spec, &mut guest, None).unwrap();
            armed.stop(&mut guest).unwrap();
            assert!(guest.requests.is_empty(), "it arms nothing");
            let captures = armed.fetch(&mut guest, folder.path()).unwrap();
            assert_eq!(captures[0].format, CaptureFormat::Text(FORMAT));
            assert_eq!(find_captures(&spec, folder.path()), captures);
            assert_eq!(guest.requests, [script, "fetch /tmp/kshot-it%27s.text"]);
        }
    }

    #[test]
    fn a_command_that_fails_is_the_guests_fault_and_no_empty_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = FakeGuest::answering(&[(1, "cat: can't open '/proc//stack'\n")]);
        let armed = arm(&spec(TextSource::Run("cat /proc//stack".into())), &mut guest, None).unwrap();
        let error = armed.fetch(&mut guest, folder.path()).unwrap_err();
        assert_eq!(error.blame(), kshot_stack::fault::Blame::Guest);
        assert!(error.to_string().contains("can't open"), "{error}");
    }

    #[test]
    fn a_console_gives_the_lines_between_the_marks() {
        let folder = tempfile::tempdir().unwrap();
        let log = "boot\r\n[  1.0] kshot-guest: probe it%27s begins\r\n[  1.1] Call Trace:\r\n[  1.2]  f+0x1/0x2\r\n[  1.3] kshot-guest: probe it%27s ends\r\nmore\r\n";
        fs::write(folder.path().join(CONSOLE_LOG), log).unwrap();
        let mut guest = FakeGuest::answering(&[(0, ""), (0, "")]);
        let armed = arm(&spec(TextSource::Of(Stream::Console)), &mut guest, None).unwrap();
        let captures = armed.fetch(&mut guest, folder.path()).unwrap();
        let text = fs::read_to_string(&captures[0].path).unwrap();
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
