//! Child processes (QEMU) that never outlive kshot.
//!
//! Three mechanisms: dropping the value kills and reaps the child (normal end, panic, orderly Ctrl-C); the
//! kernel kills it when kshot dies (SIGKILL, abort) by PR_SET_PDEATHSIG through setpriv(1); and the child
//! exits by itself if kshot died before that was set (see `monitor_args` in [`super::spec`]).
#![expect(clippy::disallowed_methods, reason = "the machine owns QEMU's process")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{OnceLock, mpsc};
use std::thread;

use duct::Handle;
use rustix::process::{Pid, Signal, kill_process_group};

/// A child process that dies with kshot.
#[derive(Debug)]
pub(super) struct ChildProcess {
    handle: Handle,
}

/// The command of a child process and its standard streams.
#[derive(Debug)]
pub(super) struct Start<'a> {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// The working directory.
    pub(super) folder: &'a Path,
    /// The file for standard error.
    pub(super) stderr: &'a File,
}

/// The exit status of setpriv(1) for a program that does not exist.
pub(super) const PROGRAM_NOT_FOUND: i32 = 127;

impl ChildProcess {
    /// Starts the child and returns it with the pipe of its standard output.
    pub(super) fn start(start: Start<'_>) -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let args = ["--pdeathsig", "KILL", "--"].iter().map(OsString::from).chain(start.argv);
        let expression = duct::cmd("setpriv", args)
            .dir(start.folder)
            .stdin_null()
            .stdout_file(writer)
            .stderr_file(start.stderr.try_clone()?)
            // A process group of its own: Ctrl-C on the terminal reaches only kshot, which ends the machine.
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            })
            .unchecked();
        let handle = on_spawner_thread(move || expression.start())?;
        Ok((Self { handle }, reader))
    }

    /// The process id of the child.
    pub(super) fn id(&self) -> Option<u32> {
        self.handle.pids().first().copied()
    }

    /// Kills the child, which may have ended already.
    pub(super) fn kill(&self) {
        // `kill` fails only if the process has already ended.
        drop(self.handle.kill());
    }

    /// Kills what is left of the child's process group: who holds its standard output open is in it. The child
    /// must not have been waited for, so that the group's number is still its own.
    pub(super) fn kill_group(&self) {
        let group = self.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            // There may be nobody left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for the child to end.
    pub(super) fn wait(&self) -> io::Result<ExitStatus> {
        self.handle.wait().map(|output| output.status)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        drop(self.handle.wait());
    }
}

/// An exit status in words.
pub(super) fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
            format!("killed by signal {signal} ({name})")
        }
        (None, None) => status.to_string(),
    }
}

/// The end of a file, as printable lines.
pub(super) fn tail(mut file: &File) -> String {
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::End(0))
        .and_then(|length| file.seek(SeekFrom::Start(length.saturating_sub(2048))))
        .and_then(|_| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => {
            let lines = bytes.split(|byte| *byte == b'\n').map(kshot_stack::text::printable);
            lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Err(error) => format!("(its standard error cannot be read: {error})"),
    }
}

/// Runs `job` on a thread that lives as long as kshot: PR_SET_PDEATHSIG fires when the *thread* that started
/// the child ends, not the process.
fn on_spawner_thread<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    type Job = Box<dyn FnOnce() + Send>;
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        // If no thread can be had, the receiver is dropped and sending fails below.
        drop(
            thread::Builder::new()
                .name("spawner".into())
                .spawn(move || receiver.iter().for_each(|job| job())),
        );
        sender
    });
    let (answer, result) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is gone");
    jobs.send(Box::new(move || drop(answer.send(job())))).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
