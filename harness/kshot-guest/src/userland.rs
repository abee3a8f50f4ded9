//! The guest's userland, made once for each architecture, its SSH keys and its initramfs.
#![expect(clippy::disallowed_methods, reason = "the userland is made by tools of the host")]

mod cpio; // the archive of an initramfs
mod initramfs; // what is in a guest's initramfs
mod keys; // kshot's SSH keys
mod openssh; // OpenSSH's files of keys
mod components; // how each part of the userland is made
mod packages; // busybox and dropbear out of Debian's packages

use std::path::PathBuf;
use std::thread;

use crate::debian::AptError;
use crate::host::cache::{Cache, CacheError};
use crate::host::slots::Slots;
use crate::host::{FileError, MissingTool, ToolError, install_missing, tools};
use crate::kernel::{ImagesFolder, KernelError, ProvisionContext};
use components::Component;
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};

pub use initramfs::{Initramfs, initramfs};
pub use keys::SshKeys;

/// A finished userland: one root folder for each component.
#[derive(Clone, Debug)]
pub struct Userland {
    /// The architecture of the userland.
    pub arch: Arch,
    /// The components' root folders, which are merged into the guest's root. Each is a cache entry, named by
    /// its inputs.
    pub roots: Vec<PathBuf>,
}

/// Why the userland or the initramfs could not be built.
#[derive(Debug, thiserror::Error)]
pub enum UserlandError {
    /// The host lacks tools that the build needs.
    #[error("this host lacks {}", tools(missing))]
    MissingTools {
        /// The missing tools.
        missing: Vec<MissingTool>,
    },
    /// The download of a source package failed.
    #[error("cannot get the source of {part}")]
    Download {
        /// The part of the userland.
        part: &'static str,
        /// The underlying error.
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

/// The tools that making the userland needs and the host lacks; `perf` says whether perf is in it.
pub fn missing_tools(arch: Arch, perf: bool) -> Vec<MissingTool> {
    let mut missing: Vec<MissingTool> = Vec::new();
    for tool in Component::of_guest(perf).iter().flat_map(|part| part.missing_tools(arch)) {
        if !missing.contains(&tool) {
            missing.push(tool);
        }
    }
    missing
}

/// An archive with these files, to be appended to an initramfs. The kernel unpacks both, the second over the
/// first.
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

impl Userland {
    /// The userland, with perf or without it, if it is in the cache. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`UserlandError::File`] for a file of `images/guest` that cannot be read.
    pub fn find(
        arch: Arch,
        perf: bool,
        images: &ImagesFolder,
        cache: &Cache,
    ) -> Result<Option<Self>, UserlandError> {
        let mut roots = Vec::new();
        for part in Component::of_guest(perf) {
            match part.find(arch, images, cache)? {
                Some(root) => roots.push(root),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { arch, roots }))
    }

    /// The userland, with perf or without it, from the cache or downloaded and built now.
    ///
    /// # Errors
    /// [`UserlandError`].
    pub fn provision(arch: Arch, perf: bool, context: &ProvisionContext<'_>) -> Result<Self, UserlandError> {
        let ProvisionContext { images, cache, progress } = context;
        if let Some(userland) = Self::find(arch, perf, images, cache)? {
            return Ok(userland);
        }
        let missing = missing_tools(arch, perf);
        if !missing.is_empty() {
            return Err(UserlandError::MissingTools { missing });
        }
        let held = Slots::of_this_host(cache).take_for_build(progress)?;
        // Much of a build is configure scripts, which run one command at a time: two builds at once.
        let build = |parts: &[Component]| {
            parts.iter().map(|part| part.provision(arch, context, held.len())).collect::<Result<Vec<_>, _>>()
        };
        let (long, short) = Component::of_guest(perf).split_at(1);
        thread::scope(|scope| {
            let short = scope.spawn(|| build(short));
            let mut roots = build(long)?;
            let short = short.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            roots.extend(short?);
            Ok(Self { arch, roots })
        })
    }
}

impl Blamed for UserlandError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
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
