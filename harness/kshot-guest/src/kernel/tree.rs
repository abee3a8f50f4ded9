//! The user's own kernel as kbuild leaves it: a source tree that was built in place, or an `O=` folder.
//! Nothing is written there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::{Object, ObjectSection};

use super::modules::{MODULE_BYTES_MOST, with_dependencies};
use super::vmlinux::{self, Vmlinux};
use super::{ImagesFolder, KernelError, image};
use crate::bounded;
use crate::host::cache::{self, Cache, Lookup};
use crate::host::{Compression, FileError};
use crate::symbols::module_name;
use kshot_stack::arch::KernelImage;
use kshot_stack::name::is_id;

/// The ELF file that kbuild links, at the top of the build folder.
const VMLINUX: &str = "vmlinux";
/// The largest `modules.order`, in bytes: an `allmodconfig` has 10,000 modules.
const ORDER_BYTES_MOST: u64 = 16 << 20;

/// The files of a user's own kernel.
pub(super) struct KernelFiles {
    /// The build folder, or the folder of a file that stands alone.
    pub(super) folder: PathBuf,
    /// What QEMU's `-kernel` takes.
    pub(super) boot: PathBuf,
    /// The ELF file of the kernel, where there is one.
    pub(super) vmlinux: Option<PathBuf>,
    /// What was read from `vmlinux`, or from `boot` if there is no vmlinux.
    pub(super) image: Vmlinux,
}

/// A module and the modules that it needs.
struct Module {
    /// The module's path below the build folder.
    path: String,
    bytes: Vec<u8>,
    /// The names of the modules that this one depends on directly.
    needs: Vec<String>,
}

/// The files of the kernel at `path`: a folder that kbuild built in, or an image in it or elsewhere.
///
/// # Errors
/// [`KernelError::NotBootable`] or [`KernelError::File`].
pub(super) fn files(path: &Path, cache: &Cache) -> Result<KernelFiles, KernelError> {
    if path.is_dir() {
        return files_of_folder(path);
    }
    let boot = image::unpacked(path, cache)?;
    let image = vmlinux::read(&boot).map_err(|error| error.of_file(path))?;
    // `Image` of `Image.gz`.
    let plain = if boot == path { path.to_owned() } else { path.with_extension("") };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let own = match image.arch.row().image {
        KernelImage::Elf => None,
        KernelImage::Own { path, .. } => Some(path),
    };
    match own {
        // vmlinux of a build folder, or the image in one.
        Some(own) if image.elf && folder.join(own).is_file() => files_of_folder(folder),
        Some(own) if !image.elf && plain.ends_with(own) => {
            let root = plain.ancestors().nth(Path::new(own).components().count());
            match root.filter(|root| root.join(VMLINUX).is_file()) {
                Some(root) => files_of_folder(root),
                None => Ok(KernelFiles { folder: folder.into(), boot, vmlinux: None, image }),
            }
        }
        _ if image.elf != own.is_none() => {
            let why = format!("on {} QEMU boots {}; name that", image.arch, image.arch.row().image.name());
            Err(KernelError::NotBootable { path: path.into(), why })
        }
        _ => {
            let vmlinux = image.elf.then(|| boot.clone());
            Ok(KernelFiles { folder: folder.into(), boot, vmlinux, image })
        }
    }
}

fn files_of_folder(folder: &Path) -> Result<KernelFiles, KernelError> {
    let vmlinux = folder.join(VMLINUX);
    if !vmlinux.is_file() {
        let why =
            "this folder has no vmlinux: it is not a build folder, or nothing has been built in it".into();
        return Err(KernelError::NotBootable { path: vmlinux, why });
    }
    let image = vmlinux::read(&vmlinux)?;
    let boot = match image.arch.row().image {
        KernelImage::Elf => vmlinux.clone(),
        KernelImage::Own { path, .. } => folder.join(path),
    };
    if !boot.is_file() {
        let name = image.arch.row().image.name();
        let why = format!("QEMU boots it on {}, and it is not built: run `make {name}`", image.arch);
        return Err(KernelError::NotBootable { path: boot, why });
    }
    Ok(KernelFiles { folder: folder.into(), boot, vmlinux: Some(vmlinux), image })
}

