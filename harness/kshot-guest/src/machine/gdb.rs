//! gdb outside of the guest: it breaks at a function, unwinds with the kernel's DWARF, and lets the guest go on.
//! What it does is `gdb.py`; this starts it, hears how far it is, and ends it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use super::child::{self, ChildProcess, PROGRAM_NOT_FOUND, Start};
use super::relay::{self, Relay};
use super::{Liveness, Machine, MachineDown};
use crate::deadline::{Deadline, PollResult, TimedOut};
use crate::symbols::LoadedModule;
use kshot_stack::fault::{Blame, Fault};
use kshot_stack::text::printable;

/// Debian's package of the same name holds it.
const PROGRAM: &str = "gdb-multiarch";
const SCRIPT: &str = include_str!("gdb.py");
const SCRIPT_NAME: &str = "gdb.py";

/// How long gdb may take to read a kernel's DWARF, connect and set its breakpoint: half a second on an idle host.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to let go of the guest.
const DETACH_LIMIT: Duration = Duration::from_secs(20);
/// The most of one event of `gdb.py` that is read.
const EVENT_LIMIT: u64 = 64 << 10;

/// Where gdb breaks and what it leaves behind. All paths are absolute.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The function.
    pub function: &'a str,
    /// After how many hits it lets go of the guest.
    pub hits: u32,
    /// Whether the function is the tracer's `trace_function`. Then registers and raw stacks are written, as
    /// [`kshot_stack::stack::gdb_raw`] reads them, for the first `hits` of each traced function, and only
    /// [`Debugger::detach`] lets go of the guest.
    pub traced: bool,
    /// The booted kernel's modules with DWARF, where the guest has them.
    pub modules: &'a [LoadedModule],
    /// The new file for the stacks, JSON lines as [`kshot_stack::stack::gdb_json`] reads them.
    pub stacks: &'a Path,
}

/// A gdb that reads a kernel's DWARF, some 0.3 s, in which the machine can come up. Dropping it kills it.
#[derive(Debug)]
pub struct Reader {
    vmlinux: PathBuf,
    process: ChildProcess,
    events: Receiver<Event>,
    input: PipeWriter,
    log: File,
    // Last: it runs in it.
    _folder: TempDir,
}

/// A gdb that is attached to a machine. Dropping it kills gdb; the guest may stand still then.
#[derive(Debug)]
pub struct Debugger {
    gdb: Reader,
    liveness: Liveness,
    // Last: it ends with gdb.
    _relay: Relay,
}

/// What watching with gdb failed with.
#[derive(Debug, thiserror::Error)]
pub enum GdbError {
    /// There is no gdb.
    #[error("{PROGRAM} is not installed")]
    Missing,
    /// gdb cannot be started.
    #[error("cannot start gdb")]
    Start(#[source] io::Error),
    /// The DWARF cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file for gdb cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel has no such function.
    #[error("gdb finds no function `{function}` in the kernel's DWARF: {why}")]
    NoFunction {
        /// What was asked for.
        function: String,
        /// What gdb says.
        why: String,
    },
    /// The DWARF is another kernel's.
    #[error("{} is not the kernel that runs: {why}", vmlinux.display())]
    OtherKernel {
        /// The file.
        vmlinux: PathBuf,
        /// What differs.
        why: String,
    },
    /// gdb failed.
    #[error("gdb failed: {why}")]
    Failed {
        /// What it says.
        why: String,
    },
    /// gdb did not get so far in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The machine does not live.
    #[error(transparent)]
    Down(#[from] MachineDown),
}

/// What `gdb.py` says on standard output.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Armed,
    Done,
    Failed { what: String, why: String },
}

impl Reader {
    /// Starts a gdb that reads `vmlinux`, that of the kernel which the machine runs, with DWARF. Where gdb keeps its
    /// indices of DWARF is `index`, made if need be; what it says to people goes to the file `log`. All paths are
    /// absolute.
    ///
    /// # Errors
    /// [`GdbError::Start`] and [`GdbError::Write`]; what is wrong with the DWARF, [`Machine::watch`] says.
    pub fn start(vmlinux: &Path, index: &Path, log: &Path) -> Result<Self, GdbError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| GdbError::Write { path, source }
        };
        let folder = tempfile::Builder::new().prefix("kshot-").tempdir().map_err(GdbError::Start)?;
        let script = folder.path().join(SCRIPT_NAME);
        fs::write(&script, SCRIPT).map_err(write(&script))?;
        let file = File::options().create(true).truncate(true).read(true).write(true).open(log);
        let file = file.map_err(write(log))?;
        let (stdin, mut input) = io::pipe().map_err(GdbError::Start)?;
        let argv = [PROGRAM, "-nx", "-batch", "-x", SCRIPT_NAME].map(Into::into).into();
        let start = Start { argv, folder: folder.path(), stdin: Some(stdin), stderr: &file };
        let (process, output) = ChildProcess::start(start).map_err(GdbError::Start)?;
        let (sender, events) = sync_channel(4);
        let listener = thread::Builder::new().name("gdb".into()).spawn(move || listen(output, &sender));
        listener.map_err(GdbError::Start)?;
        // A gdb that has ended already is explained by who waits for it.
        drop(writeln!(input, "{}", json!({ "vmlinux": vmlinux, "index": index })));
        Ok(Self { vmlinux: vmlinux.into(), process, events, input, log: file, _folder: folder })
    }
}

