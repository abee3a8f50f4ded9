//! The guest's programs, made once for each architecture.

use std::path::PathBuf;
use std::thread;

use super::ImageError;
use super::components::Component;
use crate::host::MissingTool;
use crate::host::cache::Cache;
use crate::host::slots::Slots;
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

impl Userland {
    /// The userland, with perf or without it, if it is in the cache. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`ImageError::File`] for a file of `images/guest` that cannot be read.
    pub fn find(
        arch: Arch,
        perf: bool,
        images: &ImagesFolder,
        cache: &Cache,
    ) -> Result<Option<Self>, ImageError> {
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
    /// [`ImageError`].
    pub fn provision(
        arch: Arch,
        perf: bool,
        images: &ImagesFolder,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        if let Some(userland) = Self::find(arch, perf, images, cache)? {
            return Ok(userland);
        }
        let missing = missing_tools(arch, perf);
        if !missing.is_empty() {
            return Err(ImageError::MissingTools { missing });
        }
        let held = Slots::of_this_host(cache).take_for_build(progress)?;
        // Much of a build is configure scripts, which run one command at a time: two builds at once.
        let build = |parts: &[Component]| {
            parts
                .iter()
                .map(|part| part.provision(arch, images, cache, progress, held.len()))
                .collect::<Result<Vec<_>, _>>()
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
