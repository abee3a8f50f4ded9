//! Linux kernels in QEMU: gets them, boots them, logs in, and records call stacks.
//!
//! The modules stand in reading order: each uses only those above it.

pub mod deadline; // every wait: how long, for what, and the last real cause
pub mod interrupt; // SIGINT and SIGTERM
pub mod progress; // bars on a terminal, plain lines elsewhere
pub mod yaml; // the one door to YAML
pub mod cache; // content-addressed, atomic, locked entries under the user's cache folder
pub mod slots; // how many machines and builds this host carries at once
pub mod kernel; // the catalogue; fetch, verify, patch, configure, build, cache
pub mod image; // the guest's userland and its initramfs
pub mod symbols; // addresses to functions, files, lines and inlines, with DWARF
pub mod machine; // QEMU argv, process, console, QMP
pub mod session; // SSH into the guest
pub mod probe; // how each tracing mechanism is armed, stopped and fetched
