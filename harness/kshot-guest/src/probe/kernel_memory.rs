//! What the running kernel keeps in its memory about its tasks and stacks, read while the guest stands.

use crate::machine::{Registers, Span, Stops, StubError};
use crate::symbols::{ReturnTrampoline, TypeLayout, Unwinder};
use kshot_stack::arch::{ArchRow, KernelPointer, SwitchedStack};
use kshot_stack::stack::gdb_raw::Returns;

use super::TruthError;

/// The size of a task's name (include/linux/sched.h, TASK_COMM_LEN).
const NAME_BYTES: usize = 16;
/// The most return addresses of one task that trampolines may stand for: FTRACE_RETFUNC_DEPTH
/// (include/linux/ftrace.h) is 50 up to 6.10; since then the function-graph tracer has a page for them, which
/// holds fewer.
const RETURNS_MOST: usize = 128;
/// The bits of a word of the function-graph tracer's stack that say how far below it an element begins, in
/// words, since 6.11 (kernel/trace/fgraph.c, FGRAPH_FRAME_OFFSET_MASK).
const ELEMENT_DISTANCE: u64 = (1 << 10) - 1;

/// Where a kernel keeps its tasks and stacks in memory.
#[derive(Debug)]
pub(super) struct KernelLocations {
    row: &'static ArchRow,
    layout: TypeLayout,
    /// The pointer to the current task.
    task: PointerPlace,
    /// Where a task has its name and its id, in bytes.
    name: u64,
    id: u64,
    /// For each stack that C code switches to: where its pointer is stored, and how far above the pointer the
    /// top is. `known_tops` are the tops, once they are known.
    tops: Vec<(PointerPlace, u64)>,
    known_tops: Option<Vec<u64>>,
    /// The per-CPU offset of the processor, once it is known.
    per_cpu: Option<u64>,
    /// The variable with the address of the exception vectors.
    vectors: Option<u64>,
}

/// A task that runs.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The address of its `struct task_struct`.
    pub(super) address: u64,
    /// The task's name.
    pub(super) name: String,
    /// `task_struct.pid` (the thread id).
    pub(super) pid: u64,
}

/// Where a pointer is stored.
#[derive(Clone, Copy, Debug)]
enum PointerPlace {
    /// A register, by the stub's number.
    Register(usize),
    /// A structure at this offset from a register's value, or from 0.
    Structure { register: Option<usize>, offset: u64 },
    /// A per-CPU variable, and the table of the per-CPU offsets.
    PerCpu { variable: u64, offsets: u64 },
    /// A variable at this address.
    Variable(u64),
}

/// A pointer that has been located: its value, or the address that it is to be read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueOrAddress {
    /// The pointer's value.
    Value(u64),
    /// The address of the pointer.
    At(u64),
}

/// A task's list of the return addresses that trampolines have replaced.
struct ReturnList {
    /// The field of `struct task_struct` with the first element (`struct llist_head`).
    head: &'static str,
    /// The structure of the elements, each with a `llist` and a `ret_addr`.
    element: &'static str,
}

impl KernelLocations {
    pub(super) fn new(layout: TypeLayout, row: &'static ArchRow) -> Result<Self, TruthError> {
        let nothing = || TruthError::Unknown { what: format!("the current task on {}", row.name) };
        let task = place(&layout, row.task.ok_or_else(nothing)?)?;
        let (name, id) = (field(&layout, "task_struct", "comm")?, field(&layout, "task_struct", "pid")?);
        // A kernel may lack some of these stacks.
        let top = |stack: &SwitchedStack| Some((place(&layout, stack.pointer).ok()?, stack.top));
        let tops = row.switched_stacks.iter().filter_map(top).collect();
        let vectors =
            row.step_over.trap_vector.map(|(name, _)| layout.variable(&[name])).transpose()?.flatten();
        Ok(Self { row, layout, task, name, id, tops, known_tops: None, per_cpu: None, vectors })
    }

    /// Addresses whose compilation units the layout needs, besides others.
    pub(super) fn addresses(unwinder: &Unwinder) -> Vec<u64> {
        let functions = ["rethook_find_ret_addr", "kretprobe_find_ret_addr", "ftrace_graph_ret_addr"];
        functions.iter().flat_map(|function| unwinder.starts(function)).collect()
    }

    pub(super) fn layout(&self) -> &TypeLayout {
        &self.layout
    }

    /// The tops of the stacks that C code switches to. They stay where they are.
    pub(super) fn tops(&mut self, stops: &mut Stops) -> Result<Vec<u64>, TruthError> {
        if let Some(known) = &self.known_tops {
            return Ok(known.clone());
        }
        let mut tops = Vec::new();
        for (place, top) in self.tops.clone() {
            let pointer = self.pointer(place, stops)?;
            tops.push(self.follow(pointer, stops)?.wrapping_add(top));
        }
        self.known_tops = Some(tops.clone());
        Ok(tops)
    }

