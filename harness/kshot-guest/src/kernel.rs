//! Kernels: the catalogue, and the provisioning of its kernels.
#![expect(clippy::disallowed_methods, reason = "kernels are made by tools of the host")]

mod catalogue; // images/kernels.yaml: which kernels there are and where each comes from
mod tools; // the tools of the host that a kernel needs
mod kconfig; // what fragments ask for, and what of it a .config has dropped
mod needs; // images/needs.yaml: the options that are needed, and the fragment of those a kernel lacks (`kshot config`)
mod image; // the bytes of an image, and the kernel inside of it
mod vmlinux; // the architecture and release of a kernel image
mod modules; // modules.dep
mod tree; // a user's build folder: what kbuild left in it
mod package; // a kernel out of a package
mod source; // unpacks sources into trees, and tells what identifies one
mod build; // a kernel out of a source tree, Debian's linux-source packages among them
mod build_folder; // one folder in which many versions are built
mod dwarf; // the DWARF of a kernel

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::debian::AptError;
use crate::host::cache::{self, Cache, CacheError, Draft, Lookup};
use crate::host::{FileError, MissingTool, ToolError, install_missing, tools as names_of};
use crate::progress::Progress;
use crate::symbols::{Dwarf, NoDwarf};
use crate::yaml::YamlError;
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed, passed_on_blame, passed_on_hint};

pub use build::{BuildPaths, merge_config};
pub use build_folder::BuildFolder;
pub use catalogue::{
    BuiltKernel, Catalogue, DwarfAvailability, GitCommit, ImagesFolder, KernelSource, KernelSpec,
    LinuxImagePackage, LinuxSourcePackage, OrigTarball, SourceTarball, SourceTree, is_kernel_name,
};
pub use dwarf::provision_dwarf;
pub use modules::{MODULE_BYTES_MOST, with_dependencies};
pub use needs::{KernelConfig, MissingOption, OptionUsers, config_arch, fragment, missing_options};
pub use source::{diff_folders, extract_paths, linux_source_request};
pub use tools::missing_tools;

/// The version of the build recipe; it changes when the same inputs give another kernel.
const RECIPE_VERSION: &str = "1";

/// A kernel that is ready to boot. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name in the catalogue; for the user's own kernel, the name of its folder or file.
    pub name: String,
    /// The architecture of the kernel.
    pub arch: Arch,
    /// The kernel release, as `uname -r` prints it.
    pub release: String,
    /// The version of the package that the kernel came from, as far as it came from one.
    pub version: Option<String>,
    /// The kernel image that QEMU boots ([`kshot_stack::arch::KernelImage`]), without debug sections.
    pub boot: PathBuf,
    /// The SHA-256 of the kernel image, in hexadecimal.
    pub sha256: String,
    /// The DWARF of the kernel, or why there is none.
    pub dwarf: Result<Dwarf, NoDwarf>,
    /// The root folder of `lib/modules/<release>`, with uncompressed modules and a `modules.dep`; `None` for
    /// kernels without modules.
    pub modules: Option<PathBuf>,
    /// The kernel's `.config`, where it is known.
    pub config: Option<PathBuf>,
    /// Whether the kernel is in the catalogue. Only those have snapshots.
    pub in_catalogue: bool,
    /// The lines of Kconfig fragments that the final `.config` lacks and that are not required.
    pub lost: Vec<String>,
}

