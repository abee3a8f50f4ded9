//! Stops a guest at breakpoints without slowing it down in between.
//!
//! Whenever a guest stops at a breakpoint, QEMU throws away all that it has translated of the guest's code,
//! which costs a tenth of a second (7.2, gdbstub.c, `gdb_vm_state_change`). It does so only for a debugger
//! that is attached. So no debugger is attached while the guest runs. To resume, kshot detaches (which
//! removes the breakpoints), sets them again, and sends *continue*, all in one write, which QEMU processes
//! before the guest runs again. A monitor then reports that the guest has stopped; kshot attaches again and
//! reads from the program counter where.
//!
//! For the same reason a guest leaves a breakpoint without a single step where that can be done: with a
//! breakpoint where it goes on instead, and interrupts off until there, so that nothing else can pass the
//! place unseen ([`kshot_stack::arch::StepOver`]). A no-operation it leaves by the program counter alone.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::monitor::{Monitor, MonitorError};
use super::packet::framed;
use super::registers::Registers;
use super::stub::{Span, Stub, StubError};
use super::{Machine, socket_path, spec};
use crate::deadline::Deadline;
use crate::host::ScratchFolder;
use kshot_stack::arch::{ArchRow, GoesOn, InterruptBits};
use kshot_stack::stack::gdb_raw::{RawHit, StackCopy};

/// How long QEMU's monitor may take to answer.
const MONITOR_LIMIT: Duration = Duration::from_secs(20);
/// How long one instruction of the guest may take.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// The one processor, as the stub counts its processes.
const PROCESS: u32 = 1;
/// The length field of a breakpoint packet, which the stub ignores.
const LENGTH: u32 = 4;

/// A stopped guest, which runs only from one stop to the next. Dropping this leaves the guest as it is: a
/// stopped guest is resumed with [`Self::release`], or by another debugger.
#[derive(Debug)]
pub struct Stops {
    stub: Stub,
    monitor: Monitor,
    heard: Receiver<MachineMessage>,
    sender: Sender<MachineMessage>,
    row: &'static ArchRow,
    registers: Registers,
    /// The instruction at the program counter, where it was read already.
    instruction: Option<Vec<u8>>,
    /// How many resumes the monitor has not reported yet. A stop that it reports before them is an old one.
    unheard: u32,
    /// Whether `registers` must be written to the guest before it resumes.
    changed: bool,
    /// The address of the trap vector, once it is known.
    trap_vector: Option<u64>,
    /// Whether interrupts are off at every place.
    uninterrupted: bool,
    /// Whether [`EndRequest::send`] was called.
    unwanted: bool,
}

/// Why the guest has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The guest is at a breakpoint.
    Hit,
    /// [`EndRequest::send`] was called.
    Ended,
}

/// Ends another thread's [`Stops::run_to`].
#[derive(Clone, Debug)]
pub struct EndRequest(Sender<MachineMessage>);

/// Whether interrupts are on in the stopped guest.
#[derive(Clone, Copy)]
enum Interrupts {
    /// They are, by these bits of this value.
    On(InterruptBits, u64),
    /// They are not.
    Off,
}

/// What the monitor or another thread tells `Stops`.
#[derive(Debug)]
enum MachineMessage {
    /// The guest has stopped, for whatever reason.
    Stopped,
    /// The guest goes on.
    Resumed,
    /// [`EndRequest::send`] was called.
    Unwanted,
    /// QEMU is gone.
    Gone,
}

/// Reports QEMU's exit when the monitor's thread drops this.
struct MachineListener(Sender<MachineMessage>);

impl Machine {
    /// Stops the guest wherever it is, for breakpoints. Nobody else may talk to the gdb stub meanwhile.
    ///
    /// # Errors
    /// See [`StubError`].
    pub fn stops(&self) -> Result<Stops, StubError> {
        Stops::connect(&self.folder, self.qemu.arch.row())
    }

    /// The socket of QEMU's gdb stub, for another debugger.
    pub fn stub_socket(&self) -> PathBuf {
        self.folder.path().join(spec::GDB)
    }
}

impl EndRequest {
    /// Stops the guest.
    pub fn send(&self) {
        // Sending fails only if [`Stops`] is gone already.
        drop(self.0.send(MachineMessage::Unwanted));
    }
}

impl Drop for MachineListener {
    fn drop(&mut self) {
        drop(self.0.send(MachineMessage::Gone));
    }
}

