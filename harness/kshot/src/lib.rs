//! kshot reproduces Linux kernel call stacks in QEMU and compares them with the truth.
//!
//! The modules stand in reading order: each uses only those above it. [`run`] is the walk from YAML to
//! verdict as one function.

pub mod pool; // parallel work on a list: several items at a time
pub mod captures; // the files of `kshot stacks`: opened, unpacked, limited
pub mod durations; // how long runs took
pub mod workspace; // where the repository's folders, the cache and the run folders lie
pub mod scenario; // scenarios: the YAML as written, and checked; which probes of one run, what it requires
pub mod artifacts; // the run folder, the reading of one, and the unpacking of others' archives
pub mod baseline; // snapshot files: comparing and accepting
pub mod run; // the walk: one run, from a scenario and a kernel to the verdict
pub mod pair_tests; // a test for each scenario and kernel, of `kshot test` and of the live tests
pub mod sweep; // runs a sweep: func_stack_trace over the whole kernel
pub mod survey; // runs a survey: every reporter of stacks in every situation
pub mod report; // tables, pages and files for people and their tools
pub mod bisect; // where a stack changed, over versions and commits: search, report and mail
pub mod nightly; // every scenario on every kernel, and what changed since the night before
pub mod bundle; // a run as one archive, and back
pub mod commands; // the command line, one file a command

#[cfg(test)]
#[path = "../../kshot-stack/src/samples.rs"]
mod samples; // a small value of each document, for tests
