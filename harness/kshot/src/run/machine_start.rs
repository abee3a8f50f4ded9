//! Starts a machine for a run: restored from a saved state if there is one, otherwise booted; and saves
//! states.
//!
//! A state is saved once a login has prepared the probes and logged out again, and the guest is idle. It is a
//! cold start's by-product: the run that boots goes on in the machine that it booted.

use std::fs::{self};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::RunError;
use super::prepare::{PreparedRun, REQUEST_LOG};
use crate::artifacts::RunFolder;
use crate::durations::milliseconds;
use kshot_guest::deadline::Deadline;
use kshot_guest::host::cache::{CacheError, Draft, Lookup};
use kshot_guest::host::{FileError, random};
use kshot_guest::machine::{Accelerator, Machine, MachineDown, MachineError, SavedState, StateError};
use kshot_guest::probe;
use kshot_guest::session::{self, Guest, LoggedSession, Session};
use kshot_stack::blame::{Blame, Blamed, error_chain};
use kshot_stack::document::{Start, Timings};
use kshot_stack::text::printable;

/// The kind of the cache's entries that are saved states.
pub const STATES: &str = "states";
/// The maximum size of all saved states in bytes; the least recently used are evicted. One state takes about
/// 100 MB.
const STATES_LIMIT: u64 = 10 << 30;
/// The time limit from QEMU's start to the init's ready line. A cold boot takes 3 s on an idle host.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// The time limit from the ready line to a login; the SSH server is already listening.
const LOGIN_LIMIT: Duration = Duration::from_secs(20);
/// The time limit of one of kshot's own commands in the guest.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// The file in the guest that holds the nonce of its saved state.
const NONCE: &str = "/run/kshot-state";

/// Why a guest under KVM always boots: restoring one was never tested on a host with KVM.
const KVM_IS_COLD: &str = "no state is saved of a guest that runs under kvm";

/// A running machine with a logged-in session.
pub(super) struct StartedMachine {
    pub(super) machine: Machine,
    /// The session, which logs all requests.
    pub(super) session: LoggedSession,
    pub(super) start: Start,
    /// The reason for a cold start, if the machine booted.
    pub(super) cold_because: Option<String>,
    /// The thread that writes the state, if one is saved.
    pub(super) state_writer: Option<StateWriter>,
}

/// A thread that writes a state to the cache, and the memory file that the running machine still needs.
pub(super) struct StateWriter {
    writer: JoinHandle<Result<PathBuf, CacheError>>,
    _scratch: tempfile::TempDir,
}

/// Why booting and saving a machine failed.
enum BootAndSaveError {
    /// The machine did not boot.
    Run(RunError),
    /// The machine booted, but its state could not be saved.
    Save(RunError),
}

/// How a machine is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartMode {
    /// Restore a saved state if there is one; otherwise boot and save one.
    Restore,
    /// Boot, and save the state if there is none.
    BootAndKeep,
    /// Boot.
    Boot,
}

/// The start of a machine: what it is started from, the run folder that it is started for, and how long the
/// parts of the start take.
pub(super) struct MachineStart<'a> {
    pub(super) prepared: &'a PreparedRun,
    pub(super) folder: &'a RunFolder,
    pub(super) timings: &'a mut Timings,
}

