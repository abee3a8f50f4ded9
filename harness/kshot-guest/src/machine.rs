//! The machine: a QEMU process, from its command line to its end.

mod accelerator; // QEMU's own translation or KVM
mod console; // the console: read all the time, kept raw, understood line by line
mod error; // what goes wrong with a machine
mod monitor; // QEMU's monitor (QMP)
pub mod packet; // gdb's remote protocol: framing and checksum
mod child; // QEMU's process, which never outlives kshot
mod registers; // a guest's registers, as its gdb stub has them
mod state; // a guest's state to files and back
mod spec; // a machine's description, and QEMU's command line
mod stops; // breakpoints, and leaving them
mod stub; // gdb's remote protocol: the requests to QEMU's stub
mod timer; // the timer of a restored machine, where QEMU leaves it out
mod lacking; // the options that a kernel lacks if its guest does not come up
mod share; // whether the host was too busy, so that a late guest is not to blame
mod liveness; // whether a machine runs, for every wait

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde_json::json;

pub use accelerator::{Accelerator, AcceleratorChoice, AcceleratorError};
pub use error::{MachineError, StateError};
pub use liveness::{Liveness, MachineDown};
pub use monitor::MonitorError;
pub use registers::Registers;
pub use share::HostTooBusy;
pub use spec::{MachineSpec, Memory};
pub use state::SavedState;
pub use stops::{EndRequest, Stop, Stops};
pub use stub::{Span, StubError};

use crate::deadline::{Deadline, PollResult, TimedOut, wait_for};
use crate::host::{FileError, ScratchFolder, interrupt};
use child::{ChildProcess, PROGRAM_NOT_FOUND, Start};
use kshot_stack::arch::Arch;
use kshot_stack::document::ConsoleReport;
use kshot_stack::text::printable;
use liveness::QemuExit;
use monitor::Monitor;
use share::Silence;

/// The file of the run folder with the raw console output.
pub const CONSOLE_LOG: &str = "console.log";
/// The file of the run folder with QEMU's standard error.
pub const QEMU_LOG: &str = "qemu.log";

/// The time that QEMU may take to connect its monitor or to answer a command.
const MONITOR_LIMIT: Duration = Duration::from_secs(20);
/// The time that QEMU may take to quit.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// A running machine. Dropping it kills QEMU and waits for the process to end.
#[derive(Debug)]
pub struct Machine {
    monitor: Monitor,
    /// As `info version` prints it.
    version: String,
    ssh_port: u16,
    started: Instant,
    /// The time when a restored guest resumed.
    resumed: Option<Instant>,
    /// The statuses of QEMU's MIGRATION events.
    migrations: Receiver<String>,
    qemu: Qemu,
    // Declared last so that it is dropped last: QEMU runs in this folder.
    folder: ScratchFolder,
}

