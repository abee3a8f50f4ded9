//! The thread that records the truth. It reads the DWARF while the machine comes up, then it has the guest to
//! itself: it stops it at each hit, copies registers and stack, and lets it go on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use indexmap::IndexSet;
use object::ReadCache;
use serde::Serialize;

use super::TruthError;
use super::kernel_memory::{KernelLocations, Task, until_zero};
use crate::host::FileError;
use crate::machine::{Span, Stop, Stops, StubError};
use crate::symbols::{
    AmbiguousFunction, Cut, End, LoadedKernel, LoadedModule, TypeLayout, Unwinder, UnwoundStack, build_id,
    build_id_of_notes, notes_section,
};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::gdb_json::{self, HitStack};
use kshot_stack::stack::gdb_raw::{self, RawHit};
use kshot_stack::text::printable;

/// The most bytes of a kernel's notes that are looked at; x86-64's take about 600.
const NOTES_LIMIT: u64 = 64 << 10;
/// The traced place, as `trace_function` calls it.
const TRACED: &str = "ip";
/// The most stacks that one processor can be using at once: of a task, of interrupts, and of exceptions
/// within them.
const STACKS_MOST: usize = 6;

/// What a scenario or a sweep asks of the truth: a breakpoint, and how long it stays.
#[derive(Clone, Debug, Serialize)]
pub struct TruthProbe {
    /// The function to break at; of `a|b`, the first that the kernel has.
    pub function: String,
    /// The number of hits after which the breakpoint is removed.
    pub hits: u32,
    /// The name of the task whose calls count, all tasks' if none is given; for the idle task it is
    /// `swapper/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Whether the function is the tracer's `trace_function`; only a sweep asks for that. Then registers and
    /// raw stacks are written, as [`kshot_stack::stack::gdb_raw`] reads them, for the first `hits` of each
    /// traced function, and the guest is let go only at the end.
    pub traced: bool,
}

/// A thread that records truths, one after the other. It keeps what it has read of a kernel for as long as
/// the guest stays the same.
#[derive(Debug)]
pub struct TruthThread(Sender<TruthJob>);

/// A truth to be recorded.
pub(super) struct TruthJob {
    pub(super) wanted: TruthProbe,
    pub(super) row: &'static ArchRow,
    /// The kernel, without its modules.
    pub(super) loaded: LoadedKernel,
    /// The file that the stacks are written to.
    pub(super) file: PathBuf,
    /// The machine, once it is up.
    pub(super) guest: Receiver<ReadyGuest>,
    pub(super) news: Sender<RecorderMessage>,
}

/// What the thread needs of a machine that is up: its breakpoints, and the kernel with the modules loaded.
pub(super) struct ReadyGuest {
    pub(super) stops: Stops,
    pub(super) loaded: LoadedKernel,
}

/// A message of the thread: how far it is.
pub(super) enum RecorderMessage {
    Armed,
    Ended(Result<(), TruthError>),
}

impl TruthThread {
    /// Starts a thread that ends with the last order once this is dropped.
    ///
    /// # Errors
    /// [`TruthError::Start`].
    pub fn start() -> Result<Self, TruthError> {
        let (orders, ordered) = channel::<TruthJob>();
        let work = move || {
            let mut known = None;
            while let Ok(TruthJob { wanted, row, loaded, file, guest, news }) = ordered.recv() {
                let recorder = Recorder::read(wanted, row, loaded, file, known.take());
                let result = recorder.and_then(|mut recorder| {
                    // Without a machine there is nothing to do.
                    let result = guest.recv().map_or(Ok(()), |guest| recorder.work(guest, &news));
                    known = Some(recorder.known);
                    result
                });
                drop(news.send(RecorderMessage::Ended(result)));
            }
        };
        thread::Builder::new().name("truth".into()).spawn(work).map_err(TruthError::Start)?;
        Ok(Self(orders))
    }

    /// Queues a truth to be recorded.
    pub(super) fn order(&self, order: TruthJob) {
        // If the thread is gone, the receiver of its messages notices.
        drop(self.0.send(order));
    }
}

