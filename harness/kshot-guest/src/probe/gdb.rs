//! The truth: a breakpoint of QEMU's, and the stack at each hit unwound from outside with the kernel's own
//! DWARF. The guest is only asked whether it is the kernel that the DWARF is of.
//!
//! A thread does it ([`super::truth_thread`]).

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::capture::{Capture, CaptureContent, ProbeFiles};
use super::guest::{CaptureFetcher, ProbeGuest};
use super::truth_thread::{ReadyGuest, RecorderMessage, TruthJob, TruthProbe, TruthThread};
use super::{Armed, KernelFile, Probe, ProbeError, TruthContext, TruthError};
use crate::deadline::{Deadline, PollResult};
use crate::kernel::Kernel;
use crate::machine::{EndRequest, Liveness};
use crate::symbols::{LoadedKernel, NoDwarf};
use crate::yaml::{YamlError, YamlSource};
use kshot_stack::arch::ArchRow;
use kshot_stack::claim::FunctionNames;
use kshot_stack::stack::ParsedCapture;
use kshot_stack::stack::gdb_json;

/// The suffix of the stacks, JSON lines ([`kshot_stack::stack::gdb_json`]).
const STACKS: &str = "jsonl";
/// The most hits that a scenario may ask for.
const MAX_HITS: u32 = 100_000;

/// How long reading a kernel's DWARF and setting a breakpoint may take: a quarter of a second on an idle
/// host.
const ARM_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to let go of the guest and to write the stacks.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A breakpoint through QEMU's gdb stub.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawGdb {
    /// The function to break at; of several names, the first that the kernel has.
    #[serde(rename = "break")]
    pub function: FunctionNames,
    /// The number of hits after which the guest runs on without the breakpoint; default: 100.
    #[serde(default = "default_hits")]
    pub hits: u32,
    /// The task whose calls count, by its name; default: every task. The idle task is `swapper/0`.
    pub task: Option<String>,
}

fn default_hits() -> u32 {
    100
}

/// A truth whose thread reads the DWARF of the kernel that will run.
#[derive(Debug)]
pub struct StartedTruth {
    guest: Sender<ReadyGuest>,
    news: Receiver<RecorderMessage>,
    stacks: PathBuf,
}

/// The thread at work.
#[derive(Debug)]
struct ArmedTruth {
    news: Receiver<RecorderMessage>,
    end: EndRequest,
    liveness: Liveness,
    stacks: PathBuf,
}

impl RawGdb {
    pub(super) fn check(self, source: &YamlSource<'_>) -> Result<TruthProbe, Box<YamlError>> {
        let function = String::from(self.function);
        source.check_characters("probes", "a function", &function, "_.$|")?;
        if !(1..=MAX_HITS).contains(&self.hits) {
            let message = format!("`hits` is {}, not within 1 and {MAX_HITS}", self.hits);
            return Err(source.error("probes", "hits", message));
        }
        if let Some(task) = &self.task {
            source.check_characters("probes", "a task's name", task, "_.-/:")?;
        }
        Ok(TruthProbe { function, hits: self.hits, task: self.task, traced: false })
    }
}

impl Probe for TruthProbe {
    fn records_truth(&self) -> bool {
        true
    }

    fn function(&self) -> Option<&str> {
        Some(&self.function)
    }

    fn left_out_because(&self, kernel: &Kernel) -> Option<String> {
        let row = kernel.arch.row();
        let reason = match (&kernel.dwarf, &row.task) {
            (Err(why), _) => format!("no DWARF of {}{why}", kernel.name),
            (Ok(_), None) => format!("no truth on {}", kernel.arch),
            (Ok(_), Some(_)) => return None,
        };
        let instead = if row.perf_finds_callers { "a perf probe, if there is one," } else { "nothing" };
        Some(format!("{reason}: {instead} stands in for the truth"))
    }

