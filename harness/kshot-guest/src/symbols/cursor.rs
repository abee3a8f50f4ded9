//! A place in the kernel's code with its registers, and the steps from there to its caller that no table of
//! unwind rows describes.

use gimli::{Encoding, EvaluationResult, Expression, Location, Reader, Register, Value};

use kshot_stack::arch::{ArchRow, AssemblyFrame, AssemblyKind, CallerStackPointer, StackBefore};
use kshot_stack::stack::gdb_raw::RawHit;

/// DWARF's numbers below this one are general registers, on every architecture of Linux.
pub(super) const REGISTERS: usize = 66;
/// The most steps of a DWARF expression: compilers write a handful.
const STEPS_MOST: u32 = 1000;

/// Why the caller of a frame is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The function has no call frame information (CFI).
    NoCfi,
    /// The function's module has no CFI: it was stripped, or built without DWARF.
    NoModuleDwarf,
    /// The CFI has a rule that compilers do not write for the kernel's code.
    UnknownRule,
    /// The CFI points to memory that was not read.
    OtherMemory,
    /// The stack continues at this address of another stack, which was not read.
    OtherStack(u64),
    /// The frame returns to this trampoline, and the real return address was not read.
    Returns(u64),
    /// The CFI gives no return address.
    NoReturnAddress,
    /// The CFI gives a return address that is not the kernel's, of a function that user space does not call.
    OutOfKernel,
    /// The CFI leads back to the same frame.
    Endless,
    /// There are more frames than any stack has.
    TooDeep,
}

/// A physical frame and its registers.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) pc: u64,
    /// Whether `pc` is a return address; else it is the instruction that was interrupted.
    pub(super) is_return_address: bool,
    /// Whether it was interrupted in user space, where addresses may be those of the kernel.
    pub(super) user: bool,
    pub(super) registers: [Option<u64>; REGISTERS],
    /// The canonical frame address, where it is known without the unwind rows.
    pub(super) cfa: Option<u64>,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoCfi => "no CFI",
            Self::NoModuleDwarf => "its module has no DWARF",
            Self::UnknownRule => "CFI with a rule that kshot does not know",
            Self::OtherMemory => "CFI leads out of the stack",
            Self::OtherStack(_) => "it continues on a stack that cannot be read",
            Self::Returns(_) => "it returns to a trampoline, and kshot does not know what that returns to",
            Self::NoReturnAddress => "CFI gives no return address",
            Self::OutOfKernel => "CFI leads out of the kernel",
            Self::Endless => "CFI leads back to the same frame",
            Self::TooDeep => "more frames than any stack has",
        })
    }
}

impl Cursor {
    /// An address of the code that is at work: a call may be the last of a function's.
    pub(super) fn inside(&self) -> u64 {
        inside(self.pc, self.is_return_address)
    }

    /// The value of a register in this frame, where unwinding could restore it.
    pub(super) fn register(&self, register: Register) -> Option<u64> {
        self.registers.get(usize::from(register.0)).copied().flatten()
    }

    /// Whether assembly code has saved its caller's registers as `code` says.
    pub(super) fn is_marked(&self, code: &AssemblyFrame, raw: &RawHit, row: &ArchRow) -> bool {
        code.marker.is_none_or(|marker| {
            let base = self.register(Register(code.base));
            let word = base.and_then(|base| word_at(raw, base.wrapping_add_signed(marker.offset), row));
            word == Some(marker.value)
        })
    }

    /// What called assembly code, or was interrupted by it.
    pub(super) fn out_of(&self, code: &AssemblyFrame, raw: &RawHit, row: &ArchRow) -> Result<Self, Cut> {
        let base = self.register(Register(code.base)).ok_or(Cut::OtherMemory)?;
        let lowest = base.wrapping_add_signed(code.lowest_offset());
        if !raw.holds(lowest) {
            return Err(Cut::OtherStack(lowest));
        }
        let word = |offset| word_at(raw, base.wrapping_add_signed(offset), row).ok_or(Cut::OtherMemory);
        let mut caller = Self { cfa: None, ..self.clone() };
        for saved in code.saved {
            for (number, register) in (saved.dwarf..).take(saved.count.into()).enumerate() {
                let offset = saved.offset + (number * row.word_bytes) as i64;
                caller.registers[usize::from(register)] = Some(word(offset)?);
            }
        }
        let stack_pointer = match code.stack_pointer {
            CallerStackPointer::Saved(offset) => word(offset)?,
            CallerStackPointer::Above(size) => base.wrapping_add_signed(size),
        };
        caller.registers[usize::from(row.stack_pointer)] = Some(stack_pointer);
        caller.pc = word(code.program_counter)?;
        caller.is_return_address = code.kind != AssemblyKind::Exception;
        caller.user = match code.user_mode {
            Some(bit) => word(bit.offset)? & bit.mask != 0,
            None => !row.in_kernel(caller.pc),
        };
        if caller.user || raw.holds(stack_pointer) { Ok(caller) } else { Err(Cut::OtherStack(stack_pointer)) }
    }