impl MachineStart<'_> {
    /// Starts a machine and logs in.
    ///
    /// # Errors
    /// [`RunError`]. A saved state that is unusable, or that cannot be restored or saved, is not an error but a
    /// reason to boot.
    pub(super) fn start(mut self, mode: StartMode) -> Result<StartedMachine, RunError> {
        self.start_as(mode).map_err(|error| self.prepared.cause(error))
    }

    fn start_as(&mut self, mode: StartMode) -> Result<StartedMachine, RunError> {
        let prepared = self.prepared;
        if let Some(because) = prepared.spec.arch.row().cold_because {
            return self.boot(because);
        }
        if prepared.spec.accelerator == Accelerator::Kvm {
            return self.boot(KVM_IS_COLD);
        }
        let state_exists = || prepared.cache.find(STATES, &prepared.state_key).is_some();
        if mode == StartMode::Boot || mode == StartMode::BootAndKeep && state_exists() {
            return self.boot("as asked");
        }
        let because = match prepared.cache.find_or_draft(STATES, &prepared.state_key, || ())? {
            // Another process saved it while we waited.
            Lookup::Found(_) if mode == StartMode::BootAndKeep => "as asked".into(),
            Lookup::Found(state) => match self.restore(&state) {
                Ok(started) => return Ok(started),
                Err(error) if error.blame() == Blame::Interrupted => return Err(error),
                Err(error) if is_state_at_fault(&error) => {
                    // A state that cannot be removed is no worse than before.
                    drop(prepared.cache.remove(STATES, &prepared.state_key));
                    format!("the saved state is unusable: {}", error_chain(&error))
                }
                Err(error) => format!("the saved state could not be restored: {}", error_chain(&error)),
            },
            Lookup::Missing(draft) => match self.boot_and_save(draft) {
                Ok(started) => return Ok(started),
                Err(BootAndSaveError::Run(error)) => return Err(error),
                Err(BootAndSaveError::Save(error)) if error.blame() == Blame::Interrupted => {
                    return Err(error);
                }
                Err(BootAndSaveError::Save(error)) => {
                    format!("a state could not be saved: {}", error_chain(&error))
                }
            },
        };
        self.boot(&because)
    }

    fn boot(&mut self, because: &str) -> Result<StartedMachine, RunError> {
        let machine = Machine::boot(&self.prepared.spec, self.folder.path())?;
        let session = self.login(&machine)?;
        let session = self.prepare_probes(session)?;
        Ok(StartedMachine {
            machine,
            session,
            start: Start::Cold,
            cold_because: Some(because.into()),
            state_writer: None,
        })
    }

    fn restore(&mut self, saved: &Path) -> Result<StartedMachine, RunError> {
        let prepared = self.prepared;
        let state = SavedState::open(saved).map_err(MachineError::from)?;
        prepared.cache.mark_used(STATES, &prepared.state_key);
        let machine = Machine::restore(&prepared.spec, &state, self.folder.path())?;
        let mut session = self.login(&machine)?;
        renew_guest(&mut session, state.nonce())?;
        for name in run_files(prepared) {
            let path = saved.join(&name);
            let bytes = fs::read(&path).map_err(FileError::on("read", &path)).map_err(StateError::from);
            self.folder.write(&name, &bytes.map_err(MachineError::from)?)?;
        }
        // The requests from before the state was saved come first.
        let session = self.append_requests(session)?;
        Ok(StartedMachine { machine, session, start: Start::Warm, cold_because: None, state_writer: None })
    }

    /// Boots, saves the guest's state, and continues with the same machine.
    fn boot_and_save(&mut self, draft: Draft) -> Result<StartedMachine, BootAndSaveError> {
        let (run, save) = (BootAndSaveError::Run, BootAndSaveError::Save);
        let scratch = draft.scratch().map_err(RunError::from).map_err(save)?;
        let memory = scratch.path().join("memory");
        let machine = Machine::boot_saveable(&self.prepared.spec, &memory, self.folder.path());
        let machine = machine.map_err(|error| match error {
            MachineError::NoRoom { .. } => save(error.into()),
            error => run(error.into()),
        })?;
        let session = self.login(&machine).map_err(run)?;
        let session = self.prepare_probes(session).map_err(run)?;
        save_state(&machine, session.into_session(), &memory, draft.path(), self.folder).map_err(save)?;
        for name in run_files(self.prepared) {
            let to = draft.path().join(&name);
            let copied = fs::copy(self.folder.path().join(&name), &to).map_err(FileError::on("write", &to));
            copied.map_err(CacheError::from).map_err(RunError::from).map_err(save)?;
        }
        let session = self.login(&machine).map_err(run)?;
        let session = self.append_requests(session).map_err(run)?;
        let writer = thread::Builder::new().name("state".into()).spawn(move || draft.commit());
        let writer = writer.map_err(|source| save(MachineError::Folder(source).into()))?;
        let state_writer = Some(StateWriter { writer, _scratch: scratch });
        let because = Some("there was no saved state".into());
        Ok(StartedMachine { machine, session, start: Start::Cold, cold_because: because, state_writer })
    }

    fn login(&mut self, machine: &Machine) -> Result<Session, RunError> {
        let boot = machine.wait_ready(&Deadline::new("the guest's init to be done", BOOT_LIMIT))?;
        self.timings.boot = milliseconds(boot);
        let login = Instant::now();
        let keys = session::Credentials {
            client_key_private: &self.prepared.keys.client_key_private,
            host_key_public: &self.prepared.keys.host_key_public,
        };
        let deadline = Deadline::new("an SSH login", LOGIN_LIMIT);
        let session = Session::open(machine.ssh_port(), keys, machine.liveness(), &deadline)?;
        self.timings.ssh = milliseconds(login.elapsed());
        Ok(session)
    }

    /// Prepares the probes, as far as that is possible before recording, and starts the request log.
    fn prepare_probes(&mut self, session: Session) -> Result<LoggedSession, RunError> {
        let started = Instant::now();
        let folder = self.folder.path();
        let mut session = LoggedSession::new(session, &folder.join(REQUEST_LOG))?;
        self.prepared.probes.iter().try_for_each(|probe| probe.prepare(&mut session, folder))?;
        self.timings.steps = milliseconds(started.elapsed());
        Ok(session)
    }

    /// Goes on with the request log that the run folder has.
    fn append_requests(&self, session: Session) -> Result<LoggedSession, RunError> {
        Ok(LoggedSession::append(session, &self.folder.path().join(REQUEST_LOG))?)
    }
}

