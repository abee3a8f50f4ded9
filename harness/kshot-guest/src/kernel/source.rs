//! Kernel sources: their identity, and how they are unpacked into a source tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duct::cmd;

use super::catalogue::{
    BuiltKernel, GitCommit, ImagesFolder, KernelSource, KernelSpec, LinuxImagePackage, LinuxSourcePackage,
    OrigTarball, SourceTarball, SourceTree,
};
use super::{KernelError, ProvisionContext, RECIPE_VERSION, package};
use crate::debian::{PackageFiles, PackageRequest};
use crate::debian::{deb_version, file_with_suffix, find_deb, unpack_linux_source};
use crate::host::cache::{self, Cache};
use crate::host::compiler;
use crate::host::{FileError, OnInterrupt, ToolError, ToolLog, environment, list, output_of};
use crate::progress::Progress;
use kshot_stack::arch::INDEX_OF_ALL;

/// The cache key of a kernel: a hash of everything that its contents depend on.
///
/// # Errors
/// [`KernelError::File`] for a fragment, patch or source tree that cannot be read.
pub(super) fn key(spec: &KernelSpec, images: &ImagesFolder) -> Result<String, KernelError> {
    let mut parts =
        vec![RECIPE_VERSION.into(), spec.arch.row().name.into(), spec.source.key_text().into_bytes()];
    match &spec.source {
        KernelSource::DebianPackage(_) => parts.push(images.guest_modules()?.join(" ").into_bytes()),
        KernelSource::Directory(directory) => parts.push(tree_fingerprint(&images.resolve(&directory.path))?),
        _ => {}
    }
    for (name, path) in config_files(spec, images).chain(patch_files(spec, images)?) {
        parts.push(name.as_bytes().to_vec());
        parts.push(fs::read(&path).map_err(FileError::on("read", &path))?);
    }
    if !matches!(spec.source, KernelSource::DebianPackage(_)) {
        parts.push(compiler(spec.arch.row().triplet).into_bytes());
    }
    Ok(format!("{}-{}", spec.name, cache::key(parts.iter().map(Vec::as_slice))))
}

impl KernelSource {
    /// The source's part of a kernel's cache key: its kind and every field that its bytes depend on. Cached
    /// kernels are looked up by it, so these strings must not change, even if a type is renamed.
    fn key_text(&self) -> String {
        match self {
            Self::DebianSource(LinuxSourcePackage { package, suite, version }) => format!(
                "DebianSource(DebianPackage {{ package: {package:?}, suite: {suite:?}, version: {version:?} }})"
            ),
            Self::DebianOrig(OrigTarball { source, suite, version }) => {
                format!(
                    "DebianOrig(DebianOrig {{ source: {source:?}, suite: {suite:?}, version: {version:?} }})"
                )
            }
            // The DWARF of a prebuilt kernel is an entry of its own.
            Self::DebianPackage(LinuxImagePackage { package, suite, version, dbg: _ }) => format!(
                "DebianPackage(DebianBinary {{ package: {package:?}, suite: {suite:?}, version: {version:?}, \
                 dbg: None }})"
            ),
            Self::Tarball(SourceTarball { path, sha256 }) => {
                format!("Tarball(Tarball {{ path: {path:?}, sha256: {sha256:?} }})")
            }
            Self::Directory(SourceTree { path }) => format!("Directory(Directory {{ path: {path:?} }})"),
            Self::Git(GitCommit { path, commit }) => {
                format!("Git(Git {{ path: {path:?}, commit: {commit:?} }})")
            }
            // Nothing of it is cached.
            Self::Built(BuiltKernel { path }) => format!("Built {path:?}"),
        }
    }
}

/// The Kconfig fragments of a kernel: name and path.
pub(super) fn config_files(
    spec: &KernelSpec,
    images: &ImagesFolder,
) -> impl Iterator<Item = (String, PathBuf)> {
    let folder = images.config_folder();
    spec.config.iter().map(move |name| (name.clone(), folder.join(name)))
}

