//! The files that hold a kernel's DWARF.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The DWARF of a kernel. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dwarf {
    /// The path of the `vmlinux` with DWARF.
    pub vmlinux: PathBuf,
    /// The paths of the modules with DWARF, by module name (`virtio_net`).
    pub modules: BTreeMap<String, PathBuf>,
    /// How far above the addresses that `vmlinux` is linked to the kernel runs, in bytes.
    pub offset: u64,
}

/// Why a kernel has no DWARF that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDwarf {
    /// No DWARF is known.
    Unknown,
    /// The user's own vmlinux has no DWARF.
    Without,
    /// The DWARF lies in `.dwo` files (`-gsplit-dwarf`), which kshot does not read.
    Split,
    /// The DWARF is compressed in the way that binutils left in 2.26 (`.zdebug_info`).
    OldCompression,
    /// The file has only BTF, which does not describe frames.
    BtfAlone,
}

impl std::fmt::Display for NoDwarf {
    /// The words that follow the kernel's name in a message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "",
            Self::Without => " (turn on CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT, and do not strip vmlinux)",
            Self::Split => " (it lies in .dwo files: turn off CONFIG_DEBUG_INFO_SPLIT)",
            Self::OldCompression => {
                " (it is compressed in an old way: `objcopy --decompress-debug-sections vmlinux`)"
            }
            Self::BtfAlone => {
                " (BTF tells nothing of frames: turn on CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT, \
                 and do not strip vmlinux)"
            }
        })
    }
}

impl Dwarf {
    /// The DWARF in `vmlinux` and, if there are modules, in the files below `modules`/lib/modules.
    pub(crate) fn of(vmlinux: PathBuf, modules: Option<&Path>) -> Self {
        let modules = modules.map(|root| modules_below(&root.join("lib/modules"))).unwrap_or_default();
        Self { vmlinux, modules, offset: 0 }
    }
}

/// The uncompressed modules below a folder, by module name.
pub(crate) fn modules_below(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // Not what a link leads to: `build` and `source` are links to whole trees.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ko") {
                found.insert(module_name(&path.to_string_lossy()), path);
            }
        }
    }
    found
}

/// `kernel/drivers/char/hw_random/virtio-rng.ko.xz` is `virtio_rng`.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}
