//! Runs the host's tools: their output goes to a log file in the cache, and the log's tail into the error.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use duct::{Expression, Handle, cmd};
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;
use crate::deadline::{Deadline, wait_for};
use crate::host::cache::Cache;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::text;

mod fault; // whose fault a line of a failed tool's output says it is

use fault::{is_diagnosis, is_host_error};

/// The number of the log's last lines that an error shows.
const TAIL_LINES: usize = 20;
/// The most that is read of a log's end, in bytes.
const END_MOST: u64 = 64 << 10;
/// The longest delay before Ctrl-C is noticed.
const SLICE: Duration = Duration::from_millis(100);
/// The time that a tool has to clean up after SIGTERM: make removes unfinished targets.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);

/// The log file of one build.
#[derive(Debug)]
pub struct ToolLog {
    path: PathBuf,
    file: File,
}

/// Why a tool of the host failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool exited with an error.
    #[error("{what} failed ({status}); the log {} ends with:\n{tail}", log.display())]
    Failed {
        /// The activity that the tool was run for ("unpacking the source").
        what: String,
        /// The exit status in words.
        status: String,
        /// The log file with the tool's output.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
        /// The first line that says what is wrong with the source; it may stand far above the last lines.
        diagnosis: Option<String>,
    },
    /// The host ended the tool; the tool's input is not to blame.
    #[error("{what} was cut short by the host ({why}); the log {} ends with:\n{tail}", log.display())]
    CutShort {
        /// The activity that the tool was run for.
        what: String,
        /// What the host did, or how the tool ended.
        why: String,
        /// The log file with the tool's output.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Ctrl-C, SIGTERM or SIGHUP stopped the tool.
    #[error("{what} was interrupted")]
    Interrupted {
        /// The activity that the tool was run for.
        what: String,
    },
    /// The tool could not be run, or its log could not be written.
    #[error("cannot run {what}")]
    CannotRun {
        /// The activity that the tool was to be run for.
        what: String,
        /// The underlying error.
        source: std::io::Error,
    },
}

impl Blamed for ToolError {
    fn blame(&self) -> Blame {
        match self {
            Self::Failed { .. } => Blame::Guest,
            Self::Interrupted { .. } => Blame::Interrupted,
            Self::CutShort { .. } | Self::CannotRun { .. } => Blame::Host,
        }
    }
}

impl ToolError {
    /// Whether the tool failed without saying why.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Failed { diagnosis: None, .. })
    }

    /// This error, blamed on the host: the tool's input was a download, not what is under test.
    #[must_use]
    pub fn of_host(self) -> Self {
        match self {
            Self::Failed { what, status, log, tail, .. } => Self::CutShort { what, why: status, log, tail },
            other => other,
        }
    }
}

impl ToolLog {
    /// Creates the log `name` in the cache's `logs` folder. It replaces an earlier one; a process that still
    /// writes to that one keeps its file.
    ///
    /// # Errors
    /// [`ToolError::CannotRun`].
    pub fn create(cache: &Cache, name: &str) -> Result<Self, ToolError> {
        let folder = cache.root().join("logs");
        let path = folder.join(format!("{name}.log"));
        let make = || {
            fs::create_dir_all(&folder)?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::options().read(true).append(true).create(true).open(&path)
        };
        let file = make()
            .map_err(|source| ToolError::CannotRun { what: format!("the log {}", path.display()), source })?;
        Ok(Self { path, file })
    }