/// Why a kernel could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The catalogue is not valid YAML or has an unknown key.
    #[error(transparent)]
    Yaml(#[from] Box<YamlError>),
    /// The host lacks tools that provisioning needs.
    #[error("this host lacks {}", names_of(missing))]
    MissingTools {
        /// The missing tools.
        missing: Vec<MissingTool>,
    },
    /// The download from Debian's archive failed.
    #[error("cannot get kernel {kernel}")]
    Download {
        /// The kernel.
        kernel: String,
        /// The underlying error.
        source: Box<AptError>,
    },
    /// The file's SHA-256 differs from the one in the catalogue.
    #[error("{} has the SHA-256 {found}, the catalogue says {wanted}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The SHA-256 in the catalogue.
        wanted: String,
        /// The SHA-256 of the file.
        found: String,
    },
    /// A tool failed while the kernel was unpacked, patched, configured or built.
    #[error("cannot make kernel {kernel}")]
    Tool {
        /// The kernel.
        kernel: String,
        /// Which tool, its log and the log's tail.
        source: Box<ToolError>,
    },
    /// kbuild refuses to build a source tree because of its path or state, whatever commit is checked out.
    #[error("kbuild does not build {}: {said}", tree.display())]
    TreeRefused {
        /// The source tree.
        tree: PathBuf,
        /// kbuild's words.
        said: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// `olddefconfig` dropped a required line of a Kconfig fragment.
    #[error("kernel {kernel}: olddefconfig dropped {line} of {fragment}: in the final .config {found}")]
    SettingDropped {
        /// The kernel.
        kernel: String,
        /// The fragment's line.
        line: String,
        /// The fragment.
        fragment: String,
        /// The symbol's value in the final `.config`.
        found: String,
    },
    /// No DWARF is available for the kernel.
    #[error("no package with the DWARF of kernel {kernel} is known")]
    NoDwarf {
        /// The kernel.
        kernel: String,
    },
    /// The DWARF belongs to another kernel.
    #[error("{} is not of kernel {kernel}: {why}", path.display())]
    DwarfMismatch {
        /// The kernel.
        kernel: String,
        /// The file that holds the DWARF.
        path: PathBuf,
        /// The difference between DWARF and kernel.
        why: String,
    },
    /// The file is not a kernel that kshot can boot.
    #[error("{} is not a kernel that kshot can boot: {why}", path.display())]
    NotBootable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be booted.
        why: String,
    },
    /// The kernel lacks options that the run needs.
    #[error("kernel {kernel} ({release}) cannot run this scenario: {}", list_options(missing))]
    MissingOptions {
        /// The kernel.
        kernel: String,
        /// The kernel's release.
        release: String,
        /// The missing options.
        missing: Vec<MissingOption>,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The facts of a kernel that was just built or unpacked.
struct Provisioned {
    release: String,
    /// The source's version, as far as its kind has one.
    version: Option<String>,
    /// The lines of Kconfig fragments that `olddefconfig` dropped and that are not required.
    lost: Vec<String>,
}

/// The contents of `kernel.json` in a cached kernel.
#[derive(Serialize, Deserialize)]
struct KernelMetadata {
    release: String,
    sha256: String,
    /// The source's version, as far as its kind has one.
    version: Option<String>,
    /// See [`Kernel::lost`].
    #[serde(default)]
    lost: Vec<String>,
}

impl KernelMetadata {
    /// Reads `kernel.json` of a cached kernel.
    fn read(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join("kernel.json");
        let text = fs::read(&path).map_err(FileError::on("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| FileError::on("read", &path)(error.into()))
    }
}

fn list_options(missing: &[MissingOption]) -> String {
    let name = |option: &MissingOption| match option.is_module {
        true => format!("CONFIG_{}=m has no module here ({})", option.name, option.because),
        false => format!("it lacks CONFIG_{} ({})", option.name, option.because),
    };
    missing.iter().map(name).collect::<Vec<_>>().join("; ")
}

/// Whether a file is cut, empty or missing, and not only out of reach for now.
fn is_damage(error: &FileError) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.source.kind(), InvalidData | NotFound | UnexpectedEof)
}

impl KernelError {
    /// The error of a file that `path` was unpacked to, told of `path`.
    fn of_file(self, path: &Path) -> Self {
        match self {
            Self::NotBootable { why, .. } => Self::NotBootable { path: path.into(), why },
            other => other,
        }
    }

    /// Whether Debian's archive no longer has the package, whatever its index says.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Download { source, .. } if source.is_unavailable())
    }

    /// Whether a tool failed and does not say why.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Tool { source, .. } if source.is_in_doubt())
    }

    fn tool(kernel: &str) -> impl Fn(ToolError) -> Self + use<> {
        let kernel = kernel.to_owned();
        move |source| Self::Tool { kernel: kernel.clone(), source: Box::new(source) }
    }
}

