//! A client of QEMU's gdb stub, a packet at a time.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;

use super::MonitorError;
use super::packet::{self, PacketError, framed};
use super::registers::Registers;
use crate::deadline::{Deadline, wait_for};
use kshot_stack::arch::ArchRow;

/// How long the stub may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// The smallest page of any kernel, in bytes.
const PAGE: usize = 4096;
/// The most of the guest's memory that one packet asks for, in bytes: QEMU's have 4 KiB, two digits a byte.
const MEMORY_PACKET: usize = 2 << 10;
/// The longest quote of an answer, in characters.
const QUOTED: usize = 80;

/// A connection to the stub. While it is open, the guest is stopped, unless it was told to continue.
///
/// What the stub says is never acknowledged: QEMU takes the next packet for that, and any byte stops a guest
/// that runs.
#[derive(Debug)]
pub(super) struct Stub {
    stream: BufReader<Timed>,
}

/// A part of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub address: u64,
    /// How many bytes it has.
    pub length: usize,
}

/// Why talking to QEMU's gdb stub failed.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// There is no connection.
    #[error("cannot connect to QEMU's gdb stub")]
    Connect(#[source] io::Error),
    /// A packet cannot be sent.
    #[error("cannot talk to QEMU's gdb stub")]
    Send(#[source] io::Error),
    /// The answer is not a packet.
    #[error("QEMU's gdb stub gave no answer that can be read")]
    Packet(#[from] PacketError),
    /// The stub gave an unexpected answer.
    #[error("QEMU's gdb stub answers `{request}` with {answer:?}")]
    Unexpected {
        /// The request.
        request: String,
        /// The answer, cut to a line.
        answer: String,
    },
    /// The stub's answer lacks a register.
    #[error("QEMU's gdb stub gave no value for the register {0}")]
    NoRegister(usize),
    /// The monitor that tells of stops failed.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// QEMU has ended.
    #[error("QEMU is gone")]
    Gone,
}

impl Stub {
    #[expect(clippy::disallowed_methods, reason = "the machine owns QEMU's gdb stub")]
    pub(super) fn connect(socket: &Path) -> Result<Self, StubError> {
        UnixStream::connect(socket).and_then(Self::over).map_err(StubError::Connect)
    }

    pub(super) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(LIMIT))?;
        let deadline = Deadline::new("QEMU's gdb stub", LIMIT);
        Ok(Self { stream: BufReader::new(Timed { stream, deadline }) })
    }

    /// Sends a packet whose answer has to begin with `wanted`.
    pub(super) fn tell(&mut self, text: &[u8], wanted: &[u8]) -> Result<(), StubError> {
        self.send(&framed(text))?;
        self.hear(text, wanted)
    }

    /// Writes raw bytes: packets and acknowledgements.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), StubError> {
        self.stream.get_mut().stream.write_all(bytes).map_err(StubError::Send)
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Result<Vec<u8>, StubError> {
        self.stream.get_mut().deadline = Deadline::new("QEMU's gdb stub", LIMIT);
        Ok(packet::answer(&mut self.stream)?)
    }

    /// The next answer, to `request`, has to begin with `wanted`.
    pub(super) fn hear(&mut self, request: &[u8], wanted: &[u8]) -> Result<(), StubError> {
        let answer = self.answer()?;
        if answer.starts_with(wanted) { Ok(()) } else { Err(unexpected(request, &answer)) }
    }

    /// Asks for the start of the register description. After that, QEMU's answers follow the description.
    pub(super) fn describe(&mut self) -> Result<(), StubError> {
        self.tell(b"qXfer:features:read:target.xml:0,40", b"m")
    }

    /// The registers, all in one answer: QEMU reads and writes single registers only if it has a description
    /// of them.
    pub(super) fn registers(&mut self, row: &'static ArchRow) -> Result<Registers, StubError> {
        self.send(&framed(b"g"))?;
        self.registers_answer(row)
    }

    /// The registers out of the stub's answer to a `g` that was sent before.
    pub(super) fn registers_answer(&mut self, row: &'static ArchRow) -> Result<Registers, StubError> {
        let answer = self.answer()?;
        Registers::of_answer(&answer, row).ok_or_else(|| unexpected(b"g", &answer))
    }

    pub(super) fn set_registers(&mut self, registers: &Registers) -> Result<(), StubError> {
        self.tell(&registers.request(), b"OK")
    }

    /// The guest's memory at some places.
    pub(super) fn memory(&mut self, spans: &[Span]) -> Result<Vec<Vec<u8>>, StubError> {
        let parts: Vec<Vec<Span>> = spans.iter().map(|span| span.parts(MEMORY_PACKET)).collect();
        // All in one write: a round trip to QEMU costs more than the copying.
        self.send(&parts.iter().flatten().flat_map(|part| framed(&part.request())).collect::<Vec<_>>())?;
        let mut read = |span: &Span| {
            let answer = self.answer()?;
            let bytes = packet::bytes(&answer).filter(|bytes| bytes.len() == span.length);
            bytes.ok_or_else(|| unexpected(&span.request(), &answer))
        };
        // Read every answer, even after a failure, so that none is left for the next request.
        let read: Vec<Vec<Result<Vec<u8>, StubError>>> =
            parts.iter().map(|parts| parts.iter().map(&mut read).collect()).collect();
        read.into_iter().map(|parts| Ok(parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat())).collect()
    }

    /// The readable part of a span: from its start to the first page that is not mapped.
    pub(super) fn mapped_part(&mut self, span: Span) -> Result<Vec<u8>, StubError> {
        let mut read = Vec::new();
        while read.len() < span.length {
            let address = span.address.wrapping_add(read.len() as u64);
            let length = (PAGE - address as usize % PAGE).min(span.length - read.len());
            match self.memory(&[Span { address, length }]) {
                Ok(page) => read.extend(page.concat()),
                Err(StubError::Unexpected { .. }) if !read.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Whether addresses of memory are the board's own from now on, or those of the guest's page tables
    /// (docs/system/gdb.rst, "Examining physical memory").
    pub(super) fn address_physical_memory(&mut self, physical: bool) -> Result<(), StubError> {
        self.tell(format!("Qqemu.PhyMemMode:{}", u8::from(physical)).as_bytes(), b"OK")
    }

    /// Writes to the guest's memory.
    pub(super) fn set_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), StubError> {
        self.tell(format!("M{address:x},{:x}:{}", bytes.len(), hex::encode(bytes)).as_bytes(), b"OK")
    }
}

impl Span {
    fn parts(&self, most: usize) -> Vec<Self> {
        let part = |start| Self {
            address: self.address.wrapping_add(start as u64),
            length: most.min(self.length - start),
        };
        (0..self.length).step_by(most).map(part).collect()
    }

    fn request(&self) -> Vec<u8> {
        format!("m{:x},{:x}", self.address, self.length).into_bytes()
    }
}

/// A stream whose reads end with its deadline.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    deadline: Deadline,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !wait_for(&self.stream, PollFlags::IN, self.deadline.remaining())? {
            if self.deadline.has_passed() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, self.deadline.timed_out(None)));
            }
        }
        self.stream.read(buffer)
    }
}

fn unexpected(request: &[u8], answer: &[u8]) -> StubError {
    let quoted = |text: &[u8]| String::from_utf8_lossy(text).chars().take(QUOTED).collect();
    StubError::Unexpected { request: quoted(request), answer: quoted(answer) }
}

#[cfg(test)]
mod tests;
