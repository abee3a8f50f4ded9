//! From registers and a copy of the stack to the stack's frames, by the call frame information of DWARF
//! (DWARF 4, section 6.4). No code of the kernel takes part in it.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, DebugFrameOffset, EndianRcSlice, Register, RegisterRule,
    RunTimeEndian, SectionId, UnwindContext, UnwindExpression, UnwindSection, Vendor,
};
use object::Object;

use super::cursor::{Cursor, Cut, REGISTERS, inside, word_at};
use super::dwarf;
use super::loaded::{LoadedFile, LoadedKernel, LoadedModule};
use super::section_addresses::SectionAddresses;
use super::{Function, SymbolsError, function_at, functions, labels, named, open};
use kshot_stack::arch::{ArchRow, AssemblyFrame, AssemblyKind};
use kshot_stack::stack::gdb_raw::RawHit;
use kshot_stack::stack::{DEEPEST_STACK, Frame};

/// The call frame information lives as long as the unwinder.
type Reader = EndianRcSlice<RunTimeEndian>;

/// The trampolines that probes (kernel/trace/rethook.c, kernel/kprobes.c) and the function-graph tracer
/// (kernel/trace/fgraph.c) put in the place of return addresses. What they return to is in lists of the task.
const TRAMPOLINES: &[(&str, ReturnTrampoline)] = &[
    ("arch_rethook_trampoline", ReturnTrampoline::Rethook),
    ("__kretprobe_trampoline", ReturnTrampoline::Kretprobe),
    ("kretprobe_trampoline", ReturnTrampoline::Kretprobe),
    ("return_to_handler", ReturnTrampoline::Graph),
];

/// The call frame information of one kernel and its modules.
pub struct Unwinder {
    /// Of each file.
    /// Each with how far above the addresses in it its file was loaded: 0 where it was relocated.
    sections: Vec<(DebugFrame<Reader>, u64)>,
    /// Where the unwind rows of each function are, by its address. They are read where they are needed: all
    /// of them would take ten times as much memory.
    rows: Vec<RowsOf>,
    /// By start.
    functions: Vec<Function>,
    /// The same functions under every name that they have, sorted by name.
    names: Vec<Function>,
    /// The code of modules without call frame information.
    without_rows: Vec<ModuleCode>,
    /// The addresses of the trampolines for return addresses.
    trampolines: Vec<(u64, ReturnTrampoline)>,
    context: RefCell<UnwindContext<usize>>,
    endian: RunTimeEndian,
}

/// The place of a function's unwind rows.
#[derive(Clone, Copy)]
struct RowsOf {
    /// The address of the function.
    start: u64,
    /// The size of the function in bytes.
    size: u64,
    /// The index of the section.
    section: usize,
    /// Where in the section they begin.
    offset: DebugFrameOffset,
}

/// A section of a module's code.
struct ModuleCode {
    module: String,
    range: Range<u64>,
}

/// An unwound stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnwoundStack {
    /// The physical frames, innermost first.
    pub frames: Vec<PhysicalFrame>,
    /// Why the stack ends there.
    pub end: End,
}

/// A physical frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PhysicalFrame {
    /// Where it is, with the function that the symbol table has there.
    pub frame: Frame,
    /// Whether the address is a return address; else it is the instruction that was interrupted.
    pub is_return_address: bool,
}

/// Why a stack ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A function that begins stacks ([`ArchRow::entries`]).
    Entry,
    /// An address of user space.
    User,
    /// The caller of the last frame cannot be told.
    Cut {
        /// The function of the last frame.
        at: String,
        /// Why its caller is not known.
        why: Cut,
    },
}

/// What has put a trampoline in the place of a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnTrampoline {
    /// A probe of returns with `struct rethook_node`.
    Rethook,
    /// A kretprobe with `struct kretprobe_instance`.
    Kretprobe,
    /// The function-graph tracer.
    Graph,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("functions", &self.functions.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry => f.write_str("a system-call or thread entry"),
            Self::User => f.write_str("user space"),
            Self::Cut { at, why } => write!(f, "cut at {at}: {why}"),
        }
    }
}