/// The patches of a kernel, name and path, in the order of application. A folder stands for its `.patch`
/// files, sorted by name.
///
/// # Errors
/// [`KernelError::File`] for a folder that cannot be read or contains no patch.
pub(super) fn patch_files(
    spec: &KernelSpec,
    images: &ImagesFolder,
) -> Result<Vec<(String, PathBuf)>, KernelError> {
    let mut patches = Vec::new();
    for name in &spec.patches {
        let path = images.patches_folder().join(name);
        if !path.is_dir() {
            patches.push((name.clone(), path));
            continue;
        }
        let mut series = list(&path)?;
        series.retain(|file| file.extension().is_some_and(|ends| ends == "patch"));
        if series.is_empty() {
            return Err(
                FileError::on("use", &path)(std::io::Error::other("there is no *.patch in it")).into()
            );
        }
        let named = |file: PathBuf| {
            let patch = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (format!("{name}/{patch}"), file)
        };
        patches.extend(series.into_iter().map(named));
    }
    Ok(patches)
}

/// A kernel's source tree.
pub(super) struct UnpackedSource {
    /// The tree's top folder.
    pub(super) path: PathBuf,
    /// The version of the source, if it has one.
    pub(super) version: Option<String>,
}

/// Downloads the source of `spec` if necessary and unpacks it into the new folder `into`. A source tree on
/// disk without patches is used in place.
///
/// # Errors
/// [`KernelError`].
pub(super) fn unpack(
    spec: &KernelSpec,
    context: &ProvisionContext<'_>,
    log: &mut ToolLog,
    into: &Path,
) -> Result<UnpackedSource, KernelError> {
    let ProvisionContext { images, cache, progress } = context;
    let step = KernelError::tool(&spec.name);
    let download = |source| KernelError::Download { kernel: spec.name.clone(), source: Box::new(source) };
    fs::create_dir_all(into).map_err(FileError::on("create", into))?;
    let untar = cmd!("tar", "-x", "--strip-components=1", "-C", into);
    let mut version = None;
    let unpack = match &spec.source {
        KernelSource::DebianSource(package) => {
            let deb = find_deb(&linux_source_request(package).download(cache, progress).map_err(download)?)?;
            version = deb_version(&deb);
            unpack_linux_source(&deb, &package.package, into, &[])
        }
        KernelSource::DebianOrig(orig) => {
            let folder = orig_tarball_request(orig).download(cache, progress).map_err(download)?;
            let tarball = file_with_suffix(&folder, ".orig.tar.xz")?;
            version = tarball.file_name().map(|name| name.to_string_lossy().into_owned());
            cmd!("xz", "-dcT0", tarball).pipe(untar)
        }
        KernelSource::Tarball(tarball) => {
            let path = images.resolve(&tarball.path);
            let found = cache::sha256_file(&path)?;
            if !found.eq_ignore_ascii_case(&tarball.sha256) {
                return Err(KernelError::Checksum { path, wanted: tarball.sha256.clone(), found });
            }
            cmd!("tar", "-x", "--strip-components=1", "-C", into, "-f", path)
        }
        KernelSource::Directory(directory) => {
            let path = images.resolve(&directory.path);
            if spec.patches.is_empty() {
                return Ok(UnpackedSource { path, version });
            }
            cmd!("cp", "-a", "--reflink=auto", path.join("."), into)
        }
        KernelSource::Git(git) => {
            version = Some(git.commit.clone());
            cmd!("git", "-C", images.resolve(&git.path), "archive", &git.commit)
                .pipe(cmd!("tar", "-x", "-C", into))
        }
        KernelSource::Built(built) => {
            let why = "its user builds it".into();
            return Err(KernelError::NotBootable { path: built.path.clone(), why });
        }
        KernelSource::DebianPackage(package) => {
            let deb = find_deb(
                &package::linux_image_request(spec, package).download(cache, progress).map_err(download)?,
            )?;
            cmd!("dpkg-deb", "-x", deb, into)
        }
    };
    let task = progress.task(format!("unpack {}", spec.name), 0);
    log.run("unpacking the source", &unpack).map_err(ToolError::of_host).map_err(&step)?;
    for (name, path) in patch_files(spec, images)? {
        task.update(0, &name);
        let patch = cmd!("patch", "--batch", "--forward", "--fuzz=0", "-p1", "-d", into, "-i", &path);
        log.run(&format!("the patch {name}"), &patch).map_err(&step)?;
    }
    Ok(UnpackedSource { path: into.into(), version })
}

