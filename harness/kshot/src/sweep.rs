//! The sweep: runs func_stack_trace on every function that a workload of common system calls reaches, and
//! compares each stack with the truth of the same event. `harness/SWEEP.md` explains the measurement.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kshot_stack::sweep::judge::{self, EventMismatch};

use crate::artifacts::{self, ArtifactsError, SWEEP_JSON, step_file};
use crate::run::recording::HostUse;
use crate::run::{self, RunContext, RunError, StartMode, recording};
use crate::scenario::{BootOptions, Scenario, Step};
use kshot_guest::bounded;
use kshot_guest::host::FileError;
use kshot_guest::kernel::Kernel;
use kshot_guest::machine::AcceleratorChoice;
use kshot_guest::probe::{ProbeError, ProbeKind, ProbeSpec, TextProbe, TextSource, TruthProbe};
use kshot_guest::symbols::Unwinder;
use kshot_guest::symbols::{Dwarf, LoadedKernel, NoDwarf};
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};
use kshot_stack::format::TextFormat;
use kshot_stack::stack::{ftrace_text, gdb_raw};
use kshot_stack::sweep::document::{self, SCHEMA, SweepDocument};

/// The function that puts each traced function into the buffer, and nothing else, in `kernel/trace/trace.c`.
/// It has been a separate function, with the traced address as `ip`, from 5.10 to 7.3.
const TRACE_FUNCTION: &str = "trace_function";
const FTRACE_PROBE: &str = "ftrace";
const GDB_PROBE: &str = "gdb";
/// The largest output of the first step, which prints the number of functions, in bytes.
const FUNCTION_COUNT_MOST: u64 = 1 << 20;

const MEMORY_MIB: u32 = 512;
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);
/// The truth stops the guest some hundred times in each slice.
const SLICE_TIMEOUT: Duration = Duration::from_secs(1800);

/// Prepares everything but the filter: func_stack_trace (Documentation/trace/ftrace.rst) for the workload
/// alone, each symbol with its offset and address.
const PREPARE_SCRIPT: &str = r#"
cd /sys/kernel/tracing && echo 32768 > buffer_size_kb || exit
for option in func_stack_trace function-fork sym-offset sym-addr; do echo 1 > options/$option || exit; done
cp available_filter_functions /tmp/functions && wc -l < /tmp/functions"#;

/// The number of slices that all functions are divided into: tracing all of them at once takes longer than a
/// timer tick.
pub const SLICES: usize = 20;

/// The guest's file with all that was recorded.
const TRACE: &str = "/tmp/sweep.trace";

/// Why a sweep has no result.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run folder cannot be read or written.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// A file of the run folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The stacks and the truths are not of the same events.
    #[error("the stacks of {kernel} cannot be compared")]
    Mismatch {
        /// The kernel.
        kernel: String,
        /// The mismatch.
        source: EventMismatch,
    },
    /// The kernel has been rebuilt since the sweep.
    #[error("the kernel {kernel} has changed since the sweep")]
    OtherKernel {
        /// The kernel.
        kernel: String,
    },
}

impl Blamed for SweepError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Run(error) => Some(error),
            Self::Artifacts(error) => Some(error),
            Self::File(error) => Some(error),
            Self::Mismatch { .. } | Self::OtherKernel { .. } => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Mismatch { .. } => Blame::Guest,
            Self::OtherKernel { .. } => Blame::Usage,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherKernel { .. } => Some("repeat the sweep".into()),
            _ => passed_on_hint(self),
        }
    }
}

/// Options of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// The number of stacks that are compared for each function.
    pub stacks_per_function: u32,
    /// The number of slices that are traced, of [`SLICES`].
    pub slices: usize,
}

/// Sweeps over a kernel. Returns the run folder, too.
///
/// # Errors
/// [`SweepError`]: a kernel without DWARF has no truth to compare with.
pub fn sweep(context: RunContext<'_>, options: SweepOptions) -> Result<(SweepDocument, PathBuf), SweepError> {
    let RunContext { kernel, progress, .. } = context;
    let dwarf = dwarf(kernel)?;
    let scenario = scenario(options);
    let task = progress.task(format!("sweep over {}", kernel.name), 0);
    let prepared = run::prepare(context, &scenario, AcceleratorChoice::Tcg)?;
    let folder = context.create_folder(&scenario.id)?;
    task.update(0, "the guest stops at each of some ten thousand events");
    let (recording, result) =
        recording::record(&prepared, &scenario, StartMode::Boot, HostUse::Shared, &folder, progress);
    if let Err(error) = result {
        progress.print_line(&format!("the unfinished sweep is in {}", folder.path().display()));
        return Err(error.into());
    }
    let findings = judge_captures(folder.path(), dwarf, &kernel.name, kernel.arch)?;
    if !findings.breaks.is_empty()
        && let Some(damaged) = prepared.damaged_file()
    {
        return Err(damaged.into());
    }
    let mut document = SweepDocument {
        schema: SCHEMA,
        kernel: run::kernel_info(kernel),
        qemu: recording.qemu,
        timings_ms: recording.timings,
        findings,
        console: recording.console,
        artifacts: folder.list_files()?,
    };
    document.artifacts.insert(SWEEP_JSON.into(), SWEEP_JSON.into());
    folder.write(SWEEP_JSON, document.to_text().as_bytes())?;
    folder.finish();
    Ok((document, folder.path().into()))
}

