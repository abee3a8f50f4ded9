//! The DWARF of a kernel: kept from the build, or extracted from Debian's `-dbg` package for a prebuilt
//! kernel. That package unpacks to gigabytes, of which a guest needs a few files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use duct::{Expression, cmd};

use super::catalogue::{DwarfAvailability, ImagesFolder, KernelSource, KernelSpec, LinuxImagePackage};
use super::{Kernel, KernelError, KernelMetadata, ProvisionContext, package, provision, vmlinux};
use crate::debian::PackageRequest;
use crate::debian::find_deb;
use crate::host::FileError;
use crate::host::cache::{self, Cache, Draft, Lookup};
use crate::host::{ToolError, ToolLog};
use crate::progress::Progress;
use crate::symbols::build_id;
use crate::symbols::{Dwarf, modules_below};

/// The kind of the DWARF entries in the cache.
const DWARF: &str = "dwarf";
/// The version of the extraction; it changes when the same inputs give other files.
const RECIPE_VERSION: &str = "1";
/// The file name of the `vmlinux` with DWARF in a cache entry; `lib/modules/<release>` is beside it.
const VMLINUX: &str = "vmlinux";

/// The DWARF of a prebuilt kernel, if it is in the cache.
///
/// # Errors
/// [`KernelError::File`].
pub(super) fn find(
    spec: &KernelSpec,
    kernel: &Kernel,
    images: &ImagesFolder,
    cache: &Cache,
) -> Result<Option<Dwarf>, KernelError> {
    let Some((_, dbg)) = dbg(spec) else { return Ok(None) };
    let folder = cache.find(DWARF, &key(kernel, dbg, images)?);
    Ok(folder.map(|folder| Dwarf::of(folder.join(VMLINUX), Some(&folder))))
}

/// Provisions a kernel of the catalogue and its DWARF: takes each from the cache or downloads it.
///
/// # Errors
/// [`KernelError::NoDwarf`] if the catalogue names no package with the kernel's DWARF; other errors of
/// [`KernelError`].
pub fn provision_dwarf(spec: &KernelSpec, context: &ProvisionContext<'_>) -> Result<Kernel, KernelError> {
    let ProvisionContext { images, cache, progress } = context;
    let dbg = dbg(spec);
    if dbg.is_none() && spec.dwarf_availability() != DwarfAvailability::Built {
        return Err(KernelError::NoDwarf { kernel: spec.name.clone() });
    }
    let kernel = provision(spec, context)?;
    let Some((package, dbg)) = dbg.filter(|_| kernel.dwarf.is_err()) else { return Ok(kernel) };
    let on_wait = || progress.print_line(&format!("waiting for another kshot to provision {dbg}"));
    let folder = match cache.find_or_draft(DWARF, &key(&kernel, dbg, images)?, on_wait)? {
        Lookup::Found(folder) => folder,
        Lookup::Missing(draft) => {
            // The -dbg package must have the kernel's version, even if the archive has a newer one by now.
            let metadata = KernelMetadata::read(kernel.boot.parent().unwrap_or(Path::new("/")))?;
            let version = metadata.version.as_deref();
            let request =
                PackageRequest { package: dbg, version, ..package::linux_image_request(spec, package) };
            unpack(spec, &kernel, &request, cache, progress, draft)?
        }
    };
    Kernel { dwarf: Ok(Dwarf::of(folder.join(VMLINUX), Some(&folder))), ..kernel }.relocated()
}

fn dbg(spec: &KernelSpec) -> Option<(&LinuxImagePackage, &str)> {
    match &spec.source {
        KernelSource::DebianPackage(package) => Some((package, package.dbg.as_deref()?)),
        _ => None,
    }
}

/// The cache key of a kernel's DWARF. The image's SHA-256 identifies the build, whatever version the archive
/// has.
fn key(kernel: &Kernel, dbg: &str, images: &ImagesFolder) -> Result<String, KernelError> {
    let modules = images.guest_modules()?.join(" ");
    let parts = [RECIPE_VERSION, &kernel.sha256, dbg, &modules].map(str::as_bytes);
    Ok(format!("{}-{}", kernel.name, cache::key(parts)))
}

