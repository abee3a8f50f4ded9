//! Unwinds a stack from registers and a copy of the stack memory, by the call frame information in DWARF (DWARF 4,
//! section 6.4). Neither the kernel's nor gdb's unwinder is used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EndianRcSlice, FrameDescriptionEntry, Register,
    RegisterRule, RunTimeEndian, SectionId, UnwindContext, UnwindSection,
};

use super::dwarf::{self, Reader};
use super::loaded::{LoadedKernel, LoadedModule};
use super::section_addresses::SectionAddresses;
use super::{Function, SymbolsError, function_at, functions, named, open};
use kshot_stack::arch::ArchRow;
use kshot_stack::stack::gdb_raw::Raw;
use kshot_stack::stack::{DEEPEST_STACK, Frame, in_kernel};

/// The number of DWARF registers that are tracked; general registers have lower numbers on every architecture of Linux.
const REGISTERS: usize = 66;

/// The call frame information of one kernel and its modules.
pub struct Unwinder {
    /// The `.debug_frame` section of each file.
    sections: Vec<DebugFrame<Reader>>,
    /// The frame description entries of all functions, sorted by address, each with the index of its section.
    unwind_rows: Vec<(usize, FrameDescriptionEntry<Reader>)>,
    /// The functions, sorted by start address.
    functions: Vec<Function>,
    /// The start addresses of functions, by any of their names.
    starts: HashMap<String, Vec<u64>>,
    context: RefCell<UnwindContext<usize>>,
    endian: RunTimeEndian,
}

