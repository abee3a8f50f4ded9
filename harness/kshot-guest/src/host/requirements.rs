//! The host's tools that kshot needs, and the Debian packages that contain them.

use super::distribution::install;
use super::tool::find_program;
use kshot_stack::arch::Arch;

/// A tool that the host lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTool {
    /// The program's name.
    pub tool: String,
    /// The Debian package that contains the program.
    pub package: String,
}

/// Programs, each with the Debian package that contains it.
type Tools = &'static [(&'static str, &'static str)];
/// The tools that unpack what was downloaded.
pub(crate) const UNPACK: Tools = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-source", "dpkg-dev"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("bzip2", "bzip2"),
    ("patch", "patch"),
];
/// The tools that build a kernel or a program, besides the compiler.
const BUILD: Tools = &[
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("pkg-config", "pkg-config"),
];

/// The tools that running a kernel of `arch` needs and the host lacks.
pub fn missing_run_tools(arch: Arch) -> Vec<MissingTool> {
    let tools = [(arch.row().qemu, arch.row().qemu_package), ("setpriv", "util-linux")];
    missing(&tools)
}

/// The tools that cross-building for `arch` needs and the host lacks.
pub fn missing_build_tools(arch: Arch) -> Vec<MissingTool> {
    missing(UNPACK).into_iter().chain(missing(BUILD)).chain(missing_compiler(arch)).collect()
}

/// The cross compiler of `arch`, if the host lacks it.
pub(crate) fn missing_compiler(arch: Arch) -> Vec<MissingTool> {
    let (row, tool) = (arch.row(), format!("{}-gcc", arch.row().triplet));
    // With its C library, which the compiler's package does not depend on.
    let package = row.cross_packages.join(" ");
    if find_program(&tool).is_some() { Vec::new() } else { vec![MissingTool { tool, package }] }
}

/// The names of missing tools, for a message.
pub fn tools(missing: &[MissingTool]) -> String {
    missing.iter().map(|missing| missing.tool.as_str()).collect::<Vec<_>>().join(", ")
}

/// The command that installs what is missing on this host.
pub fn install_missing(missing: &[MissingTool]) -> String {
    install(missing.iter().map(|missing| missing.package.as_str()))
}

/// The tools of a list that the host lacks.
pub(crate) fn missing(tools: &[(&str, &str)]) -> Vec<MissingTool> {
    tools
        .iter()
        .filter(|(tool, _)| find_program(tool).is_none())
        .map(|(tool, package)| MissingTool { tool: (*tool).into(), package: (*package).into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_package_that_an_error_names_is_in_the_list_that_the_scripts_install() {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
        let check = |lists: &[&str], packages: Vec<&str>| {
            let texts = lists.iter().map(|list| std::fs::read_to_string(images.join(list)).unwrap());
            let text: String = texts.collect();
            let listed: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
            for package in packages {
                assert!(listed.contains(&package), "{lists:?} in images lack {package}");
            }
        };
        let tools = UNPACK.iter().chain(BUILD).map(|(_, package)| *package);
        // Every Debian has it.
        check(
            &["build-packages.txt", "host-packages.txt"],
            tools.filter(|package| *package != "dpkg").collect(),
        );
        for row in Arch::all().map(Arch::row) {
            let packages = [row.qemu_package].into_iter().chain(row.cross_packages.iter().copied());
            check(&[&format!("packages/{}.txt", row.name)], packages.collect());
        }
    }
}
