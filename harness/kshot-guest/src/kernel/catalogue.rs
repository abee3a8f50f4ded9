//! `images/kernels.yaml`: the catalogue of kernels and their sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use globset::GlobSetBuilder;
use serde::Deserialize;

use super::KernelError;
use crate::bounded;
use crate::host::{FileError, list};
use crate::yaml::{self, YamlError, YamlSource};
use kshot_stack::arch::Arch;
use kshot_stack::name::glob;

/// The catalogue's file name in error messages.
const FILE: &str = "images/kernels.yaml";
/// The largest `kshot.yaml`, in bytes.
const WORKSPACE_BYTES_MOST: u64 = 1 << 20;

/// The repository's `images` folder, with the inputs of every kernel and guest.
#[derive(Clone, Debug)]
pub struct ImagesFolder {
    root: PathBuf,
}

/// Every kernel of the catalogue, in its order.
#[derive(Clone, Debug)]
pub struct Catalogue {
    kernels: Vec<KernelSpec>,
}

/// One kernel of the catalogue: its name and how to obtain it.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// The unique name, of letters, digits and `.+_-`.
    pub name: String,
    /// The architecture of the kernel.
    pub arch: Arch,
    /// The source of the kernel.
    pub source: KernelSource,
    /// Kconfig fragments, merged onto `allnoconfig` in this order: files under `images/config`.
    pub config: Vec<String>,
    /// Patches, applied in this order with `patch -p1`: files under `images/patches`, or folders of them.
    pub patches: Vec<String>,
    /// The approximate number of lines that kbuild prints, for the progress bar; 0 if unknown.
    pub objects: u64,
    /// The symbols of the fragments that the final `.config` must have; all of them if `None`.
    pub required: Option<Vec<String>>,
}

/// The source of a kernel. Relative paths are relative to the catalogue's folder.
#[derive(Clone, Debug)]
pub enum KernelSource {
    /// A `linux-source-X` package: a source tree as Debian patched it.
    DebianSource(LinuxSourcePackage),
    /// Upstream's own tarball, as the source package `source` carries it.
    DebianOrig(OrigTarball),
    /// A prebuilt `linux-image-*` package with its modules.
    DebianPackage(LinuxImagePackage),
    /// A tarball on disk.
    Tarball(SourceTarball),
    /// A source tree on disk, which is never written to.
    Directory(SourceTree),
    /// A commit of a git repository on disk.
    Git(GitCommit),
    /// A kernel that its user builds: a build folder or a `vmlinux` ([`super::Kernel::from_path`]).
    Built(BuiltKernel),
}

/// A `linux-source-X` package of a Debian suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LinuxSourcePackage {
    /// The package's name.
    pub package: String,
    /// The suite; suites ending in `-security` are in the security archive.
    pub suite: String,
    /// The exact version; if `None`, the newest one at the first download, which is kept from then on.
    pub version: Option<String>,
}

/// A prebuilt kernel package of a Debian suite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LinuxImagePackage {
    /// The package's name.
    pub package: String,
    /// The suite.
    pub suite: String,
    /// The exact version; see [`LinuxSourcePackage::version`].
    pub version: Option<String>,
    /// The package that holds the DWARF: some hundred megabytes, downloaded on request only.
    pub dbg: Option<String>,
}

/// The upstream tarball of a Debian source package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OrigTarball {
    /// The source package's name (`linux`).
    pub source: String,
    /// The suite.
    pub suite: String,
    /// The source package's exact version, including Debian's revision; see [`LinuxSourcePackage::version`].
    pub version: Option<String>,
}

/// A source tarball, compressed as `tar` understands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceTarball {
    /// The path of the tarball.
    pub path: PathBuf,
    /// The SHA-256 of the tarball, in hexadecimal.
    pub sha256: String,
}

/// A source tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceTree {
    /// The path of the source tree.
    pub path: PathBuf,
}

/// A commit of a git repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GitCommit {
    /// The path of the repository.
    pub path: PathBuf,
    /// The full commit id. Branch and tag names can move, so they are rejected.
    pub commit: String,
}

