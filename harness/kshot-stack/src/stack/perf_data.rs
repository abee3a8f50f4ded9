//! `perf.data`, the output of `perf record` (tools/perf/Documentation/perf.data-file-format.txt), decoded to
//! the stacks that `perf script` would print, with the symbols of the recorded kernel.
//!
//! The file is read once, from start to end, and memory is taken for different stacks only. It is a guest's:
//! no length in it is trusted beyond the bytes that follow.

mod file; // header, events and records
mod order; // records sorted by time
mod tasks; // the names of tasks

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use linux_perf_event_reader::{EventRecord, RawEventRecord, RecordType, SampleRecord};

use super::fold::{Fold, Numbers, Texts};
use super::kallsyms::{Kallsyms, Place};
use super::lines::{DEEPEST_STACK, Kind, Warnings, printable};
use super::perf_script::finished;
use super::{Frame, ParsedCapture, Stack, in_upper_half};
use file::{Event, Reader};
use order::{Record, Rounds};
use tasks::Tasks;

/// The lowest of the markers in a call chain that say whether kernel or user addresses follow
/// (`PERF_CONTEXT_MAX`, include/uapi/linux/perf_event.h).
const CONTEXTS: u64 = -4095_i64 as u64;
const CONTEXT_HYPERVISOR: u64 = -32_i64 as u64;
const CONTEXT_KERNEL: u64 = -128_i64 as u64;
const CONTEXT_USER: u64 = -512_i64 as u64;
/// `PERF_RECORD_LOST_SAMPLES`, which linux-perf-event-reader does not parse.
const LOST_SAMPLES: RecordType = RecordType(13);

/// Decodes a `perf.data`. `symbols` are those of the recorded kernel.
///
/// # Errors
/// The errors of `input`; damaged content becomes a warning.
pub fn parse(input: impl Read, symbols: &Kallsyms) -> io::Result<ParsedCapture> {
    let mut frames = Texts::default();
    let mut stacks = Fold::default();
    let mut numbers = Numbers::default();
    let mut names = Texts::<String>::default();
    let mut key = Vec::new();
    let read = read(input, |kernel, sample, warnings| {
        let Some(chain) = &sample.chain else { return Ok(()) };
        numbers.frames.clear();
        for &ChainEntry { address, user } in chain {
            if numbers.frames.len() == DEEPEST_STACK {
                warnings.note(Kind::DeepStack, sample.task.as_bytes());
                break;
            }
            key.clear();
            key.extend(address.to_ne_bytes());
            key.push(user.into());
            let read = |_: &[u8]| Some(Arc::new(frame(address, user, kernel, symbols)));
            numbers.frames.extend(frames.number(&key, read));
        }
        numbers.task = names.word(sample.task.as_bytes());
        numbers.event = sample.event;
        stacks.add(&numbers, sample.number);
        Ok(())
    })?;
    let (stacks, _) = stacks.finish(|stack: Numbers| {
        let event = read.names.get(stack.event).cloned().unwrap_or_else(|| UNNAMED.into());
        let frames = stack.frames.iter().map(|&frame| frames.get(frame).clone()).collect();
        finished(Stack { task: names.get(stack.task).clone(), event, function: None, frames })
    });
    let warnings = read.warnings.into_inner();
    Ok(ParsedCapture { events: read.samples, lost: read.lost, stacks, arguments: Vec::new(), warnings })
}