/// The modules of a kernel of one's own as a root folder with `lib/modules/<release>`: those installed there,
/// else those that were built. Installed modules that are compressed are unpacked into the cache, for the
/// guest and for their DWARF.
///
/// # Errors
/// [`KernelError::NotBootable`] for a listed module that is missing or cannot be unpacked;
/// [`KernelError::File`], [`KernelError::Cache`].
pub(super) fn modules(
    folder: &Path,
    release: &str,
    images: &ImagesFolder,
    cache: &Cache,
) -> Result<Option<PathBuf>, KernelError> {
    let installed = folder.join("lib/modules").join(release);
    let dep = installed.join("modules.dep");
    if !dep.is_file() {
        return built_modules(folder, release, images, cache);
    }
    let text = bounded::read_text(&dep, ORDER_BYTES_MOST).map_err(FileError::on("read", &dep))?;
    let lines = with_dependencies(&text, &images.guest_modules()?);
    let paths: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
    if let Some(path) = paths.iter().find(|path| !is_id(path)) {
        let why = format!("modules.dep lists {path:?}, which is not a path below its folder");
        return Err(KernelError::NotBootable { path: installed, why });
    }
    if paths.iter().all(|path| Compression::of_module(Path::new(path)).is_none()) {
        return Ok(Some(folder.to_owned()));
    }
    let modules = paths.iter().map(|path| unpack_module(&installed, path)).collect::<Result<Vec<_>, _>>()?;
    let dep = lines.iter().map(|line| without_compression(line) + "\n").collect();
    store(release, modules, dep, cache).map(Some)
}

/// An installed module, uncompressed.
pub(super) fn unpack_module(installed: &Path, listed: &str) -> Result<StoredModule, KernelError> {
    let path = installed.join(listed);
    let not = |why: String| KernelError::NotBootable { path: path.clone(), why };
    let bytes = bounded::read(&path, MODULE_BYTES_MOST).map_err(FileError::on("read", &path))?;
    let bytes = match Compression::of_module(&path) {
        Some(compression) => compression
            .unpack(&bytes, MODULE_BYTES_MOST)
            .map_err(|error| not(format!("it cannot be unpacked: {error}")))?,
        None => bytes,
    };
    Ok(StoredModule { path: without_compression(listed), bytes })
}

/// A line of modules.dep(5) for modules that are not compressed.
pub(super) fn without_compression(line: &str) -> String {
    let plain = |word: &str| {
        let (name, colon) = word.strip_suffix(':').map_or((word, ""), |name| (name, ":"));
        let compressed = Compression::of_module(Path::new(name)).is_some();
        let name = name.rsplit_once('.').filter(|_| compressed).map_or(name, |(name, _)| name);
        format!("{name}{colon}")
    };
    line.split(' ').map(plain).collect::<Vec<_>>().join(" ")
}

/// A module as it is kept in the cache.
pub(super) struct StoredModule {
    /// The module's path below `lib/modules/<release>`.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
}

/// Keeps modules and their modules.dep as an entry of the cache.
fn store(
    release: &str,
    modules: Vec<StoredModule>,
    dep: String,
    cache: &Cache,
) -> Result<PathBuf, KernelError> {
    let mut parts: Vec<&[u8]> = vec![release.as_bytes()];
    for module in &modules {
        parts.extend([module.path.as_bytes(), &module.bytes]);
    }
    let draft = match cache.find_or_draft("modules", &cache::key(parts), || ())? {
        Lookup::Found(root) => return Ok(root),
        Lookup::Missing(draft) => draft,
    };
    let folder = draft.path().join("lib/modules").join(release);
    let write = |path: PathBuf, bytes: &[u8]| {
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(FileError::on("create", parent))?;
        fs::write(&path, bytes).map_err(FileError::on("write", &path))
    };
    for module in &modules {
        write(folder.join(&module.path), &module.bytes)?;
    }
    write(folder.join("modules.dep"), dep.as_bytes())?;
    Ok(draft.commit_with_sums()?)
}