/// What the thread knows of the kernel in one guest.
struct KnownKernel {
    /// The kernel, without its modules.
    loaded: LoadedKernel,
    /// The function whose compilation units were read.
    function: String,
    unwinder: Unwinder,
    kernel: KernelLocations,
    /// Where the kernel has its notes, and whether that is with what it frees after the boot.
    notes: Option<Span>,
    frees_notes: bool,
    /// The address of its trap vector, once it was read.
    trap_vector: Option<u64>,
    /// The modules that were read, once they were.
    modules: Option<Vec<LoadedModule>>,
    /// Whether the guest is known to run the kernel that the DWARF is of.
    checked: bool,
    /// The index of the parameter that holds the traced address.
    traced: usize,
}

/// What the thread knows of the kernel, and what it has seen.
struct Recorder {
    wanted: TruthProbe,
    row: &'static ArchRow,
    known: KnownKernel,
    file: PathBuf,
    writer: Option<BufWriter<File>>,
    /// Hits of the tracer, and those of each traced place.
    events: u64,
    places: HashMap<u64, u32>,
    hits: Vec<Hit>,
    /// The different stacks of the hits.
    stacks: IndexSet<UnwoundStack>,
}

/// One hit, until it is written.
struct Hit {
    task: Task,
    /// The number of its stack.
    stack: usize,
}

impl KnownKernel {
    fn read(wanted: &TruthProbe, row: &'static ArchRow, loaded: LoadedKernel) -> Result<Self, TruthError> {
        let unwinder = Unwinder::read(&loaded)?;
        let starts = wanted.function.split('|').flat_map(|name| unwinder.starts(name));
        let addresses: Vec<u64> = starts.chain(KernelLocations::addresses(&unwinder)).collect();
        let layout = TypeLayout::read(&loaded, &unwinder, &addresses)?;
        let traced = if wanted.traced { traced(&layout, &wanted.function, row)? } else { 0 };
        let freed = (layout.variable(&["__init_begin"])?, layout.variable(&["__init_end"])?);
        let kernel = KernelLocations::new(layout, row)?;
        let notes = notes(&loaded)?;
        let is_freed = |notes: &Span| {
            let (Some(from), Some(to)) = freed else { return true };
            (from..to).contains(&notes.address)
        };
        Ok(Self {
            frees_notes: notes.as_ref().is_none_or(is_freed),
            notes,
            loaded,
            function: wanted.function.clone(),
            unwinder,
            kernel,
            modules: None,
            trap_vector: None,
            checked: false,
            traced,
        })
    }

    fn load(&mut self, modules: &[LoadedModule]) -> Result<(), TruthError> {
        if self.modules.as_deref() == Some(modules) {
            return Ok(());
        }
        if self.modules.is_some() {
            self.unwinder = Unwinder::read(&self.loaded)?;
        }
        self.unwinder.load(modules)?;
        self.modules = Some(modules.to_vec());
        Ok(())
    }
}

impl Recorder {
    fn read(
        wanted: TruthProbe,
        row: &'static ArchRow,
        loaded: LoadedKernel,
        file: PathBuf,
        known: Option<KnownKernel>,
    ) -> Result<Self, TruthError> {
        let known = known.filter(|known| known.loaded == loaded && known.function == wanted.function);
        let known = known.map_or_else(|| KnownKernel::read(&wanted, row, loaded), Ok)?;
        Ok(Self {
            row,
            wanted,
            known,
            file,
            writer: None,
            events: 0,
            places: HashMap::new(),
            hits: Vec::new(),
            stacks: IndexSet::new(),
        })
    }

    /// Records until there are enough hits or it is told to end, and lets go of the guest whatever happens.
    fn work(&mut self, guest: ReadyGuest, news: &Sender<RecorderMessage>) -> Result<(), TruthError> {
        let ReadyGuest { mut stops, loaded } = guest;
        let recorded = self.record(&mut stops, &loaded, news);
        let released = stops.release().map_err(TruthError::from);
        // What was seen before a fault is evidence.
        let written = self.write_stacks(&loaded);
        recorded.and(released).and(written)
    }

