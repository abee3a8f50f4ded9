//! kshot reproduces Linux kernel call stacks in QEMU and compares them with the truth.
//!
//! The modules stand in the order of the walk, from YAML to verdict; [`run`] is that walk as one function.

pub mod scenario; // YAML as typed and as meant
pub mod kernel; // the catalogue; fetch, verify, patch, configure, build, cache
pub mod image; // the guest's userland and its initramfs
pub mod machine; // QEMU argv, process, console, QMP
pub mod session; // SSH into the guest
pub mod probe; // how each tracing mechanism is armed, stopped and fetched
pub mod artifacts; // the run folder

// Below here everything is pure: no IO, no clock. (The baseline reads one file.)
pub mod stack; // bytes to stacks: one parser a format
pub mod normalize; // ordered, named passes from what a probe said to what a snapshot holds
pub mod fidelity; // a probe's stack against the truth
pub mod results; // the probes' part of the document
pub mod baseline; // a snapshot on file: same, drift or missing
pub mod verdict; // claims, known faults and repeats folded into one word
pub mod document; // the result document, `run.json`

pub mod symbols; // addresses to functions, files, lines and inlines, with DWARF
pub mod run; // the walk
pub mod bisect; // where a stack changed, over versions and commits
pub mod sweep; // func_stack_trace over the whole kernel
pub mod nightly; // every scenario on every kernel, and what changed since the night before
pub mod bundle; // a run as one archive, and back
pub mod report; // tables, pages and files for people and their tools
pub mod commands; // one file a verb
pub mod exit; // the exit-code table

pub mod arch; // the architectures, one row each
pub mod workspace; // where the repository's folders, the cache and the run folders lie
pub mod cache; // content-addressed, atomic, locked entries under the user's cache folder
pub mod slots; // how many machines and builds this host carries at once
pub mod durations; // how long runs took
pub mod pool; // many things at once
pub mod deadline; // every wait: how long, for what, and the last real cause
pub mod interrupt; // SIGINT and SIGTERM
pub mod fault; // whose fault an error is
pub mod progress; // bars on a terminal, plain lines elsewhere
pub mod yaml; // the one door to YAML
