//! The host: its cache, its tools and their logs, and how much it carries at once.
#![expect(clippy::disallowed_methods, reason = "the tools of the host are started here")]

pub mod interrupt; // SIGINT, SIGTERM and SIGHUP
mod file; // the error of a file operation, a folder's contents, the user's folders
mod random; // the host's randomness
mod scratch; // temporary folders that do not stay behind
pub mod cache; // content-addressed, atomic, locked entries under the user's cache folder
pub mod slots; // how many machines and builds this host carries at once
mod program; // a program of the host that says little
mod tool; // a tool of the host that runs with a log
mod program_version; // the versions of the host's programs
mod distribution; // what the host's distribution calls packages, and how it installs them
mod decompress; // gzip, zlib, xz, zstd
mod requirements; // the tools that kshot needs, and their packages
mod compiler; // the cross compilers

pub use compiler::{compiler, compiler_version};
pub(crate) use decompress::Compression;
pub use distribution::install;
pub use file::{FileError, list, user_folder};
pub use program::{OnInterrupt, ProgramError, output_of};
pub use program_version::program_version;
pub use random::random;
pub use requirements::{MissingTool, install_missing, missing_build_tools, missing_run_tools, tools};
pub(crate) use requirements::{UNPACK, missing, missing_compiler};
pub use scratch::ScratchFolder;
pub use tool::{ToolError, ToolLog, find_program};
pub(crate) use tool::{environment, tied};