    fn record(
        &mut self,
        stops: &mut Stops,
        loaded: &LoadedKernel,
        news: &Sender<RecorderMessage>,
    ) -> Result<(), TruthError> {
        self.known.load(&loaded.modules)?;
        let starts = |name: &str| (name.to_owned(), self.known.unwinder.starts(name));
        let found = self.wanted.function.split('|').map(starts).find(|(_, starts)| !starts.is_empty());
        let Some((function, starts)) = found else {
            return Err(TruthError::NoFunction { function: self.wanted.function.clone() });
        };
        AmbiguousFunction::check(&function, &starts)?;
        let places = self.known.unwinder.entries(&function, self.row);
        self.expect_traps(stops);
        self.check(stops, loaded)?;
        let writer = File::create_new(&self.file).map_err(|source| self.unwritable(source))?;
        self.writer = Some(BufWriter::new(writer));
        self.write(&gdb_json::Line::Break { function, pc: format!("{:#x}", places[0]) })?;
        self.flush()?;
        // The guest still stands: nothing can run past the breakpoint.
        drop(news.send(RecorderMessage::Armed));
        let enough = if self.wanted.traced { usize::MAX } else { self.wanted.hits as usize };
        if self.wanted.traced {
            // kernel/trace/trace_functions.c, function_stack_trace_call().
            stops.set_uninterrupted();
        }
        while self.hits.len() < enough && stops.run_to(&places)? == Stop::Hit {
            self.check(stops, loaded)?;
            if self.wanted.traced { self.event(stops)? } else { self.hit(stops)? }
        }
        self.check(stops, loaded)?;
        if !self.known.checked {
            return Err(TruthError::Unseen);
        }
        if self.wanted.traced { self.write(&gdb_raw::Line::End { events: self.events }) } else { Ok(()) }
    }

    /// Compares the banner and the build id in the guest's memory with those of the file. The memory can be
    /// read only while the guest runs the kernel's code, and not that of a program: if it does not yet, it
    /// does at the first hit.
    fn check(&mut self, stops: &mut Stops, loaded: &LoadedKernel) -> Result<(), TruthError> {
        let banner = self.known.kernel.layout().banner().filter(|_| !self.known.checked);
        let Some(banner) = banner else { return Ok(()) };
        let span = Span { address: banner.address, length: banner.text.len() };
        let Some(found) = mapped(stops, span)? else { return Ok(()) };
        if found != banner.text {
            let [found, wanted] = [&found, &banner.text].map(|text| printable(until_zero(text)));
            let why = format!("the guest's memory holds the banner \"{found}\", the file \"{wanted}\"");
            return Err(TruthError::OtherKernel { vmlinux: loaded.vmlinux.clone(), why });
        }
        // Where the kernel may have freed the notes, the same banner counts as the same build.
        let notes = self.known.notes.map_or(Ok(None), |notes| mapped(stops, notes))?;
        if let Some(notes) = notes {
            same_build(&loaded.vmlinux, &notes, self.known.frees_notes)?;
        }
        self.known.trap_vector = self.known.kernel.trap_vector(stops)?;
        self.expect_traps(stops);
        self.known.checked = true;
        Ok(())
    }

    fn expect_traps(&self, stops: &mut Stops) {
        if let Some(vector) = self.known.trap_vector {
            stops.set_trap_vector(vector);
        }
    }

    /// A hit of the function tracer: unwinding comes later.
    fn event(&mut self, stops: &mut Stops) -> Result<(), TruthError> {
        self.events += 1;
        let place =
            stops.registers().get(self.known.traced).ok_or(StubError::NoRegister(self.known.traced))?;
        let seen = self.places.entry(place).or_default();
        *seen = seen.saturating_add(1);
        if *seen > self.wanted.hits {
            return Ok(());
        }
        let tops = self.known.kernel.tops(stops)?;
        let (mut raw, _) = stops.raw(self.events, &tops, &[])?;
        self.unwind(&mut raw, None, stops)?;
        self.write(&raw.line())
    }

    fn hit(&mut self, stops: &mut Stops) -> Result<(), TruthError> {
        let tops = self.known.kernel.tops(stops)?;
        let pointer = self.known.kernel.task_pointer(stops)?;
        let (mut raw, told) =
            stops.raw(self.hits.len() as u64 + 1, &tops, &self.known.kernel.span(pointer))?;
        let task = self.known.kernel.task(pointer, &told, stops)?;
        if self.wanted.task.as_ref().is_some_and(|wanted| *wanted != task.name) {
            return Ok(());
        }
        let unwound = self.unwind(&mut raw, Some(task.address), stops)?;
        let (stack, _) = self.stacks.insert_full(unwound);
        self.hits.push(Hit { task, stack });
        Ok(())
    }

