//! Reads the call stacks that a Linux kernel prints, and measures them against each other.
//!
//! Nothing here does IO of its own, reads a clock or starts a process. The modules stand in reading order:
//! each uses only those above it.
//!
//! How much of one trace another tells:
//!
//! ```
//! use std::fs::File;
//! use std::io::BufReader;
//!
//! use kshot_stack::arch::Arch;
//! use kshot_stack::document::ReferenceKind;
//! use kshot_stack::fidelity::References;
//! use kshot_stack::stack::ftrace_text;
//!
//! /// Prints how much of the stacks in `reference` each stack of `trace` tells.
//! fn print_fidelity(trace: &str, reference: &str) -> std::io::Result<()> {
//!     let parse = |path| ftrace_text::parse(BufReader::new(File::open(path)?));
//!     let (trace, reference) = (parse(trace)?, parse(reference)?);
//!     let stacks = reference.stacks.iter().map(|(stack, _)| stack);
//!     let references = References::new(stacks, ReferenceKind::Gdb, Arch::Mips64.row());
//!     for (stack, count) in &trace.stacks {
//!         if let Some(measure) = references.measure(stack) {
//!             println!("{count} x {}, {}: {}", stack.task, stack.event, measure.fidelity);
//!             # assert_eq!(measure.fidelity.matched_frames, measure.fidelity.reference_frames, "a trace tells all of itself");
//!         }
//!     }
//!     Ok(())
//! }
//! # let trace = "tests/data/ftrace/sched-stacktrace.txt";
//! # print_fidelity(trace, trace).unwrap();
//! ```

pub mod text; // what a guest printed, made printable
pub mod blame; // the parties that may have to act on an error; each error names its own
pub mod name; // names that become paths or words of a command line
pub mod foreign; // reads documents that others may have written
pub mod arch; // the architectures, one row each: registers, entries, the tracers' own frames
pub mod stack; // stacks and frames, how a stack ends (complete, truncated, ..), one parser a format
pub mod document; // the result document, `run.json`
pub mod console; // what a kernel reports on its console, by console/patterns.yaml
pub mod format; // the text formats that hold stacks: recognising one, its parser, the list of its stacks
pub mod normalize; // ordered, named passes from what a probe recorded to what a snapshot holds
pub mod fidelity; // how much of the truth a stack tells, and where it reaches an entry
pub mod results; // from what the parsers read to the results of the probes in the document
pub mod snapshot; // the text of a snapshot
pub mod claim; // what must hold of stacks
pub mod verdict; // the verdict, from claims, known faults, snapshots and repeats
pub mod sweep; // a sweep's document, and its judgement: the stacks of a whole kernel against the truth
pub mod survey; // a survey's document, and its findings: every reporter in every situation
pub mod night; // the results of a night, and what changed since the night before
pub mod exit; // the exit-code table

// The samples are a part of `kshot`'s tests, too, and name this crate as that one does.
#[cfg(test)]
extern crate self as kshot_stack;
#[cfg(test)]
mod samples; // a small value of each document, for tests
