//! A kernel as loaded in the guest: its `vmlinux` and the addresses of its loaded modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Dwarf;

/// The shell command, for root, that lists the addresses of all module sections, one per line:
///
/// ```text
/// /sys/module/tun/sections/.text:0xffffffffc0168000
/// /sys/module/tun/sections/.data..read_mostly:0xffffffffc0173120
/// /sys/module/tun/sections/__mcount_loc:0xffffffffc0172e48
/// ```
pub const LIST_SECTIONS_COMMAND: &str =
    "grep -Hs '' /sys/module/*/sections/.[a-z]* /sys/module/*/sections/[!.]*";
/// The run folder's file with the list of module sections, for kernels that have modules with DWARF.
pub const SECTIONS: &str = "module-sections.txt";

/// A loaded kernel: the files with DWARF and the addresses of their code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedKernel {
    /// The `vmlinux`.
    pub vmlinux: PathBuf,
    /// How far above the addresses that it is linked to it was loaded, in bytes.
    pub offset: u64,
    /// The loaded modules that have DWARF.
    pub modules: Vec<LoadedModule>,
}

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModule {
    /// The module's name (`tun`).
    pub name: String,
    /// The module's file, which is not linked: each of its sections starts at address 0.
    pub path: PathBuf,
    /// The addresses of the module's sections, without those that are freed after initialisation.
    pub sections: BTreeMap<String, u64>,
}

/// A file of a loaded kernel.
#[derive(Clone, Copy)]
pub(super) enum LoadedFile<'a> {
    /// The `vmlinux`.
    Kernel {
        /// How far above the addresses that it is linked to it was loaded, in bytes.
        offset: u64,
    },
    /// A module.
    Module(&'a LoadedModule),
}

impl LoadedFile<'_> {
    /// How far above the addresses in its DWARF it was loaded, in bytes: 0 for a module, whose DWARF is
    /// relocated.
    pub(super) fn offset(self) -> u64 {
        match self {
            Self::Kernel { offset } => offset,
            Self::Module(_) => 0,
        }
    }
}

impl LoadedKernel {
    /// The `vmlinux`, and where it was loaded.
    pub(super) fn kernel(&self) -> (&Path, LoadedFile<'static>) {
        (&self.vmlinux, LoadedFile::Kernel { offset: self.offset })
    }

    /// Combines `dwarf` with the output of [`LIST_SECTIONS_COMMAND`] in a guest. Malformed lines and modules
    /// without DWARF are left out.
    pub fn new(dwarf: &Dwarf, listed: &[u8]) -> Self {
        let mut modules: Vec<LoadedModule> = Vec::new();
        for (name, section, address) in String::from_utf8_lossy(listed).lines().filter_map(parse_section) {
            let Some(path) = dwarf.modules.get(name) else { continue };
            let known = modules.iter().position(|module| module.name == name).unwrap_or_else(|| {
                modules.push(LoadedModule {
                    name: name.into(),
                    path: path.clone(),
                    sections: BTreeMap::new(),
                });
                modules.len() - 1
            });
            modules[known].sections.insert(section.into(), address);
        }
        modules.retain(|module| module.sections.contains_key(".text"));
        Self { vmlinux: dwarf.vmlinux.clone(), offset: dwarf.offset, modules }
    }

    /// The kernel itself, without its modules.
    pub fn without_modules(&self) -> Self {
        Self { modules: Vec::new(), ..self.clone() }
    }

    /// The kernel as loaded in an earlier run, from the section list in its folder.
    pub fn from_run_folder(dwarf: &Dwarf, folder: &Path) -> Self {
        Self::new(dwarf, &fs::read(folder.join(SECTIONS)).unwrap_or_default())
    }
}

/// The module, section and address in a line of [`LIST_SECTIONS_COMMAND`]; `None` for a section that is freed
/// or not in the module's file. Only plain characters are accepted in names.
fn parse_section(line: &str) -> Option<(&str, &str, u64)> {
    let (path, address) = line.strip_prefix("/sys/module/")?.split_once(":0x")?;
    let (module, section) = path.split_once("/sections/")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let gone = section.starts_with(".init") || [".symtab", ".strtab"].contains(&section);
    let kept = section.chars().all(plain) && !gone;
    kept.then_some((module, section, u64::from_str_radix(address, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "/sys/module/tun/sections/.text:0xffffffffc0168000\n\
                          /sys/module/tun/sections/.init.text:0xffffffffc0170000\n\
                          /sys/module/tun/sections/.symtab:0xffffffffc0171000\n\
                          /sys/module/tun/sections/.data..read_mostly:0xffffffffc0173120\n\
                          /sys/module/other/sections/.text:0xffffffffc0000000\n\
                          /sys/module/data_alone/sections/.data:0xffffffffc0000000\n";

    fn loaded(listed: &str) -> Vec<(String, Vec<(String, u64)>)> {
        let modules = ["tun", "data_alone", "virtio"].map(|name| (name.into(), format!("/{name}.ko").into()));
        let dwarf = Dwarf { vmlinux: "/vmlinux".into(), modules: modules.into(), offset: 0 };
        let modules = LoadedKernel::new(&dwarf, listed.as_bytes()).modules;
        modules.into_iter().map(|module| (module.name, module.sections.into_iter().collect())).collect()
    }

    #[test]
    fn what_is_loaded_stays_loaded_and_has_dwarf_counts() {
        let sections = [(".data..read_mostly", 0xffff_ffff_c017_3120), (".text", 0xffff_ffff_c016_8000)];
        let sections = sections.map(|(name, address)| (name.to_owned(), address)).to_vec();
        assert_eq!(loaded(LISTED), [("tun".into(), sections)]);
    }

    #[test]
    fn lines_that_are_none_and_names_that_are_commands_are_left_out() {
        for line in [
            "/sys/module/tun/sections/.text x -s:0xffffffffc0168000",
            "/sys/module/tun/sections/.text\u{2028}:0xffffffffc0168000",
            "/sys/module/tun/sections/.text:0xnothing",
            "/sys/module/tun/sections/.text",
            "grep: /sys/module/*/sections/[!.]*: No such file or directory",
            "",
        ] {
            assert_eq!(loaded(line), [], "{line}");
        }
    }
}
