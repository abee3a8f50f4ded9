//! Debian's archive: where it is, what is downloaded from it, and the files of a download.
#![expect(clippy::disallowed_methods, reason = "apt and dpkg do the work")]

mod sums; // whether a download is still what it was
mod mirrors; // the archive's addresses, as the host's apt sources have them
mod apt; // downloads, with signatures checked and the host's apt untouched
mod deb; // the files of a download

pub use apt::{AptError, PackageFiles, PackageRequest};
pub(crate) use deb::file_with_suffix;
pub use deb::{deb_version, find_deb, unpack_linux_source};
