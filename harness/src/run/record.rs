//! The upper half of the walk: boot, arm, replay, collect. Everything it gets goes to the run folder raw.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::RunError;
use crate::artifacts::RunFolder;
use crate::deadline::Deadline;
use crate::document::{ConsoleEvent, Timings};
use crate::image::{self, Keys, Userland};
use crate::kernel::Kernel;
use crate::machine::{Machine, MachineSpec, printable};
use crate::probe::{self, Armed, Capture, Outside, ProbeError};
use crate::progress::Progress;
use crate::scenario::{ProbeKind, ProbeSpec, Scenario, Step};
use crate::session::{self, Guest, Noted, Session, SessionError};
use crate::workspace::Workspace;

/// From QEMU's start to the init's ready line. A cold boot takes 3 s on an idle host.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// From the ready line to a login: the server listens already.
const LOGIN_LIMIT: Duration = Duration::from_secs(20);
/// The file of the run folder that lists what was asked of the guest ([`session::Asked`]).
pub const ASKED: &str = "guest.jsonl";
/// How many lines of a failed step's output are quoted.
const TAIL_LINES: usize = 10;

/// What a machine is started from.
pub(crate) struct Prepared {
    spec: MachineSpec,
    keys: Keys,
    /// The probes that this kernel allows.
    probes: Vec<ProbeSpec>,
    dwarf: Option<PathBuf>,
}

/// What a run brought home, however far it came.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) captures: Vec<Capture>,
    pub(crate) console: Vec<ConsoleEvent>,
    pub(crate) timings: Timings,
    pub(crate) qemu: String,
}

/// Everything that has to be there before a machine can start.
pub(crate) fn prepare(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &Kernel,
    progress: &Progress,
) -> Result<Prepared, RunError> {
    let images = workspace.images();
    let userland = Userland::provision(kernel.arch, &images, &workspace.cache, progress)?;
    let keys = Keys::ensure(&workspace.cache)?;
    let image = image::initramfs(kernel, &userland, &keys, &images, &workspace.cache)?;
    let present = |probe: &&ProbeSpec| probe::absence(&probe.kind, kernel).is_none();
    let probes: Vec<_> = scenario.probes.iter().filter(present).cloned().collect();
    let spec = MachineSpec {
        arch: kernel.arch,
        kernel: kernel.boot.clone(),
        initrd: image.path,
        cmdline: scenario.boot.cmdline.clone(),
        memory_mib: scenario.boot.memory_mib,
        steady: scenario.boot.steady,
        gdb: probes.iter().any(|probe| matches!(probe.kind, ProbeKind::Gdb { .. })),
    };
    Ok(Prepared { spec, keys, probes, dwarf: kernel.dwarf.clone() })
}

/// The exact QEMU command line of a run, quoted for a shell.
///
/// # Errors
/// [`RunError::Image`].
pub fn command_line(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &Kernel,
    progress: &Progress,
) -> Result<String, RunError> {
    let prepared = prepare(workspace, scenario, kernel, progress)?;
    let words = prepared.spec.argv();
    Ok(words.iter().map(|word| session::quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" "))
}

/// Boots, arms the probes, and hands the terminal to a login shell.
///
/// # Errors
/// As [`super::run`]; here what the guest does wrong is an error too.
pub fn shell(
    workspace: &Workspace,
    scenario: &Scenario,
    kernel: &Kernel,
    progress: &Progress,
) -> Result<i32, RunError> {
    let prepared = prepare(workspace, scenario, kernel, progress)?;
    let folder = RunFolder::create(&workspace.runs, &scenario.id, &kernel.name)?;
    let task = progress.task(format!("boot {}", kernel.name), 0);
    let machine = Machine::boot(&prepared.spec, folder.path())?;
    let mut session = login(&machine, &prepared, &mut Timings::default())?;
    let _armed = arm(&prepared, &machine, &mut session, &folder)?;
    drop(task);
    progress.note(&format!("console log and artifacts: {}", folder.path().display()));
    Ok(session.shell()?)
}

