//! Debian's archive: where it is, what is downloaded from it, and the files of a download.
#![expect(clippy::disallowed_methods, reason = "apt and dpkg do the work")]

mod mirrors; // the archives' addresses, of the environment or the host's apt sources
mod deb; // .deb packages: unpacking one, its version, what it depends on
mod apt; // downloads, with signatures checked and the host's apt untouched

pub use apt::{AptError, PackageFiles, PackageRequest};
pub(crate) use deb::file_with_suffix;
pub use deb::{ExactDependency, deb_version, exact_dependencies, find_deb, unpack_linux_source};