/// A kernel that its user builds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BuiltKernel {
    /// The path of the build folder or of the `vmlinux`.
    pub path: PathBuf,
}

/// A kernel as written in the catalogue, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawKernel {
    name: String,
    arch: Arch,
    source: RawSource,
    #[serde(default)]
    config: Vec<String>,
    #[serde(default)]
    patches: Vec<String>,
    #[serde(default)]
    objects: u64,
}

/// A workspace of one's own as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawWorkspace {
    #[serde(default)]
    kernels: Vec<RawKernel>,
}

/// A source as written in the catalogue: one key names its kind. An enum would need YAML tags and lose the
/// position of an unknown key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSource {
    debian_source: Option<LinuxSourcePackage>,
    debian_orig: Option<OrigTarball>,
    debian_package: Option<LinuxImagePackage>,
    tarball: Option<SourceTarball>,
    directory: Option<SourceTree>,
    git: Option<GitCommit>,
    built: Option<BuiltKernel>,
}

impl ImagesFolder {
    /// The images folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The path of the kernel catalogue.
    pub fn kernels_yaml(&self) -> PathBuf {
        self.root.join("kernels.yaml")
    }

    /// The path of `versions.yaml`: the suites that `bisect` looks for versions in, and settings for single
    /// versions.
    pub fn versions_yaml(&self) -> PathBuf {
        self.root.join("versions.yaml")
    }

    /// The path of `nightly.yaml`: the matrix of a night.
    pub fn nightly_yaml(&self) -> PathBuf {
        self.root.join("nightly.yaml")
    }

    /// The path of `survey.yaml`: the situations of a survey.
    pub fn survey_yaml(&self) -> PathBuf {
        self.root.join("survey.yaml")
    }

    /// The path of `needs.yaml`: the options that a kernel of one's own has to have.
    pub fn needs_yaml(&self) -> PathBuf {
        self.root.join("needs.yaml")
    }