impl Machine {
    /// Attaches gdb and breaks at a function. When this returns, the breakpoint is in. A machine takes one gdb at a time.
    ///
    /// # Errors
    /// See [`GdbError`].
    pub fn watch(&self, gdb: Reader, watch: &Watch<'_>) -> Result<Debugger, GdbError> {
        let relay = gdb.log.try_clone().and_then(|log| Relay::start(self.folder.path(), log));
        let relay = relay.map_err(GdbError::Start)?;
        let debugger = Debugger { gdb, liveness: self.liveness().clone(), _relay: relay };
        let modules = watch.modules.iter().map(|module| {
            let sections: BTreeMap<&str, String> =
                module.sections.iter().map(|(name, at)| (name.as_str(), format!("{at:#x}"))).collect();
            json!({ "path": module.path, "sections": sections })
        });
        let modules: Vec<_> = modules.collect();
        let request = json!({
            "function": watch.function,
            "hits": watch.hits,
            "modules": modules,
            "folder": self.folder.path(),
            "socket": relay::SOCKET,
            "stacks": watch.stacks,
            "task": self.qemu.arch.row().task,
            "tracer": watch.traced.then(|| {
                let row = self.qemu.arch.row();
                json!({ "registers": row.registers, "stack": row.kernel_stack })
            }),
        });
        // A gdb that has ended already is explained by what comes next.
        drop(writeln!(&debugger.gdb.input, "{request}"));
        match debugger.hear(&Deadline::new("gdb to break in the guest", ATTACH_LIMIT))? {
            Event::Armed => Ok(debugger),
            Event::Done => Err(GdbError::Failed { why: "it ended before it was armed".into() }),
            Event::Failed { what, why } => Err(match what.as_str() {
                "function" => GdbError::NoFunction { function: watch.function.into(), why },
                "kernel" => GdbError::OtherKernel { vmlinux: debugger.gdb.vmlinux.clone(), why },
                _ => GdbError::Failed { why },
            }),
        }
    }
}

impl Debugger {
    /// Takes the breakpoint out and lets go of the guest, which goes on.
    ///
    /// # Errors
    /// See [`GdbError`].
    pub fn detach(&self) -> Result<(), GdbError> {
        // It fails where gdb has had all its hits and is gone: then its last word is already here.
        drop((&self.gdb.input).write_all(b"\n"));
        match self.hear(&Deadline::new("gdb to let go of the guest", DETACH_LIMIT))? {
            Event::Armed | Event::Done => Ok(()),
            Event::Failed { why, .. } => Err(GdbError::Failed { why }),
        }
    }

    /// What ended gdb before it was told to, if anything did: a guest that stands still may be due to it.
    pub fn fault(&self) -> Option<GdbError> {
        match self.hear(&Deadline::new("gdb", Duration::ZERO)) {
            Ok(Event::Failed { why, .. }) => Some(GdbError::Failed { why }),
            Ok(_) | Err(GdbError::TimedOut(_)) => None,
            Err(error) => Some(error),
        }
    }

    fn hear(&self, deadline: &Deadline) -> Result<Event, GdbError> {
        deadline.poll(|slice| match self.gdb.events.recv_timeout(slice) {
            Ok(event) => Ok(PollResult::Done(event)),
            Err(RecvTimeoutError::Timeout) => {
                self.liveness.check().map(|()| PollResult::Pending(None)).map_err(Into::into)
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        })
    }

    /// gdb ended without a last word.
    fn ended(&self) -> GdbError {
        // Its output is closed; a gdb that lives on all the same is of no use.
        self.gdb.process.kill();
        match self.gdb.process.wait() {
            Ok(status) if status.code() == Some(PROGRAM_NOT_FOUND) => GdbError::Missing,
            Ok(status) => {
                let said = child::tail(&self.gdb.log);
                GdbError::Failed { why: format!("{}; it said: {said}", child::describe_status(status)) }
            }
            Err(error) => GdbError::Start(error),
        }
    }
}

/// Reads events until the end, or until a line that is none.
fn listen(output: PipeReader, events: &SyncSender<Event>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(EVENT_LIMIT).read_until(b'\n', &mut line) {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let event = serde_json::from_slice(&line).map(|event| match event {
            // What gdb says may quote the guest.
            Event::Failed { what, why } => Event::Failed { what, why: printable(why.as_bytes()) },
            event => event,
        });
        if event.map_or(true, |event| events.send(event).is_err()) {
            return;
        }
    }
}

impl Fault for GdbError {
    fn blame(&self) -> Blame {
        match self {
            Self::NoFunction { .. } => Blame::Guest,
            Self::Down(down) => down.blame(),
            Self::Missing
            | Self::Start(_)
            | Self::Unreadable { .. }
            | Self::Write { .. }
            | Self::OtherKernel { .. }
            | Self::Failed { .. }
            | Self::TimedOut(_) => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => Some(format!("install it: apt-get install {PROGRAM}")),
            Self::OtherKernel { .. } => {
                Some("put the vmlinux of the same build there, or provision the kernel again".into())
            }
            Self::Failed { .. } | Self::TimedOut(_) => {
                Some("the probe's gdb-log.txt in the run folder holds all that gdb said".into())
            }
            Self::Down(down) => down.hint(),
            _ => None,
        }
    }
}
