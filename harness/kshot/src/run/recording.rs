//! The first half of the walk: boot, arm, replay, collect. Everything is written to the run folder raw.

use std::time::{Duration, Instant};

use super::machine_start::{MachineStart, StartMode, StartedMachine};
use super::prepare::{PreparedRun, Recorders, prepare};
use super::{RunContext, RunError};
use crate::artifacts::{RunFolder, step_file};
use crate::durations::milliseconds;
use crate::scenario::{Scenario, Step};
use kshot_guest::host::slots::{Slot, SlotUse, Slots};
use kshot_guest::machine::{AcceleratorChoice, Machine};
use kshot_guest::probe::{
    self, ArmedProbe, Capture, KernelFile, ProbeError, ProbeSpec, StartedTruth, TruthContext,
};
use kshot_guest::progress::Progress;
use kshot_guest::session::{Guest, LoggedSession, SessionError};
use kshot_guest::symbols::{Dwarf, LIST_SECTIONS_COMMAND, LoadedKernel, SECTIONS};
use kshot_stack::blame::error_chain;
use kshot_stack::document::{ConsoleReport, Start, Timings};
use kshot_stack::text;

/// The time limit for listing the modules' sections, some hundred lines.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// The number of lines that are quoted from a failed step's output.
const TAIL_LINES: usize = 10;

/// The captures and timings of a run, also of one that failed.
#[derive(Debug, Default)]
pub(crate) struct RunRecording {
    pub(crate) captures: Vec<Capture>,
    pub(crate) console: Vec<ConsoleReport>,
    pub(crate) timings: Timings,
    pub(crate) qemu: String,
    pub(crate) start: Start,
    /// The reason for a cold start, if the machine booted.
    pub(crate) cold_because: Option<String>,
}

/// A guest that is up, with what records its truth.
pub(super) struct RunningGuest<'a> {
    pub(super) machine: &'a Machine,
    pub(super) session: &'a mut LoggedSession,
    pub(super) truth: Option<StartedTruth>,
}

/// Boots, arms the probes, and connects the terminal to a login shell.
///
/// # Errors
/// As [`super::run`]; here what the guest does wrong is an error too.
pub fn shell(context: RunContext<'_>, scenario: &Scenario) -> Result<(), RunError> {
    let progress = context.progress;
    let prepared = prepare(context, scenario, AcceleratorChoice::Tcg)?;
    let folder = context.create_folder(&scenario.id)?;
    let task = progress.task(format!("boot {}", context.kernel.name), 0);
    let truth = start_truth(prepared.recorders(), &folder)?;
    let StartedMachine { machine, mut session, state_writer, .. } =
        MachineStart { prepared: &prepared, folder: &folder, timings: &mut Timings::default() }
            .start(StartMode::Restore)?;
    if let Some(Err(fault)) = state_writer.map(|writer| writer.finish(&prepared)) {
        progress.print_line(&format!("the state could not be saved: {}", error_chain(&fault)));
    }
    let guest = RunningGuest { machine: &machine, session: &mut session, truth };
    let _armed = arm(prepared.recorders(), guest, &folder)?;
    drop(task);
    progress.print_line(&format!("run folder: {}", folder.path().display()));
    session.into_session().shell()?;
    Ok(())
}

/// Whether other runs and builds of kshot may run beside a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostUse {
    /// As many as the host has slots for.
    Shared,
    /// No others, because the host had no time for the guest in an earlier run.
    Exclusive,
}

/// Runs a machine up to the captures. What was recorded is returned even if the run failed.
pub(crate) fn record(
    prepared: &PreparedRun,
    scenario: &Scenario,
    mode: StartMode,
    host_use: HostUse,
    folder: &RunFolder,
    progress: &Progress,
) -> (RunRecording, Result<(), RunError>) {
    let mut recording = RunRecording::default();
    let result = take_slots(prepared, host_use, progress).and_then(|_slots| {
        let started = Instant::now();
        let begun = start_truth(prepared.recorders(), folder).and_then(|truth| {
            MachineStart { prepared, folder, timings: &mut recording.timings }
                .start(mode)
                .map(|started| (truth, started))
        });
        let result = begun.and_then(|(truth, started)| {
            let StartedMachine { machine, mut session, start, cold_because: because, state_writer } = started;
            recording.qemu = machine.qemu_version();
            (recording.start, recording.cold_because) = (start, because);
            let guest = RunningGuest { machine: &machine, session: &mut session, truth };
            let result = replay_and_collect(prepared.recorders(), scenario, guest, folder, &mut recording)
                .map_err(|error| prepared.cause(error));
            drop(session);
            recording.console = machine.shutdown();
            if let Some(Err(fault)) = state_writer.map(|writer| writer.finish(prepared)) {
                // The next run will boot too. This run is not affected.
                let because = recording.cold_because.get_or_insert_default();
                because.push_str(&format!(", and saving its state failed: {}", error_chain(&fault)));
            }
            result
        });
        recording.timings.total = milliseconds(started.elapsed());
        result
    });
    (recording, result)
}