/// The modules of `images/guest/modules` that the build folder has, and what they need, as an entry of the
/// cache: a root folder with `lib/modules/<release>` and a `modules.dep`. `None` where the kernel has none of
/// them.
///
/// # Errors
/// [`KernelError::NotBootable`] for a module that is listed and was not built; [`KernelError::File`],
/// [`KernelError::Cache`].
fn built_modules(
    tree: &Path,
    release: &str,
    images: &ImagesFolder,
    cache: &Cache,
) -> Result<Option<PathBuf>, KernelError> {
    let order = tree.join("modules.order");
    if !order.is_file() {
        return Ok(None);
    }
    let text = bounded::read(&order, ORDER_BYTES_MOST).map_err(FileError::on("read", &order))?;
    let listed = listed_modules(&String::from_utf8_lossy(&text));
    let mut taken = BTreeMap::new();
    let mut wanted: Vec<String> = images.guest_modules()?.iter().map(|name| name.replace('-', "_")).collect();
    while let Some(name) = wanted.pop() {
        let Some(path) = listed.get(&name) else { continue };
        if let Entry::Vacant(place) = taken.entry(name) {
            let module = place.insert(read_module(tree, path)?);
            wanted.extend(module.needs.iter().cloned());
        }
    }
    if taken.is_empty() {
        return Ok(None);
    }
    let dep = modules_dep(&taken);
    let stored =
        |module: Module| StoredModule { path: format!("kernel/{}", module.path), bytes: module.bytes };
    store(release, taken.into_values().map(stored).collect(), dep, cache).map(Some)
}

/// The modules of a `modules.order`, by name, with their paths below the build folder. A line is
/// `kernel/drivers/net/tun.ko` until 5.13, `drivers/net/tun.ko` until 6.1 and `drivers/net/tun.o` since
/// (scripts/Makefile.modfinal, scripts/Makefile.build).
fn listed_modules(order: &str) -> BTreeMap<String, String> {
    let lines = order.lines().filter_map(|line| line.strip_suffix(".ko").or_else(|| line.strip_suffix(".o")));
    let paths: Vec<String> = lines.map(|line| format!("{line}.ko")).filter(|path| is_id(path)).collect();
    // The source has a folder `kernel`, too: it is the prefix only where every line has it.
    let prefix = if paths.iter().all(|path| path.starts_with("kernel/")) { "kernel/" } else { "" };
    let below = paths.iter().map(|path| path.strip_prefix(prefix).unwrap_or(path));
    below.map(|path| (module_name(path), path.to_owned())).collect()
}

fn read_module(tree: &Path, listed: &str) -> Result<Module, KernelError> {
    let path = tree.join(listed);
    let not = |why: String| KernelError::NotBootable { path: path.clone(), why };
    let bytes = bounded::read(&path, MODULE_BYTES_MOST).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            not("modules.order lists it, but it has not been built: run `make modules`".into())
        }
        _ => KernelError::from(FileError::on("read", &path)(error)),
    })?;
    let file = object::File::parse(&*bytes).map_err(|error| not(format!("it is not a module: {error}")))?;
    let needs = match file.section_by_name(".modinfo") {
        Some(section) => {
            needed_modules(section.data().map_err(|error| not(format!("it is not a module: {error}")))?)
        }
        None => return Err(not("it is not a module: it has no .modinfo section".into())),
    };
    Ok(Module { path: listed.into(), needs, bytes })
}

