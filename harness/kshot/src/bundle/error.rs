//! What bundles fail with.

use std::io;
use std::path::{Path, PathBuf};

use crate::artifacts::ArtifactsError;
use crate::run::RunError;
use crate::scenario::ScenarioError;
use kshot_guest::image::ImageError;
use kshot_guest::kernel::KernelError;
use kshot_stack::document::Word;
use kshot_stack::fault::{Blame, Fault};

/// Why there is no bundle, or nothing in it.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The kernel of that name is another one now.
    #[error("the kernel {kernel} of that run (image {sha256}) is not here any more")]
    KernelGone {
        /// Its name.
        kernel: String,
        /// The SHA-256 of its image.
        sha256: String,
    },
    /// Judged again, the run comes to another verdict.
    #[error("the run came to `{}`, and would now come to `{}`", then.name(), now.name())]
    Changed {
        /// The verdict that was found.
        then: Word,
        /// The one of today.
        now: Word,
    },
    /// The run is older than the list of what was asked of the guest.
    #[error("{} does not list what was asked of the guest", path.display())]
    NoList {
        /// The run folder.
        path: PathBuf,
    },
    /// It is no bundle of ours.
    #[error("{} is no bundle of `kshot export`", path.display())]
    NoBundle {
        /// The file.
        path: PathBuf,
    },
    /// It was unpacked before.
    #[error("{} is there already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The run folder.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The initramfs.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A capture.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl BundleError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Fault for BundleError {
    fn blame(&self) -> Blame {
        match self {
            Self::KernelGone { .. }
            | Self::Changed { .. }
            | Self::NoList { .. }
            | Self::NoBundle { .. }
            | Self::Exists { .. } => Blame::Usage,
            // The archive is not there, or something in it.
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Blame::Usage,
            Self::Io { .. } => Blame::Host,
            Self::Artifacts(error) => error.blame(),
            Self::Scenario(error) => error.blame(),
            Self::Kernel(error) => error.blame(),
            Self::Image(error) => error.blame(),
            Self::Run(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::KernelGone { .. } | Self::Changed { .. } | Self::NoList { .. } => {
                Some("make the run again with kshot run, and export that one".into())
            }
            Self::NoBundle { .. } | Self::Io { .. } => None,
            Self::Exists { .. } => Some("choose another folder with --out, or remove this one".into()),
            Self::Artifacts(error) => error.hint(),
            Self::Scenario(error) => error.hint(),
            Self::Kernel(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Run(error) => error.hint(),
        }
    }
}
