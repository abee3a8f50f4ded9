//! The guest's programs, cross-built once for each architecture.

use std::path::PathBuf;
use std::thread;

use super::recipes::Part;
use super::{ImageError, Images};
use crate::cache::Cache;
use crate::kernel::{MissingTool, missing_to_build};
use crate::progress::Progress;
use kshot_stack::arch::Arch;

/// A userland that is ready: one small root for each of its parts.
#[derive(Clone, Debug)]
pub struct Userland {
    /// What it runs on.
    pub arch: Arch,
    /// Folders that lie over one another in the guest's root. Each is an entry of the cache, named by what
    /// it was made from.
    pub roots: Vec<PathBuf>,
}

/// The tools that building the userland needs and this host lacks.
pub fn missing_tools(arch: Arch) -> Vec<MissingTool> {
    missing_to_build(arch)
}

impl Userland {
    /// The userland if it was built before. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`ImageError::Io`] for a file of `images/guest` that cannot be read.
    pub fn find(arch: Arch, images: &Images, cache: &Cache) -> Result<Option<Self>, ImageError> {
        let mut roots = Vec::new();
        for part in Part::ALL {
            match part.find(arch, images, cache)? {
                Some(root) => roots.push(root),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { arch, roots }))
    }

    /// The userland, downloaded and built unless that was done before.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn provision(
        arch: Arch,
        images: &Images,
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
        let build = |parts: &[Part]| {
            parts
                .iter()
                .map(|part| part.provision(arch, images, cache, progress))
                .collect::<Result<Vec<_>, _>>()
        };
        let [long @ .., a, b, c] = Part::ALL;
        thread::scope(|scope| {
            let short = scope.spawn(|| build(&[a, b, c]));
            let mut roots = build(&long)?;
            let short = short.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            roots.extend(short?);
            Ok(Self { arch, roots })
        })
    }
}