/// Judges the captures of a sweep's run folder again. `find` finds the kernel by its name.
///
/// # Errors
/// [`SweepError`], and what `find` fails with.
pub fn rejudge<E: From<SweepError>>(
    folder: &Path,
    find: impl FnOnce(&str) -> Result<Kernel, E>,
) -> Result<SweepDocument, E> {
    let path = folder.join(SWEEP_JSON);
    let mut document: SweepDocument = artifacts::foreign(&path).map_err(SweepError::from)?;
    let kernel = find(&document.kernel.name)?;
    if kernel.sha256 != document.kernel.image_sha256 {
        return Err(SweepError::OtherKernel { kernel: kernel.name }.into());
    }
    document.findings = judge_captures(folder, dwarf(&kernel)?, &kernel.name, kernel.arch)?;
    Ok(document)
}

fn dwarf(kernel: &Kernel) -> Result<&Dwarf, SweepError> {
    let without = |why: &NoDwarf| RunError::Probe(ProbeError::NoDwarf { probe: GDB_PROBE.into(), why: *why });
    Ok(kernel.dwarf.as_ref().map_err(without)?)
}

fn judge_captures(
    folder: &Path,
    dwarf: &Dwarf,
    kernel: &str,
    arch: Arch,
) -> Result<document::SweepFindings, SweepError> {
    let open = |name: &str| {
        let path = folder.join(name);
        bounded::open(&path)
            .map(BufReader::new)
            .map_err(FileError::on("read", &path))
            .map(|file| (file, path))
    };
    let (file, path) = open(&format!("{FTRACE_PROBE}.text.txt"))?;
    let (traced, order) = ftrace_text::parse_in_order(file).map_err(FileError::on("read", &path))?;
    let (file, path) = open(&format!("{GDB_PROBE}.jsonl"))?;
    let raw = gdb_raw::parse(file).map_err(FileError::on("read", &path))?;
    let path = folder.join(step_file(1, 1));
    let all = bounded::read_text(&path, FUNCTION_COUNT_MOST).map_err(FileError::on("read", &path))?;
    let not_a_number = |error| FileError::on("read a number in", &path)(io::Error::other(error));
    let all = all.trim().parse::<usize>().map_err(not_a_number)?;
    // Each slice is a step behind the first, which counts the functions.
    let slices = (1..=SLICES).filter(|slice| folder.join(step_file(slice + 1, 1)).is_file());
    let armed = slices.map(|first| functions_of_slice(all, first)).sum::<usize>() as u64;
    let row = arch.row();
    let unwinder = Unwinder::read(&LoadedKernel::from_run_folder(dwarf, folder)).map_err(RunError::from)?;
    judge::compare_events(
        armed,
        &traced,
        &order,
        &raw,
        |raw| unwinder.unwind_traced(raw, row),
        |frame, name| unwinder.is_in(frame, name),
        row,
    )
    .map_err(|source| SweepError::Mismatch { kernel: kernel.into(), source })
}

/// How many of `all` functions are in the slice that begins with function `first`, from 1.
fn functions_of_slice(all: usize, first: usize) -> usize {
    (all + SLICES).saturating_sub(first) / SLICES
}

fn scenario(options: SweepOptions) -> Scenario {
    let step = |run: &str, limit| Step {
        script: run.trim().into(),
        repeat: 1,
        timeout: limit,
        expected_status: 0,
        nmi: false,
    };
    let stacks = options.stacks_per_function;
    // One run of the workload with every `SLICES`th function, by its number, traced (`images/guest/sweep.c`).
    let slice = |first: usize| {
        let run = format!("sweep /tmp/functions {first} {SLICES} {stacks} {TRACE} workload < /dev/null");
        step(&run, SLICE_TIMEOUT)
    };
    let mut steps = vec![step(PREPARE_SCRIPT, PREPARE_TIMEOUT)];
    steps.extend((1..=options.slices).map(slice));
    let gdb = ProbeKind::Gdb(TruthProbe {
        function: TRACE_FUNCTION.into(),
        hits: stacks,
        task: None,
        traced: true,
    });
    let source = TextSource::File(TRACE.into());
    let ftrace = ProbeKind::Text(TextProbe { source, format: TextFormat::Ftrace, function: None });
    Scenario {
        boot: BootOptions { cmdline: Vec::new(), memory_mib: MEMORY_MIB, icount: true },
        steps,
        probes: vec![
            ProbeSpec { name: GDB_PROBE.into(), kind: gdb },
            ProbeSpec { name: FTRACE_PROBE.into(), kind: ftrace },
        ],
        ..Scenario::empty("sweep")
    }
}