    fn start_truth(
        &self,
        kernel: &KernelFile<'_>,
        thread: &TruthThread,
        files: ProbeFiles<'_>,
    ) -> Result<Option<StartedTruth>, TruthError> {
        let stacks = files.path(STACKS);
        let ((to_thread, guest), (sender, news)) = (channel(), channel());
        let (loaded, file) = (LoadedKernel::new(kernel.dwarf, b""), stacks.clone());
        let order = TruthJob { wanted: self.clone(), row: kernel.row, loaded, file, guest, news: sender };
        thread.order(order);
        Ok(Some(StartedTruth { guest: to_thread, news, stacks }))
    }

    fn arm(
        &self,
        guest: &mut ProbeGuest<'_>,
        truth: Option<TruthContext<'_>>,
    ) -> Result<Box<dyn Armed>, ProbeError> {
        let no_dwarf = || ProbeError::NoDwarf { probe: guest.probe.to_owned(), why: NoDwarf::Unknown };
        let TruthContext { machine, loaded, started } = truth.ok_or_else(no_dwarf)?;
        let stops = machine.stops().map_err(TruthError::from)?;
        let StartedTruth { guest, news, stacks } = started;
        let truth =
            ArmedTruth { news, end: stops.end_request(), liveness: machine.liveness().clone(), stacks };
        // Sending fails only if the thread has failed; then its error has already arrived.
        drop(guest.send(ReadyGuest { stops, loaded: loaded.clone() }));
        match truth.hear(&Deadline::new("the breakpoint", ARM_LIMIT))? {
            RecorderMessage::Armed => Ok(Box::new(truth)),
            RecorderMessage::Ended(_) => Err(TruthError::EndedEarly.into()),
        }
    }

    fn capture_suffix(&self, _: ProbeFiles<'_>) -> &'static str {
        STACKS
    }

    fn parse(&self, capture: &Capture, row: &ArchRow) -> io::Result<ParsedCapture> {
        gdb_json::parse(capture.open()?, row)
    }
}

impl ArmedTruth {
    /// The next message of the thread, or the error that it ended with.
    fn hear(&self, deadline: &Deadline) -> Result<RecorderMessage, TruthError> {
        deadline.poll(|slice| match self.news.recv_timeout(slice) {
            Ok(RecorderMessage::Ended(Err(error))) => Err(self.explain(error)),
            Ok(news) => Ok(PollResult::Done(news)),
            Err(RecvTimeoutError::Timeout) => {
                self.liveness.check().map(|()| PollResult::Pending(None)).map_err(Into::into)
            }
            Err(RecvTimeoutError::Disconnected) => Err(TruthError::EndedEarly),
        })
    }

    /// If the stub is gone because QEMU exited, and QEMU because the guest died, the guest's death is the
    /// cause.
    fn explain(&self, error: TruthError) -> TruthError {
        match error {
            TruthError::Stub(_) => self.liveness.wait_for_end().map_or(error, TruthError::Down),
            error => error,
        }
    }
}

impl Armed for ArmedTruth {
    fn stop(&self, _: &mut ProbeGuest<'_>) -> Result<(), ProbeError> {
        self.end.send();
        match self.hear(&Deadline::new("the truth to be written", STOP_LIMIT))? {
            RecorderMessage::Armed => Err(TruthError::EndedEarly.into()),
            RecorderMessage::Ended(result) => Ok(result?),
        }
    }

    /// The thread has already written the capture on the host.
    fn fetch(&self, fetcher: &mut CaptureFetcher<'_>) -> Result<(), ProbeError> {
        fetcher.captures.push(Capture {
            probe: fetcher.guest.probe.to_owned(),
            content: CaptureContent::Stacks,
            path: self.stacks.clone(),
        });
        Ok(())
    }

    fn fault(&self) -> Option<TruthError> {
        match self.hear(&Deadline::new("the truth", Duration::ZERO)) {
            Ok(RecorderMessage::Ended(result)) => result.err(),
            Ok(RecorderMessage::Armed) | Err(TruthError::TimedOut(_)) => None,
            Err(error) => Some(error),
        }
    }
}

impl Drop for ArmedTruth {
    fn drop(&mut self) {
        // An early drop must still resume the guest.
        self.end.send();
    }
}