/// Extracts `paths` from a downloaded source into the new folder `into`. Does nothing for a source that is
/// not a download.
///
/// # Errors
/// [`KernelError`].
pub fn extract_paths(
    name: &str,
    source: &KernelSource,
    paths: &[String],
    into: &Path,
    cache: &Cache,
    progress: &Progress,
) -> Result<(), KernelError> {
    let download = |source| KernelError::Download { kernel: name.into(), source: Box::new(source) };
    fs::create_dir_all(into).map_err(FileError::on("create", into))?;
    let take = match source {
        KernelSource::DebianSource(package) => {
            let deb = find_deb(&linux_source_request(package).download(cache, progress).map_err(download)?)?;
            let members: Vec<&str> = paths.iter().map(String::as_str).collect();
            unpack_linux_source(&deb, &package.package, into, &members)
        }
        KernelSource::DebianOrig(orig) => {
            let tarball = file_with_suffix(
                &orig_tarball_request(orig).download(cache, progress).map_err(download)?,
                ".orig.tar.xz",
            )?;
            let untar = ["-x", "--strip-components=1", "--wildcards", "-C"].map(String::from).into_iter();
            let untar = untar.chain([into.display().to_string()]);
            cmd!("xz", "-dcT0", tarball)
                .pipe(cmd("tar", untar.chain(paths.iter().map(|path| format!("*/{path}")))))
        }
        _ => return Ok(()),
    };
    let mut log = ToolLog::create(cache, &format!("paths-{}", name)).map_err(KernelError::tool(name))?;
    log.run("taking paths out of the source", &take)
        .map_err(ToolError::of_host)
        .map_err(KernelError::tool(name))
}

/// The time that comparing two kernel trees may take: some seconds on an idle host.
const DIFF_LIMIT: Duration = Duration::from_secs(600);

/// The differences between two folders, in the format of `diff -ruN`.
///
/// # Errors
/// [`KernelError::File`].
pub fn diff_folders(older: &Path, newer: &Path) -> Result<String, KernelError> {
    let top = older.parent().unwrap_or(older);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    let cannot = |why: String| FileError::on("compare", older)(io::Error::other(why));
    let diff = cmd!("diff", "-ruN", name(older), name(newer)).dir(top);
    let diff = diff.full_env(environment(std::env::vars_os()));
    let output =
        output_of(&diff, "diff", DIFF_LIMIT, OnInterrupt::Kill).map_err(|error| cannot(error.to_string()))?;
    match output.status.code() {
        Some(0 | 1) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        _ => Err(cannot(format!("diff: {}", output.status)).into()),
    }
}

/// The request for a `linux-source-X` package. It is `Architecture: all`, so the index of amd64 lists it.
pub fn linux_source_request(package: &LinuxSourcePackage) -> PackageRequest<'_> {
    PackageRequest {
        package: &package.package,
        suite: &package.suite,
        version: package.version.as_deref(),
        files: PackageFiles::Binary(INDEX_OF_ALL),
    }
}

fn orig_tarball_request(orig: &OrigTarball) -> PackageRequest<'_> {
    PackageRequest {
        package: &orig.source,
        suite: &orig.suite,
        version: orig.version.as_deref(),
        files: PackageFiles::Orig,
    }
}