/// The names in the `depends=` of a section `.modinfo`, whose strings end with a zero each
/// (scripts/mod/modpost.c).
fn needed_modules(modinfo: &[u8]) -> Vec<String> {
    let strings = modinfo.split(|byte| *byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let depends =
        strings.filter_map(|string| string.strip_prefix("depends=")).flat_map(|names| names.split(','));
    depends.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// The text of `modules.dep` (modules.dep(5)): after each module, all modules that it needs, each before its
/// own dependencies, because modprobe loads the list from the end.
fn modules_dep(modules: &BTreeMap<String, Module>) -> String {
    let mut text = String::new();
    for (name, module) in modules {
        let (mut seen, mut order) = (BTreeSet::from([name.as_str()]), Vec::new());
        add_needed(module, modules, &mut seen, &mut order);
        let needed: String = order.iter().rev().map(|module| format!(" kernel/{}", module.path)).collect();
        text.push_str(&format!("kernel/{}:{needed}\n", module.path));
    }
    text
}

/// Adds the modules that `module` needs to `order`, each after its own dependencies.
fn add_needed<'a>(
    module: &'a Module,
    modules: &'a BTreeMap<String, Module>,
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a Module>,
) {
    for name in &module.needs {
        if let Some(needed) = modules.get(name).filter(|_| seen.insert(name)) {
            add_needed(needed, modules, seen, order);
            order.push(needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, needs: &[&str]) -> (String, Module) {
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        (module_name(path), Module { path: path.into(), bytes: Vec::new(), needs })
    }

    #[test]
    fn modules_order_is_read_as_every_version_writes_it() {
        let tun = |path: &str| BTreeMap::from([("tun".to_owned(), path.to_owned())]);
        assert_eq!(listed_modules("kernel/drivers/net/tun.ko\n"), tun("drivers/net/tun.ko"), "5.10");
        assert_eq!(listed_modules("drivers/net/tun.ko\n"), tun("drivers/net/tun.ko"), "6.1");
        assert_eq!(listed_modules("drivers/net/tun.o\n"), tun("drivers/net/tun.ko"), "6.12");
        let old = listed_modules("kernel/kernel/trace/a.ko\nkernel/drivers/b-c.ko\n");
        assert_eq!(old["a"], "kernel/trace/a.ko");
        assert_eq!(old["b_c"], "drivers/b-c.ko");
        let new = listed_modules("kernel/trace/a.o\ndrivers/b.o\n");
        assert_eq!(new["a"], "kernel/trace/a.ko");
        assert_eq!(listed_modules("../../etc/a.ko\n/etc/b.ko\nc\n\n"), BTreeMap::new());
    }

    #[test]
    fn modinfo_names_what_a_module_needs() {
        assert_eq!(
            needed_modules(b"license=GPL\0depends=virtio-ring,virtio\0name=a\0"),
            ["virtio_ring", "virtio"]
        );
        assert!(needed_modules(b"depends=\0\xff\0").is_empty());
    }

    #[test]
    fn installed_modules_that_are_compressed_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let images = ImagesFolder::new(root.join("images"));
        let cache = Cache::at(folder.path().join("cache"));
        let installed = folder.path().join("lib/modules/6.1.0");
        fs::create_dir_all(installed.join("kernel")).unwrap();
        let dep = "kernel/tun.ko.zst: kernel/virtio.ko.gz\nkernel/virtio.ko.gz:\nkernel/other.ko.gz:\n";
        fs::write(installed.join("modules.dep"), dep).unwrap();
        for (name, tool) in [("tun.ko.zst", "zstd"), ("virtio.ko.gz", "gzip")] {
            let packed = duct::cmd!(tool, "-c").stdin_bytes(name).stdout_capture().run().unwrap().stdout;
            fs::write(installed.join("kernel").join(name), packed).unwrap();
        }
        let modules = modules(folder.path(), "6.1.0", &images, &cache).unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(modules.join("lib/modules/6.1.0").join(name)).unwrap();
        assert_eq!(read("modules.dep"), "kernel/tun.ko: kernel/virtio.ko\nkernel/virtio.ko:\n");
        assert_eq!(
            (read("kernel/tun.ko").as_str(), read("kernel/virtio.ko").as_str()),
            ("tun.ko.zst", "virtio.ko.gz")
        );
        fs::write(installed.join("kernel/tun.ko.zst"), "torn").unwrap();
        let error = super::modules(folder.path(), "6.1.0", &images, &cache).unwrap_err();
        assert!(error.to_string().contains("it cannot be unpacked"), "{error}");
    }

    #[test]
    fn a_module_stands_before_what_it_needs_itself() {
        let modules = [
            module("net.ko", &["ring", "failover"]),
            module("failover.ko", &[]),
            module("ring.ko", &["base"]),
            module("base.ko", &[]),
            module("loop-a.ko", &["loop_b"]),
            module("loop-b.ko", &["loop_a"]),
        ];
        let dep = modules_dep(&modules.into());
        assert!(dep.contains("kernel/net.ko: kernel/failover.ko kernel/ring.ko kernel/base.ko\n"), "{dep}");
        assert!(dep.contains("kernel/loop-a.ko: kernel/loop-b.ko\n"), "{dep}");
        assert!(dep.contains("kernel/base.ko:\n"), "{dep}");
    }
}
