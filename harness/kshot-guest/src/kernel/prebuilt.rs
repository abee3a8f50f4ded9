//! Prebuilt kernels from Debian's `linux-image-*` packages.

use std::fs;
use std::path::{Path, PathBuf};

use duct::cmd;

use super::apt::{Kind, Wanted};
use super::catalogue::{DebianBinary, Images, KernelEntry};
use super::modules::closure;
use super::process::{Log, find_tool};
use super::source::{deb_file, version_of};
use super::{KernelError, Made};
use crate::cache::Cache;
use crate::progress::Progress;

/// The package request for a prebuilt kernel.
pub(super) fn wanted<'a>(entry: &KernelEntry, package: &'a DebianBinary) -> Wanted<'a> {
    Wanted {
        package: &package.package,
        suite: &package.suite,
        version: package.version.as_deref(),
        kind: Kind::Binary(entry.arch.row().debian.unwrap_or(entry.arch.row().name)),
    }
}

/// Extracts the kernel in `package` into `folder`. Returns the facts of the kernel.
///
/// # Errors
/// [`KernelError`].
pub(super) fn unpack(
    entry: &KernelEntry,
    package: &DebianBinary,
    images: &Images,
    cache: &Cache,
    progress: &Progress,
    folder: &Path,
) -> Result<Made, KernelError> {
    let download = |source| KernelError::Download { kernel: entry.name.clone(), source: Box::new(source) };
    let step = KernelError::step(entry);
    let wanted = wanted(entry, package);
    let deb = deb_file(&wanted.fetch(cache, progress).map_err(download)?)?;
    let task = progress.task(format!("unpack {}", entry.name), 0);
    let mut log = Log::create(cache, &format!("kernel-{}", entry.name)).map_err(&step)?;

    let unpacked = folder.join("unpacked");
    log.run("unpacking the kernel", &cmd!("dpkg-deb", "-x", &deb, &unpacked)).map_err(&step)?;
    // On MIPS it is an ELF file, which unpacks itself.
    let boot = folder.join("vmlinux");
    take(&the_one_file(&unpacked.join("boot"), "vmlinu")?, &boot)?;
    take(&the_one_file(&unpacked.join("boot"), "config-")?, &folder.join("config"))?;
    take(&the_one_file(&unpacked.join("boot"), "System.map")?, &folder.join("System.map"))?;

    // The banner of Debian's vmlinuz is compressed, so the release comes from the modules' folder.
    let modules = the_one_file(&unpacked.join("lib/modules"), "")?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    task.at(0, "modules");
    let depmod = find_tool("depmod").unwrap_or_else(|| "depmod".into());
    log.run("depmod", &cmd!(depmod, "-b", &unpacked, &release)).map_err(&step)?;
    take_modules(&unpacked, &folder.join("modules"), &release, images, |packed, plain| {
        log.run("xz", &cmd!("xz", "-dc", packed).stdout_path(plain)).map_err(&step)
    })?;
    fs::remove_dir_all(&unpacked).map_err(KernelError::io("remove", &unpacked))?;

    Ok(Made { release, version: version_of(&deb), lost: Vec::new() })
}

/// Extracts the modules that the guest loads, uncompressed, with a `modules.dep` for them alone.
fn take_modules(
    from: &Path,
    to: &Path,
    release: &str,
    images: &Images,
    mut decompress: impl FnMut(&Path, &Path) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let inside = Path::new("lib/modules").join(release);
    let (from, to) = (from.join(&inside), to.join(&inside));
    let dep = from.join("modules.dep");
    let text = fs::read_to_string(&dep).map_err(KernelError::io("read", &dep))?;
    let mut taken = String::new();
    for line in closure(&text, &images.guest_modules()?) {
        let Some((path, _)) = line.split_once(':') else { continue };
        let plain = to.join(path.trim_end_matches(".xz"));
        let folder = plain.parent().unwrap_or(&to);
        fs::create_dir_all(folder).map_err(KernelError::io("create", folder))?;
        if path.ends_with(".xz") {
            decompress(&from.join(path), &plain)?;
        } else {
            take(&from.join(path), &plain)?;
        }
        taken.push_str(&line.replace(".ko.xz", ".ko"));
        taken.push('\n');
    }
    let dep = to.join("modules.dep");
    fs::create_dir_all(&to).and_then(|()| fs::write(&dep, taken)).map_err(KernelError::io("write", &dep))
}

fn take(from: &Path, to: &Path) -> Result<(), KernelError> {
    fs::rename(from, to).map_err(KernelError::io("move", from))
}

fn the_one_file(folder: &Path, prefix: &str) -> Result<PathBuf, KernelError> {
    let files = fs::read_dir(folder).map_err(KernelError::io("read", folder))?;
    files
        .flatten()
        .find(|file| file.file_name().to_string_lossy().starts_with(prefix))
        .map(|file| file.path())
        .ok_or_else(|| KernelError::NotAKernel {
            path: folder.into(),
            why: format!("the package has no {prefix}* in this folder"),
        })
}