    /// The address of the trap vector, if the kernel keeps it in a variable.
    pub(super) fn trap_vector(&self, stops: &mut Stops) -> Result<Option<u64>, TruthError> {
        let Some((variable, (_, behind))) = self.vectors.zip(self.row.step_over.trap_vector) else {
            return Ok(None);
        };
        Ok(Some(self.word(variable, stops)?.wrapping_add(behind)))
    }

    /// The pointer to the current task.
    pub(super) fn task_pointer(&mut self, stops: &mut Stops) -> Result<ValueOrAddress, TruthError> {
        self.pointer(self.task, stops)
    }

    /// The part of memory that has to be read for a pointer.
    pub(super) fn span(&self, pointer: ValueOrAddress) -> Vec<Span> {
        match pointer {
            ValueOrAddress::Value(_) => Vec::new(),
            ValueOrAddress::At(address) => vec![Span { address, length: self.row.word_bytes }],
        }
    }

    /// The task that a pointer points to. `told` is what is in its [`span`](Self::span).
    pub(super) fn task(
        &self,
        pointer: ValueOrAddress,
        told: &[Vec<u8>],
        stops: &mut Stops,
    ) -> Result<Task, TruthError> {
        let address = match pointer {
            ValueOrAddress::Value(task) => task,
            ValueOrAddress::At(_) => self.row.number(&told.concat()),
        };
        let name = Span { address: address.wrapping_add(self.name), length: NAME_BYTES };
        let id = Span { address: address.wrapping_add(self.id), length: size_of::<u32>() };
        let told = stops.memory(&[name, id])?.concat();
        let (name, id) = told.split_at(NAME_BYTES);
        let name = String::from_utf8_lossy(until_zero(name)).into_owned();
        Ok(Task { address, name, pid: self.row.number(id) })
    }

    /// The real return addresses of a task's calls that return to a trampoline; `None` where this kernel
    /// keeps that in a way that kshot does not know.
    pub(super) fn returns(
        &self,
        task: u64,
        trampoline: u64,
        kind: ReturnTrampoline,
        stops: &mut Stops,
    ) -> Result<Option<Returns>, TruthError> {
        let addresses = match kind {
            ReturnTrampoline::Rethook => {
                self.list(task, &ReturnList { head: "rethooks", element: "rethook_node" }, stops)?
            }
            ReturnTrampoline::Kretprobe => {
                let list = ReturnList { head: "kretprobe_instances", element: "kretprobe_instance" };
                self.list(task, &list, stops)?
            }
            ReturnTrampoline::Graph => self.graph(task, stops)?,
        };
        Ok(addresses.map(|addresses| Returns { trampoline, addresses }))
    }

    /// The return addresses of a list (kernel/trace/rethook.c, kernel/kprobes.c): the newest call comes
    /// first.
    fn list(&self, task: u64, list: &ReturnList, stops: &mut Stops) -> Result<Option<Vec<u64>>, TruthError> {
        let fields = (
            self.layout.field("task_struct", list.head)?,
            self.layout.field(list.element, "llist")?,
            self.layout.field(list.element, "ret_addr")?,
        );
        let (Some(head), Some(link), Some(address)) = fields else { return Ok(None) };
        let (mut found, mut node) = (Vec::new(), self.word(task.wrapping_add(head), stops)?);
        while node != 0 && found.len() < RETURNS_MOST {
            let element = node.wrapping_sub(link);
            found.push(self.word(element.wrapping_add(address), stops)?);
            node = self.word(node, stops)?;
        }
        Ok(Some(found))
    }

    /// The return addresses of the function-graph tracer's stack (kernel/trace/fgraph.c), the newest call
    /// first.
    fn graph(&self, task: u64, stops: &mut Stops) -> Result<Option<Vec<u64>>, TruthError> {
        let fields = (
            self.layout.field("task_struct", "ret_stack")?,
            self.layout.field("task_struct", "curr_ret_stack")?,
            self.layout.field("ftrace_ret_stack", "ret")?,
            self.layout.size("ftrace_ret_stack", "ret")?,
        );
        let (Some(stack), Some(newest), Some(address), Some(size)) = fields else { return Ok(None) };
        let stack = self.word(task.wrapping_add(stack), stops)?;
        let newest = Span { address: task.wrapping_add(newest), length: size_of::<u32>() };
        let newest = self.row.number(&stops.memory(&[newest])?.concat());
        // -1 where an old kernel has none.
        let Some(newest) = u32::try_from(newest).ok().filter(|newest| i32::try_from(*newest).is_ok()) else {
            return Ok(Some(Vec::new()));
        };
        let bytes = |words: u32| u64::from(words) * self.row.word_bytes as u64;
        // Since 6.11 tracers share the stack, and each has a number.
        let elements: Vec<u64> = match self.layout.field("fgraph_ops", "idx")? {
            Some(_) => {
                let word = |at| self.word(stack.wrapping_add(bytes(at)), stops);
                let Some(words) = shared_elements(newest, word)? else { return Ok(None) };
                words.into_iter().map(bytes).collect()
            }
            None => {
                let numbers = (0..=u64::from(newest)).rev().take(RETURNS_MOST);
                numbers.map(|number| number.wrapping_mul(size)).collect()
            }
        };
        let at = |element| stack.wrapping_add(element).wrapping_add(address);
        let found = elements.into_iter().map(|element| self.word(at(element), stops));
        Ok(Some(found.collect::<Result<_, _>>()?))
    }

