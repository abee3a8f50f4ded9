//! Linux kernels in QEMU: gets them, boots them, logs in, and records call stacks.
//!
//! The modules stand in reading order: each uses only those above it.

pub mod deadline; // every wait: how long, for what, and the last real cause
pub mod progress; // bars on a terminal, plain lines elsewhere
pub mod yaml; // reads YAML: typed values, or an error with line and caret, without control characters
pub mod bounded; // reads input up to a limit: regular files, sizes, archives
pub mod records; // append-only files, one record a line
pub mod host; // the host's tools and their logs, its cache, locks, slots and interrupts
pub mod debian; // Debian's archive, apt, and the files of packages
pub mod git; // repositories, and clones to work in
pub mod symbols; // build ids, loaded modules, DWARF: addresses to functions, lines, inlines and stacks
pub mod kernel; // the catalogue (kernels.yaml, kshot.yaml); kernels out of packages, sources and build folders
pub mod userland; // the guest's userland and its initramfs
pub mod machine; // QEMU: argv, process, console, monitor, gdb stub and breakpoints, saved states; was the host too busy
pub mod session; // SSH into the guest
pub mod probe; // how each tracing mechanism is armed, stopped and fetched