impl Stops {
    fn connect(folder: &ScratchFolder, row: &'static ArchRow) -> Result<Self, StubError> {
        let (sender, heard) = channel();
        let monitor = connect_to_monitor(folder, MachineListener(sender.clone()))?;
        Self::over(Stub::connect(&socket_path(folder, spec::GDB))?, monitor, sender, heard, row)
    }

    fn over(
        mut stub: Stub,
        monitor: Monitor,
        sender: Sender<MachineMessage>,
        heard: Receiver<MachineMessage>,
        row: &'static ArchRow,
    ) -> Result<Self, StubError> {
        if row.registers.described {
            stub.describe()?;
        }
        let registers = stub.registers(row)?;
        Ok(Self {
            stub,
            monitor,
            heard,
            sender,
            row,
            registers,
            instruction: None,
            unheard: 0,
            changed: false,
            trap_vector: None,
            uninterrupted: false,
            unwanted: false,
        })
    }

    /// What ends [`Self::run_to`] from another thread.
    pub fn end_request(&self) -> EndRequest {
        EndRequest(self.sender.clone())
    }

    /// Sets the address of the trap vector, so that no single step is needed to find it.
    pub fn set_trap_vector(&mut self, address: u64) {
        self.trap_vector = Some(address);
    }

    /// Says that interrupts are off wherever the guest is to stop.
    pub fn set_uninterrupted(&mut self) {
        self.uninterrupted = true;
    }

    /// The registers of the stopped guest.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Parts of the stopped guest's memory.
    ///
    /// # Errors
    /// See [`StubError`]: memory that is not mapped at the stop cannot be read.
    pub fn memory(&mut self, spans: &[Span]) -> Result<Vec<Vec<u8>>, StubError> {
        self.stub.memory(spans)
    }

    /// The registers and all that is on the stack of a guest that stands in the kernel, as event `number`;
    /// and what some more spans of its memory hold. `tops` are those of the stacks that C code switches to.
    ///
    /// # Errors
    /// See [`StubError`].
    pub fn raw(
        &mut self,
        number: u64,
        tops: &[u64],
        spans: &[Span],
    ) -> Result<(RawHit, Vec<Vec<u8>>), StubError> {
        let register = |(number, at)| {
            self.registers.get(at).map(|value| (number, value)).ok_or(StubError::NoRegister(at))
        };
        let numbers = self.row.registers.unwinding.iter().flat_map(|mapping| mapping.numbers());
        let registers = numbers.map(register).collect::<Result<Vec<_>, _>>()?;
        let stack_pointer = registers.iter().find(|(number, _)| *number == self.row.stack_pointer);
        let stack_pointer = stack_pointer.map(|(_, value)| *value);
        let base = stack_pointer.ok_or_else(|| StubError::NoRegister(self.row.stack_pointer.into()))?;
        let stack = self.stack_span(base, tops);
        let mut told = match self.stub.memory(&[&[stack, self.at_work()], spans].concat()) {
            Err(StubError::Unexpected { .. }) => {
                let stack = self.stub.mapped_part(stack)?;
                let others = self.stub.memory(&[&[self.at_work()], spans].concat())?;
                [vec![stack], others].concat()
            }
            told => told?,
        };
        let stacks = vec![StackCopy { base, memory: told.remove(0) }];
        self.instruction = Some(told.remove(0));
        let (pc, tops) = (self.registers.program_counter(), tops.to_vec());
        Ok((RawHit { number, pc, registers, stacks, tops, returns: Vec::new() }, told))
    }

    /// What is on a stack from an address to its top. `tops` are those of the stacks that C code switches to.
    ///
    /// # Errors
    /// See [`StubError`].
    pub fn stack(&mut self, base: u64, tops: &[u64]) -> Result<StackCopy, StubError> {
        let memory = self.stub.mapped_part(self.stack_span(base, tops))?;
        Ok(StackCopy { base, memory })
    }

    /// Resumes the guest until it reaches one of these places. If it is stopped at one, it leaves that first.
    /// There is no time limit: only a hit, [`EndRequest::send`] or QEMU's exit ends the wait.
    ///
    /// # Errors
    /// See [`StubError`].
    pub fn run_to(&mut self, places: &[u64]) -> Result<Stop, StubError> {
        if places.contains(&self.registers.program_counter()) {
            self.step_over(places)?;
        }
        if self.unwanted {
            return Ok(Stop::Ended);
        }
        self.run(places, None)
    }