    /// The caller of assembly code that has not changed the stack pointer or the return address.
    pub(super) fn out_of_leaf(&self, raw: &RawHit, row: &ArchRow) -> Result<Self, Cut> {
        let mut caller = Self { is_return_address: true, cfa: None, ..self.clone() };
        if row.call_pushes() {
            let stack_pointer = &mut caller.registers[usize::from(row.stack_pointer)];
            let top = stack_pointer.ok_or(Cut::NoReturnAddress)?;
            *stack_pointer = Some(top.wrapping_add(row.word_bytes as u64));
            caller.pc = word_at(raw, top, row).ok_or(Cut::OtherMemory)?;
        } else {
            caller.pc = self.register(Register(row.return_address)).ok_or(Cut::NoReturnAddress)?;
        }
        Ok(caller)
    }

    /// This frame with the stack pointer from before it switched stacks, if it did.
    pub(super) fn switched(mut self, raw: &RawHit, row: &ArchRow) -> Result<Self, Cut> {
        let stack_pointer = &mut self.registers[usize::from(row.stack_pointer)];
        let Some(top) = stack_pointer.filter(|address| raw.tops.contains(address)) else { return Ok(self) };
        let before = top.wrapping_add(row.stack_before.offset());
        let before = word_at(raw, before, row).ok_or(Cut::OtherMemory)?;
        // An address that is the top of a stack in another kernel version may lie inside a stack of this one;
        // stacks are aligned.
        let stack = |address| address / row.kernel_stack as u64;
        if stack(before) == stack(top) {
            return Ok(self);
        }
        match row.stack_before {
            StackBefore::Pointer | StackBefore::Header(_) => *stack_pointer = Some(before),
            StackBefore::BackChain(_) => self.cfa = Some(before.wrapping_add(row.cfa_bias)),
        }
        if raw.holds(before) { Ok(self) } else { Err(Cut::OtherStack(before)) }
    }

    /// The result of a DWARF expression (DWARF 4, section 2.5) that begins with `stack`.
    pub(super) fn evaluate<R: Reader>(
        &self,
        expression: Expression<R>,
        encoding: Encoding,
        stack: &[u64],
        raw: &RawHit,
        row: &ArchRow,
    ) -> Result<u64, Cut> {
        let mut evaluation = expression.evaluation(encoding);
        evaluation.set_max_iterations(STEPS_MOST);
        if let Some(first) = stack.first() {
            evaluation.set_initial_value(*first);
        }
        let mut result = evaluation.evaluate();
        loop {
            result = match result.map_err(|_| Cut::UnknownRule)? {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.register(register).ok_or(Cut::OtherMemory)?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let bytes = raw.bytes(address, size.into()).ok_or(Cut::OtherMemory)?;
                    evaluation.resume_with_memory(Value::Generic(row.number(bytes)))
                }
                _ => return Err(Cut::UnknownRule),
            };
        }
        match evaluation.result().first().map(|piece| &piece.location) {
            Some(Location::Address { address }) => Ok(*address),
            _ => Err(Cut::UnknownRule),
        }
    }
}

/// A word of the copies of the stacks.
pub(super) fn word_at(raw: &RawHit, address: u64, row: &ArchRow) -> Option<u64> {
    raw.bytes(address, row.word_bytes).map(|bytes| row.number(bytes))
}

/// An address of the code that is at work at `pc`.
pub(super) fn inside(pc: u64, is_return_address: bool) -> u64 {
    if is_return_address { pc.wrapping_sub(1) } else { pc }
}

#[cfg(test)]
mod tests;