    /// The folder of Kconfig fragments.
    pub fn config_folder(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The names of all Kconfig fragments, sorted.
    ///
    /// # Errors
    /// [`KernelError::File`].
    pub fn config_fragments(&self) -> Result<Vec<String>, KernelError> {
        let paths = list(&self.config_folder())?;
        Ok(paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    /// The folder of kernel patches.
    pub fn patches_folder(&self) -> PathBuf {
        self.root.join("patches")
    }

    /// The folder of the guest's files: init, C programs and the configuration of the userland.
    pub fn guest_folder(&self) -> PathBuf {
        self.root.join("guest")
    }

    /// The names of the drivers that a modular kernel loads, from `guest/modules`, in loading order.
    ///
    /// # Errors
    /// [`KernelError::File`].
    pub fn guest_modules(&self) -> Result<Vec<String>, KernelError> {
        let path = self.guest_folder().join("modules");
        let text = fs::read_to_string(&path).map_err(FileError::on("read", &path))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

/// Whether DWARF is available for a kernel of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DwarfAvailability {
    /// Available: kshot builds the kernel.
    Built,
    /// Downloaded on request from the kernel's `dbg` package ([`super::provision_dwarf`]).
    OnRequest,
    /// Not available: the kernel is prebuilt and its source names no `dbg` package.
    Unavailable,
}

impl KernelSpec {
    /// The path of a kernel that its user builds.
    pub fn built_path(&self) -> Option<&Path> {
        match &self.source {
            KernelSource::Built(built) => Some(&built.path),
            _ => None,
        }
    }

    /// How to get the kernel where it is not there: a command, or what its user has to do.
    pub fn how_to_get(&self) -> String {
        match self.built_path() {
            Some(path) => format!("build it in {} (kshot does not build it)", path.display()),
            None => format!("kshot provision {}", self.name),
        }
    }

    /// Whether DWARF is available for the kernel.
    pub fn dwarf_availability(&self) -> DwarfAvailability {
        match &self.source {
            KernelSource::DebianPackage(LinuxImagePackage { dbg: Some(_), .. }) => {
                DwarfAvailability::OnRequest
            }
            KernelSource::DebianPackage(_) => DwarfAvailability::Unavailable,
            _ => DwarfAvailability::Built,
        }
    }
}

impl Catalogue {
    /// Reads the catalogue.
    ///
    /// # Errors
    /// [`KernelError::File`], or [`KernelError::Yaml`] with line, column and the known keys.
    pub fn load(path: &Path) -> Result<Self, KernelError> {
        let text = fs::read_to_string(path).map_err(FileError::on("read", path))?;
        Ok(Self::parse(&text)?)
    }

    /// Adds the kernels that the workspace file `path` names (`kshot.yaml`), before the others. Paths in it
    /// are relative to its folder.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn add_workspace(&mut self, path: &Path) -> Result<(), KernelError> {
        let text = bounded::read_text(path, WORKSPACE_BYTES_MOST).map_err(FileError::on("read", path))?;
        let file = path.display().to_string();
        let raw: RawWorkspace = yaml::from_str(&file, &text)?;
        let mut own = check_kernels(&file, &text, raw.kernels)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for kernel in &mut own {
            kernel.source.resolve(folder);
            if self.get(&kernel.name).is_some() {
                let why = format!("images/kernels.yaml has a kernel `{}`, too", kernel.name);
                let source = YamlSource { file: &file, text: &text };
                return Err(source.error("kernels", &kernel.name, why).into());
            }
        }
        self.kernels.splice(0..0, own);
        Ok(())
    }

    /// All kernels, in the catalogue's order.
    pub fn kernels(&self) -> &[KernelSpec] {
        &self.kernels
    }

    /// The names of all kernels, in the catalogue's order.
    pub fn names(&self) -> Vec<&str> {
        self.kernels.iter().map(|entry| entry.name.as_str()).collect()
    }

    /// The kernel of that name.
    pub fn get(&self, name: &str) -> Option<&KernelSpec> {
        self.kernels.iter().find(|entry| entry.name == name)
    }

    /// The kernels that match any of the globs, in the catalogue's order. An invalid glob matches nothing.
    pub fn matching<'a>(&self, globs: impl IntoIterator<Item = &'a str>) -> Vec<&KernelSpec> {
        let mut set = GlobSetBuilder::new();
        for glob in globs.into_iter().filter_map(|text| glob(text).ok()) {
            set.add(glob);
        }
        let Ok(set) = set.build() else { return Vec::new() };
        self.kernels.iter().filter(|entry| set.is_match(&entry.name)).collect()
    }

    fn parse(text: &str) -> Result<Self, Box<YamlError>> {
        Ok(Self { kernels: check_kernels(FILE, text, yaml::from_str(FILE, text)?)? })
    }
}

fn check_kernels(file: &str, text: &str, raw: Vec<RawKernel>) -> Result<Vec<KernelSpec>, Box<YamlError>> {
    let fault = |name: &str, why: String| YamlSource { file, text }.error("", name, why);
    let mut seen = BTreeSet::new();
    let mut kernels = Vec::new();
    for entry in raw {
        let name = entry.name.clone();
        if !seen.insert(name.clone()) {
            return Err(fault(&name, format!("two kernels are called `{name}`")));
        }
        kernels.push(entry.check().map_err(|why| fault(&name, why))?);
    }
    Ok(kernels)
}

impl KernelSource {
    /// Makes relative paths absolute.
    fn resolve(&mut self, folder: &Path) {
        let path = match self {
            Self::Tarball(one) => &mut one.path,
            Self::Directory(one) => &mut one.path,
            Self::Git(one) => &mut one.path,
            Self::Built(one) => &mut one.path,
            Self::DebianSource(_) | Self::DebianOrig(_) | Self::DebianPackage(_) => return,
        };
        *path = folder.join(&path);
    }
}

/// Whether a kernel of a catalogue can be called that: letters, digits and `.+_-`.
pub fn is_kernel_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+_-".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

impl RawKernel {
    fn check(self) -> Result<KernelSpec, String> {
        let Self { name, arch, source, config, patches, objects } = self;
        if !is_kernel_name(&name) {
            return Err(format!("kernel name {name:?}: only letters, digits and .+_- may stand in it"));
        }
        let source = source.check().map_err(|why| format!("kernel {name:?}: {why}"))?;
        if matches!(source, KernelSource::DebianPackage(_) | KernelSource::Built(_))
            && !(config.is_empty() && patches.is_empty())
        {
            return Err(format!("kernel {name:?}: a prebuilt kernel takes neither config nor patches"));
        }
        Ok(KernelSpec { name, arch, source, config, patches, objects, required: None })
    }
}

impl RawSource {
    fn check(self) -> Result<KernelSource, String> {
        let found: Vec<KernelSource> = [
            self.debian_source.map(KernelSource::DebianSource),
            self.debian_orig.map(KernelSource::DebianOrig),
            self.debian_package.map(KernelSource::DebianPackage),
            self.tarball.map(KernelSource::Tarball),
            self.directory.map(KernelSource::Directory),
            self.git.map(KernelSource::Git),
            self.built.map(KernelSource::Built),
        ]
        .into_iter()
        .flatten()
        .collect();
        let [source] = <[KernelSource; 1]>::try_from(found)
            .map_err(|found| format!("`source` has {} kinds; it must have exactly one", found.len()))?;
        if let KernelSource::Git(git) = &source
            && !(matches!(git.commit.len(), 40 | 64)
                && git.commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(format!("git commit {:?} is not a full commit id", git.commit));
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
- name: mips64-6.1
  arch: mips64
  source: { debian-source: { package: linux-source-6.1, suite: bookworm-security } }
  config: [base.config]
- name: mips64el-6.1-debian
  arch: mips64el
  source: { debian-package: { package: linux-image-x, suite: bookworm } }
";

    fn fault(text: &str) -> String {
        Catalogue::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn kernels_are_found_by_name_and_by_glob() {
        let catalogue = Catalogue::parse(GOOD).unwrap();
        assert_eq!(catalogue.names(), ["mips64-6.1", "mips64el-6.1-debian"]);
        let matching: Vec<_> =
            catalogue.matching(["mips64el*", "nothing"]).iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(matching, ["mips64el-6.1-debian"]);
        assert!(catalogue.get("mips64").is_none());
    }

    #[test]
    fn the_catalogue_of_the_repository_loads_and_its_files_are_there() {
        let images = ImagesFolder::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images"));
        let catalogue = Catalogue::load(&images.kernels_yaml()).unwrap();
        for name in ["mips64-6.1", "mips64el-6.1-debian", "mips64el-6.12-debian"] {
            assert!(catalogue.get(name).is_some(), "{name}");
        }
        for entry in &catalogue.kernels {
            for file in entry.config.iter().map(|name| images.config_folder().join(name)) {
                assert!(file.is_file(), "{}", file.display());
            }
            for (_, file) in crate::kernel::source::patch_files(entry, &images).unwrap() {
                assert!(file.is_file(), "{}", file.display());
            }
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_known_ones() {
        let said = fault(&GOOD.replacen("config:", "fragments:", 1));
        assert!(said.contains("unknown field `fragments`"), "{said}");
        assert!(said.contains("`patches`"), "{said}");
        assert!(said.contains("kernels.yaml:5:3"), "{said}");
        let said = fault(&GOOD.replacen("debian-source:", "debian-sauce:", 1));
        assert!(said.contains("`debian-source`") && said.contains("kernels.yaml:4:"), "{said}");
    }

    #[test]
    fn a_kernel_with_two_sources_or_none_is_refused() {
        let said = fault("- { name: a, arch: mips64, source: {} }");
        assert!(said.ends_with("kernel \"a\": `source` has 0 kinds; it must have exactly one"), "{said}");
    }

    #[test]
    fn a_name_that_leaves_its_folder_or_comes_twice_is_refused() {
        assert!(fault(&GOOD.replacen("mips64-6.1", "../mips64", 1)).contains("only letters"));
        assert!(
            fault(&GOOD.replacen("mips64-6.1", "mips64el-6.1-debian", 1)).contains("two kernels are called")
        );
    }

    #[test]
    fn a_branch_name_is_no_commit() {
        let said = fault("- { name: a, arch: mips64, source: { git: { path: /x, commit: master } } }");
        assert!(said.contains("\"master\" is not a full commit id"), "{said}");
    }
}