/// What QEMU says of a state that it cannot read (migration/savevm.c, migration/migration.c).
const CANNOT_LOAD: [&str; 2] = ["error while loading state", "load of migration failed"];

/// Whether the saved state is to blame for a failed restore, and not this host. Such a state would fail
/// again.
fn is_state_at_fault(error: &RunError) -> bool {
    match error {
        RunError::WrongGuest { .. } => true,
        RunError::Machine(MachineError::State(_) | MachineError::Migration) => true,
        // A QEMU that cannot read a state exits, before its machine starts or later.
        RunError::Machine(MachineError::Refused { stderr, .. }) => {
            CANNOT_LOAD.iter().any(|words| stderr.contains(words))
        }
        RunError::Machine(MachineError::Down(MachineDown::QemuExited { killed, .. })) => !killed,
        error => error.blame() == Blame::Guest,
    }
}

impl StateWriter {
    /// Waits until the state is on disk.
    pub(super) fn finish(self, prepared: &PreparedRun) -> Result<(), CacheError> {
        self.writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        prepared.cache.evict(STATES, STATES_LIMIT)?;
        Ok(())
    }
}

/// Gives a restored machine its own time and random seed, and checks the nonce of the saved state.
fn renew_guest(session: &mut Session, nonce: &str) -> Result<(), RunError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = hex::encode(random::<32>().map_err(CacheError::from)?);
    let script = format!(
        "read -r nonce < {NONCE} || exit; echo $nonce; renew {}.{:09} {seed}",
        now.as_secs(),
        now.subsec_nanos()
    );
    let output = session.run(&script, COMMAND_LIMIT)?;
    let said = String::from_utf8_lossy(&output.text);
    if output.status == 0 && said.trim_end() == nonce {
        return Ok(());
    }
    Err(RunError::WrongGuest { status: output.status, output: printable(said.trim().as_bytes()) })
}

/// Logs out, waits until the guest is at rest, and saves its state.
fn save_state(
    machine: &Machine,
    mut session: Session,
    memory: &Path,
    state: &Path,
    folder: &RunFolder,
) -> Result<(), RunError> {
    let nonce = hex::encode(random::<32>().map_err(CacheError::from)?);
    // dropbear has one process for each login. The process that reports the end of the last login outlives it
    // as a child of init.
    let script = format!(
        "echo {nonce} > {NONCE}
         {{
             while [ $(pidof dropbear | wc -w) -gt 1 ]; do usleep 1000; done
             echo 'kshot-guest: at rest' > /dev/console
         }} < /dev/null > /dev/null 2>&1 &"
    );
    let output = session.run(&script, COMMAND_LIMIT)?;
    if output.status != 0 {
        return Err(RunError::WrongGuest { status: output.status, output: printable(&output.text) });
    }
    drop(session);
    let deadline = Deadline::new("the guest to be at rest", COMMAND_LIMIT);
    machine.wait_idle(&deadline)?;
    machine.save(memory, &nonce, folder.path(), state)?;
    Ok(())
}

/// The files of the run folder that a saved state has, too: the requests to the guest, and the probes' own
/// files.
fn run_files(prepared: &PreparedRun) -> Vec<String> {
    let mut files = probe::prepared_files(&prepared.probes);
    files.push(REQUEST_LOG.to_owned());
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::ArtifactsError;
    use kshot_guest::deadline::TimedOut;
    use kshot_guest::session::SessionError;

    fn qemu_ended(killed: bool) -> MachineDown {
        MachineDown::QemuExited { status: "it ended".into(), stderr: String::new(), killed }
    }

    #[test]
    fn a_state_goes_for_its_own_faults_and_not_for_the_hosts() {
        let late = TimedOut { what: "an SSH login".into(), waited: LOGIN_LIMIT, last_error: None };
        let spoiled = [
            RunError::WrongGuest { status: 1, output: String::new() },
            MachineError::Migration.into(),
            MachineError::Down(qemu_ended(false)).into(),
            SessionError::TimedOut(late).into(),
            MachineError::Refused {
                status: "exit status 1".into(),
                stderr: "qemu-system-mips64: load of migration failed: Invalid argument".into(),
            }
            .into(),
        ];
        assert!(spoiled.iter().all(is_state_at_fault));
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let hosts = [
            MachineError::Folder(full()).into(),
            MachineError::NoQemu { program: "qemu-system-mips64", package: "qemu-system-mips" }.into(),
            MachineError::Down(qemu_ended(true)).into(),
            ArtifactsError::from(FileError {
                action: "write",
                path: "/runs/guest.jsonl".into(),
                source: full(),
            })
            .into(),
            RunError::Cache(CacheError::Interrupted),
            MachineError::Refused {
                status: "exit status 1".into(),
                stderr: "cannot set up guest memory".into(),
            }
            .into(),
        ];
        assert!(!hosts.iter().any(is_state_at_fault));
    }
}
