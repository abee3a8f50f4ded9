//! What of a kernel lies where in the guest: its `vmlinux`, and the modules that were loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Dwarf;

/// The shell command that lists where a guest has the sections of its modules, a line each, for root:
///
/// ```text
/// /sys/module/tun/sections/.text:0xffffffffc0168000
/// /sys/module/tun/sections/.data..read_mostly:0xffffffffc0173120
/// /sys/module/tun/sections/__mcount_loc:0xffffffffc0172e48
/// ```
pub const LIST_SECTIONS: &str = "grep -Hs '' /sys/module/*/sections/.[a-z]* /sys/module/*/sections/[!.]*";
/// The file of the run folder that holds that list, where the kernel has modules with DWARF.
pub const SECTIONS: &str = "module-sections.txt";

/// A kernel as it is loaded: which files with DWARF, and where their code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The kernel's own, at the addresses that it was linked to.
    pub vmlinux: PathBuf,
    /// Its modules that are loaded.
    pub modules: Vec<Module>,
}

/// A module that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name (`tun`).
    pub name: String,
    /// Its file, which is not linked: every section of it begins at 0.
    pub path: PathBuf,
    /// The addresses of its sections. Those that are gone after its start are left out.
    pub sections: BTreeMap<String, u64>,
}

impl Loaded {
    /// Of `dwarf`, what a guest has loaded that answers [`LIST_SECTIONS`] like this. Lines that are none, and modules
    /// without DWARF, are left out.
    pub fn new(dwarf: &Dwarf, listed: &[u8]) -> Self {
        let mut modules: Vec<Module> = Vec::new();
        for (name, section, address) in String::from_utf8_lossy(listed).lines().filter_map(section) {
            let Some(path) = dwarf.modules.get(name) else { continue };
            let known = modules.iter().position(|module| module.name == name).unwrap_or_else(|| {
                modules.push(Module { name: name.into(), path: path.clone(), sections: BTreeMap::new() });
                modules.len() - 1
            });
            modules[known].sections.insert(section.into(), address);
        }
        modules.retain(|module| module.sections.contains_key(".text"));
        Self { vmlinux: dwarf.vmlinux.clone(), modules }
    }

    /// The same as a run had it, by the list in its folder.
    pub fn in_run(dwarf: &Dwarf, folder: &Path) -> Self {
        Self::new(dwarf, &fs::read(folder.join(SECTIONS)).unwrap_or_default())
    }
}

/// Module, section and address of a line of the guest, of a section that stays and that the file has too. The names
/// end up in a command for gdb.
fn section(line: &str) -> Option<(&str, &str, u64)> {
    let (place, address) = line.strip_prefix("/sys/module/")?.split_once(":0x")?;
    let (module, section) = place.split_once("/sections/")?;
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
        let dwarf = Dwarf { vmlinux: "/vmlinux".into(), modules: modules.into() };
        let modules = Loaded::new(&dwarf, listed.as_bytes()).modules;
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