impl Blamed for KernelError {
    fn passed_on(&self) -> Option<&dyn Blamed> {
        match self {
            Self::Yaml(error) => Some(&**error),
            Self::Download { source, .. } => Some(&**source),
            Self::Tool { source, .. } => Some(&**source),
            Self::Cache(source) => Some(source),
            _ => None,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Checksum { .. } | Self::SettingDropped { .. } => Blame::Input,
            Self::NotBootable { .. }
            | Self::NoDwarf { .. }
            | Self::TreeRefused { .. }
            | Self::MissingOptions { .. } => Blame::Usage,
            _ => passed_on_blame(self),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTools { missing } => Some(install_missing(missing)),
            Self::TreeRefused { remedy, .. } => Some((*remedy).into()),
            Self::MissingOptions { .. } => {
                Some("`kshot config` prints the fragment that turns them on".into())
            }
            Self::SettingDropped { .. } => {
                Some("add what the symbol depends on, or put \"# optional: why\" above its line".into())
            }
            Self::NoDwarf { .. } => {
                Some("if Debian has a -dbg package for it, name that as `dbg` of the kernel's source in images/kernels.yaml".into())
            }
            Self::DwarfMismatch { .. } => Some(
                "remove both with `kshot cache kernels dwarf --prune`, then get a matching pair with `kshot provision --dwarf`".into(),
            ),
            _ => passed_on_hint(self),
        }
    }
}

impl Kernel {
    /// The kernel of a catalogue entry if it is in the cache. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`KernelError::File`] for a fragment, patch or source tree that cannot be read.
    pub fn find(
        spec: &KernelSpec,
        images: &ImagesFolder,
        cache: &Cache,
    ) -> Result<Option<Self>, KernelError> {
        if let KernelSource::Built(built) = &spec.source {
            return Self::from_spec(spec, built, images, cache);
        }
        let key = source::key(spec, images)?;
        let Some(folder) = cache.find("kernels", &key) else { return Ok(None) };
        let mut kernel = match Self::from_entry(spec, &folder) {
            // A power loss left the entry incomplete. Treat the kernel as missing, so that it is made again
            // and commands about other kernels still work.
            Err(KernelError::File(error)) if is_damage(&error) && cache.remove("kernels", &key)? => {
                return Ok(None);
            }
            kernel => kernel?,
        };
        if kernel.dwarf.is_err() {
            kernel.dwarf = dwarf::find(spec, &kernel, images, cache)?.ok_or(NoDwarf::Unknown);
        }
        kernel.relocated().map(Some)
    }