impl Machine {
    /// Boots a machine. The guest boots while this sets up QEMU's monitor. The console goes to `console.log`
    /// and QEMU's standard error to `qemu.log`, both in `run_folder`.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn boot(spec: &MachineSpec, run_folder: &Path) -> Result<Self, MachineError> {
        Self::start(spec, Memory::Anonymous, io::empty(), run_folder)
    }

    /// Boots a machine as [`Self::boot`] does, with the guest's memory in the new file `memory`, so that
    /// [`Self::save`] works.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn boot_saveable(spec: &MachineSpec, memory: &Path, run_folder: &Path) -> Result<Self, MachineError> {
        let (path, mib) = (memory.to_owned(), spec.memory_mib);
        state::make_memory_file(memory, u64::from(mib) << 20).map_err(|source| MachineError::NoRoom {
            path,
            mib,
            source,
        })?;
        Self::start(spec, Memory::Saveable(memory), io::empty(), run_folder)
    }

    /// Restores a machine from a state that a machine with an equal `spec` saved. The guest runs when this
    /// returns. `console.log` begins with the console output from before the save.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn restore(spec: &MachineSpec, state: &SavedState, run_folder: &Path) -> Result<Self, MachineError> {
        let console = state.console()?;
        let mut machine = Self::start(spec, Memory::Restored(&state.memory()), console, run_folder)?;
        machine.load_state(state).map_err(|error| machine.qemu.explain(error))?;
        machine.resumed = Some(Instant::now());
        Ok(machine)
    }

    fn start(
        spec: &MachineSpec,
        memory: Memory<'_>,
        said: impl Read + Send + 'static,
        run_folder: &Path,
    ) -> Result<Self, MachineError> {
        interrupt::install_handlers().map_err(MachineError::Signals)?;
        Liveness::default().check()?;
        check(spec)?;
        let folder = ScratchFolder::create().map_err(MachineError::Folder)?;
        let listener =
            listen_nonblocking(&socket_path(&folder, spec::MONITOR)).map_err(MachineError::Folder)?;

        let started = Instant::now();
        let qemu = Qemu::start(spec, memory, said, folder.path(), run_folder)?;
        let deadline = Deadline::new("QEMU's monitor", MONITOR_LIMIT);
        let (sender, migrations) = mpsc::channel();
        let talk = || -> Result<_, MachineError> {
            let stream = qemu.accept(&listener, &deadline)?;
            let liveness = qemu.liveness.clone();
            let hear = move |event: &str, data: &serde_json::Value| match event {
                "SHUTDOWN" => liveness.shutting_down(data["reason"].as_str().unwrap_or_default()),
                "MIGRATION" => drop(sender.send(data["status"].as_str().unwrap_or_default().to_owned())),
                _ => {}
            };
            let monitor = Monitor::open(stream, hear, &deadline)?;
            let version = monitor.human("info version", &deadline)?;
            let usernet = monitor.human("info usernet", &deadline)?;
            Ok((monitor, version, usernet))
        };
        let (monitor, version, usernet) = talk().map_err(|error| qemu.explain(error))?;
        let ssh_port = monitor::forwarded_port(&usernet)
            .ok_or_else(|| MachineError::NoForwardedPort(printable(usernet.as_bytes())))?;
        let version = printable(version.trim().as_bytes());
        Ok(Self { monitor, version, ssh_port, started, resumed: None, migrations, qemu, folder })
    }

    /// Waits until the guest's init reports ready. Returns the time since QEMU's start or, for a restored
    /// guest, the time of the restore.
    ///
    /// # Errors
    /// [`MachineError::NotReady`] if the deadline passes, [`MachineError::Down`] as soon as the machine goes
    /// down.
    pub fn wait_ready(&self, deadline: &Deadline) -> Result<Duration, MachineError> {
        let mut watch = self.qemu.liveness.silence_watch();
        let overlong = |last_line_at| watch.as_mut().and_then(|watch| watch.overlong(last_line_at));
        let at = self.wait_for_console(deadline, Liveness::ready_at, overlong)?;
        Ok(self.resumed.unwrap_or(at).duration_since(self.started))
    }

    /// Waits until the guest reports that it is idle, as it was asked to.
    ///
    /// # Errors
    /// The errors of [`Self::wait_ready`].
    pub fn wait_idle(&self, deadline: &Deadline) -> Result<(), MachineError> {
        self.wait_for_console(deadline, |liveness| liveness.is_idle().then_some(()), |_| None)
    }

    fn wait_for_console<T>(
        &self,
        deadline: &Deadline,
        came: impl Fn(&Liveness) -> Option<T>,
        mut overlong: impl FnMut(Option<Instant>) -> Option<Silence>,
    ) -> Result<T, MachineError> {
        let liveness = &self.qemu.liveness;
        let late = |timed_out: TimedOut, silence: Option<Silence>| match liveness.host_too_busy(&timed_out) {
            Some(busy) => busy.into(),
            None => MachineError::NotReady {
                waited: timed_out.waited,
                what: timed_out.what,
                silent_for: liveness.last_line_at().map(|at| at.elapsed()),
                rests: silence == Some(Silence::Rests),
                last_console_line: liveness.last_console_line(),
                board: lacking::board(self.qemu.arch.row()),
            },
        };
        let result = deadline.poll(|slice| {
            if let Some(value) = came(liveness) {
                return Ok(PollResult::Done(value));
            }
            liveness.check().map_err(WaitError::Down)?;
            if let Some(silence) = overlong(liveness.last_line_at()) {
                return Err(WaitError::Silent(silence, deadline.timed_out(None)));
            }
            liveness.wait(slice);
            Ok(PollResult::Pending(None))
        });
        result.map_err(|error| match error {
            WaitError::Down(down) => down.into(),
            WaitError::Silent(silence, timed_out) => late(timed_out, Some(silence)),
            WaitError::TimedOut(timed_out) => late(timed_out, None),
        })
    }

    /// QEMU's version: `7.2.22 Debian 1:7.2+dfsg-7`.
    pub fn qemu_version(&self) -> String {
        version_text(&self.version)
    }

    /// The port on 127.0.0.1 that is forwarded to the guest's SSH server.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// The liveness of the machine; cheap to clone, checked by every wait.
    pub fn liveness(&self) -> &Liveness {
        &self.qemu.liveness
    }

    /// The process id of QEMU while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.qemu.process.id()
    }

    /// Sends the guest a non-maskable interrupt.
    ///
    /// # Errors
    /// [`MonitorError::Refused`] where the board has none.
    pub fn inject_nmi(&self) -> Result<(), MonitorError> {
        let deadline = Deadline::new("QEMU's monitor", MONITOR_LIMIT);
        self.monitor.execute("inject-nmi", json!({}), &deadline).map(drop)
    }

    /// Ends QEMU with the monitor's `quit`, else by a signal. The guest is not shut down: none of its state
    /// is kept. Returns the console events up to the last line.
    pub fn shutdown(self) -> Vec<ConsoleReport> {
        // A QEMU that does not answer is killed when this is dropped.
        if self.monitor.send("quit", json!({})).is_ok() {
            self.qemu.liveness.await_exit(QUIT_LIMIT);
        }
        let liveness = self.qemu.liveness.clone();
        drop(self);
        liveness.console_events()
    }
}

