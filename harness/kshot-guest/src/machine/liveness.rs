//! The liveness of a machine: the one place that knows whether it runs, checked by every wait.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lacking;
use super::share::{HostTooBusy, SilenceWatch, is_ending};
use crate::deadline::TimedOut;
use crate::host::interrupt;
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::console::Recogniser;
use kshot_stack::document::ConsoleReport;

/// The time for the console output of a crash to arrive: QEMU exits by itself after a panic (`panic=-1`,
/// `-no-reboot`), and the console is complete then. A kernel that cannot reset the machine prints no more.
const FINAL_OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// How long a QEMU process may take to exit after it has released its memory.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Whether a machine runs, shared by everything that waits for it.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<Shared>);

/// Why a machine went down.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MachineDown {
    /// The guest crashed, by its console: a panic, an init that exited, a reboot without a message.
    #[error(
        "the guest died ({}): {}{}{}",
        event.kind,
        event.line,
        lacks.as_ref().map(|lacks| format!("; {lacks}")).unwrap_or_default(),
        before.as_ref().map(|before| format!("; before that ({}): {}", before.kind, before.line)).unwrap_or_default()
    )]
    GuestCrashed {
        /// The console event of the crash, with the lines around it.
        event: Box<ConsoleReport>,
        /// The last warning or oops on the console before it.
        before: Option<Box<ConsoleReport>>,
        /// The options that the kernel seems to lack, in words.
        lacks: Option<String>,
    },
    /// QEMU exited because the guest requested it, without a panic.
    #[error("the guest shut down by itself ({reason}){}", last_line.as_ref().map(|l| format!("; its last line: {l}")).unwrap_or_default())]
    GuestExited {
        /// QEMU's reason: `guest-shutdown`, `guest-reset`.
        reason: String,
        /// The last line of the console.
        last_line: Option<String>,
    },
    /// QEMU exited for a reason other than the guest.
    #[error("QEMU ended: {status}{}", if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") })]
    QemuExited {
        /// The exit status in words.
        status: String,
        /// The end of QEMU's standard error.
        stderr: String,
        /// Whether a signal ended it: sent by the host's kernel for lack of memory or disk, or by somebody
        /// else.
        killed: bool,
    },
    /// `console.log` could not be written.
    #[error("cannot write console.log: {0}")]
    ConsoleLog(String),
    /// SIGINT, SIGTERM or SIGHUP arrived.
    #[error("interrupted")]
    Interrupted,
}

#[derive(Debug, Default)]
struct Shared {
    observed: Mutex<Observed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Observed {
    console: Recogniser,
    ready_at: Option<Instant>,
    last_line_at: Option<Instant>,
    crashed_at: Option<Instant>,
    log_error: Option<String>,
    /// The reason in QMP's SHUTDOWN event.
    shutdown: Option<String>,
    exit: Option<QemuExit>,
    /// QEMU's process.
    process: Option<u32>,
    arch: Option<Arch>,
}

/// The exit of the QEMU process.
#[derive(Clone, Debug)]
pub(super) struct QemuExit {
    /// The exit status in words.
    pub(super) status: String,
    /// Whether QEMU is not installed.
    pub(super) missing: bool,
    /// Whether a signal ended it.
    pub(super) killed: bool,
    /// The end of QEMU's standard error.
    pub(super) stderr: String,
}

impl Liveness {
    /// Checks that the machine runs. If it is going down, waits up to a second for the rest of its console
    /// output.
    ///
    /// # Errors
    /// The reason why the machine went down.
    pub fn check(&self) -> Result<(), MachineDown> {
        if interrupt::arrived() {
            return Err(MachineDown::Interrupted);
        }
        let observed = self.observed();
        if !observed.is_going_down() {
            return Ok(());
        }
        let limit = observed
            .crashed_at
            .map_or(FINAL_OUTPUT_LIMIT, |at| FINAL_OUTPUT_LIMIT.saturating_sub(at.elapsed()));
        Err(self.wait_until_down(observed, limit).unwrap_or(MachineDown::Interrupted))
    }

    /// Why the connection to the guest broke: waits up to a second for the machine's end, and longer if QEMU
    /// is already exiting.
    pub fn wait_for_end(&self) -> Option<MachineDown> {
        let observed = self.observed();
        let process = observed.process;
        let down = self.wait_until_down(observed, FINAL_OUTPUT_LIMIT);
        // The cause is known only once QEMU has exited; on a busy host its connections break earlier.
        if down.is_none() && process.is_some_and(is_ending) {
            return self.wait_until_down(self.observed(), END_LIMIT);
        }
        down
    }

    /// Waits for any change, at most `limit`.
    pub fn wait(&self, limit: Duration) {
        let observed = self.observed();
        drop(self.0.changed.wait_timeout(observed, limit).unwrap_or_else(PoisonError::into_inner));
    }

    /// The last warning or oops on the console, or its last line: a likely cause of a timeout.
    pub fn last_console_line(&self) -> Option<String> {
        self.observed().console.last_console_line().map(|line| format!("the console said \"{line}\""))
    }