    /// The user's own kernel: a folder that kbuild built in (a source tree or an `O=` folder), or an image
    /// that the architecture's QEMU boots, with or without DWARF. The modules in that folder and its
    /// `.config` belong to the kernel; `lib/modules/<release>` in it goes before modules that are not
    /// installed. Nothing is written there.
    ///
    /// # Errors
    /// [`KernelError::NotBootable`], [`KernelError::File`] or [`KernelError::Cache`].
    pub fn from_path(path: &Path, images: &ImagesFolder, cache: &Cache) -> Result<Self, KernelError> {
        let not = |why: String| KernelError::NotBootable { path: path.into(), why };
        let path = path.canonicalize().map_err(|error| not(error.to_string()))?;
        // The whole file name, not the stem: `vmlinux-6.1.192` and `vmlinux-6.1.193` are two kernels.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tree::KernelFiles { folder, boot, vmlinux, image } = tree::files(&path, cache)?;
        let release = image.release.ok_or_else(|| {
            not("it has no \"Linux version\" banner: it is a compressed vmlinuz, a program or a module"
                .into())
        })?;
        let modules = tree::modules(&folder, &release, images, cache)?;
        // As kbuild leaves it, or as distributions install it beside the image.
        let config = [".config".into(), format!("config-{release}")].map(|name| folder.join(name));
        let kernel = Self {
            name,
            arch: image.arch,
            release,
            version: None,
            sha256: cache::sha256_file(&boot)?,
            dwarf: image.dwarf.and_then(|()| {
                let vmlinux = vmlinux.ok_or(NoDwarf::Unknown)?;
                Ok(Dwarf::of(vmlinux, modules.as_deref()))
            }),
            modules,
            config: config.into_iter().find(|config| config.is_file()),
            in_catalogue: false,
            lost: Vec::new(),
            boot,
        };
        kernel.relocated()
    }

    /// The kernel that its user builds, `None` before it is built.
    fn from_spec(
        spec: &KernelSpec,
        built: &BuiltKernel,
        images: &ImagesFolder,
        cache: &Cache,
    ) -> Result<Option<Self>, KernelError> {
        if !(built.path.is_file() || built.path.join("vmlinux").is_file()) {
            return Ok(None);
        }
        let kernel = Self::from_path(&built.path, images, cache)?;
        check_arch(spec, kernel.arch, &kernel.boot)?;
        Ok(Some(Self { name: spec.name.clone(), in_catalogue: true, ..kernel }))
    }

    /// This kernel as one outside the catalogue: its runs are judged by claims alone, without snapshots.
    #[must_use]
    pub fn without_snapshots(self) -> Self {
        Self { in_catalogue: false, ..self }
    }

    /// The kernel with where it runs, if that is not where its `vmlinux` is linked.
    fn relocated(mut self) -> Result<Self, KernelError> {
        if let (Some(option), Some(config), Ok(dwarf)) =
            (self.arch.row().image_base, &self.config, &mut self.dwarf)
        {
            dwarf.offset = needs::address_option(config, option)?.unwrap_or_default();
        }
        Ok(self)
    }

    /// Refuses a kernel whose `.config` lacks options that a run needs.
    ///
    /// # Errors
    /// [`KernelError::MissingOptions`], [`KernelError::File`] or [`KernelError::Yaml`].
    pub fn check_options(&self, images: &ImagesFolder, users: &OptionUsers) -> Result<(), KernelError> {
        let Some(path) = &self.config else { return Ok(()) };
        let config = KernelConfig { arch: self.arch, path, has_modules: self.modules.is_some() };
        let missing = missing_options(config, images, users)?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(KernelError::MissingOptions { kernel: self.name.clone(), release: self.release.clone(), missing })
    }

    fn from_entry(spec: &KernelSpec, folder: &Path) -> Result<Self, KernelError> {
        let metadata = KernelMetadata::read(folder)?;
        let boot = folder.join(spec.arch.row().image.name());
        if fs::metadata(&boot).map_err(FileError::on("read", &boot))?.len() == 0 {
            return Err(FileError::on("read", &boot)(io::ErrorKind::UnexpectedEof.into()).into());
        }
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        Ok(Self {
            name: spec.name.clone(),
            arch: spec.arch,
            release: metadata.release,
            version: metadata.version,
            boot,
            sha256: metadata.sha256,
            dwarf: file("vmlinux.debug").map(|vmlinux| Dwarf::of(vmlinux, None)).ok_or(NoDwarf::Unknown),
            modules: file("modules"),
            config: file("config"),
            in_catalogue: true,
            lost: metadata.lost,
        })
    }
}

