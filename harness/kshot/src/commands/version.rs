//! `kshot --version`: kshot's own version and commit, and the versions of the tools that results depend on.

use std::collections::BTreeMap;

use kshot_guest::host::program_version;
use kshot_stack::arch::Arch;

/// The version and, where it is known, the commit that kshot was built from.
pub(super) const OWN: &str = match env!("KSHOT_COMMIT").is_empty() {
    true => concat!(env!("CARGO_PKG_VERSION"), "\ncommit: not known, built outside of git"),
    false => concat!(env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("KSHOT_COMMIT")),
};

/// The names that gdb may have; Debian's knows all architectures as `gdb-multiarch`.
const GDBS: [&str; 2] = ["gdb-multiarch", "gdb"];

/// A line for each version of QEMU on this host, and one for gdb.
pub(super) fn of_tools() -> String {
    let mut programs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in Arch::all().map(Arch::row) {
        programs.entry(row.qemu).or_default().push(row.name);
    }
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (program, arches) in programs {
        let version = program_version(program).unwrap_or_else(|| "none".into());
        versions.entry(version).or_default().extend(arches);
    }
    let mut text: String = versions
        .iter()
        .map(|(version, arches)| format!("QEMU: {version} for {}\n", arches.join(", ")))
        .collect();
    let gdb = GDBS.iter().find_map(|gdb| program_version(gdb)).unwrap_or_else(|| "none".into());
    text.push_str(&format!("gdb: {gdb}\n"));
    text
}
