//! The guest's userland, SSH keys and initramfs.
#![expect(clippy::disallowed_methods, reason = "the userland is made by tools of the host")]

mod cpio; // the archive of an initramfs
mod initramfs; // what is in a guest's initramfs
mod keys; // kshot's SSH keys
mod openssh; // OpenSSH's files of keys
mod components; // how each part of the userland is made
mod packages; // busybox and dropbear out of Debian's packages
mod userland; // a guest's programs, made once for each architecture

use std::path::PathBuf;

use crate::debian::AptError;
use crate::host::cache::CacheError;
use crate::host::{FileError, MissingTool, ToolError, install_missing, tools};
use crate::kernel::KernelError;
use kshot_stack::fault::{Blame, Fault, passed_on_blame, passed_on_hint};

pub use initramfs::{Initramfs, initramfs};
pub use keys::SshKeys;
pub use userland::{Userland, missing_tools};

/// An archive with these files, to be appended to an initramfs. The kernel unpacks both, the second over the first.
///
/// # Errors
/// A file is too large for the format.
pub fn overlay(files: Vec<(String, u32, Vec<u8>)>) -> std::io::Result<Vec<u8>> {
    let mut archive = cpio::CpioArchive::default();
    for (path, mode, data) in files {
        archive.add(&path, cpio::CpioEntry::File(mode, data));
    }
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    Ok(bytes)
}

/// Why the userland or the initramfs could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host lacks tools that the build needs.
    #[error("this host has no {}", tools(missing))]
    MissingTools {
        /// All of them.
        missing: Vec<MissingTool>,
    },
    /// The download of a source package failed.
    #[error("cannot get the source of {part}")]
    Download {
        /// The part of the userland.
        part: &'static str,
        /// Why not.
        source: Box<AptError>,
    },
    /// A tool failed while a component was built.
    #[error("cannot build {part}")]
    Build {
        /// The part of the userland.
        part: &'static str,
        /// Which tool, its log and the log's tail.
        source: Box<ToolError>,
    },
    /// A key file in the cache holds something else.
    #[error("{} is not an unencrypted ed25519 private key in OpenSSH's format", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The list of the guest's modules or the source of perf could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Fault for ImageError {
    fn passed_on(&self) -> Option<&dyn Fault> {
        match self {
            Self::Download { source, .. } => Some(&**source),
            Self::Kernel(source) => Some(source),
            Self::Cache(source) => Some(source),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            // The userland is ours, so a failed build of it says nothing about the kernel under test.
            Self::Build { source, .. } if source.blame() == Blame::Interrupted => Blame::Interrupted,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTools { missing } => Some(install_missing(missing)),
            Self::Key { .. } => Some("remove the folder \"keys\" of the cache; new ones are made".into()),
            _ => passed_on_hint(self),
        }
    }
}