    /// Removes the breakpoints and resumes the guest.
    ///
    /// # Errors
    /// See [`StubError`].
    pub fn release(mut self) -> Result<(), StubError> {
        if let Some(request) = self.changed_registers() {
            self.stub.tell(&request, b"OK")?;
        }
        self.stub.tell(b"D", b"OK")
    }

    /// Executes the instruction at the program counter.
    fn step_over(&mut self, places: &[u64]) -> Result<(), StubError> {
        let place = self.registers.program_counter();
        let instruction = match self.instruction.take() {
            Some(instruction) => instruction,
            None => self.stub.memory(&[self.at_work()])?.concat(),
        };
        let goes_on = self.row.step_over.goes_on(self.row.number(&instruction));
        let next = match goes_on {
            GoesOn::Nop(bytes) => {
                self.set(self.row.registers.program_counter, place.wrapping_add(bytes));
                return Ok(());
            }
            GoesOn::Behind(bytes) => Some(place.wrapping_add(bytes)),
            GoesOn::Trap => self.trap_vector,
            GoesOn::Elsewhere => None,
        };
        if let Some((next, interrupts)) = next.zip(self.interrupts()) {
            return self.run_uninterrupted(next, interrupts);
        }
        self.single_step(places)?;
        if goes_on == GoesOn::Trap {
            self.trap_vector = Some(self.registers.program_counter());
        }
        Ok(())
    }

    /// Whether interrupts are on; `None` where nothing tells.
    fn interrupts(&self) -> Option<Interrupts> {
        let bits = self.row.step_over.interrupts;
        match bits.and_then(|bits| Some((bits, self.registers.get(bits.register)?))) {
            Some((bits, value)) if bits.are_on(value) => Some(Interrupts::On(bits, value)),
            None if !self.uninterrupted => None,
            _ => Some(Interrupts::Off),
        }
    }

    /// Resumes the guest until the next place, where it goes on at once, with interrupts off until there.
    fn run_uninterrupted(&mut self, next: u64, interrupts: Interrupts) -> Result<(), StubError> {
        if let Interrupts::On(bits, value) = interrupts {
            self.set(bits.register, bits.off(value));
        }
        self.run(&[next], Some(&Deadline::new("one instruction of the guest", STEP_LIMIT)))?;
        if let Interrupts::On(bits, before) = interrupts
            && let Some(value) = self.registers.get(bits.register)
        {
            self.set(bits.register, bits.with(value, before));
        }
        Ok(())
    }

    /// Changes a register; the guest gets the value when it is next resumed.
    fn set(&mut self, register: usize, value: u64) {
        self.registers = self.registers.with(register, value);
        self.changed = true;
    }