impl Unwinder {
    /// Reads the symbols and the `.debug_frame` of a kernel and of its modules.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn read(loaded: &LoadedKernel) -> Result<Self, SymbolsError> {
        let mut all = Self {
            sections: Vec::new(),
            rows: Vec::new(),
            functions: Vec::new(),
            names: Vec::new(),
            without_rows: Vec::new(),
            trampolines: Vec::new(),
            context: RefCell::default(),
            endian: RunTimeEndian::default(),
        };
        let (vmlinux, kernel) = loaded.kernel();
        all.add(vmlinux, kernel)?;
        all.load(&loaded.modules)?;
        Ok(all)
    }

    /// Reads the symbols and `.debug_frame` of more modules.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn load(&mut self, modules: &[LoadedModule]) -> Result<(), SymbolsError> {
        for module in modules {
            self.add(&module.path, LoadedFile::Module(module))?;
        }
        self.rows.sort_by_key(|rows| rows.start);
        self.functions.sort_by_key(|function| function.start);
        self.names.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(())
    }

    fn add(&mut self, path: &Path, loaded: LoadedFile<'_>) -> Result<(), SymbolsError> {
        let cache = open(path)?;
        let file = object::File::parse(&cache).map_err(SymbolsError::elf(path))?;
        let bases = SectionAddresses::of(&file, loaded);
        self.endian = dwarf::endian(&file);
        let section = dwarf::section(&file, &bases, SectionId::DebugFrame).map_err(SymbolsError::of(path))?;
        let mut section = DebugFrame::from(EndianRcSlice::new(Rc::from(&*section), self.endian));
        section.set_address_size(if file.is_64() { 8 } else { 4 });
        // Without it, arm64's rules for signed return addresses would be unknown.
        section.set_vendor(Vendor::AArch64);
        let offset = loaded.offset();
        let rows = rows(&section, self.sections.len(), offset);
        let rows = rows.map_err(|source| SymbolsError::Dwarf { path: path.into(), source })?;
        if let LoadedFile::Module(module) = loaded
            && rows.is_empty()
        {
            let code = |range| ModuleCode { module: module.name.clone(), range };
            self.without_rows.extend(bases.code(&file).into_iter().map(code));
        }
        self.rows.extend(rows);
        self.sections.push((section, offset));
        let named = named(&file, &bases);
        let labels = labels(&file, &bases);
        for function in named.iter().chain(&labels) {
            let trampoline = TRAMPOLINES.iter().find(|(trampoline, _)| *trampoline == &*function.name);
            self.trampolines.extend(trampoline.map(|(_, kind)| (function.start, *kind)));
        }
        self.names.extend(named.iter().cloned());
        self.functions.extend(functions(named, labels));
        Ok(())
    }

    /// Where the functions of a name start: static ones may share it.
    pub fn starts(&self, name: &str) -> Vec<u64> {
        let mut starts: Vec<u64> = self.named(name).map(|(start, _)| start).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Where a breakpoint sees every call of the functions of a name.
    pub fn entries(&self, name: &str, row: &ArchRow) -> Vec<u64> {
        let entry = |function: &Function| function.start + row.entry_offset(function.st_other);
        let mut entries: Vec<u64> = self.of_name(name).map(entry).collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    /// Start and size of each symbol with this name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = (u64, u64)> {
        self.of_name(name).map(|function| (function.start, function.size))
    }

    fn of_name(&self, name: &str) -> impl Iterator<Item = &Function> {
        let first = self.names.partition_point(|function| *function.name < *name);
        self.names[first..].iter().take_while(move |function| *function.name == *name)
    }

    /// Whether a frame is in a function of that name, which may be one of several names, or one of several
    /// functions.
    pub fn is_in(&self, frame: &Frame, name: &str) -> bool {
        let start = frame.address.zip(frame.offset).and_then(|(address, offset)| address.checked_sub(offset));
        start.is_some_and(|start| self.named(name).any(|(known, _)| known == start))
    }

    /// The frames of the function that was traced when the function tracer was at `raw`, as far as they can
    /// be told: to an entry, or out to user space. None at all where the tracer was not called from its
    /// trampoline, of which x86 keeps copies that no symbol table lists (`create_trampoline()` of
    /// `arch/x86/kernel/ftrace.c`).
    pub fn unwind_traced(&self, raw: &RawHit, row: &ArchRow) -> Vec<Frame> {
        let trampoline = function_tracer(row);
        let frames = self.unwind_tracer(raw, row).frames;
        let is_tracer = |physical: &PhysicalFrame| {
            assembly(&physical.frame, row, trampoline).any(|code| code.kind == AssemblyKind::FunctionTracer)
        };
        // Further out there may be another one that was interrupted.
        let traced = frames.iter().position(is_tracer).map_or(frames.len(), |at| at + 1);
        frames.into_iter().skip(traced).map(|physical| physical.frame).collect()
    }

    /// The stack of a processor that was in the function tracer at `raw`.
    pub fn unwind_tracer(&self, raw: &RawHit, row: &ArchRow) -> UnwoundStack {
        self.walk(raw, row, function_tracer(row))
    }

    /// The stack of a processor that was at `raw`.
    pub fn unwind(&self, raw: &RawHit, row: &ArchRow) -> UnwoundStack {
        self.walk(raw, row, None)
    }

    /// The stack, where `nameless` is the kernel's code that no symbol table lists.
    fn walk(&self, raw: &RawHit, row: &ArchRow, nameless: Option<&AssemblyFrame>) -> UnwoundStack {
        let mut registers = [None; REGISTERS];
        for &(register, value) in &raw.registers {
            if let Some(known) = registers.get_mut(usize::from(register)) {
                *known = Some(value);
            }
        }
        let mut cursor = Cursor { pc: raw.pc, is_return_address: false, user: false, registers, cfa: None };
        let mut returns = vec![0; raw.returns.len()];
        let mut frames = Vec::new();
        loop {
            let frame = self.frame(&cursor, row);
            let (user, entry) = (frame.user, frame.is_one_of(row.entries));
            let leaf = !cursor.is_return_address && frame.is_one_of(row.leaves);
            let mut name = frame.symbol.clone().unwrap_or_else(|| format!("{:#x}", cursor.pc));
            if let Some(module) = self.module_without_rows(cursor.inside()) {
                name.push_str(&format!(" [{module}]"));
            }
            // An interrupt at work in such code may have come before it has saved anything.
            let is_at_work =
                |code: &&AssemblyFrame| cursor.is_return_address && cursor.is_marked(code, raw, row);
            let code = assembly(&frame, row, nameless).find(is_at_work);
            frames.push(PhysicalFrame { frame, is_return_address: cursor.is_return_address });
            let caller = match code {
                _ if user => return UnwoundStack { frames, end: End::User },
                _ if frames.len() == DEEPEST_STACK => Err(Cut::TooDeep),
                Some(code) => cursor.out_of(code, raw, row),
                None if entry => match self.caller(&cursor, raw, row) {
                    // An entry in C, which the entry in assembly calls.
                    Ok(caller) if self.frame(&caller, row).is_one_of(row.entries) => Ok(caller),
                    _ => return UnwoundStack { frames, end: End::Entry },
                },
                None if leaf => cursor.out_of_leaf(raw, row),
                None => self.caller(&cursor, raw, row).and_then(|caller| {
                    // User space calls entries alone: the stack was not what the CFI takes it for. An
                    // exception's CFI says that it was not called.
                    let is_called = caller.is_return_address && self.frame(&caller, row).user;
                    if is_called { Err(Cut::OutOfKernel) } else { Ok(caller) }
                }),
            };
            let caller = caller.and_then(|caller| caller.switched(raw, row)).map(|caller| Cursor {
                is_return_address: caller.is_return_address && !self.begins_entry(caller.pc, row),
                ..caller
            });
            match caller.and_then(|caller| self.returned(caller, raw, &mut returns)) {
                Ok(caller) if entry && self.frame(&caller, row).user => {
                    return UnwoundStack { frames, end: End::Entry };
                }
                Ok(caller) => cursor = caller,
                Err(why) => return UnwoundStack { frames, end: End::Cut { at: name, why } },
            }
        }
    }

    /// The mechanism that put the trampoline at this address in place of a return address.
    pub fn return_trampoline(&self, address: u64) -> Option<ReturnTrampoline> {
        self.trampolines.iter().find(|(start, _)| *start == address).map(|(_, kind)| *kind)
    }

    /// The caller with its real return address in place of a trampoline's. `taken` says how many real
    /// addresses of each trampoline belong to frames further inside.
    fn returned(&self, mut caller: Cursor, raw: &RawHit, taken: &mut [usize]) -> Result<Cursor, Cut> {
        // One trampoline may stand in the place of another's, and for several probes of one call.
        while caller.is_return_address && self.return_trampoline(caller.pc).is_some() {
            let trampoline = caller.pc;
            let known = raw.returns.iter().zip(taken.iter_mut());
            let (known, taken) = known
                .into_iter()
                .find(|(known, _)| known.trampoline == trampoline)
                .ok_or(Cut::Returns(trampoline))?;
            caller.pc = *known.addresses.get(*taken).ok_or(Cut::NoReturnAddress)?;
            *taken += 1;
        }
        Ok(caller)
    }

    /// Whether entry code begins at an address. Arm's has system calls return to its first label, and calls
    /// nothing in front of that; elsewhere one entry's call may be what is in front of another.
    fn begins_entry(&self, address: u64, row: &ArchRow) -> bool {
        let entry = |function: &&Function| row.entries.contains(&&*function.name);
        let begins = function_at(&self.functions, address).filter(|function| function.start == address);
        let before = function_at(&self.functions, address.wrapping_sub(1)).filter(entry);
        begins.filter(entry).is_some() && before.is_none()
    }

    /// The unwind rows of the function at an address.
    fn rows_at(&self, address: u64) -> Option<&RowsOf> {
        let after = self.rows.partition_point(|rows| rows.start <= address);
        let before = after.checked_sub(1).and_then(|at| self.rows.get(at));
        let function = |address| function_at(&self.functions, address).map(|function| function.start);
        let same = |rows: &&RowsOf| {
            rows.start - address <= dwarf::PATCHABLE_BYTES && function(rows.start) == function(address)
        };
        before.filter(|rows| address - rows.start < rows.size).or_else(|| self.rows.get(after).filter(same))
    }

    /// The module of an address, where it has no unwind rows at all.
    fn module_without_rows(&self, address: u64) -> Option<&str> {
        self.without_rows.iter().find(|code| code.range.contains(&address)).map(|code| &*code.module)
    }

    fn frame(&self, cursor: &Cursor, row: &ArchRow) -> Frame {
        let pc = cursor.pc;
        let user = cursor.user || !row.in_kernel(pc);
        let mut frame = Frame { address: Some(pc), user, ..Frame::default() };
        let function = function_at(&self.functions, cursor.inside()).filter(|_| !user);
        if let Some(function) = function {
            frame.symbol = Some(function.name.to_string());
            frame.offset = pc.checked_sub(function.start);
            frame.size = Some(function.size);
        }
        frame
    }

    /// The frame that called this one.
    fn caller(&self, cursor: &Cursor, raw: &RawHit, row: &ArchRow) -> Result<Cursor, Cut> {
        let address = cursor.inside();
        let rows = self.rows_at(address).ok_or_else(|| match self.module_without_rows(address) {
            Some(_) => Cut::NoModuleDwarf,
            None => Cut::NoCfi,
        })?;
        let RowsOf { section, offset, .. } = rows;
        // In front of its first row nothing has changed yet.
        let address = address.max(rows.start);
        let (section, loaded_above) = self.sections.get(*section).ok_or(Cut::NoCfi)?;
        let address = address.wrapping_sub(*loaded_above);
        let bases = BaseAddresses::default();
        let function = section.fde_from_offset(&bases, *offset, DebugFrame::cie_from_offset);
        let function = function.map_err(|_| Cut::UnknownRule)?;
        let mut context = self.context.borrow_mut();
        let rules = function.unwind_info_for_address(section, &bases, &mut context, address);
        let rules = rules.map_err(|_| Cut::UnknownRule)?;
        let expression = |expression: &UnwindExpression<usize>, stack: &[u64]| {
            let expression = expression.get(section).map_err(|_| Cut::UnknownRule)?;
            cursor.evaluate(expression, function.cie().encoding(), stack, raw, row)
        };
        let cfa = match (cursor.cfa, rules.cfa()) {
            (Some(cfa), _) => cfa,
            (None, CfaRule::RegisterAndOffset { register, offset }) => {
                cursor.register(*register).ok_or(Cut::OtherMemory)?.wrapping_add_signed(*offset)
            }
            (None, CfaRule::Expression(program)) => expression(program, &[])?,
        };

        let mut caller = Cursor { cfa: None, ..cursor.clone() };
        caller.registers[usize::from(row.stack_pointer)] = Some(cfa.wrapping_sub(row.cfa_bias));
        for (register, rule) in rules.registers() {
            let value = match rule {
                RegisterRule::SameValue => cursor.register(*register),
                RegisterRule::Offset(offset) => word_at(raw, cfa.wrapping_add_signed(*offset), row),
                RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => cursor.register(*other),
                // The canonical frame address is on the stack of such a program.
                RegisterRule::Expression(program) => {
                    expression(program, &[cfa]).ok().and_then(|address| word_at(raw, address, row))
                }
                RegisterRule::ValExpression(program) => expression(program, &[cfa]).ok(),
                _ => None,
            };
            if let Some(known) = caller.registers.get_mut(usize::from(register.0)) {
                *known = value;
            }
        }
        let return_address = function.cie().return_address_register();
        caller.pc = caller.register(return_address).ok_or_else(|| match rules.register(return_address) {
            Some(RegisterRule::Offset(_)) => Cut::OtherMemory,
            _ => Cut::NoReturnAddress,
        })?;
        caller.is_return_address = !function.is_signal_trampoline();
        // The unwinder would loop forever.
        let same =
            |register: u16| caller.registers[usize::from(register)] == cursor.register(Register(register));
        if caller.pc == cursor.pc && same(row.stack_pointer) { Err(Cut::Endless) } else { Ok(caller) }
    }
}