/// The registers in one physical frame.
#[derive(Clone)]
struct RegisterFrame {
    pc: u64,
    /// Whether `pc` is a return address; otherwise it is where the CPU was.
    returns: bool,
    registers: [Option<u64>; REGISTERS],
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("functions", &self.functions.len()).finish_non_exhaustive()
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
            unwind_rows: Vec::new(),
            functions: Vec::new(),
            starts: HashMap::new(),
            context: RefCell::default(),
            endian: RunTimeEndian::default(),
        };
        all.add(&loaded.vmlinux, None)?;
        for module in &loaded.modules {
            all.add(&module.path, Some(module))?;
        }
        all.unwind_rows.sort_by_key(|(_, unwind_rows)| unwind_rows.initial_address());
        all.functions.sort_by_key(|(start, ..)| *start);
        Ok(all)
    }

    fn add(&mut self, path: &Path, module: Option<&LoadedModule>) -> Result<(), SymbolsError> {
        let cache = open(path)?;
        let file = object::File::parse(&cache).map_err(SymbolsError::elf(path))?;
        let bases =
            module.map_or_else(SectionAddresses::linked, |module| SectionAddresses::of_module(&file, module));
        self.endian = dwarf::endian(&file);
        let section = dwarf::section(&file, &bases, SectionId::DebugFrame).map_err(SymbolsError::of(path))?;
        let mut section = DebugFrame::from(EndianRcSlice::new(Rc::from(&*section), self.endian));
        section.set_address_size(8);
        let unwind_rows =
            unwind_rows(&section).map_err(|source| SymbolsError::Dwarf { path: path.into(), source })?;
        self.unwind_rows
            .extend(unwind_rows.into_iter().map(|unwind_rows| (self.sections.len(), unwind_rows)));
        self.sections.push(section);
        for (start, _, name) in named(&file, &bases) {
            self.starts.entry(name).or_default().push(start);
        }
        self.functions.extend(functions(&file, &bases));
        Ok(())
    }

    /// Whether a frame is in a function named `name`. A function may have several names, and several functions one
    /// name.
    pub fn is_in(&self, frame: &Frame, name: &str) -> bool {
        let start = frame.address.zip(frame.offset).and_then(|(address, offset)| address.checked_sub(offset));
        start.is_some_and(|start| self.starts.get(name).is_some_and(|starts| starts.contains(&start)))
    }

    /// The frames of the traced function at the tracer event `raw`, innermost first, up to an entry or user space, or
    /// as far as unwinding works. Empty if the tracer was not called from its trampoline.
    pub fn unwind_traced(&self, raw: &Raw, row: &ArchRow) -> Vec<Frame> {
        let mut registers = [None; REGISTERS];
        for &(register, value) in &raw.registers {
            if let Some(known) = registers.get_mut(usize::from(register)) {
                *known = Some(value);
            }
        }
        let mut place = RegisterFrame { pc: raw.pc, returns: false, registers };
        let mut frames = Vec::new();
        let mut traced = false;
        for _ in 0..DEEPEST_STACK {
            let next = if self.in_trampoline(place.pc, row) {
                frames.clear();
                traced = true;
                self.skip_trampoline(&place, raw, row)
            } else {
                let frame = self.frame(place.pc);
                let end = frame.user || frame.is_one_of(row.entries);
                frames.push(frame);
                if end { None } else { self.caller(&place, raw, row) }
            };
            match next {
                Some(caller) => place = caller,
                None => break,
            }
        }
        if traced { frames } else { Vec::new() }
    }

    fn in_trampoline(&self, pc: u64, row: &ArchRow) -> bool {
        function_at(&self.functions, pc)
            .is_some_and(|(.., name)| row.trampoline.labels.contains(&name.as_str()))
    }

    fn skip_trampoline(&self, place: &RegisterFrame, raw: &Raw, row: &ArchRow) -> Option<RegisterFrame> {
        let sp = place.register(Register(row.stack_pointer))?;
        let word = |offset| self.word(raw, sp.wrapping_add(offset));
        let mut traced = place.clone();
        traced.pc = word(row.trampoline.place)?;
        traced.returns = true;
        traced.registers[usize::from(row.stack_pointer)] = Some(sp.wrapping_add(row.trampoline.size));
        traced.registers[usize::from(row.return_address)] = Some(word(row.trampoline.caller)?);
        Some(traced)
    }

    fn frame(&self, pc: u64) -> Frame {
        let mut frame = Frame { address: Some(pc), user: !in_kernel(pc), ..Frame::default() };
        if let Some((start, size, name)) = function_at(&self.functions, pc) {
            frame.symbol = Some(name.clone());
            frame.offset = Some(pc - start);
            frame.size = Some(*size);
        }
        frame
    }

    /// The caller's frame, `None` if it cannot be unwound.
    fn caller(&self, place: &RegisterFrame, raw: &Raw, row: &ArchRow) -> Option<RegisterFrame> {
        let address = if place.returns { place.pc.wrapping_sub(1) } else { place.pc };
        let after = self.unwind_rows.partition_point(|(_, function)| function.initial_address() <= address);
        let (section, function) = self.unwind_rows.get(after.checked_sub(1)?)?;
        let function = Some(function).filter(|one| one.contains(address))?;
        let mut context = self.context.borrow_mut();
        let bases = BaseAddresses::default();
        let unwind_rows = function
            .unwind_info_for_address(self.sections.get(*section)?, &bases, &mut context, address)
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = unwind_rows.cfa() else { return None };
        let cfa = place.register(*register)?.wrapping_add_signed(*offset);

        let mut caller = place.clone();
        caller.registers[usize::from(row.stack_pointer)] = Some(cfa);
        for (register, rule) in unwind_rows.registers() {
            let value = match rule {
                RegisterRule::SameValue => place.register(*register),
                RegisterRule::Offset(offset) => self.word(raw, cfa.wrapping_add_signed(*offset)),
                RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => place.register(*other),
                _ => None,
            };
            if let Some(known) = caller.registers.get_mut(usize::from(register.0)) {
                *known = value;
            }
        }
        caller.pc = caller.register(function.cie().return_address_register())?;
        caller.returns = !function.is_signal_trampoline();
        // An unchanged frame would repeat for ever.
        let same =
            |register: u16| caller.registers[usize::from(register)] == place.register(Register(register));
        (caller.pc != place.pc || !same(row.stack_pointer)).then_some(caller)
    }

    /// The 64-bit word at `address` in the copy of the stack.
    fn word(&self, raw: &Raw, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(raw.base)?).ok()?;
        let bytes: [u8; 8] = raw.memory.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(match self.endian {
            RunTimeEndian::Big => u64::from_be_bytes(bytes),
            RunTimeEndian::Little => u64::from_le_bytes(bytes),
        })
    }
}

impl RegisterFrame {
    fn register(&self, register: Register) -> Option<u64> {
        self.registers.get(usize::from(register.0)).copied().flatten()
    }
}

/// The unwind rows of each function.
fn unwind_rows(section: &DebugFrame<Reader>) -> gimli::Result<Vec<FrameDescriptionEntry<Reader>>> {
    let (bases, mut unwind_rows) = (BaseAddresses::default(), Vec::new());
    let mut entries = section.entries(&bases);
    while let Some(entry) = entries.next()? {
        if let CieOrFde::Fde(partial) = entry {
            unwind_rows.push(partial.parse(DebugFrame::cie_from_offset)?);
        }
    }
    Ok(unwind_rows)
}
