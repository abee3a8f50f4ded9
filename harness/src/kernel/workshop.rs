//! One source tree and one build folder in which many versions are built, one after another: kbuild builds only
//! what changed between them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::catalogue::{Images, KernelEntry};
use super::tools::missing_to_build;
use super::{Kernel, KernelError, build, finish, source};
use crate::cache::{Cache, Entry};
use crate::progress::Progress;

/// A place to build in. It is locked while this lives.
#[derive(Debug)]
pub(crate) struct Workshop {
    root: PathBuf,
    _lock: File,
}

impl Workshop {
    /// The workshop of that name, made when first asked for.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn open(name: &str, cache: &Cache, progress: &Progress) -> Result<Self, KernelError> {
        let waiting = || progress.note(&format!("waiting for another kshot to leave the workshop {name}"));
        let lock = cache.lock(&format!("workshops-{name}"), waiting)?;
        let root = cache.root().join("workshops").join(name);
        fs::create_dir_all(&root).map_err(KernelError::io("create", &root))?;
        Ok(Self { root, _lock: lock })
    }

    /// Where a source tree of the workshop's own lies.
    pub(crate) fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    /// The kernel of `entry`, whose source is in the state that the entry's `source` names once `ready` returns:
    /// from the cache, or built here.
    ///
    /// # Errors
    /// [`KernelError`], or what `ready` fails with.
    pub(crate) fn provision<E: From<KernelError>>(
        &self,
        entry: &KernelEntry,
        images: &Images,
        cache: &Cache,
        progress: &Progress,
        ready: impl FnOnce() -> Result<(), E>,
    ) -> Result<Kernel, E> {
        if let Some(kernel) = Kernel::find(entry, images, cache)? {
            return Ok(kernel);
        }
        check_tools(entry)?;
        let key = source::key(entry, images)?;
        let waiting = || progress.note(&format!("waiting for another kshot to build {}", entry.name));
        let draft = match cache.entry("kernels", &key, waiting).map_err(KernelError::from)? {
            Entry::Ready(folder) => return Ok(Kernel::in_folder(entry, &folder)?),
            Entry::Draft(draft) => draft,
        };
        ready()?;
        let made =
            build::rebuild(entry, images, cache, progress, (&self.source(), &self.objects()), draft.path())?;
        Ok(Kernel::in_folder(entry, &finish(entry, draft, made)?)?)
    }

    /// Builds the tree `tree`, as it is, into the folder `into`: a kernel of the user's own.
    ///
    /// # Errors
    /// [`KernelError`].
    pub(crate) fn build_tree(
        &self,
        entry: &KernelEntry,
        (tree, into): (&Path, &Path),
        images: &Images,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Kernel, KernelError> {
        check_tools(entry)?;
        let made = build::rebuild(entry, images, cache, progress, (tree, &self.objects()), into)?;
        let mut kernel = Kernel::from_file(&into.join("vmlinux"))?;
        let dwarf = into.join("vmlinux.debug");
        (kernel.name, kernel.lost) = (entry.name.clone(), made.lost);
        kernel.dwarf = dwarf.exists().then_some(dwarf);
        Ok(kernel)
    }

    fn objects(&self) -> PathBuf {
        self.root.join("build")
    }
}

fn check_tools(entry: &KernelEntry) -> Result<(), KernelError> {
    match missing_to_build(entry.arch) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(KernelError::MissingTools { missing }),
    }
}
