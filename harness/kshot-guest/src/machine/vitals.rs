//! The liveness of a machine: the one place that knows whether it runs, checked by every wait.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::interrupt;
use kshot_stack::console::Recogniser;
use kshot_stack::document::ConsoleEvent;
use kshot_stack::fault::{Blame, Fault};

/// The time for the console output of a crash to arrive: QEMU exits by itself after a panic (`panic=-1`, `-no-reboot`),
/// and the console is complete then. A kernel that cannot reset the machine prints no more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether a machine runs, shared by everything that waits for it.
#[derive(Clone, Debug, Default)]
pub struct Vitals(Arc<Shared>);

/// Why a machine went down.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Death {
    /// The guest crashed, by its console: a panic, an init that exited, a reboot without a message.
    #[error(
        "the guest died ({}): {}{}",
        event.kind,
        event.line,
        before.as_ref().map(|before| format!("; before that ({}): {}", before.kind, before.line)).unwrap_or_default()
    )]
    Console {
        /// The console event of the crash, with the lines around it.
        event: Box<ConsoleEvent>,
        /// The last warning or oops on the console before it.
        before: Option<Box<ConsoleEvent>>,
    },
    /// QEMU exited because the guest requested it, without a panic.
    #[error("the guest ended by itself ({reason}){}", last_line.as_ref().map(|l| format!("; its last line: {l}")).unwrap_or_default())]
    Left {
        /// QEMU's reason: `guest-shutdown`, `guest-reset`.
        reason: String,
        /// The last line of the console.
        last_line: Option<String>,
    },
    /// QEMU exited for a reason other than the guest.
    #[error("QEMU ended: {status}{}", if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") })]
    Qemu {
        /// The exit status in words.
        status: String,
        /// The end of QEMU's standard error.
        stderr: String,
    },
    /// `console.log` could not be written.
    #[error("cannot write console.log: {0}")]
    Log(String),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    console: Recogniser,
    ready_at: Option<Instant>,
    last_line_at: Option<Instant>,
    died_at: Option<Instant>,
    log_fault: Option<String>,
    /// The reason in QMP's SHUTDOWN event.
    shutdown: Option<String>,
    exit: Option<Exit>,
}

/// The exit of the QEMU process.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    /// The exit status in words.
    pub(super) status: String,
    /// Whether QEMU is not installed.
    pub(super) missing: bool,
    /// The end of QEMU's standard error.
    pub(super) stderr: String,
}

impl Vitals {
    /// Checks that the machine runs. If it is going down, waits up to a second for the rest of its console output.
    ///
    /// # Errors
    /// The reason why the machine went down.
    pub fn check(&self) -> Result<(), Death> {
        if interrupt::came() {
            return Err(Death::Interrupted);
        }
        let state = self.state();
        if !state.dying() {
            return Ok(());
        }
        let limit = state.died_at.map_or(LAST_WORDS, |at| LAST_WORDS.saturating_sub(at.elapsed()));
        Err(self.await_death(state, limit).unwrap_or(Death::Interrupted))
    }

    /// Why the connection to the guest broke: waits up to a second for the machine's end.
    pub fn cause_of_silence(&self) -> Option<Death> {
        let state = self.state();
        self.await_death(state, LAST_WORDS)
    }

    /// Waits for any change, at most `limit`.
    pub fn wait(&self, limit: Duration) {
        let state = self.state();
        drop(self.0.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner));
    }

    /// The last warning or oops on the console, or its last line: a likely cause of a timeout.
    pub fn last_words(&self) -> Option<String> {
        self.state().console.last_words().map(|line| format!("the console said \"{line}\""))
    }

    /// The events seen on the console.
    pub fn console_events(&self) -> Vec<ConsoleEvent> {
        self.state().console.events()
    }

    /// The time when the guest's init reported ready.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        self.state().ready_at
    }

    /// Whether the guest has reported that it is idle.
    pub(super) fn at_rest(&self) -> bool {
        self.state().console.at_rest()
    }

    /// The time of the last console line.
    pub(super) fn last_line_at(&self) -> Option<Instant> {
        self.state().last_line_at
    }

    pub(super) fn line(&self, line: &str) {
        self.change(|state| {
            state.last_line_at = Some(Instant::now());
            state.console.line(line);
            if state.console.ready() {
                state.ready_at = state.ready_at.or(state.last_line_at);
            }
            if state.console.fatal().is_some() {
                state.died_at = state.died_at.or(state.last_line_at);
            }
        });
    }

    pub(super) fn log_failed(&self, error: &io::Error) {
        self.change(|state| state.log_fault = Some(error.to_string()));
    }

    pub(super) fn shutting_down(&self, reason: &str) {
        self.change(|state| state.shutdown = Some(reason.to_owned()));
    }

    /// Records that QEMU has exited and the console was read to its end.
    pub(super) fn exited(&self, exit: Exit) {
        self.change(|state| state.exit = Some(exit));
    }

    /// Waits for QEMU to exit, at most `limit`.
    pub(super) fn await_exit(&self, limit: Duration) {
        let running = |state: &mut State| state.exit.is_none() && !interrupt::came();
        drop(
            self.0
                .changed
                .wait_timeout_while(self.state(), limit, running)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether the start failed because QEMU is not installed.
    pub(super) fn program_missing(&self) -> bool {
        self.state().exit.as_ref().is_some_and(|exit| exit.missing)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_all();
    }

    fn await_death(&self, state: MutexGuard<'_, State>, limit: Duration) -> Option<Death> {
        let unfinished =
            |state: &mut State| state.exit.is_none() && state.log_fault.is_none() && !interrupt::came();
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(state, limit, unfinished)
            .unwrap_or_else(PoisonError::into_inner);
        if interrupt::came() { Some(Death::Interrupted) } else { state.death() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn dying(&self) -> bool {
        self.console.fatal().is_some() || self.exit.is_some() || self.log_fault.is_some()
    }

    fn death(&self) -> Option<Death> {
        if let Some(fault) = &self.log_fault {
            return Some(Death::Log(fault.clone()));
        }
        if let Some((event, before)) = self.console.fatal() {
            return Some(Death::Console {
                event: event.clone().into(),
                before: before.cloned().map(Box::new),
            });
        }
        let Exit { status, stderr, .. } = self.exit.clone()?;
        Some(match self.shutdown.as_deref().filter(|reason| reason.starts_with("guest-")) {
            Some(reason) => Death::Left {
                reason: reason.to_owned(),
                last_line: self.console.last_words().map(str::to_owned),
            },
            None => Death::Qemu { status, stderr },
        })
    }
}

impl Fault for Death {
    fn blame(&self) -> Blame {
        match self {
            Self::Console { .. } | Self::Left { .. } => Blame::Guest,
            Self::Qemu { .. } | Self::Log(_) => Blame::Infra,
            Self::Interrupted => Blame::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Console { event, before } => {
                let lines = before.iter().chain([event]).flat_map(|event| &event.excerpt);
                Some(format!(
                    "console.log says:\n{}",
                    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
                ))
            }
            Self::Left { .. } => Some("console.log holds what the guest said before".into()),
            Self::Log(_) => {
                Some("make room on the disk that holds the run folder, or choose another with --out".into())
            }
            Self::Qemu { .. } | Self::Interrupted => None,
        }
    }
}
