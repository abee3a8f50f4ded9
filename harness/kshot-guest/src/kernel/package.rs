//! Prebuilt kernels from Debian's `linux-image-*` packages.

use std::fs;
use std::path::{Path, PathBuf};

use duct::cmd;

use super::catalogue::{ImagesFolder, KernelSpec, LinuxImagePackage};
use super::modules::with_dependencies;
use super::tree::{StoredModule, unpack_module, without_compression};
use super::{KernelError, ProvisionContext, Provisioned};
use crate::debian::{PackageFiles, PackageRequest};
use crate::debian::{deb_version, exact_dependencies, find_deb};
use crate::host::{FileError, list};
use crate::host::{ToolError, ToolLog, find_program};

/// The package request for a prebuilt kernel.
pub(super) fn linux_image_request<'a>(
    spec: &KernelSpec,
    package: &'a LinuxImagePackage,
) -> PackageRequest<'a> {
    PackageRequest {
        package: &package.package,
        suite: &package.suite,
        version: package.version.as_deref(),
        files: PackageFiles::Binary(spec.arch.row().debian.unwrap_or(spec.arch.row().name)),
    }
}

/// Extracts the kernel in `package` into `folder`. Returns the facts of the kernel.
///
/// # Errors
/// [`KernelError`].
pub(super) fn unpack(
    spec: &KernelSpec,
    package: &LinuxImagePackage,
    context: &ProvisionContext<'_>,
    folder: &Path,
) -> Result<Provisioned, KernelError> {
    let ProvisionContext { images, cache, progress } = context;
    let download = |source| KernelError::Download { kernel: spec.name.clone(), source: Box::new(source) };
    // The package comes from Debian, so a failure is the host's fault, not the kernel's.
    let step = |error: ToolError| KernelError::tool(&spec.name)(error.of_host());
    let request = linux_image_request(spec, package);
    let mut debs = vec![find_deb(&request.download(cache, progress).map_err(download)?)?];
    let version = deb_version(&debs[0]);
    let mut log = ToolLog::create(cache, &format!("kernel-{}", spec.name)).map_err(&step)?;
    // Since 7.x the package is empty, and depends on others of the same version, which hold the kernel, its
    // configuration and its modules.
    let mut depends = String::new();
    let show = cmd!("dpkg-deb", "-f", &debs[0], "Depends");
    log.run_with_lines("reading its dependencies", &show, |line| depends.push_str(line)).map_err(&step)?;
    for part in exact_dependencies(&depends) {
        let request = PackageRequest { package: part.package, version: Some(part.version), ..request };
        debs.push(find_deb(&request.download(cache, progress).map_err(download)?)?);
    }

    let task = progress.task(format!("unpack {}", spec.name), 0);
    let unpacked = folder.join("unpacked");
    for deb in &debs {
        log.run("unpacking the kernel", &cmd!("dpkg-deb", "-x", deb, &unpacked)).map_err(&step)?;
    }
    // Where `lib` is a link into `usr`, the package has the modules there (since trixie).
    let (merged, inside) = (unpacked.join("usr/lib/modules"), unpacked.join("lib/modules"));
    if merged.is_dir() {
        fs::create_dir_all(unpacked.join("lib")).map_err(FileError::on("create", &inside))?;
        move_file(&merged, &inside)?;
    }
    let modules = file_with_prefix(&inside, "")?;
    // Since 7.x the kernel lies beside its modules.
    let boot = unpacked.join("boot");
    let kernel = if boot.is_dir() { &boot } else { &modules };
    let image = folder.join(spec.arch.row().image.name());
    move_file(&file_with_prefix(kernel, spec.arch.row().image_prefix)?, &image)?;
    move_file(&file_with_prefix(kernel, "config")?, &folder.join("config"))?;
    move_file(&file_with_prefix(kernel, "System.map")?, &folder.join("System.map"))?;

    // The banner of Debian's vmlinuz is compressed, so the release comes from the modules' folder.
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    task.update(0, "modules");
    let depmod = find_program("depmod").unwrap_or_else(|| "depmod".into());
    log.run("depmod", &cmd!(depmod, "-b", &unpacked, &release)).map_err(&step)?;
    take_modules(&unpacked, &folder.join("modules"), &release, images)?;
    fs::remove_dir_all(&unpacked).map_err(FileError::on("remove", &unpacked))?;

    Ok(Provisioned { release, version, lost: Vec::new() })
}

/// Takes the modules that the guest loads, uncompressed, with a `modules.dep` for them alone.
fn take_modules(from: &Path, to: &Path, release: &str, images: &ImagesFolder) -> Result<(), KernelError> {
    let inside = Path::new("lib/modules").join(release);
    let (from, to) = (from.join(&inside), to.join(&inside));
    fs::create_dir_all(&to).map_err(FileError::on("create", &to))?;
    let dep = from.join("modules.dep");
    let text = fs::read_to_string(&dep).map_err(FileError::on("read", &dep))?;
    let lines = with_dependencies(&text, &images.guest_modules()?);
    for path in lines.iter().filter_map(|line| line.split(':').next()) {
        let StoredModule { path, bytes } = unpack_module(&from, path)?;
        let plain = to.join(path);
        let folder = plain.parent().unwrap_or(&to);
        fs::create_dir_all(folder).map_err(FileError::on("create", folder))?;
        fs::write(&plain, bytes).map_err(FileError::on("write", &plain))?;
    }
    let dep = to.join("modules.dep");
    let taken: String = lines.iter().map(|line| without_compression(line) + "\n").collect();
    Ok(fs::write(&dep, taken).map_err(FileError::on("write", &dep))?)
}

fn move_file(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::on("move", from))
}

fn file_with_prefix(folder: &Path, prefix: &str) -> Result<PathBuf, KernelError> {
    list(folder)?
        .into_iter()
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .ok_or_else(|| KernelError::NotBootable {
            path: folder.into(),
            why: format!("the package has no {prefix}* in this folder"),
        })
}
