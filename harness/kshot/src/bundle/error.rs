//! Errors of bundles.

use std::io;
use std::path::{Path, PathBuf};

use crate::artifacts::{ArtifactsError, is_of_this_host};
use crate::run::RunError;
use crate::scenario::ScenarioError;
use kshot_guest::host::FileError;
use kshot_guest::kernel::KernelError;
use kshot_guest::userland::UserlandError;
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};
use kshot_stack::document::Verdict;

/// Why a bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The catalogue's kernel of that name has changed since the run.
    #[error("the kernel {kernel} of that run (image {sha256}) is no longer available")]
    KernelGone {
        /// The kernel's name.
        kernel: String,
        /// The SHA-256 of its image.
        sha256: String,
    },
    /// Judged again, the run has another verdict.
    #[error("the run's verdict was `{}`, but now it would be `{}`", original.name(), rejudged.name())]
    Changed {
        /// The verdict that was found.
        original: Verdict,
        /// The verdict today.
        rejudged: Verdict,
    },
    /// The run folder is older than the request log.
    #[error("{} has no request log", path.display())]
    NoRequestLog {
        /// The run folder.
        path: PathBuf,
    },
    /// A step of the run cannot be made again without kshot.
    #[error("step {number} sends the guest a non-maskable interrupt, which a bundle cannot do")]
    Nmi {
        /// The number of the step, from 1.
        number: usize,
    },
    /// The file is not a bundle of kshot.
    #[error("{} is not a bundle of `kshot export`", path.display())]
    NotABundle {
        /// The path of the file.
        path: PathBuf,
    },
    /// The archive cannot be unpacked.
    #[error("cannot unpack {}", path.display())]
    Unpack {
        /// The path of the archive.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bundle was already unpacked here.
    #[error("{} already exists", path.display())]
    Exists {
        /// The path of the existing folder.
        path: PathBuf,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
    /// Signals cannot be listened for.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run folder cannot be read.
    #[error(transparent)]
    Artifacts(#[from] ArtifactsError),
    /// Reading the scenario failed.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Finding the kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Building the initramfs failed.
    #[error(transparent)]
    Userland(#[from] UserlandError),
    /// Judging a capture failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl BundleError {
    /// The error of a file that was unpacked to `scratch`, which is gone when the error is read: with the
    /// archive's path in its place.
    pub(super) fn inside(mut self, scratch: &Path, archive: &Path) -> Self {
        let path = match &mut self {
            Self::File(error) => &mut error.path,
            Self::Artifacts(error) | Self::Run(RunError::Artifacts(error)) => error.path_mut(),
            _ => return self,
        };
        if let Ok(member) = path.strip_prefix(scratch) {
            *path = archive.join(member);
        }
        self
    }
}

impl Blamed for BundleError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::File(error) => Some(error),
            Self::Artifacts(error) => Some(error),
            Self::Scenario(error) => Some(error),
            Self::Kernel(error) => Some(error),
            Self::Userland(error) => Some(error),
            Self::Run(error) => Some(error),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::KernelGone { .. }
            | Self::Changed { .. }
            | Self::NoRequestLog { .. }
            | Self::Nmi { .. }
            | Self::NotABundle { .. }
            | Self::Exists { .. } => Blame::Usage,
            Self::Interrupted => Blame::Interrupted,
            Self::Signals(_) => Blame::Host,
            Self::Unpack { source, .. } if is_of_this_host(source.kind()) => Blame::Host,
            Self::Unpack { .. } => Blame::Usage,
            // The archive or a file in it does not exist, or the file is too long or no text.
            Self::File(error)
                if matches!(
                    error.source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge
                ) =>
            {
                Blame::Usage
            }
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::KernelGone { .. } => Some(
                "give the kernel's file with --kernel, or repeat the run with `kshot run` and export the new one"
                    .into(),
            ),
            Self::Changed { .. } | Self::NoRequestLog { .. } => {
                Some("repeat the run with `kshot run`, and export the new one".into())
            }
            Self::Nmi { .. } => Some("share the scenario and the kernel instead".into()),
            Self::Exists { .. } => Some("choose another folder with --out, or remove this one".into()),
            _ => passed_on_hint(self),
        }
    }
}
