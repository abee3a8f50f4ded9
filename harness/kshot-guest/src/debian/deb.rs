//! Downloaded `.deb` packages: unpacking one, its version, what it depends on.

use std::path::{Path, PathBuf};

use duct::cmd;

use crate::host::{FileError, list};

/// The command that unpacks the tarball of a `linux-source-X` package into `into`: the whole tree, or only
/// the `members` (globs) of its top folder.
pub fn unpack_linux_source(deb: &Path, package: &str, into: &Path, members: &[&str]) -> duct::Expression {
    let members: Vec<String> = members.iter().map(|member| format!("{package}/{member}")).collect();
    let untar = ["-x", "--strip-components=1", "--wildcards", "-C"].map(String::from);
    let untar = untar.into_iter().chain([into.to_string_lossy().into_owned()]).chain(members);
    // Debian's tarball has many xz blocks, which xz can decompress side by side.
    cmd!("dpkg-deb", "--fsys-tarfile", deb)
        .pipe(cmd!("tar", "-xO", format!("./usr/src/{package}.tar.xz")))
        .pipe(cmd!("xz", "-dcT0"))
        .pipe(cmd("tar", untar))
}

/// The `.deb` file in a download's folder.
///
/// # Errors
/// [`FileError`].
pub fn find_deb(folder: &Path) -> Result<PathBuf, FileError> {
    file_with_suffix(folder, ".deb")
}

/// The version in the name of a `.deb` (`name_version_arch.deb`, an epoch's colon as `%3a`).
pub fn deb_version(deb: &Path) -> Option<String> {
    let name = deb.file_name()?.to_string_lossy();
    Some(name.split('_').nth(1)?.replace("%3a", ":"))
}

/// A dependency on one version of a package, as packages that are built together have on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactDependency<'a> {
    /// The name of the package.
    pub package: &'a str,
    /// The exact version.
    pub version: &'a str,
}

/// The dependencies on exact versions in the value of a package's `Depends`, in its order. Others are left
/// out.
///
/// ```text
/// kmod, linux-base-7.3.4+deb13-arm64 (= 7.3.4-1~bpo13+1), linux-base (>= 4.3~), dracut | initramfs-tools (>= 0.120)
/// ```
pub fn exact_dependencies(depends: &str) -> impl Iterator<Item = ExactDependency<'_>> {
    depends.split(", ").filter_map(|dependency| {
        let (package, version) = dependency.trim().strip_suffix(')')?.split_once(" (= ")?;
        Some(ExactDependency { package, version })
    })
}

/// The first file in `folder` whose name ends with `suffix`.
///
/// # Errors
/// [`FileError`] if there is none.
pub(crate) fn file_with_suffix(folder: &Path, suffix: &str) -> Result<PathBuf, FileError> {
    let found = list(folder)?.into_iter().find(|path| path.to_string_lossy().ends_with(suffix));
    let nothing = || std::io::Error::other(format!("there is no *{suffix} in it"));
    found.ok_or_else(|| FileError::on("use", folder)(nothing()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dependency_on_one_version_is_exact() {
        let depends =
            "dracut | initramfs-tools (>= 0.120), linux-base-7.3.4+deb13-arm64 (= 7.3.4-1~bpo13+1), kmod\n";
        let exact: Vec<_> = exact_dependencies(depends).collect();
        let base = ExactDependency { package: "linux-base-7.3.4+deb13-arm64", version: "7.3.4-1~bpo13+1" };
        assert_eq!(exact, [base]);
        assert_eq!(exact_dependencies("").next(), None);
    }
}