    fn follow(&self, pointer: ValueOrAddress, stops: &mut Stops) -> Result<u64, TruthError> {
        match pointer {
            ValueOrAddress::Value(value) => Ok(value),
            ValueOrAddress::At(address) => Ok(self.word(address, stops)?),
        }
    }

    fn word(&self, address: u64, stops: &mut Stops) -> Result<u64, StubError> {
        let span = Span { address, length: self.row.word_bytes };
        Ok(self.row.number(&stops.memory(&[span])?.concat()))
    }

    fn pointer(&mut self, place: PointerPlace, stops: &mut Stops) -> Result<ValueOrAddress, TruthError> {
        let register =
            |registers: &Registers, number| registers.get(number).ok_or(StubError::NoRegister(number));
        Ok(match place {
            PointerPlace::Register(number) => ValueOrAddress::Value(register(stops.registers(), number)?),
            PointerPlace::Structure { register: Some(number), offset } => {
                ValueOrAddress::At(register(stops.registers(), number)?.wrapping_add(offset))
            }
            PointerPlace::Structure { register: None, offset } => ValueOrAddress::At(offset),
            PointerPlace::Variable(address) => ValueOrAddress::At(address),
            PointerPlace::PerCpu { variable, offsets } => {
                let first = match self.per_cpu {
                    Some(first) => first,
                    None => self.word(offsets, stops)?,
                };
                // The machine has one processor, and its part stays where it is.
                self.per_cpu = Some(first);
                ValueOrAddress::At(variable.wrapping_add(first))
            }
        })
    }
}

/// Where the elements of a function-graph tracer's stack of `size` words begin, in words, the newest first;
/// `None` where that is no such stack. Behind each element, and what tracers have put there, is a word that
/// says how far below it begins.
fn shared_elements<E>(size: u32, mut word: impl FnMut(u32) -> Result<u64, E>) -> Result<Option<Vec<u32>>, E> {
    let (mut found, mut size) = (Vec::new(), size);
    while let Some(last) = size.checked_sub(1).filter(|_| found.len() < RETURNS_MOST) {
        // Ten bits.
        let distance = (word(last)? & ELEMENT_DISTANCE) as u32;
        let Some(element) = last.checked_sub(distance).filter(|_| distance > 0) else { return Ok(None) };
        found.push(element);
        size = element;
    }
    Ok(Some(found))
}

fn place(layout: &TypeLayout, pointer: KernelPointer) -> Result<PointerPlace, TruthError> {
    let variable = |names: &[&str]| {
        let address = layout.variable(names)?;
        address.ok_or_else(|| TruthError::Unknown { what: names.join(" or ") })
    };
    let per_cpu = |variable| {
        Ok::<_, TruthError>(match layout.variable(&["__per_cpu_offset"])? {
            Some(offsets) => PointerPlace::PerCpu { variable, offsets },
            // Without CONFIG_SMP there is one of each (include/asm-generic/percpu.h).
            None => PointerPlace::Variable(variable),
        })
    };
    Ok(match pointer {
        KernelPointer::Register(number) => PointerPlace::Register(number),
        KernelPointer::Field { register, structure, field: name } => {
            PointerPlace::Structure { register: Some(register), offset: field(layout, structure, name)? }
        }
        KernelPointer::At { structure, field: name } => {
            PointerPlace::Structure { register: None, offset: field(layout, structure, name)? }
        }
        KernelPointer::Variable(name) => PointerPlace::Variable(variable(&[name])?),
        KernelPointer::PerCpu(names) => per_cpu(variable(names)?)?,
        KernelPointer::PerCpuField { structure, field: name } => {
            per_cpu(variable(&[structure])?.wrapping_add(field(layout, structure, name)?))?
        }
    })
}

fn field(layout: &TypeLayout, structure: &str, field: &str) -> Result<u64, TruthError> {
    let offset = layout.field(structure, field)?;
    offset.ok_or_else(|| TruthError::Unknown { what: format!("struct {structure}.{field}") })
}

/// A text up to its final zero.
pub(super) fn until_zero(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_a_shared_stack_are_found_from_its_end() {
        // Two elements of 5 words. Behind the second a tracer has put two words of its own, and one that says
        // so: 8 words below it the element begins.
        let mut words = [0; 14];
        (words[5], words[13]) = (1 << 12 | 1 << 10 | 5, 2 << 10 | 7);
        let elements = |size| shared_elements(size, |at| words.get(at as usize).copied().ok_or(at));
        assert_eq!(elements(14), Ok(Some(vec![6, 0])));
        assert_eq!(elements(6), Ok(Some(vec![0])));
        assert_eq!(elements(0), Ok(Some(Vec::new())));
        assert_eq!(elements(12), Ok(None), "a word without a distance");
        assert_eq!(elements(15), Err(14), "no such word");
        assert_eq!(shared_elements::<()>(3, |_| Ok(5)), Ok(None), "it would begin below the stack");
    }
}
