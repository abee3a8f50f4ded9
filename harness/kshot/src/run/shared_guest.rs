//! Scenarios one after the other in one guest. A guest takes longer to start than most of them take in it,
//! and QEMU has then translated what they have in common.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::machine_start::{MachineStart, StartMode, StartedMachine, StateWriter};
use super::prepare::{PreparedRun, REQUEST_LOG, Recorders, check_functions, prepare, present_probes};
use super::recording::{HostUse, RunRecording, RunningGuest, replay_and_collect, start_truth, take_slots};
use super::{RecordedRun, RunContext, RunError, RunOutcome, conclude};
use crate::artifacts::{ArtifactsError, RunFolder};
use crate::durations::milliseconds;
use crate::scenario::Scenario;
use kshot_guest::host::FileError;
use kshot_guest::host::slots::Slot;
use kshot_guest::machine::{AcceleratorChoice, CONSOLE_LOG, Machine};
use kshot_guest::probe::{ProbeError, TruthThread};
use kshot_guest::progress::Progress;
use kshot_guest::session::{Guest, LoggedSession, Session};
use kshot_stack::blame::error_chain;
use kshot_stack::document::{Start, Timings};

/// The time limit of a script of our own.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// A guest for scenarios that need the same boot; no probe is prepared in it.
pub struct SharedGuest {
    machine: Machine,
    session: Session,
    prepared: PreparedRun,
    folder: RunFolder,
    truth_thread: TruthThread,
    start: Start,
    cold_because: Option<String>,
    state_writer: Option<StateWriter>,
    _slots: Vec<Slot>,
}

/// A run in a shared guest.
#[derive(Debug)]
pub struct SharedRun {
    /// The guest, for the next scenario.
    pub guest: SharedGuest,
    /// The result.
    pub outcome: RunOutcome,
    /// Whether a step or a tool of a probe failed, as it would in any guest of this kernel.
    pub refused: bool,
}

impl std::fmt::Debug for SharedGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedGuest").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl SharedGuest {
    /// Boots or restores a guest, with perf in it. `id` is what its own run folder is called.
    ///
    /// # Errors
    /// See [`super::run`].
    pub fn start(context: RunContext<'_>, id: &str) -> Result<Self, RunError> {
        let prepared = prepare(context, &Scenario::empty(id), AcceleratorChoice::Tcg)?;
        let slots = take_slots(&prepared, HostUse::Shared, context.progress)?;
        let folder = context.create_folder(id)?;
        let started = MachineStart { prepared: &prepared, folder: &folder, timings: &mut Timings::default() }
            .start(StartMode::Restore)?;
        let StartedMachine { machine, session, start, cold_because, state_writer } = started;
        let session = session.into_session();
        let truth_thread = TruthThread::start().map_err(ProbeError::Truth)?;
        Ok(Self {
            machine,
            session,
            prepared,
            folder,
            truth_thread,
            start,
            cold_because,
            state_writer,
            _slots: slots,
        })
    }

    /// Runs a scenario, ignoring its boot options.
    ///
    /// # Errors
    /// See [`super::run`]; the guest is gone with it.
    pub fn run(self, context: RunContext<'_>, scenario: &Scenario) -> Result<SharedRun, RunError> {
        let RunContext { workspace, kernel, .. } = context;
        kernel.check_options(&workspace.images(), &scenario.option_users())?;
        let probes = present_probes(scenario, kernel);
        let folder = context.create_folder(&scenario.id)?;
        self.link_console(&folder)?;
        let started = Instant::now();
        let mut session = LoggedSession::new(self.session, &folder.path().join(REQUEST_LOG))?;
        let mut recording = RunRecording {
            qemu: self.machine.qemu_version(),
            start: self.start,
            cold_because: self.cold_because.clone(),
            ..RunRecording::default()
        };
        let truth_thread = Some(&self.truth_thread);
        let recorders = Recorders { probes: &probes, truth_thread, ..self.prepared.recorders() };
        let checked = check_functions(&probes, kernel);
        let result = checked.and_then(|()| start_truth(recorders, &folder)).and_then(|truth| {
            probes.iter().try_for_each(|probe| probe.prepare(&mut session, folder.path()))?;
            let guest = RunningGuest { machine: &self.machine, session: &mut session, truth };
            replay_and_collect(recorders, scenario, guest, &folder, &mut recording)
        });
        recording.timings.total = milliseconds(started.elapsed());
        let refused = matches!(
            &result,
            Err(RunError::StepFailed { .. } | RunError::Probe(ProbeError::ToolFailed { .. }))
        );
        let run = RecordedRun { folder, keep: false, decode: false, recording, result };
        let outcome = conclude(context, scenario, run)?;
        Ok(SharedRun { guest: Self { session: session.into_session(), ..self }, outcome, refused })
    }

    /// Runs a script that resets the guest after a scenario. `None` if the script fails: the guest is then
    /// ended, because it cannot be reused.
    ///
    /// # Errors
    /// See [`super::run`].
    pub fn reset(mut self, script: &str, progress: &Progress) -> Result<Option<Self>, RunError> {
        let output = self.session.run(script, SCRIPT_LIMIT)?;
        if output.status == 0 {
            return Ok(Some(self));
        }
        self.end(progress);
        Ok(None)
    }

    /// What a script prints.
    ///
    /// # Errors
    /// See [`super::run`].
    pub fn output(&mut self, script: &str) -> Result<Vec<u8>, RunError> {
        Ok(self.session.run(script, SCRIPT_LIMIT)?.text)
    }

    /// Ends the guest and removes its own folder, because each run has its own. A state that cannot be saved
    /// or a folder that cannot be removed is only reported: no result depends on it.
    pub fn end(self, progress: &Progress) {
        let Self { machine, session, prepared, folder, state_writer, .. } = self;
        drop(session);
        machine.shutdown();
        if let Some(Err(fault)) = state_writer.map(|writer| writer.finish(&prepared)) {
            progress.print_line(&format!("the state could not be saved: {}", error_chain(&fault)));
        }
        if let Err(error) = fs::remove_dir_all(folder.path()) {
            progress.print_line(&format!("{} stays: {error}", folder.path().display()));
        }
    }

    /// Links the guest's console log into a run folder; the log keeps growing.
    fn link_console(&self, folder: &RunFolder) -> Result<(), RunError> {
        let to: PathBuf = folder.path().join(CONSOLE_LOG);
        let linked = fs::hard_link(self.folder.path().join(CONSOLE_LOG), &to);
        Ok(linked.map_err(FileError::on("link", &to)).map_err(ArtifactsError::from)?)
    }
}