/// The QEMU process and the thread that watches it. Dropping it kills the process and joins the thread.
#[derive(Debug)]
struct Qemu {
    arch: Arch,
    process: Arc<ChildProcess>,
    liveness: Liveness,
    watcher: Option<JoinHandle<()>>,
}

/// Why a wait for a console line ended.
enum WaitError {
    Down(MachineDown),
    Silent(Silence, TimedOut),
    TimedOut(TimedOut),
}

impl From<TimedOut> for WaitError {
    fn from(timed_out: TimedOut) -> Self {
        Self::TimedOut(timed_out)
    }
}

impl Qemu {
    /// Starts QEMU. `said` is the console output from before this process, for a restored guest.
    fn start(
        spec: &MachineSpec,
        memory: Memory<'_>,
        said: impl Read + Send + 'static,
        folder: &Path,
        run_folder: &Path,
    ) -> Result<Self, MachineError> {
        let console_log = create(run_folder, CONSOLE_LOG)?;
        let qemu_log = create(run_folder, QEMU_LOG)?;
        let start = Start { argv: spec.argv(memory), folder, stderr: &qemu_log };
        let (process, console) =
            ChildProcess::start(start).map_err(|source| MachineError::Start { source })?;
        let (process, liveness) = (Arc::new(process), Liveness::default());
        liveness.started(process.id(), spec.arch);
        let mut qemu = Self { arch: spec.arch, process, liveness, watcher: None };
        let (process, liveness) = (Arc::clone(&qemu.process), qemu.liveness.clone());
        let watch = move || {
            console::read(said.chain(console), console_log, &liveness);
            let status = process.wait();
            let missing = status.as_ref().is_ok_and(|status| status.code() == Some(PROGRAM_NOT_FOUND));
            let killed = status.as_ref().is_ok_and(|status| status.signal().is_some());
            let status = status.map_or_else(|error| error.to_string(), child::describe_status);
            liveness.exited(QemuExit { status, missing, killed, stderr: child::tail(&qemu_log) });
        };
        let watcher = thread::Builder::new().name("console".into()).spawn(watch);
        qemu.watcher = Some(watcher.map_err(|source| MachineError::Start { source })?);
        Ok(qemu)
    }

