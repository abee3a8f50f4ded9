//! Reads the call stacks that a Linux kernel prints, and measures them against each other.
//!
//! Nothing here does IO of its own, reads a clock or starts a process. The modules stand in reading order: each uses
//! only those above it.

pub mod text; // what a guest printed, made printable
pub mod fault; // whose fault an error is
pub mod arch; // the architectures, one row each
pub mod stack; // bytes to stacks: one parser a format
pub mod document; // the result document, `run.json`
pub mod console; // what a kernel reports on its console
pub mod normalize; // ordered, named passes from what a probe recorded to what a snapshot holds
pub mod fidelity; // a probe's stack against the truth
pub mod results; // the probes' part of the document
pub mod snapshot; // the text of a snapshot
pub mod claim; // what must hold of stacks
pub mod verdict; // claims, known faults and repeats folded into one word
pub mod sweep; // the stacks of a whole kernel against the truth
pub mod night; // the results of a night, and what changed since the night before
pub mod exit; // the exit-code table