/// Where provisioning reads its recipes, stores its results and reports its progress.
#[derive(Clone, Debug)]
pub struct ProvisionContext<'a> {
    /// The folder of recipes.
    pub images: ImagesFolder,
    /// The cache.
    pub cache: &'a Cache,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// Provisions a kernel of the catalogue: takes it from the cache, or downloads or builds it.
///
/// # Errors
/// [`KernelError`].
pub fn provision(spec: &KernelSpec, context: &ProvisionContext<'_>) -> Result<Kernel, KernelError> {
    let ProvisionContext { images, cache, progress } = context;
    if let Some(kernel) = Kernel::find(spec, images, cache)? {
        return Ok(kernel);
    }
    if let Some(path) = spec.built_path() {
        let what = if path.exists() { "no kernel was built there yet" } else { "it does not exist" };
        let why = format!("{what}: kshot leaves building it to you");
        return Err(KernelError::NotBootable { path: path.into(), why });
    }
    let missing = missing_tools(spec);
    if !missing.is_empty() {
        return Err(KernelError::MissingTools { missing });
    }
    let on_wait = || progress.print_line(&format!("waiting for another kshot to provision {}", spec.name));
    let draft = match cache.find_or_draft("kernels", &source::key(spec, images)?, on_wait)? {
        Lookup::Found(folder) => return Kernel::from_entry(spec, &folder),
        Lookup::Missing(draft) => draft,
    };
    // The scratch folder is removed only when this returns, because removing a source tree can take minutes;
    // processes that wait for the kernel already have it.
    let scratch = draft.scratch()?;
    let made = match &spec.source {
        KernelSource::DebianPackage(package) => package::unpack(spec, package, context, draft.path())?,
        _ => build::build(spec, context, scratch.path(), draft.path())?,
    };
    Kernel::from_entry(spec, &commit_kernel(spec, draft, made)?)
}

/// Builds again a kernel that this host has built before, only to check that the host can still build.
///
/// # Errors
/// [`KernelError`].
pub fn build_again(spec: &KernelSpec, context: &ProvisionContext<'_>) -> Result<(), KernelError> {
    let ProvisionContext { cache, .. } = context;
    let scratch = cache.scratch()?;
    let folder = scratch.path().join("kernel");
    fs::create_dir(&folder).map_err(FileError::on("create", &folder))?;
    build::build(spec, context, scratch.path(), &folder).map(drop)
}

fn commit_kernel(spec: &KernelSpec, draft: Draft, made: Provisioned) -> Result<PathBuf, KernelError> {
    let boot = draft.path().join(spec.arch.row().image.name());
    let image = vmlinux::read(&boot)?;
    check_arch(spec, image.arch, &boot)?;
    let metadata = KernelMetadata {
        release: made.release,
        sha256: cache::sha256_file(&boot)?,
        version: made.version,
        lost: made.lost,
    };
    let path = draft.path().join("kernel.json");
    let text =
        serde_json::to_vec_pretty(&metadata).map_err(|error| FileError::on("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(FileError::on("write", &path))?;
    Ok(draft.commit_with_sums()?)
}

fn check_arch(spec: &KernelSpec, arch: Arch, path: &Path) -> Result<(), KernelError> {
    if arch == spec.arch {
        return Ok(());
    }
    let why = format!("it is for {arch}, and kernel {} is said to be for {}", spec.name, spec.arch);
    Err(KernelError::NotBootable { path: path.into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_cannot_be_read_is_made_anew() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let images = ImagesFolder::new(root.join("images"));
        let catalogue = Catalogue::load(&images.kernels_yaml()).unwrap();
        let spec = catalogue.get("mips64-6.1").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let entry = folder.path().join("kernels").join(source::key(spec, &images).unwrap());
        fs::create_dir_all(&entry).unwrap();
        fs::write(entry.join("kernel.json"), "").unwrap();
        assert!(Kernel::find(spec, &images, &cache).unwrap().is_none());
        assert!(!entry.exists());
    }
}