/// Prints a `perf.data` as `perf script -F comm,tid,cpu,time,event,ip,sym,symoff,dso --show-lost-events`
/// would, without user symbols. `open` is called twice, because the events' names are stored after the
/// samples.
///
/// # Errors
/// The errors of the capture and of `out`.
pub fn print_script<R: Read>(
    open: impl Fn() -> io::Result<R>,
    symbols: &Kallsyms,
    mut out: impl Write,
) -> io::Result<()> {
    let names = read(open()?, |_, _, _| Ok(()))?.names;
    read(open()?, |kernel, sample, _| {
        let Sample { task, thread, cpu, time, .. } = sample;
        let time = format!("{}.{:06}", time / 1_000_000_000, time / 1000 % 1_000_000);
        let event = names.get(sample.event).map_or(UNNAMED, String::as_str);
        writeln!(out, "{task} {thread:>5} [{cpu:03}] {time:>12}: {event}: ")?;
        for &ChainEntry { address, user } in sample.chain.iter().flatten() {
            let frame = frame(address, user, kernel, symbols);
            match (&frame.symbol, &frame.module) {
                (None, _) if frame.user => writeln!(out, "\t{address:16x} [unknown] ([unknown])"),
                (None, _) => writeln!(out, "\t{address:16x} [unknown] ([kernel.kallsyms])"),
                (Some(symbol), module) => {
                    let object = module.as_deref().unwrap_or("kernel.kallsyms");
                    writeln!(out, "\t{address:16x} {symbol}+{:#x} ([{object}])", frame.offset.unwrap_or(0))
                }
            }?;
        }
        if sample.chain.is_some() { writeln!(out) } else { Ok(()) }
    })
    .and_then(|read| match read.lost {
        0 => Ok(()),
        lost => writeln!(out, "all    -1 [000]     0.000000: PERF_RECORD_LOST lost {lost}"),
    })
}

/// The name of an event whose description is missing.
const UNNAMED: &str = "unknown";

/// A sample with the name of its task.
struct Sample<'a> {
    /// The number of the sample in the capture, from 1.
    number: u64,
    /// The index of its event.
    event: usize,
    task: &'a str,
    thread: i32,
    cpu: u32,
    /// The time in nanoseconds.
    time: u64,
    /// The call chain, innermost first; `None` if none was recorded.
    chain: Option<Vec<ChainEntry>>,
}

/// An address of a call chain.
struct ChainEntry {
    address: u64,
    user: bool,
}

/// The result of reading all samples.
struct Summary {
    samples: u64,
    lost: u64,
    /// The names of the events.
    names: Vec<String>,
    warnings: Warnings,
}

/// The state of reading a capture.
#[derive(Default)]
struct Walk {
    tasks: Tasks,
    kernel: Option<Range<u64>>,
    samples: u64,
    /// The sum of `PERF_RECORD_LOST`, which the kernel writes with the next event that is recorded.
    lost: u64,
    /// The sum of `PERF_RECORD_LOST_SAMPLES`, which perf writes at the end: it counts the same losses.
    lost_samples: u64,
    warnings: Warnings,
}