pub(super) fn take_slots(
    prepared: &PreparedRun,
    host_use: HostUse,
    progress: &Progress,
) -> Result<Vec<Slot>, RunError> {
    let slots = Slots::of_this_host(&prepared.cache);
    match host_use {
        HostUse::Shared => Ok(vec![slots.take(SlotUse::Machine(prepared.spec.memory_mib), progress)?]),
        HostUse::Exclusive => Ok(slots.take_all(progress)?),
    }
}

pub(super) fn replay_and_collect(
    recorders: Recorders<'_>,
    scenario: &Scenario,
    guest: RunningGuest<'_>,
    folder: &RunFolder,
    recording: &mut RunRecording,
) -> Result<(), RunError> {
    let started = Instant::now();
    let RunningGuest { machine, session, truth } = guest;
    let armed = arm(recorders, RunningGuest { machine, session: &mut *session, truth }, folder)?;
    let mut steps = scenario.steps.iter().enumerate();
    let result =
        steps.try_for_each(|(index, step)| run_step(index + 1, step, recorders, machine, session, folder));
    // Added to the time of the preparation.
    recording.timings.steps += milliseconds(started.elapsed());
    result.map_err(|error| match error {
        // If the truth thread has failed, the guest may still be stopped and not answer: report the thread's
        // error as the cause.
        RunError::Session(SessionError::TimedOut(_) | SessionError::HostTooBusy(_)) => {
            let fault = armed.iter().find_map(ArmedProbe::fault);
            fault.map_or(error, |fault| ProbeError::Truth(fault).into())
        }
        error => error,
    })?;

    let collect = Instant::now();
    // The probe that was armed last must not record how the others are stopped.
    for probe in armed.iter().rev() {
        probe.stop(session)?;
    }
    for probe in &armed {
        recording.captures.extend(probe.fetch(session, folder.path())?);
    }
    recording.timings.collect = milliseconds(collect.elapsed());
    Ok(())
}

/// Starts the thread of the truth, which reads the DWARF while the machine starts.
pub(super) fn start_truth(
    recorders: Recorders<'_>,
    folder: &RunFolder,
) -> Result<Option<StartedTruth>, RunError> {
    let Some(dwarf) = recorders.dwarf else { return Ok(None) };
    let kernel = KernelFile { row: recorders.row, dwarf };
    let truth = probe::start_truth(recorders.probes, &kernel, recorders.truth_thread, folder.path());
    Ok(truth.map_err(ProbeError::Truth)?)
}

fn arm(
    recorders: Recorders<'_>,
    guest: RunningGuest<'_>,
    folder: &RunFolder,
) -> Result<Vec<ArmedProbe>, RunError> {
    let RunningGuest { machine, session, mut truth } = guest;
    let loaded = recorders.dwarf.map(|dwarf| read_load_addresses(dwarf, session, folder)).transpose()?;
    let mut arm = |spec: &ProbeSpec| {
        let started = spec.records_truth().then(|| truth.take()).flatten();
        let truth =
            loaded.as_ref().zip(started).map(|(loaded, started)| TruthContext { machine, loaded, started });
        Ok(spec.arm(session, truth)?)
    };
    recorders.probes.iter().map(&mut arm).collect()
}

/// The load addresses of the kernel and its modules; the list of the modules' sections goes to the run
/// folder.
fn read_load_addresses(
    dwarf: &Dwarf,
    session: &mut LoggedSession,
    folder: &RunFolder,
) -> Result<LoadedKernel, RunError> {
    if dwarf.modules.is_empty() {
        return Ok(LoadedKernel::new(dwarf, b""));
    }
    // The command fails if the guest has no modules.
    let listed = session.run(LIST_SECTIONS_COMMAND, LIST_LIMIT)?.text;
    folder.write(SECTIONS, &listed)?;
    Ok(LoadedKernel::new(dwarf, &listed))
}

fn run_step(
    number: usize,
    step: &Step,
    recorders: Recorders<'_>,
    machine: &Machine,
    session: &mut LoggedSession,
    folder: &RunFolder,
) -> Result<(), RunError> {
    for repeat in 1..=step.repeat {
        if step.nmi {
            machine.inject_nmi().map_err(|source| RunError::Nmi { number, source })?;
        }
        let output = session.run(&step.script, step.timeout)?;
        folder.write(&step_file(number, repeat), &output.text)?;
        if output.status != step.expected_status {
            return Err(RunError::StepFailed {
                number,
                script: step.script.trim().lines().next().unwrap_or_default().into(),
                got: output.status,
                wanted: step.expected_status,
                unchecked: recorders.unchecked.to_vec(),
                tail: text::last_lines(&output.text, TAIL_LINES),
            });
        }
    }
    Ok(())
}