/// One run up to the captures. What it got comes back even where it failed.
pub(crate) fn record(
    prepared: &Prepared,
    scenario: &Scenario,
    folder: &RunFolder,
) -> (Recording, Result<(), RunError>) {
    let mut recording = Recording::default();
    let started = Instant::now();
    let result = Machine::boot(&prepared.spec, folder.path()).map_err(RunError::from).and_then(|machine| {
        recording.qemu = machine.qemu_version().into();
        let result = login(&machine, prepared, &mut recording.timings)
            .and_then(|session| replay(prepared, scenario, (&machine, session), folder, &mut recording));
        recording.console = machine.shutdown();
        result
    });
    recording.timings.total = milliseconds(started.elapsed());
    (recording, result)
}

fn login(machine: &Machine, prepared: &Prepared, timings: &mut Timings) -> Result<Session, RunError> {
    let boot = machine.wait_ready(&Deadline::new("the guest's init to be done", BOOT_LIMIT))?;
    timings.boot = milliseconds(boot);
    let login = Instant::now();
    let keys = session::Keys {
        client_private: &prepared.keys.client_private,
        host_public: &prepared.keys.host_public,
    };
    let deadline = Deadline::new("an SSH login", LOGIN_LIMIT);
    let session = Session::open(machine.ssh_port(), keys, machine.vitals(), &deadline)?;
    timings.ssh = milliseconds(login.elapsed());
    Ok(session)
}

fn replay(
    prepared: &Prepared,
    scenario: &Scenario,
    (machine, session): (&Machine, Session),
    folder: &RunFolder,
    recording: &mut Recording,
) -> Result<(), RunError> {
    let started = Instant::now();
    let mut session = Noted::new(session, &folder.path().join(ASKED))?;
    let armed = arm(prepared, machine, &mut session, folder)?;
    let mut steps = scenario.steps.iter().enumerate();
    let result = steps.try_for_each(|(index, step)| run_step(index + 1, step, &mut session, folder));
    recording.timings.steps = milliseconds(started.elapsed());
    result.map_err(|error| match error {
        // A guest that a dead gdb holds answers nothing: that is not its own fault.
        RunError::Session(SessionError::TimedOut(_)) => {
            let fault = armed.iter().find_map(Armed::fault);
            fault.map_or(error, |fault| ProbeError::Gdb(fault).into())
        }
        error => error,
    })?;

    let collect = Instant::now();
    // The one that was armed last must not record how the others are stopped.
    for probe in armed.iter().rev() {
        probe.stop(&mut session)?;
    }
    for probe in &armed {
        recording.captures.extend(probe.fetch(&mut session, folder.path())?);
    }
    recording.timings.collect = milliseconds(collect.elapsed());
    Ok(())
}

fn arm(
    prepared: &Prepared,
    machine: &Machine,
    session: &mut impl Guest<Error = SessionError>,
    folder: &RunFolder,
) -> Result<Vec<Armed>, RunError> {
    let vmlinux = prepared.dwarf.as_deref();
    let outside = vmlinux.map(|vmlinux| Outside { machine, vmlinux, folder: folder.path() });
    prepared.probes.iter().map(|probe| Ok(probe::arm(probe, session, outside)?)).collect()
}

fn run_step(number: usize, step: &Step, session: &mut Noted, folder: &RunFolder) -> Result<(), RunError> {
    for repeat in 1..=step.repeat {
        let output = session.run(&step.run, step.limit)?;
        folder.write(&format!("steps/{number:02}-{repeat:02}.txt"), &output.text)?;
        if output.status != step.status {
            let text = printable(&output.text);
            let lines: Vec<_> = text.lines().collect();
            return Err(RunError::Step {
                number,
                script: step.run.trim().lines().next().unwrap_or_default().into(),
                got: output.status,
                wanted: step.status,
                tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
            });
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