    fn accept(&self, listener: &UnixListener, deadline: &Deadline) -> Result<UnixStream, MachineError> {
        deadline.poll(|slice| {
            self.liveness.check()?;
            let stream = accept_within(listener, slice).map_err(|error| MonitorError::Broken(Some(error)))?;
            Ok(stream.map_or(PollResult::Pending(None), PollResult::Done))
        })
    }

    /// Replaces an error of the start by its cause: QEMU may be missing or may have rejected its arguments.
    fn explain(&self, error: MachineError) -> MachineError {
        let down = match &error {
            MachineError::Down(down) => Some(down.clone()),
            _ => self.liveness.wait_for_end(),
        };
        match down {
            Some(MachineDown::QemuExited { .. }) if self.liveness.program_missing() => {
                MachineError::NoQemu { program: self.arch.row().qemu, package: self.arch.row().qemu_package }
            }
            Some(MachineDown::QemuExited { status, stderr, killed: false }) => {
                MachineError::Refused { status, stderr }
            }
            Some(down) => down.into(),
            None => error,
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.process.kill();
        let Some(watcher) = self.watcher.take() else { return };
        // It waits for the child once the console has ended.
        if !watcher.is_finished() {
            self.process.kill_group();
        }
        // Somebody who left the group may hold the console open for ever.
        if self.liveness.wait_for_end().is_some() {
            // A watcher thread that panicked has already printed why.
            drop(watcher.join());
        }
    }
}

/// QEMU's version as `info version` prints it, with a blank between the number and what a distribution puts
/// right behind it: `7.2.22Debian 1:7.2+dfsg-7`.
fn version_text(said: &str) -> String {
    let end = said.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(said.len());
    match said.split_at(end) {
        (number, package) if package.starts_with(char::is_alphabetic) => format!("{number} {package}"),
        _ => said.into(),
    }
}

/// Rejects a spec that QEMU or the firmware would mishandle silently.
fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    let (length, limit) = (spec.kernel_cmdline().len(), spec.cmdline_limit());
    if length > limit {
        return Err(MachineError::CmdlineTooLong { length, limit });
    }
    for path in [&spec.kernel, &spec.initrd] {
        File::open(path).map_err(FileError::on("read", path))?;
    }
    Ok(())
}

/// The path of a socket in the machine's folder. The folder's own may be too long: the path of a socket has
/// 107 bytes at most (unix(7)).
fn socket_path(folder: &ScratchFolder, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.handle().as_raw_fd())).join(name)
}

/// A non-blocking listening socket.
#[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's monitor")]
fn listen_nonblocking(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection to a socket of [`listen_nonblocking`], `None` if there is none within `limit`.
fn accept_within(listener: &UnixListener, limit: Duration) -> io::Result<Option<UnixStream>> {
    match wait_for(listener, PollFlags::IN, limit).and_then(|_| listener.accept()) {
        Ok((stream, _)) => stream.set_nonblocking(false).map(|()| Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn create(folder: &Path, name: &str) -> Result<File, MachineError> {
    let path = folder.join(name);
    let open = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    Ok(open.map_err(FileError::on("create", &path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distributions_name_for_qemu_stands_beside_its_number() {
        for (said, version) in [
            ("7.2.22Debian 1:7.2+dfsg-7", "7.2.22 Debian 1:7.2+dfsg-7"),
            ("9.1.0 (v9.1.0-dirty)", "9.1.0 (v9.1.0-dirty)"),
            ("9.1.0", "9.1.0"),
            ("", ""),
        ] {
            assert_eq!(version_text(said), version);
        }
    }
}