    /// Unwinds as far as possible, reading further memory as it is needed.
    fn unwind(
        &mut self,
        raw: &mut RawHit,
        task: Option<u64>,
        stops: &mut Stops,
    ) -> Result<UnwoundStack, TruthError> {
        loop {
            let unwound = match self.wanted.traced {
                true => self.known.unwinder.unwind_tracer(raw, self.row),
                false => self.known.unwinder.unwind(raw, self.row),
            };
            let End::Cut { why, .. } = unwound.end else { return Ok(unwound) };
            match why {
                Cut::OtherStack(address) if raw.stacks.len() < STACKS_MOST => {
                    match stops.stack(address, &raw.tops) {
                        Ok(stack) => raw.stacks.push(stack),
                        Err(StubError::Unexpected { .. }) => return Ok(unwound),
                        Err(error) => return Err(error.into()),
                    }
                }
                Cut::Returns(trampoline) => {
                    let kind = self.known.unwinder.return_trampoline(trampoline);
                    let Some((task, kind)) = task.zip(kind) else { return Ok(unwound) };
                    let returns = match self.known.kernel.returns(task, trampoline, kind, stops) {
                        // The guest's list points to unmapped memory.
                        Err(TruthError::Stub(StubError::Unexpected { .. })) => None,
                        returns => returns?,
                    };
                    let Some(returns) = returns else { return Ok(unwound) };
                    raw.returns.push(returns);
                }
                _ => return Ok(unwound),
            }
        }
    }

    fn write_stacks(&mut self, loaded: &LoadedKernel) -> Result<(), TruthError> {
        if !self.hits.is_empty() {
            let frames = self.stacks.iter().flat_map(|stack| &stack.frames);
            let tables = self.known.unwinder.line_tables(loaded, frames)?;
            let lines = tables.lines()?;
            let told: Vec<_> =
                self.stacks.iter().map(|stack| self.known.unwinder.frames(&stack.frames, &lines)).collect();
            for Hit { task, stack } in std::mem::take(&mut self.hits) {
                let (frames, end) = (told[stack].clone(), &self.stacks[stack].end);
                let (task, pid, cut) = (task.name, task.pid, matches!(end, End::Cut { .. }));
                let end = Some(end.to_string());
                self.write(&gdb_json::Line::Stack(HitStack { task, pid, frames, end, cut }))?;
            }
        }
        self.flush()
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), TruthError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = serde_json::to_writer(&mut *writer, line).map_err(Into::into);
        written.and_then(|()| writer.write_all(b"\n")).map_err(|source| self.unwritable(source))
    }

    fn flush(&mut self) -> Result<(), TruthError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.flush().map_err(|source| self.unwritable(source))
    }

    fn unwritable(&self, source: io::Error) -> TruthError {
        FileError::on("write", &self.file)(source).into()
    }
}

/// The stub's number of the register that has the traced place.
fn traced(layout: &TypeLayout, function: &str, row: &ArchRow) -> Result<usize, TruthError> {
    let parameter = layout.parameter(function, TRACED)?;
    let register = parameter.and_then(|index| row.registers.arguments.get(index).copied());
    register.ok_or_else(|| TruthError::Unknown { what: format!("{function}({TRACED})") })
}