    /// Runs `expression`, whose purpose is `what`; its output goes to the log.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn run(&mut self, what: &str, expression: &Expression) -> Result<(), ToolError> {
        self.run_with_lines(what, expression, |_| ())
    }

    /// Runs `expression` as [`ToolLog::run`] does; `on_line` gets each line of output, lossily decoded as
    /// UTF-8.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn run_with_lines(
        &mut self,
        what: &str,
        expression: &Expression,
        mut on_line: impl FnMut(&str),
    ) -> Result<(), ToolError> {
        let cannot_run = |source| ToolError::CannotRun { what: what.into(), source };
        interrupt::install_handlers().map_err(cannot_run)?;
        writeln!(self.file, "# {what}").map_err(cannot_run)?;
        let (reader, writer) = io::pipe().map_err(cannot_run)?;
        let expression = expression.stdin_null().stderr_to_stdout().stdout_file(writer).unchecked();
        let handle = expression.full_env(environment(std::env::vars_os())).start().map_err(cannot_run)?;
        // Its end of the pipe: the output ends with the tool.
        drop(expression);
        let mut output = BufReader::new(ToolOutput { reader, handle: &handle, stopping: None });
        // With many jobs at once, what went wrong may stand far above the end.
        let (mut host_error, mut diagnosis) = (None, None);
        let mut on_line = |line: &str| {
            if host_error.is_none() && is_host_error(line.trim_end()) {
                host_error = Some(text::last_lines(line.as_bytes(), 1));
            }
            if diagnosis.is_none() && is_diagnosis(line) {
                diagnosis = Some(text::last_lines(line.as_bytes(), 1));
            }
            on_line(line);
        };
        let logged = self.log_lines(&mut output, &mut on_line);
        let mut output = output.into_inner();
        if logged.is_err() {
            // The log cannot be written, so stop the tool.
            output.stop();
            drop(io::copy(&mut output, &mut io::sink()));
        }
        let stopped = output.stopping.is_some();
        let status = handle.wait().map_err(cannot_run)?.status;
        logged.map_err(cannot_run)?;
        // Signal 2 is SIGINT: make and tar end themselves by it.
        if status.signal() == Some(2) || stopped && !status.success() {
            return Err(ToolError::Interrupted { what: what.into() });
        }
        if status.success() {
            return Ok(());
        }
        let (what, status_text) = (what.into(), status.to_string());
        let (log, tail) = (self.path.clone(), text::last_lines(&self.end(), TAIL_LINES));
        // A shell exits with 126 or 127 if it could not run a program.
        if status.signal().is_some() || matches!(status.code(), Some(126 | 127)) {
            return Err(ToolError::CutShort { what, why: status_text, log, tail });
        }
        match host_error {
            Some(why) => Err(ToolError::CutShort { what, why, log, tail }),
            None => Err(ToolError::Failed { what, status: status_text, log, tail, diagnosis }),
        }
    }

    fn log_lines(&mut self, output: &mut impl BufRead, on_line: &mut impl FnMut(&str)) -> io::Result<()> {
        let mut line = Vec::new();
        // Real lines are short; an endless one must not fill the memory.
        while output.take(64 * 1024).read_until(b'\n', &mut line)? > 0 {
            self.file.write_all(&line)?;
            on_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    /// The end of the log so far, 64 KiB of it at most.
    pub fn end(&self) -> Vec<u8> {
        let (mut bytes, mut file) = (Vec::new(), &self.file);
        // If the log cannot be read, it is only not quoted. Writes append, wherever reading left the
        // position.
        drop(
            file.seek(SeekFrom::End(0))
                .and_then(|length| file.seek(SeekFrom::Start(length.saturating_sub(END_MOST))))
                .and_then(|_| file.take(END_MOST).read_to_end(&mut bytes)),
        );
        bytes
    }
}

/// The output of a running tool. After Ctrl-C the tool gets SIGTERM, and SIGKILL if it does not end in time.
struct ToolOutput<'a> {
    reader: PipeReader,
    handle: &'a Handle,
    /// The time that it has left, after it was asked to end.
    stopping: Option<Deadline>,
}

impl ToolOutput<'_> {
    fn stop(&mut self) {
        self.stopping = Some(Deadline::new("a tool to end", CLEAN_UP_LIMIT));
        for id in self.handle.pids() {
            if let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // It fails only for a process that has ended.
                let _ = kill_process(process, Signal::TERM);
            }
        }
    }
}

impl Read for ToolOutput<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &self.stopping {
                None if interrupt::arrived() => self.stop(),
                // It may go on to write.
                Some(left) if left.has_passed() => {
                    drop(self.handle.kill());
                    return Ok(0);
                }
                _ => {}
            }
            if wait_for(&self.reader, PollFlags::IN, SLICE)? {
                return self.reader.read(buffer);
            }
        }
    }
}

