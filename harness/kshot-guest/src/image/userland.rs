//! The guest's programs, cross-built once for each architecture.

use std::path::PathBuf;
use std::thread;

use super::ImageError;
use super::components::Component;
use crate::host::cache::Cache;
use crate::host::{MissingTool, missing_build_tools};
use crate::kernel::ImagesFolder;
use crate::progress::Progress;
use kshot_stack::arch::Arch;

/// A finished userland: one root folder for each component.
#[derive(Clone, Debug)]
pub struct Userland {
    /// The architecture of the userland.
    pub arch: Arch,
    /// The components' root folders, which are merged into the guest's root. Each is a cache entry, named by its
    /// inputs.
    pub roots: Vec<PathBuf>,
}

/// The tools that building the userland needs and the host lacks.
pub fn missing_tools(arch: Arch) -> Vec<MissingTool> {
    missing_build_tools(arch)
}

impl Userland {
    /// The userland, if it is in the cache. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`ImageError::File`] for a file of `images/guest` that cannot be read.
    pub fn find(arch: Arch, images: &ImagesFolder, cache: &Cache) -> Result<Option<Self>, ImageError> {
        let mut roots = Vec::new();
        for part in Component::ALL {
            match part.find(arch, images, cache)? {
                Some(root) => roots.push(root),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { arch, roots }))
    }

    /// The userland, from the cache or downloaded and built now.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn provision(
        arch: Arch,
        images: &ImagesFolder,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        if let Some(userland) = Self::find(arch, images, cache)? {
            return Ok(userland);
        }
        let missing = missing_tools(arch);
        if !missing.is_empty() {
            return Err(ImageError::MissingTools { missing });
        }
        // Much of a build is configure scripts, which run one command at a time: two builds at once.
        let build = |parts: &[Component]| {
            parts
                .iter()
                .map(|part| part.provision(arch, images, cache, progress))
                .collect::<Result<Vec<_>, _>>()
        };
        let [long @ .., a, b, c] = Component::ALL;
        thread::scope(|scope| {
            let short = scope.spawn(|| build(&[a, b, c]));
            let mut roots = build(&long)?;
            let short = short.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            roots.extend(short?);
            Ok(Self { arch, roots })
        })
    }
}
