//! A build folder in which many versions of a source tree are built one after another, so that kbuild
//! rebuilds only what changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::build::BuildPaths;
use super::catalogue::KernelSpec;
use super::{Kernel, KernelError, ProvisionContext, Provisioned, build, commit_kernel, source};
use crate::host::FileError;
use crate::host::cache::{Cache, Lookup};
use crate::host::missing_build_tools;
use crate::progress::Progress;
use crate::symbols::{Dwarf, NoDwarf};
use crate::{bounded, records};
use kshot_stack::blame::{Blame, Blamed};

/// The file of a build folder that names the commit that was built last.
const LAST_BUILT: &str = "last-built";
/// The longest commit id, in bytes: SHA-256 in hexadecimal.
const COMMIT_BYTES_MOST: u64 = 64;

/// A build folder, locked while this value lives.
#[derive(Debug)]
pub struct BuildFolder {
    root: PathBuf,
    _lock: File,
}

impl BuildFolder {
    /// Opens the build folder `name`, creating it on first use.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn open(name: &str, cache: &Cache, progress: &Progress) -> Result<Self, KernelError> {
        let on_wait =
            || progress.print_line(&format!("waiting for another kshot to leave the build folder {name}"));
        let lock = cache.lock(&format!("workshops-{name}"), on_wait)?;
        let root = cache.root().join("workshops").join(name);
        fs::create_dir_all(&root).map_err(FileError::on("create", &root))?;
        Ok(Self { root, _lock: lock })
    }

    /// The path of the build folder's own source tree.
    pub fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    /// The kernel of `spec`, from the cache or built here. `check_out` brings the source tree to the state
    /// that the kernel's `source` names.
    ///
    /// # Errors
    /// [`KernelError`], or the error of `check_out`.
    pub fn provision<E: From<KernelError>>(
        &self,
        spec: &KernelSpec,
        context: &ProvisionContext<'_>,
        check_out: impl FnOnce() -> Result<(), E>,
    ) -> Result<Kernel, E> {
        let ProvisionContext { images, cache, progress } = context;
        if let Some(kernel) = Kernel::find(spec, images, cache)? {
            return Ok(kernel);
        }
        check_tools(spec)?;
        let key = source::key(spec, images)?;
        let on_wait = || progress.print_line(&format!("waiting for another kshot to build {}", spec.name));
        let draft = match cache.find_or_draft("kernels", &key, on_wait).map_err(KernelError::from)? {
            Lookup::Found(folder) => return Ok(Kernel::from_entry(spec, &folder)?),
            Lookup::Missing(draft) => draft,
        };
        check_out()?;
        let paths = BuildPaths { tree: &self.source(), into: draft.path() };
        let made = self.rebuild(spec, context, paths)?;
        Ok(Kernel::from_entry(spec, &commit_kernel(spec, draft, made)?)?)
    }

    /// Builds a source tree as it is, as the user's own kernel.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn build_tree(
        &self,
        spec: &KernelSpec,
        paths: BuildPaths<'_>,
        context: &ProvisionContext<'_>,
    ) -> Result<Kernel, KernelError> {
        let ProvisionContext { images, cache, .. } = context;
        check_tools(spec)?;
        let into = paths.into;
        let made = self.rebuild(spec, context, paths)?;
        let mut kernel = Kernel::from_path(&into.join(spec.arch.row().image.name()), images, cache)?;
        let dwarf = into.join("vmlinux.debug");
        (kernel.name, kernel.lost) = (spec.name.clone(), made.lost);
        kernel.dwarf = dwarf.exists().then(|| Dwarf::of(dwarf, None)).ok_or(NoDwarf::Without);
        kernel.config = Some(into.join("config")).filter(|config| config.is_file()).or(kernel.config);
        kernel.relocated()
    }

    /// Notes the commit that was built last.
    ///
    /// # Errors
    /// [`KernelError::File`].
    pub fn note_built(&self, commit: &str) -> Result<(), KernelError> {
        let path = self.root.join(LAST_BUILT);
        Ok(records::replace(&path, commit.as_bytes()).map_err(FileError::on("write", &path))?)
    }

    /// The commit that was built last, where one was noted.
    pub fn last_built(&self) -> Option<String> {
        bounded::read_text(&self.root.join(LAST_BUILT), COMMIT_BYTES_MOST).ok().filter(|id| !id.is_empty())
    }

    /// Builds again what `check_out` puts into the clone, only to check that this host can still build.
    ///
    /// # Errors
    /// [`KernelError`], and the error of `check_out`.
    pub fn build_again<E: From<KernelError>>(
        &self,
        spec: &KernelSpec,
        context: &ProvisionContext<'_>,
        check_out: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let ProvisionContext { cache, .. } = context;
        check_out()?;
        let into = cache.scratch().map_err(KernelError::from)?;
        let paths = BuildPaths { tree: &self.source(), into: into.path() };
        self.rebuild(spec, context, paths)?;
        Ok(())
    }

    /// Builds incrementally on the last build here. If that build was killed, it may have left truncated
    /// objects that make takes for up to date because they are newer than their sources; everything it wrote
    /// is removed first.
    fn rebuild(
        &self,
        spec: &KernelSpec,
        context: &ProvisionContext<'_>,
        paths: BuildPaths<'_>,
    ) -> Result<Provisioned, KernelError> {
        let ProvisionContext { progress, .. } = context;
        let (objects, underway) = (self.root.join("build"), self.root.join("underway"));
        if let Ok(since) = fs::metadata(&underway).and_then(|file| file.modified()) {
            progress.print_line("the last build here was cut off: what it wrote is built again");
            remove_since(&objects, since)?;
        }
        fs::write(&underway, "").map_err(FileError::on("write", &underway))?;
        let made = build::build_incrementally(spec, context, paths, &objects);
        // The marker is removed even after an error, because make deletes unfinished targets itself. It stays
        // if make may have been killed, as it is when it does not end soon after Ctrl-C.
        let may_be_killed = |error: &KernelError| matches!(error.blame(), Blame::Host | Blame::Interrupted);
        if made.as_ref().is_err_and(may_be_killed) {
            return made;
        }
        fs::remove_file(&underway).map_err(FileError::on("remove", &underway))?;
        made
    }
}