    /// The packet that writes what was changed to the guest.
    fn changed_registers(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.registers.request())
    }

    /// Executes the instruction by single steps, with the debugger attached. QEMU blocks interrupts during a
    /// step, but ends the step before the instruction if an interrupt arrives just then (`cpu_tb_exec` of
    /// accel/tcg/cpu-exec.c); resuming there would take the interrupt and hit the same breakpoint again.
    fn single_step(&mut self, places: &[u64]) -> Result<(), StubError> {
        for place in places {
            self.stub.tell(&breakpoint('z', *place), b"OK")?;
        }
        let place = self.registers.program_counter();
        let deadline = Deadline::new("one instruction of the guest", STEP_LIMIT);
        while self.registers.program_counter() == place {
            if deadline.has_passed() {
                return Err(MonitorError::from(deadline.timed_out(None)).into());
            }
            self.unheard += 1;
            self.stub.tell(b"s", b"T05")?;
            self.registers = self.stub.registers(self.row)?;
        }
        self.instruction = None;
        Ok(())
    }

    /// A stack from an address to its top.
    fn stack_span(&self, address: u64, tops: &[u64]) -> Span {
        let size = self.row.kernel_stack as u64;
        let to = |top: &u64| top.checked_sub(address).filter(|left| *left < size);
        // The stack pointer from before belongs to such a stack. Other stacks are aligned to their size.
        let length = match tops.iter().filter_map(to).max() {
            Some(left) => left + self.row.stack_before.bytes(self.row),
            // x86's NMI stack is smaller, and the page above it is not mapped.
            None => size - address % size,
        };
        // The size of a stack is far below 2^32.
        Span { address, length: usize::try_from(length).unwrap_or_default() }
    }

    /// The instruction at the program counter.
    fn at_work(&self) -> Span {
        let length = self.row.step_over.bytes;
        Span { address: self.registers.program_counter(), length }
    }

    /// Resumes the guest until it reaches one of these places. Without a deadline, [`EndRequest::send`] ends
    /// the wait, too.
    fn run(&mut self, places: &[u64], deadline: Option<&Deadline>) -> Result<Stop, StubError> {
        self.go(places)?;
        loop {
            let stop = self.wait(deadline)?;
            self.attach()?;
            // Others may stop the guest, too, and resume it.
            if stop == Stop::Ended || places.contains(&self.registers.program_counter()) {
                return Ok(stop);
            }
        }
    }

    fn go(&mut self, places: &[u64]) -> Result<(), StubError> {
        let detach = format!("D;{PROCESS}").into_bytes();
        let before: Vec<_> = self.changed_registers().into_iter().chain([detach]).collect();
        let breakpoints: Vec<_> = places.iter().map(|place| breakpoint('Z', *place)).collect();
        let packets = |requests: &[Vec<u8>]| requests.iter().flat_map(|request| framed(request)).collect();
        // Detaching resumes the guest; the next byte stops it before it can run, and is lost: that is the
        // second `+`. The first one stands in for an acknowledgement.
        let go: [Vec<u8>; 4] = [packets(&before), b"++".to_vec(), packets(&breakpoints), framed(b"c")];
        self.unheard += 2;
        self.stub.send(&go.concat())?;
        before.iter().chain(&breakpoints).try_for_each(|request| self.stub.hear(request, b"OK"))
    }

    /// Waits until the guest stops, for whatever reason.
    fn wait(&mut self, deadline: Option<&Deadline>) -> Result<Stop, StubError> {
        loop {
            let limit = deadline.map_or(Duration::MAX, Deadline::remaining);
            match self.heard.recv_timeout(limit) {
                Ok(MachineMessage::Resumed) => self.unheard = self.unheard.saturating_sub(1),
                Ok(MachineMessage::Stopped) if self.unheard > 0 => {}
                Ok(MachineMessage::Stopped) => return Ok(Stop::Hit),
                Ok(MachineMessage::Unwanted) => self.unwanted = true,
                Ok(MachineMessage::Gone) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(StubError::Gone);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let passed = deadline.filter(|deadline| deadline.has_passed());
                    passed.map_or(Ok(()), |deadline| Err(MonitorError::from(deadline.timed_out(None))))?;
                }
            }
            if self.unwanted && deadline.is_none() {
                self.execute("stop")?;
                let hit = self.execute("query-status")?["status"] == "debug";
                return Ok(if hit { Stop::Hit } else { Stop::Ended });
            }
        }
    }

    fn attach(&mut self) -> Result<(), StubError> {
        let request = format!("vAttach;{PROCESS}").into_bytes();
        self.stub.send(&[framed(&request), framed(b"g")].concat())?;
        // The stub reports every stop as SIGTRAP.
        self.stub.hear(&request, b"T05")?;
        self.instruction = None;
        self.registers = self.stub.registers_answer(self.row)?;
        Ok(())
    }

    fn execute(&self, command: &str) -> Result<Value, MonitorError> {
        self.monitor.execute(command, json!({}), &monitor_deadline())
    }
}

/// The packet that puts a hardware breakpoint in, or takes it out: QEMU's own, nothing is written to the
/// guest's memory.
fn breakpoint(what: char, place: u64) -> Vec<u8> {
    format!("{what}1,{place:x},{LENGTH}").into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's monitors")]
fn connect_to_monitor(folder: &ScratchFolder, ear: MachineListener) -> Result<Monitor, StubError> {
    let stream = UnixStream::connect(socket_path(folder, spec::STOPS)).map_err(StubError::Connect)?;
    open(stream, ear)
}

fn open(stream: UnixStream, ear: MachineListener) -> Result<Monitor, StubError> {
    let hear = move |event: &str, _: &Value| {
        let news = match event {
            "STOP" => MachineMessage::Stopped,
            "RESUME" => MachineMessage::Resumed,
            _ => return,
        };
        // Sending fails only if the receiver is gone.
        drop(ear.0.send(news));
    };
    Ok(Monitor::open(stream, hear, &monitor_deadline())?)
}

fn monitor_deadline() -> Deadline {
    Deadline::new("QEMU's monitor", MONITOR_LIMIT)
}

#[cfg(test)]
mod tests;