/// Extracts the DWARF of `kernel` and of the guest's modules from the kernel's `-dbg` package into the draft.
fn unpack(
    spec: &KernelSpec,
    kernel: &Kernel,
    request: &PackageRequest<'_>,
    cache: &Cache,
    progress: &Progress,
    draft: Draft,
) -> Result<PathBuf, KernelError> {
    let step = KernelError::tool(&spec.name);
    let download = |source| KernelError::Download { kernel: spec.name.clone(), source: Box::new(source) };
    let deb = find_deb(&request.download(cache, progress).map_err(download)?)?;

    let _task = progress.task(format!("unpack {}", request.package), 0);
    let mut log = ToolLog::create(cache, &format!("dwarf-{}", spec.name)).map_err(&step)?;
    let kernel_modules = kernel.modules.as_deref().map(|root| modules_below(&root.join("lib/modules")));
    let kernel_modules = kernel_modules.unwrap_or_default();
    let scratch = draft.scratch()?;
    let inside = PathBuf::from("usr/lib/debug");
    // Since 7.x the vmlinux lies beside the modules, and `boot` holds a link to it.
    let vmlinux =
        [format!("boot/vmlinux-{}", kernel.release), format!("lib/modules/{}/vmlinux", kernel.release)];
    let modules =
        kernel_modules.values().filter_map(|path| path.strip_prefix(kernel.modules.as_deref()?).ok());
    let members = modules.map(|path| inside.join(path)).chain([inside.join("*/vmlinux*")]);
    log.run("unpacking the DWARF", &extract_members(&deb, members, scratch.path()))
        .map_err(ToolError::of_host)
        .map_err(&step)?;

    let take = |from: &Path, to: PathBuf| {
        fs::rename(scratch.path().join(from), &to).map_err(FileError::on("create", &to))
    };
    let is_there = |path: &PathBuf| {
        fs::symlink_metadata(scratch.path().join(path)).is_ok_and(|metadata| metadata.is_file())
    };
    let [boot, beside] = vmlinux.map(|path| inside.join(path));
    let vmlinux = if is_there(&boot) { boot } else { beside };
    take(&vmlinux, draft.path().join(VMLINUX))?;
    if !kernel_modules.is_empty() {
        take(&inside.join("lib"), draft.path().join("lib"))?;
    }
    check_same_build(kernel, &kernel_modules, &Dwarf::of(draft.path().join(VMLINUX), Some(draft.path())))?;
    let folder = draft.commit_with_sums()?;
    // The package, some hundred megabytes, is no longer needed.
    request.discard(cache)?;
    Ok(folder)
}

/// Extracts only `members` of the package `deb`, paths with wildcards, into the folder `into`.
fn extract_members(deb: &Path, members: impl Iterator<Item = PathBuf>, into: &Path) -> Expression {
    let untar = ["-x", "--wildcards", "-C"].map(Into::into).into_iter().chain([into.as_os_str().to_owned()]);
    let members = members.map(|member| Path::new(".").join(member).into_os_string());
    cmd!("dpkg-deb", "--fsys-tarfile", deb).pipe(cmd("tar", untar.chain(members)))
}

/// Checks that the DWARF belongs to the kernel: by build id for modules, by banner for the kernel, whose
/// image is compressed. Its build id is compared with the guest's before each breakpoint.
fn check_same_build(
    kernel: &Kernel,
    kernel_modules: &BTreeMap<String, PathBuf>,
    dwarf: &Dwarf,
) -> Result<(), KernelError> {
    let other =
        |path: &Path, why| KernelError::DwarfMismatch { kernel: kernel.name.clone(), path: path.into(), why };
    let image = vmlinux::read(&dwarf.vmlinux)?;
    if image.arch != kernel.arch || image.release.as_deref() != Some(&kernel.release) || image.dwarf.is_err()
    {
        let release = image.release.unwrap_or_else(|| "unknown".into());
        let why = format!(
            "its release is {release}, its architecture {}; readable DWARF: {}",
            image.arch,
            image.dwarf.is_ok()
        );
        return Err(other(&dwarf.vmlinux, why));
    }
    for (name, module) in kernel_modules {
        let path =
            dwarf.modules.get(name).ok_or_else(|| other(&dwarf.vmlinux, format!("it lacks {name}")))?;
        let id = |path: &Path| {
            let bytes = fs::read(path).map_err(FileError::on("read", path))?;
            build_id(&*bytes).map_err(|error| other(path, error.to_string()))
        };
        let (ours, theirs) = (id(path)?, id(module)?);
        if ours.is_none() || ours != theirs {
            return Err(other(path, "its build id differs from the loaded module's".into()));
        }
    }
    Ok(())
}