/// Removes the files below `folder` that were written at `since` or later. Headers stay: kbuild renames them
/// into place when they are complete, and their times record which options changed.
fn remove_since(folder: &Path, since: SystemTime) -> Result<(), KernelError> {
    let failed = |action| FileError::on(action, folder);
    let Ok(files) = fs::read_dir(folder) else { return Ok(()) };
    for file in files {
        let file = file.map_err(failed("list"))?;
        let (path, kind) = (file.path(), file.file_type().map_err(failed("list"))?);
        if kind.is_dir() && file.file_name() != "include" {
            remove_since(&path, since)?;
        } else if kind.is_file()
            && file.metadata().and_then(|file| file.modified()).map_err(failed("list"))? >= since
        {
            fs::remove_file(&path).map_err(FileError::on("remove", &path))?;
        }
    }
    Ok(())
}

fn check_tools(spec: &KernelSpec) -> Result<(), KernelError> {
    match missing_build_tools(spec.arch) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(KernelError::MissingTools { missing }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_cut_off_build_wrote_goes_and_what_was_there_before_stays() {
        let folder = tempfile::tempdir().unwrap();
        let since = SystemTime::now();
        let file = |name: &str, time: SystemTime| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let (before, after) = (since - Duration::from_secs(60), since + Duration::from_secs(1));
        let stay = [
            file("kernel/fork.o", before),
            file("include/config/TUN", after),
            file("arch/mips/include/generated/asm.h", after),
        ];
        let go = [file("vmlinux", since), file("kernel/exit.o", after), file("kernel/trace/trace.o", after)];
        remove_since(folder.path(), since).unwrap();
        assert!(stay.iter().all(|path| path.exists()) && !go.iter().any(|path| path.exists()));
        remove_since(&folder.path().join("none"), since).unwrap();
    }
}