impl PhysicalFrame {
    /// An address of the code that is at work: a call may be the last of a function's.
    pub fn inside(&self) -> u64 {
        inside(self.frame.address.unwrap_or_default(), self.is_return_address)
    }
}

/// Where the unwind rows of each function of a section are.
fn rows(section: &DebugFrame<Reader>, index: usize, offset: u64) -> gimli::Result<Vec<RowsOf>> {
    let (bases, mut rows) = (BaseAddresses::default(), Vec::new());
    let mut entries = section.entries(&bases);
    // What all functions of a file have in common comes before them.
    let mut common = None;
    while let Some(entry) = entries.next()? {
        match entry {
            CieOrFde::Cie(cie) => common = Some(cie),
            CieOrFde::Fde(partial) => {
                let function = partial.parse(|section, bases, offset| match &common {
                    Some(cie) if cie.offset() == offset.0 => Ok(cie.clone()),
                    _ => section.cie_from_offset(bases, offset),
                })?;
                let (start, size) = (function.initial_address().wrapping_add(offset), function.len());
                rows.push(RowsOf {
                    start,
                    size,
                    section: index,
                    offset: DebugFrameOffset(function.offset()),
                });
            }
        }
    }
    Ok(rows)
}

/// The code that a traced function calls.
fn function_tracer(row: &ArchRow) -> Option<&AssemblyFrame> {
    row.assembly.iter().find(|code| code.kind == AssemblyKind::FunctionTracer)
}

/// The assembly code that a frame may be in: `nameless` where no symbol table lists it.
fn assembly<'a>(
    frame: &Frame,
    row: &'a ArchRow,
    nameless: Option<&'a AssemblyFrame>,
) -> impl Iterator<Item = &'a AssemblyFrame> {
    let named = frame.symbol.iter().flat_map(|symbol| row.assembly_frames(symbol));
    named.chain(nameless.filter(|_| frame.symbol.is_none() && !frame.user))
}

#[cfg(test)]
mod tests;
