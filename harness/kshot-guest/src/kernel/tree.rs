//! The user's own kernel as kbuild leaves it: a source tree that was built in place, or an `O=` folder. Nothing is
//! written there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use object::{Object, ObjectSection};

use super::{ImagesFolder, KernelError};
use crate::bounded;
use crate::host::FileError;
use crate::host::cache::{self, Cache, Lookup};
use crate::symbols::module_name;
use kshot_stack::name::is_id;

/// The largest module, in bytes: with DWARF, the largest of an `allmodconfig` take 200 MB.
const MODULE_BYTES_MOST: u64 = 512 << 20;
/// The largest `modules.order`, in bytes: an `allmodconfig` has 10,000 modules.
const ORDER_BYTES_MOST: u64 = 16 << 20;

/// A module and the modules that it needs.
struct Module {
    /// Its path below the build folder.
    path: String,
    bytes: Vec<u8>,
    /// The names of the modules that it needs directly.
    needs: Vec<String>,
}

/// The modules of `images/guest/modules` that the build folder has, and what they need, as an entry of the cache: a
/// root folder with `lib/modules/<release>` and a `modules.dep`. `None` where the kernel has none of them.
///
/// # Errors
/// [`KernelError::NotBootable`] for a module that is listed and was not built; [`KernelError::File`],
/// [`KernelError::Cache`].
pub(super) fn modules(
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
    let mut parts: Vec<&[u8]> = vec![release.as_bytes()];
    for module in taken.values() {
        parts.extend([module.path.as_bytes(), &module.bytes]);
    }
    let draft = match cache.find_or_draft("modules", &cache::key(parts), || ())? {
        Lookup::Found(root) => return Ok(Some(root)),
        Lookup::Missing(draft) => draft,
    };
    let folder = draft.path().join("lib/modules").join(release);
    for module in taken.values() {
        let path = folder.join("kernel").join(&module.path);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(FileError::on("create", parent))?;
        fs::write(&path, &module.bytes).map_err(FileError::on("write", &path))?;
    }
    let dep = folder.join("modules.dep");
    fs::write(&dep, modules_dep(&taken)).map_err(FileError::on("write", &dep))?;
    Ok(Some(draft.commit()?))
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
            not("modules.order lists it, and it is not built: run `make modules`".into())
        }
        _ => KernelError::from(FileError::on("read", &path)(error)),
    })?;
    let file = object::File::parse(&*bytes).map_err(|error| not(format!("it is no module: {error}")))?;
    let needs = match file.section_by_name(".modinfo") {
        Some(section) => {
            needed_modules(section.data().map_err(|error| not(format!("it is no module: {error}")))?)
        }
        None => return Err(not("it is no module: it has no section .modinfo".into())),
    };
    Ok(Module { path: listed.into(), needs, bytes })
}

/// The names in the `depends=` of a section `.modinfo`, whose strings end with a zero each (scripts/mod/modpost.c).
fn needed_modules(modinfo: &[u8]) -> Vec<String> {
    let strings = modinfo.split(|byte| *byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let depends =
        strings.filter_map(|string| string.strip_prefix("depends=")).flat_map(|names| names.split(','));
    depends.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// The text of `modules.dep` (modules.dep(5)): behind each module all that it needs, each before what it needs itself,
/// because modprobe loads them from the end.
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

/// Adds the modules that `module` needs to `order`, each behind what it needs itself.
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
