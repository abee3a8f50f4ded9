//! The host's tools that kshot needs, and the Debian packages that contain them.

use super::catalogue::{KernelSource, KernelSpec};
use super::process::find_program;
use kshot_stack::arch::Arch;

/// A tool that the host lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTool {
    /// The program's name.
    pub tool: String,
    /// The Debian package that contains the program.
    pub package: String,
}

type Tools = &'static [(&'static str, &'static str)];

const UNPACK: Tools = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-source", "dpkg-dev"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("bzip2", "bzip2"),
    ("patch", "patch"),
];
const BUILD: Tools = &[
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("pkg-config", "pkg-config"),
];

/// The tools that provisioning `entry` needs and the host lacks.
pub fn missing_tools(spec: &KernelSpec) -> Vec<MissingTool> {
    match &spec.source {
        KernelSource::DebianPackage(_) => {
            missing(UNPACK).into_iter().chain(missing(&[("depmod", "kmod")])).collect()
        }
        KernelSource::Git(_) => {
            missing(&[("git", "git")]).into_iter().chain(missing_build_tools(spec.arch)).collect()
        }
        _ => missing_build_tools(spec.arch),
    }
}

/// The tools that running a kernel of `arch` needs and the host lacks.
pub fn missing_run_tools(arch: Arch) -> Vec<MissingTool> {
    let tools = [
        (arch.row().qemu, arch.row().qemu_package),
        ("setpriv", "util-linux"),
        ("gdb-multiarch", "gdb-multiarch"),
    ];
    missing(&tools)
}

/// The tools that cross-building for `arch` needs and the host lacks.
pub fn missing_build_tools(arch: Arch) -> Vec<MissingTool> {
    let row = arch.row();
    let packages = row.cross_packages.first().into_iter();
    let compiler = packages
        .map(|package| MissingTool { tool: format!("{}-gcc", row.triplet), package: (*package).into() })
        .filter(|missing| find_program(&missing.tool).is_none());
    missing(UNPACK).into_iter().chain(missing(BUILD)).chain(compiler).collect()
}

/// The major version of the cross compiler of `arch`, `None` if it is not installed.
pub fn compiler_version(arch: Arch) -> Option<u32> {
    let compiler = find_program(&format!("{}-gcc", arch.row().triplet))?;
    let said = duct::cmd!(compiler, "-dumpversion").stderr_null().unchecked().read().ok()?;
    said.split('.').next()?.trim().parse().ok()
}

fn missing(tools: &[(&str, &str)]) -> Vec<MissingTool> {
    tools
        .iter()
        .filter(|(tool, _)| find_program(tool).is_none())
        .map(|(tool, package)| MissingTool { tool: (*tool).into(), package: (*package).into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_that_an_error_names_is_in_the_list_that_the_scripts_install() {
        let listed = include_str!("../../../../images/host-packages.txt");
        let listed: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let tools = UNPACK.iter().chain(BUILD).map(|(_, package)| *package);
        // No Debian is without it.
        let essential = ["dpkg"];
        let cross = Arch::all().flat_map(|arch| arch.row().cross_packages.iter().copied());
        for package in tools.chain(cross).filter(|package| !essential.contains(package)) {
            assert!(listed.contains(&package), "images/host-packages.txt lacks {package}");
        }
    }
}