/// Calls `take` with the address range of the kernel's code and each sample, sorted by time.
fn read(
    input: impl Read,
    mut take: impl FnMut(Option<&Range<u64>>, Sample<'_>, &mut Warnings) -> io::Result<()>,
) -> io::Result<Summary> {
    let mut warnings = Warnings::default();
    let Some(mut reader) = Reader::open(input, &mut warnings)? else {
        return Ok(Summary { samples: 0, lost: 0, names: Vec::new(), warnings });
    };
    let mut walk = Walk { warnings, ..Walk::default() };
    let mut rounds = Rounds::default();
    while let Some(entry) = reader.next(&mut walk.warnings)? {
        rounds.add(entry, |record| walk.record(reader.event(&record), &record, &mut take))?;
    }
    rounds.finish(|record| walk.record(reader.event(&record), &record, &mut take))?;
    let Walk { samples, lost, lost_samples, warnings, .. } = walk;
    Ok(Summary { samples, lost: lost.max(lost_samples), names: reader.names()?, warnings })
}

impl Walk {
    fn record(
        &mut self,
        event: &Event,
        record: &Record,
        take: &mut impl FnMut(Option<&Range<u64>>, Sample<'_>, &mut Warnings) -> io::Result<()>,
    ) -> io::Result<()> {
        if record.kind == LOST_SAMPLES {
            let lost = event.long(&record.body).unwrap_or(0);
            self.lost_samples = self.lost_samples.saturating_add(lost);
            return Ok(());
        }
        let raw = RawEventRecord::new(record.kind, record.misc, record.body[..].into(), event.format);
        let parsed = if event.is_sound(record) { raw.parse().ok() } else { None };
        match parsed {
            Some(EventRecord::Sample(sample)) => return self.sample(record, &sample, take),
            Some(EventRecord::Comm(comm)) => self.tasks.name(comm.tid, &comm.name.as_slice()),
            Some(EventRecord::Fork(fork)) => self.tasks.fork(fork.ptid, fork.tid),
            Some(EventRecord::Lost(lost)) => {
                self.lost = self.lost.saturating_add(lost.count);
                let line = format!("PERF_RECORD_LOST lost {}", lost.count);
                self.warnings.note(Kind::LostEvents, line.as_bytes());
            }
            // perf synthesizes one for the kernel, "[kernel.kallsyms]_text", before all samples.
            Some(EventRecord::Mmap(map)) if map.pid == -1 => {
                if map.path.as_slice().starts_with(b"[kernel") {
                    self.kernel = Some(map.address..map.address.saturating_add(map.length));
                }
            }
            Some(_) => {}
            None => {
                let line = format!("record of type {}, {} bytes", record.kind.0, record.body.len());
                self.warnings.note(Kind::UnreadableRecord, line.as_bytes());
            }
        }
        Ok(())
    }

    fn sample(
        &mut self,
        record: &Record,
        sample: &SampleRecord<'_>,
        take: &mut impl FnMut(Option<&Range<u64>>, Sample<'_>, &mut Warnings) -> io::Result<()>,
    ) -> io::Result<()> {
        self.samples += 1;
        let thread = sample.tid.unwrap_or(-1);
        let task = self.tasks.get(thread);
        let sample = Sample {
            number: self.samples,
            event: record.event,
            task: &task,
            thread,
            cpu: sample.cpu.unwrap_or(0),
            time: sample.timestamp.unwrap_or(0),
            chain: sample.callchain.map(|chain| entries((0..chain.len()).filter_map(|at| chain.get(at)))),
        };
        take(self.kernel.as_ref(), sample, &mut self.warnings)
    }
}

/// The addresses of a call chain. As for perf, one with an unknown marker is corrupt and counts as empty.
fn entries(chain: impl Iterator<Item = u64>) -> Vec<ChainEntry> {
    let mut user = true;
    let mut entries = Vec::new();
    for address in chain {
        match address {
            CONTEXT_KERNEL | CONTEXT_HYPERVISOR => user = false,
            CONTEXT_USER => user = true,
            CONTEXTS.. => return Vec::new(),
            _ => entries.push(ChainEntry { address, user }),
        }
    }
    entries
}

fn frame(address: u64, user: bool, kernel: Option<&Range<u64>>, symbols: &Kallsyms) -> Frame {
    // The kernel's data follows its code, and the code that boots it follows that.
    let is_code = |place: &Place<'_>| {
        place.module.is_some()
            || kernel.is_none_or(|code| code.contains(&address))
            || symbols.init_code().is_some_and(|code| code.contains(&address))
    };
    let place = symbols.place(address).filter(|_| !user).filter(is_code);
    // An unwinder that starts before the entry code has saved a frame walks into user space without a marker.
    // Where the kernel lies in the lower half, nothing but the marker tells.
    let is_above = kernel.is_none_or(|code| in_upper_half(code.start));
    let user = user || is_above && !in_upper_half(address) && place.is_none();
    match place {
        None => Frame { address: Some(address), user, ..Frame::default() },
        Some(Place { symbol, offset, module }) => Frame {
            symbol: Some(symbol.into()),
            offset: Some(offset),
            module: module.map(Into::into),
            address: Some(address),
            ..Frame::default()
        },
    }
}

#[cfg(test)]
mod tests;