/// A part of the guest's memory, `None` where it is not mapped.
fn mapped(stops: &mut Stops, span: Span) -> Result<Option<Vec<u8>>, StubError> {
    match stops.memory(&[span]) {
        Ok(found) => Ok(Some(found.concat())),
        Err(StubError::Unexpected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a kernel has its notes in memory.
fn notes(loaded: &LoadedKernel) -> Result<Option<Span>, TruthError> {
    let notes = with_elf(&loaded.vmlinux, |file| notes_section(file))?;
    Ok(notes.map(|(address, size)| Span {
        address: address.wrapping_add(loaded.offset),
        length: size.min(NOTES_LIMIT) as usize,
    }))
}

/// Whether the notes of the guest are those of `vmlinux`; `may_be_gone` says that others may be in their place.
/// Banners alone do not tell: builds with a fixed date share them.
fn same_build(vmlinux: &Path, notes: &[u8], may_be_gone: bool) -> Result<(), TruthError> {
    // What another build has in that place is no note.
    let ids = with_elf(vmlinux, |file| Ok((build_id(file)?, build_id_of_notes(file, notes)?)))?;
    match ids {
        (Some(ours), None) if !may_be_gone => {
            let why = format!("its build id is {}, and the guest has none in that place", hex::encode(ours));
            Err(TruthError::OtherKernel { vmlinux: vmlinux.into(), why })
        }
        (Some(ours), Some(theirs)) if ours != theirs => {
            let why =
                format!("its build id is {}, the guest's is {}", hex::encode(ours), hex::encode(theirs));
            Err(TruthError::OtherKernel { vmlinux: vmlinux.into(), why })
        }
        _ => Ok(()),
    }
}

/// What `read` finds in a kernel's file. With its DWARF that is some hundred megabytes, of which it needs a
/// few bytes.
fn with_elf<T>(
    vmlinux: &Path,
    read: impl FnOnce(&ReadCache<File>) -> Result<T, object::Error>,
) -> Result<T, TruthError> {
    let unreadable = |why: String| TruthError::Unreadable { path: vmlinux.into(), why };
    let file = File::open(vmlinux).map_err(|error| unreadable(error.to_string()))?;
    read(&ReadCache::new(file)).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A big-endian ELF file with nothing but a section of notes.
    fn vmlinux(notes: &[u8]) -> Vec<u8> {
        let names = b"\0.notes\0.shstrtab\0";
        let (half, word, long) = (
            u16::to_be_bytes as fn(u16) -> [u8; 2],
            u32::to_be_bytes as fn(u32) -> [u8; 4],
            u64::to_be_bytes,
        );
        let notes_at = 64_u64;
        let names_at = notes_at + notes.len() as u64;
        let sections_at = names_at + names.len() as u64;
        let mut file = b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([half(2), half(8)].concat());
        file.extend(word(1));
        file.extend([long(0), long(0), long(sections_at)].concat());
        file.extend(word(0));
        file.extend([half(64), half(56), half(0), half(64), half(3), half(2)].concat());
        file.extend(notes);
        file.extend(names);
        for (name, kind, at, size) in
            [(0_u32, 0_u32, 0, 0), (1, 7, notes_at, notes.len() as u64), (8, 3, names_at, names.len() as u64)]
        {
            file.extend([word(name), word(kind)].concat());
            file.extend([long(0), long(0), long(at), long(size)].concat());
            file.extend([word(0), word(0)].concat());
            file.extend([long(4), long(0)].concat());
        }
        file
    }

    fn note(id: &[u8; 4]) -> Vec<u8> {
        [&4_u32.to_be_bytes()[..], &4_u32.to_be_bytes(), &3_u32.to_be_bytes(), b"GNU\0", id].concat()
    }

    fn compare(file: &[u8], guest: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux.debug");
        std::fs::write(&path, vmlinux(file)).unwrap();
        same_build(&path, guest, true).map_err(|error| error.to_string())
    }

    #[test]
    fn another_build_of_the_same_kernel_is_no_truth() {
        assert_eq!(compare(&note(&[1, 2, 3, 4]), &note(&[1, 2, 3, 4])), Ok(()));
        let error = compare(&note(&[1, 2, 3, 4]), &note(&[1, 2, 3, 5])).unwrap_err();
        assert!(error.ends_with("its build id is 01020304, the guest's is 01020305"), "{error}");
    }

    #[test]
    fn another_build_has_other_things_where_the_notes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux.debug");
        std::fs::write(&path, vmlinux(&note(&[1, 2, 3, 4]))).unwrap();
        let compare =
            |guest: &[u8]| same_build(&path, guest, false).map_err(|error| error.to_string()).unwrap_err();
        for guest in [&b"\xff\xff\xff\xff garbage"[..], b"", &[0; 64]] {
            let error = compare(guest);
            assert!(
                error.ends_with("its build id is 01020304, and the guest has none in that place"),
                "{error}"
            );
        }
        assert!(same_build(&path, &note(&[1, 2, 3, 4]), false).is_ok());
    }

    #[test]
    fn where_one_side_has_no_build_id_the_banners_decide() {
        assert_eq!(compare(&note(&[1, 2, 3, 4]), b""), Ok(()));
        assert_eq!(compare(b"", &note(&[1, 2, 3, 4])), Ok(()));
        // What the guest shows need not be notes at all.
        assert_eq!(compare(&note(&[1, 2, 3, 4]), b"\xff\xff\xff\xff garbage"), Ok(()));
    }
}