/// A fingerprint of a source tree: the path, size and modification time of every file.
fn tree_fingerprint(top: &Path) -> Result<Vec<u8>, KernelError> {
    use std::os::unix::fs::MetadataExt;
    let mut state = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for file in list(&folder)? {
            let metadata = file.symlink_metadata().map_err(FileError::on("read", &file))?;
            if metadata.is_dir() {
                if !file.ends_with(".git") {
                    folders.push(file);
                }
                continue;
            }
            state.extend_from_slice(file.as_os_str().as_encoded_bytes());
            state.extend(metadata.len().to_le_bytes());
            state.extend(metadata.mtime().to_le_bytes());
            state.extend(metadata.mtime_nsec().to_le_bytes());
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Catalogue;

    fn patches_of(folder: &[&str]) -> Result<Vec<String>, KernelError> {
        let root = tempfile::tempdir().unwrap();
        let images = ImagesFolder::new(root.path());
        fs::create_dir_all(images.patches_folder().join("series")).unwrap();
        for name in folder {
            fs::write(images.patches_folder().join("series").join(name), "").unwrap();
        }
        let spec =
            "- { name: a, arch: mips64, source: { directory: { path: /x } }, patches: [series, last.patch] }";
        fs::write(images.kernels_yaml(), spec).unwrap();
        let catalogue = Catalogue::load(&images.kernels_yaml()).unwrap();
        let patches = patch_files(catalogue.get("a").unwrap(), &images)?;
        Ok(patches.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn a_folder_stands_for_its_patches_in_the_order_of_their_names() {
        let patches = patches_of(&["0002-b.patch", "README.md", "0001-a.patch"]).unwrap();
        assert_eq!(patches, ["series/0001-a.patch", "series/0002-b.patch", "last.patch"]);
    }

    #[test]
    fn the_keys_of_cached_kernels_stay_what_they_were() {
        let key_of = |source: &str| {
            let root = tempfile::tempdir().unwrap();
            let images = ImagesFolder::new(root.path());
            fs::write(
                images.kernels_yaml(),
                format!("- {{ name: a, arch: mips64, source: {{ {source} }} }}"),
            )
            .unwrap();
            Catalogue::load(&images.kernels_yaml()).unwrap().get("a").unwrap().source.key_text()
        };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "00".repeat(32);
        for (source, key) in [
            (
                "debian-source: { package: linux-source-6.1, suite: bookworm }",
                r#"DebianSource(DebianPackage { package: "linux-source-6.1", suite: "bookworm", version: None })"#,
            ),
            (
                "debian-orig: { source: linux, suite: bookworm, version: 6.1.4-1 }",
                r#"DebianOrig(DebianOrig { source: "linux", suite: "bookworm", version: Some("6.1.4-1") })"#,
            ),
            (
                "debian-package: { package: linux-image-1, suite: bookworm, dbg: linux-image-1-dbg }",
                r#"DebianPackage(DebianBinary { package: "linux-image-1", suite: "bookworm", version: None, dbg: None })"#,
            ),
            ("directory: { path: /linux }", r#"Directory(Directory { path: "/linux" })"#),
            (
                &format!("tarball: {{ path: l.tar.xz, sha256: {sha256:?} }}"),
                &format!(r#"Tarball(Tarball {{ path: "l.tar.xz", sha256: "{sha256}" }})"#),
            ),
            (
                &format!("git: {{ path: /linux, commit: {commit:?} }}"),
                &format!(r#"Git(Git {{ path: "/linux", commit: "{commit}" }})"#),
            ),
        ] {
            assert_eq!(key_of(source), key);
        }
    }

    #[test]
    fn where_its_dwarf_is_does_not_make_it_another_kernel() {
        let root = tempfile::tempdir().unwrap();
        let images = ImagesFolder::new(root.path());
        fs::create_dir_all(images.guest_folder()).unwrap();
        fs::write(images.guest_folder().join("modules"), "tun\n").unwrap();
        let key_of = |more: &str| {
            let package = format!("debian-package: {{ package: linux-image-1, suite: bookworm{more} }}");
            let spec = format!("- {{ name: a, arch: mips64el, source: {{ {package} }} }}");
            fs::write(images.kernels_yaml(), spec).unwrap();
            let catalogue = Catalogue::load(&images.kernels_yaml()).unwrap();
            key(catalogue.get("a").unwrap(), &images).unwrap()
        };
        assert_eq!(key_of(""), key_of(", dbg: linux-image-1-dbg"));
        assert_ne!(key_of(""), key_of(", version: 1-1"));
    }

    #[test]
    fn a_folder_without_patches_is_no_series() {
        let said = patches_of(&["README.md"]).unwrap_err();
        assert!(std::error::Error::source(&said).unwrap().to_string().contains("no *.patch"), "{said}");
    }
}