    /// The host's share of the blame for a wait that timed out; `None` if the host had time for the guest.
    pub(crate) fn host_too_busy(&self, timed_out: &TimedOut) -> Option<HostTooBusy> {
        HostTooBusy::of(self.observed().process?, timed_out)
    }

    /// The events seen on the console.
    pub fn console_events(&self) -> Vec<ConsoleReport> {
        self.observed().console.events()
    }

    /// The time when the guest's init reported ready.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        self.observed().ready_at
    }

    /// Whether the guest has reported that it is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.observed().console.is_idle()
    }

    /// The time of the last console line.
    pub(super) fn last_line_at(&self) -> Option<Instant> {
        self.observed().last_line_at
    }

    pub(super) fn started(&self, process: Option<u32>, arch: Arch) {
        self.change(|observed| (observed.process, observed.arch) = (process, Some(arch)));
    }

    /// A watch on a booting guest that goes silent; `None` if QEMU is gone.
    pub(super) fn silence_watch(&self) -> Option<SilenceWatch> {
        self.observed().process.map(SilenceWatch::new)
    }

    pub(super) fn line(&self, line: &str) {
        self.change(|observed| {
            observed.last_line_at = Some(Instant::now());
            observed.console.line(line);
            if observed.console.ready() {
                observed.ready_at = observed.ready_at.or(observed.last_line_at);
            }
            if observed.console.fatal().is_some() {
                observed.crashed_at = observed.crashed_at.or(observed.last_line_at);
            }
        });
    }

    pub(super) fn log_failed(&self, error: &io::Error) {
        self.change(|observed| observed.log_error = Some(error.to_string()));
    }

    pub(super) fn shutting_down(&self, reason: &str) {
        self.change(|observed| observed.shutdown = Some(reason.to_owned()));
    }

    /// Records that QEMU has exited and the console was read to its end.
    pub(super) fn exited(&self, exit: QemuExit) {
        self.change(|observed| observed.exit = Some(exit));
    }

    /// Waits for QEMU to exit, at most `limit`.
    pub(super) fn await_exit(&self, limit: Duration) {
        let running = |observed: &mut Observed| observed.exit.is_none() && !interrupt::arrived();
        drop(
            self.0
                .changed
                .wait_timeout_while(self.observed(), limit, running)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether the start failed because QEMU is not installed.
    pub(super) fn program_missing(&self) -> bool {
        self.observed().exit.as_ref().is_some_and(|exit| exit.missing)
    }

    fn change(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.observed());
        self.0.changed.notify_all();
    }

    fn wait_until_down(&self, observed: MutexGuard<'_, Observed>, limit: Duration) -> Option<MachineDown> {
        let unfinished = |observed: &mut Observed| {
            observed.exit.is_none() && observed.log_error.is_none() && !interrupt::arrived()
        };
        let (observed, _) = self
            .0
            .changed
            .wait_timeout_while(observed, limit, unfinished)
            .unwrap_or_else(PoisonError::into_inner);
        if interrupt::arrived() { Some(MachineDown::Interrupted) } else { observed.down() }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observed {
    fn is_going_down(&self) -> bool {
        self.console.fatal().is_some() || self.exit.is_some() || self.log_error.is_some()
    }

    fn down(&self) -> Option<MachineDown> {
        if let Some(error) = &self.log_error {
            return Some(MachineDown::ConsoleLog(error.clone()));
        }
        if let Some((event, before)) = self.console.fatal() {
            let lines = before.into_iter().chain([event]).flat_map(|event| &event.excerpt);
            let row = self.arch.map(Arch::row);
            return Some(MachineDown::GuestCrashed {
                lacks: row.and_then(|row| lacking::by_console(lines.map(String::as_str), row)),
                event: event.clone().into(),
                before: before.cloned().map(Box::new),
            });
        }
        let QemuExit { status, stderr, killed, .. } = self.exit.clone()?;
        Some(match self.shutdown.as_deref().filter(|reason| reason.starts_with("guest-")) {
            Some(reason) => MachineDown::GuestExited {
                reason: reason.to_owned(),
                last_line: self.console.last_console_line().map(str::to_owned),
            },
            None => MachineDown::QemuExited { status, stderr, killed },
        })
    }
}

impl Blamed for MachineDown {
    fn blame(&self) -> Blame {
        match self {
            Self::GuestCrashed { .. } | Self::GuestExited { .. } => Blame::Guest,
            Self::QemuExited { .. } | Self::ConsoleLog(_) => Blame::Host,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::GuestCrashed { event, before, .. } => {
                let lines = before.iter().chain([event]).flat_map(|event| &event.excerpt);
                Some(format!(
                    "console.log says:\n{}",
                    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
                ))
            }
            Self::GuestExited { .. } => Some("console.log holds what the guest said before".into()),
            Self::ConsoleLog(_) => {
                Some("make room on the disk that holds the run folder, or choose another with --out".into())
            }
            Self::QemuExited { .. } | Self::Interrupted => None,
        }
    }
}