/// The variables that a tool gets of the user's environment. Others that steer make, a compiler or git
/// (`KCFLAGS`, `LLVM`, `CC`, `CPATH`, `GIT_DIR`) are not passed, because they are not part of any cache key.
const KEPT: &[&str] = &[
    "HOME",
    "LOGNAME",
    "PATH",
    "SSH_AUTH_SOCK",
    // git(1) asks the first whose repositories root may read under sudo, and the other whether to look beyond
    // a mount.
    "SUDO_UID",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "TMPDIR",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "CCACHE_DIR",
    "CCACHE_CONFIGPATH",
    "CCACHE_DISABLE",
    "CCACHE_MAXSIZE",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A command that ends with kshot. If kshot is killed, it gets SIGTERM: make stops its children and removes
/// unfinished targets then.
pub(crate) fn tied(program: &str, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    let before = ["--pdeathsig", "TERM", "--", program].map(OsString::from);
    cmd("setpriv", before.into_iter().chain(arguments.into_iter().map(Into::into)))
}

/// The environment of a tool: messages in English, and nothing that changes what is built.
pub(crate) fn environment(
    user: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    let kept = user.into_iter().filter(|(name, _)| name.to_str().is_some_and(|name| KEPT.contains(&name)));
    kept.chain([("LC_ALL".into(), "C".into())])
}

/// The path of `tool` on `PATH`.
pub fn find_program(tool: &str) -> Option<PathBuf> {
    // Debian's users have no /usr/sbin on their PATH; depmod lies there.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(tool))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &tempfile::TempDir) -> ToolLog {
        ToolLog::create(&Cache::at(folder.path()), "test").unwrap()
    }

    #[test]
    fn a_log_of_the_same_name_leaves_that_of_another_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = log(&folder);
        first.run("one", &cmd!("echo", "one")).unwrap();
        let mut second = log(&folder);
        second.run("two", &cmd!("echo", "two")).unwrap();
        first.run("three", &cmd!("echo", "three")).unwrap();
        assert_eq!(first.end(), b"# one\none\n# three\nthree\n");
        assert_eq!(second.end(), b"# two\ntwo\n");
        second.run("four", &cmd!("echo", "four")).unwrap();
        assert_eq!(second.end(), b"# two\ntwo\n# four\nfour\n", "it goes on at its end");
    }

    #[test]
    fn a_failed_tool_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let error = log(&folder)
            .run("counting", &cmd!("sh", "-c", "seq 1 100; echo broken >&2; exit 3"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("counting failed (exit status: 3)"), "{error}");
        assert!(error.ends_with("99\n100\nbroken"), "{error}");
        assert!(!error.contains("\n80\n"), "{error}");
    }

    #[test]
    fn the_log_of_a_tool_that_prints_without_end_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let script = "head -c 20000000 /dev/zero; echo; head -c 20000000 /dev/zero | tr '\\0' a; exit 3";
        let mut log = log(&folder);
        let error = log.run("it", &cmd!("sh", "-c", script)).unwrap_err().to_string();
        assert!(error.len() < text::QUOTE_MOST + 200 && error.ends_with("aa"), "{} bytes", error.len());
        assert_eq!(log.end().len() as u64, END_MOST);
        let zeros =
            log.run("it", &cmd!("sh", "-c", "head -c 20000000 /dev/zero; exit 3")).unwrap_err().to_string();
        assert!(zeros.len() < 200 && !zeros.contains("u{0}"), "{zeros:?}");
    }

    #[test]
    fn a_tool_that_is_not_there_cannot_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let error = log(&folder).run("it", &cmd!("kshot-no-such-tool")).unwrap_err();
        assert!(matches!(error, ToolError::CannotRun { .. }), "{error:?}");
    }

    #[test]
    fn ctrl_c_is_the_users_and_not_the_kernels_fault() {
        let folder = tempfile::tempdir().unwrap();
        let error = log(&folder)
            .run("it", &cmd!("env", "--default-signal=INT", "sh", "-c", "kill -INT $$"))
            .unwrap_err();
        assert_eq!(error.blame(), Blame::Interrupted);
    }

    #[test]
    fn what_the_host_does_to_a_tool_is_no_fault_of_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let make = |line: &str| {
            format!("echo 'make[3]: *** [scripts/Makefile.build:250: kernel/fork.o] {line}'; exit 2")
        };
        for script in [
            "kill -KILL $$".to_owned(),
            "kill -TERM $$".to_owned(),
            "exit 126".to_owned(),
            "kshot-no-such-tool".to_owned(),
            make("Killed"),
            make("Terminated"),
            make("File size limit exceeded"),
            make("Error 127"),
            make("Error 135"),
            make("Error 143"),
            // What dash and bash print of a child of theirs.
            "echo Killed; echo 'Failed to generate BTF for vmlinux'; exit 1".to_owned(),
            "echo 'scripts/link-vmlinux.sh: line 115:  1234 Killed                  ${PAHOLE} -J'; exit 1"
                .to_owned(),
            "echo 'a.sh: line 7: 99 File size limit exceeded(core dumped) ld'; exit 1".to_owned(),
        ] {
            let error = log(&folder).run("it", &cmd!("sh", "-c", &script)).unwrap_err();
            assert_eq!(error.blame(), Blame::Host, "{script}: {error}");
        }
        for line in [
            "mips64-linux-gnuabi64-gcc: fatal error: Killed signal terminated program cc1",
            "gcc: fatal error: Terminated signal terminated program as",
            "gcc: internal compiler error: Killed (program cc1)",
            "x86_64-linux-gnu-gcc-8: internal compiler error: Bus error (program as)",
            "collect2: fatal error: ld terminated with signal 9 [Killed]",
            "collect2: error: ld terminated with signal 15 [Terminated], core dumped",
            "clang: error: unable to execute command: Killed",
            "fatal error: error writing to /tmp/ccX.s: No space left on device",
            "fatal error: error closing kernel/fork.o: Disk quota exceeded",
            "Assembler messages: Fatal error: can't write 12 bytes to section .text: Read-only file system",
            "mips64-linux-gnuabi64-ld: final link failed: memory exhausted",
            "make: write error: stdout",
            "sh: 1: Cannot fork: Resource temporarily unavailable",
            "ccache: error: failed to create /x: Permission denied",
            "cc1: fatal error: kernel/fork.s: Device or resource busy",
            "ld: fork.o: Connection timed out",
            "make: *** write jobserver: Bad file descriptor.  Stop.",
            "sh: 1: as: Text file busy",
            "gcc: fatal error: cannot execute \"cc1\": execvp: No such file or directory",
            "as: posix_spawnp: No such file or directory",
            "ld: cannot open output file vmlinux.o: Operation not permitted",
            "a.c:1:10: fatal error: /usr/include/stdio.h: No such device",
        ] {
            let tool = cmd!("sh", "-c", "printf '%s\\n' \"$0\"; seq 1 200; exit 2", line);
            let error = log(&folder).run("it", &tool).unwrap_err();
            assert_eq!(error.blame(), Blame::Host, "{line}: {error}");
            assert!(error.to_string().contains(&format!("cut short by the host ({line})")), "{error}");
        }
        for script in [
            "echo 'kernel/fork.c:1:1: error: expected identifier'; exit 1".to_owned(),
            make("Error 1"),
            make("Segmentation fault"),
            make("Error 139"),
            "echo 'fork.c: internal compiler error: Segmentation fault'; exit 1".to_owned(),
            "echo 'gcc: internal compiler error: Segmentation fault signal terminated program cc1'; exit 1"
                .to_owned(),
            "echo 'collect2: fatal error: ld terminated with signal 11 [Segmentation fault]'; exit 1"
                .to_owned(),
            "echo 'a.c:9:2: warning: format: Out of memory'; exit 1".to_owned(),
            "echo '    9 |   panic(\"Out of memory\");'; exit 1".to_owned(),
            "echo 'a.c:5:9: error: #error \"Out of memory\"'; exit 1".to_owned(),
            "echo 'a.c:5:9: error: static assertion failed: \"No space left on device\"'; exit 1".to_owned(),
            "echo 'a.sh: line 7: Killed is a word'; exit 1".to_owned(),
        ] {
            let error = log(&folder).run("it", &cmd!("sh", "-c", &script)).unwrap_err();
            assert_eq!(error.blame(), Blame::Guest, "{script}: {error}");
        }
    }

    #[test]
    fn a_build_that_fails_without_a_diagnosis_is_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let in_doubt = |line: &str| {
            let tool = cmd!("sh", "-c", format!("echo '{line}'; exit 2"));
            log(&folder).run("it", &tool).unwrap_err().is_in_doubt()
        };
        for line in [
            "kernel/fork.c:1:1: error: expected identifier",
            "fork.c:(.text+0x1): undefined reference to `f'",
        ] {
            assert!(!in_doubt(line), "{line}");
        }
        for line in [
            "fork.c:1:1: internal compiler error: Segmentation fault",
            "collect2: fatal error: ld terminated with signal 11 [Segmentation fault]",
            "make: *** [vmlinux] Error 1",
            "",
        ] {
            assert!(in_doubt(line), "{line}");
        }
        // Beside others that were still at work.
        assert!(!in_doubt("fork.c:1:1: error: expected identifier'; seq 100; echo '"));
    }

    #[test]
    fn what_the_users_shell_sets_for_other_builds_reaches_no_tool() {
        let user = [
            "PATH",
            "KCFLAGS",
            "LLVM",
            "CC",
            "CFLAGS",
            "CPATH",
            "MAKEFLAGS",
            "LANG",
            "LC_MESSAGES",
            "GIT_DIR",
        ];
        let user = user.map(|name| (name.into(), "x".into()));
        let names: Vec<_> = environment(user).map(|(name, _)| name).collect();
        assert_eq!(names, ["PATH", "LC_ALL"]);
        let folder = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        log(&folder)
            .run_with_lines("it", &cmd!("env").env("ARCH", "mips"), |line| lines.push(line.to_owned()))
            .unwrap();
        assert!(lines.contains(&"LC_ALL=C\n".into()) && lines.contains(&"ARCH=mips\n".into()));
        assert!(!lines.iter().any(|line| line.starts_with("CARGO")), "{lines:?}");
    }

    #[test]
    fn bytes_that_are_no_text_are_logged_and_watched() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = 0;
        log(&folder).run_with_lines("it", &cmd!("printf", "\\377\\n\\376"), |_| lines += 1).unwrap();
        assert_eq!(lines, 2);
    }
}
