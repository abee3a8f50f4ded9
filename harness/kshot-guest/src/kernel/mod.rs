//! Kernels: the catalogue, and how a name in it becomes files that boot.
#![expect(clippy::disallowed_methods, reason = "kernels are made by tools of the host")]

mod apt;
mod archive;
mod build;
mod catalogue;
mod dwarf;
mod elf;
mod git;
mod kconfig;
mod loaded;
mod modules;
mod prebuilt;
pub mod process;
mod source;
mod tools;
mod workshop;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache, CacheError, Draft, Entry};
use crate::progress::Progress;
use crate::yaml::YamlFault;
use kshot_stack::arch::Arch;
use kshot_stack::fault::{Blame, Fault};

pub use apt::AptError;
pub use apt::{Kind, Wanted};
pub use catalogue::{
    Catalogue, DebianBinary, DebianOrig, DebianPackage, Directory, Git, HasDwarf, Images, KernelEntry,
    Source, Tarball,
};
pub use dwarf::{Dwarf, provision_dwarf};
pub use elf::{build_id, build_id_of_notes};
pub use git::GitError;
pub use git::{Listed, Repository};
pub use loaded::{LIST_SECTIONS, Loaded, Module, SECTIONS};
pub use modules::closure;
pub use process::StepError;
pub use source::{
    compiler, deb_file, differences, take_paths, unpack_linux_source, version_of, wanted_source,
};
pub use tools::{MissingTool, missing_tools};
pub use tools::{compiler_version, missing_to_build, missing_to_run};
pub use workshop::Workshop;

/// Grows when a kernel is made in another way from the same inputs.
const RECIPE: &str = "1";

/// A kernel that is ready to boot. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name in the catalogue, or the file's stem for a kernel of the user's own.
    pub name: String,
    /// What it runs on.
    pub arch: Arch,
    /// What `uname -r` will say.
    pub release: String,
    /// What QEMU boots: an ELF `vmlinux` without debug sections.
    pub boot: PathBuf,
    /// The SHA-256 of `boot`, in hexadecimal.
    pub sha256: String,
    /// Its DWARF, where there is some.
    pub dwarf: Option<Dwarf>,
    /// A root that holds `lib/modules/<release>` with uncompressed modules and `modules.dep`, for kernels
    /// whose drivers are modules.
    pub modules: Option<PathBuf>,
    /// Its `.config`, where it is known.
    pub config: Option<PathBuf>,
    /// Whether it is of the catalogue. Only those have snapshots.
    pub catalogued: bool,
    /// The lines of Kconfig fragments that its version does not have, where that is no error.
    pub lost: Vec<String>,
}

/// What getting a kernel failed with.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The catalogue cannot be read as one.
    #[error(transparent)]
    Yaml(#[from] Box<YamlFault>),
    /// The host lacks tools.
    #[error("this host has no {}", tools(missing))]
    MissingTools {
        /// All of them.
        missing: Vec<MissingTool>,
    },
    /// The archive did not give what was asked of it.
    #[error("cannot get kernel {kernel}")]
    Download {
        /// The kernel.
        kernel: String,
        /// Why not.
        source: Box<AptError>,
    },
    /// The file has another SHA-256 than the catalogue says.
    #[error("{} has the SHA-256 {found}, the catalogue says {wanted}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The catalogue's.
        wanted: String,
        /// The file's.
        found: String,
    },
    /// A tool failed while it was unpacked, patched, configured or built.
    #[error("cannot make kernel {kernel}")]
    Step {
        /// The kernel.
        kernel: String,
        /// Which tool, its log and the log's tail.
        source: Box<StepError>,
    },
    /// A line of a Kconfig fragment did not survive `olddefconfig`.
    #[error("kernel {kernel}: {line} of {fragment} did not survive: {found}")]
    ConfigLost {
        /// The kernel.
        kernel: String,
        /// The fragment's line.
        line: String,
        /// The fragment.
        fragment: String,
        /// What the finished `.config` says of the symbol.
        found: String,
    },
    /// There is no DWARF to be had.
    #[error("nothing is known to hold the DWARF of kernel {kernel}")]
    NoDwarf {
        /// The kernel.
        kernel: String,
    },
    /// The DWARF is another kernel's.
    #[error("{} is not of kernel {kernel}: {why}", path.display())]
    OtherDwarf {
        /// The kernel.
        kernel: String,
        /// The file with DWARF.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A file is not a kernel that we can boot.
    #[error("{} is no kernel to boot: {why}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What is known of a kernel that was just made.
struct Made {
    release: String,
    /// The source's version, as far as its kind has one.
    version: Option<String>,
    /// The lines of fragments that did not survive and need not.
    lost: Vec<String>,
}

/// What `kernel.json` of a cached kernel says.
#[derive(Serialize, Deserialize)]
struct Facts {
    release: String,
    sha256: String,
    /// The source's version, as far as its kind has one.
    version: Option<String>,
    /// See [`Kernel::lost`].
    #[serde(default)]
    lost: Vec<String>,
}

impl Facts {
    /// Those of the kernel in a folder of the cache.
    fn read(folder: &Path) -> Result<Self, KernelError> {
        let path = folder.join("kernel.json");
        let text = fs::read(&path).map_err(KernelError::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| KernelError::io("read", &path)(error.into()))
    }
}

impl KernelError {
    /// The error of a file operation on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the archive does not hold it, whatever its index says.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Download { source, .. } if source.is_gone())
    }

    fn step(entry: &KernelEntry) -> impl Fn(StepError) -> Self {
        let kernel = entry.name.clone();
        move |source| Self::Step { kernel: kernel.clone(), source: Box::new(source) }
    }
}

impl Fault for KernelError {
    fn blame(&self) -> Blame {
        match self {
            Self::Yaml(_) | Self::Checksum { .. } | Self::ConfigLost { .. } => Blame::Scenario,
            Self::NotAKernel { .. } | Self::NoDwarf { .. } => Blame::Usage,
            Self::MissingTools { .. } | Self::OtherDwarf { .. } | Self::Io { .. } => Blame::Infra,
            Self::Download { source, .. } => source.blame(),
            Self::Step { source, .. } => source.blame(),
            Self::Cache(source) => source.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingTools { missing } => Some(install(missing)),
            Self::Download { source, .. } => source.hint(),
            Self::ConfigLost { .. } => {
                Some("add what the symbol depends on, or put \"# optional: why\" above its line".into())
            }
            Self::NoDwarf { .. } => {
                Some("name its -dbg package as `dbg` of its source in images/kernels.yaml".into())
            }
            Self::OtherDwarf { .. } => Some(
                "remove both of them from the cache; `kshot provision` gets what belongs together".into(),
            ),
            Self::Yaml(fault) => fault.hint().map(Into::into),
            Self::Cache(source) => source.hint(),
            _ => None,
        }
    }
}

impl Kernel {
    /// The kernel of a catalogue entry if it was provisioned before. Starts no process and uses no network.
    ///
    /// # Errors
    /// [`KernelError::Io`] for a fragment, patch or source tree that cannot be read.
    pub fn find(entry: &KernelEntry, images: &Images, cache: &Cache) -> Result<Option<Self>, KernelError> {
        let Some(folder) = cache.find("kernels", &source::key(entry, images)?) else { return Ok(None) };
        let mut kernel = Self::in_folder(entry, &folder)?;
        if kernel.dwarf.is_none() {
            kernel.dwarf = dwarf::find(entry, &kernel, images, cache)?;
        }
        Ok(Some(kernel))
    }

    /// A kernel of the user's own: an ELF `vmlinux`, with DWARF or without. `lib/modules/<release>` and
    /// `.config` are taken along if they lie beside it.
    ///
    /// # Errors
    /// [`KernelError::NotAKernel`] or [`KernelError::Io`].
    pub fn from_file(path: &Path) -> Result<Self, KernelError> {
        let absent =
            |error: std::io::Error| KernelError::NotAKernel { path: path.into(), why: error.to_string() };
        let path = path.canonicalize().map_err(absent)?;
        let image = elf::read(&path)?;
        let release = image.release.ok_or_else(|| KernelError::NotAKernel {
            path: path.clone(),
            why: "it has no \"Linux version\" banner: it is a compressed vmlinuz, a program or a module"
                .into(),
        })?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let modules = folder.join("lib/modules").join(&release).join("modules.dep").is_file();
        let modules = modules.then(|| folder.to_owned());
        let config = folder.join(".config");
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            arch: image.arch,
            release,
            sha256: cache::sha256_file(&path)?,
            dwarf: image.dwarf.then(|| Dwarf::of(path.clone(), modules.as_deref())),
            modules,
            config: config.is_file().then_some(config),
            catalogued: false,
            lost: Vec::new(),
            boot: path,
        })
    }

    fn in_folder(entry: &KernelEntry, folder: &Path) -> Result<Self, KernelError> {
        let facts = Facts::read(folder)?;
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        Ok(Self {
            name: entry.name.clone(),
            arch: entry.arch,
            release: facts.release,
            boot: folder.join("vmlinux"),
            sha256: facts.sha256,
            dwarf: file("vmlinux.debug").map(|vmlinux| Dwarf::of(vmlinux, None)),
            modules: file("modules"),
            config: file("config"),
            catalogued: true,
            lost: facts.lost,
        })
    }
}

/// The kernel of a catalogue entry, downloaded and built unless that was done before.
///
/// # Errors
/// [`KernelError`].
pub fn provision(
    entry: &KernelEntry,
    images: &Images,
    cache: &Cache,
    progress: &Progress,
) -> Result<Kernel, KernelError> {
    if let Some(kernel) = Kernel::find(entry, images, cache)? {
        return Ok(kernel);
    }
    let missing = missing_tools(entry);
    if !missing.is_empty() {
        return Err(KernelError::MissingTools { missing });
    }
    let waiting = || progress.note(&format!("waiting for another kshot to provision {}", entry.name));
    let draft = match cache.entry("kernels", &source::key(entry, images)?, waiting)? {
        Entry::Ready(folder) => return Kernel::in_folder(entry, &folder),
        Entry::Draft(draft) => draft,
    };
    // It goes when this returns: by then whoever waits for the kernel has it. Removing a source tree can take minutes.
    let scratch = draft.scratch()?;
    let made = match &entry.source {
        Source::DebianPackage(package) => {
            prebuilt::unpack(entry, package, images, cache, progress, draft.path())?
        }
        _ => build::build(entry, images, cache, progress, scratch.path(), draft.path())?,
    };
    Kernel::in_folder(entry, &finish(entry, draft, made)?)
}

fn finish(entry: &KernelEntry, draft: Draft, made: Made) -> Result<PathBuf, KernelError> {
    let boot = draft.path().join("vmlinux");
    let image = elf::read(&boot)?;
    if image.arch != entry.arch {
        let why = format!("it is for {}, the catalogue says {}", image.arch, entry.arch);
        return Err(KernelError::NotAKernel { path: boot, why });
    }
    let facts = Facts {
        release: made.release,
        sha256: cache::sha256_file(&boot)?,
        version: made.version,
        lost: made.lost,
    };
    let path = draft.path().join("kernel.json");
    let text =
        serde_json::to_vec_pretty(&facts).map_err(|error| KernelError::io("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(KernelError::io("write", &path))?;
    Ok(draft.commit()?)
}

/// The names of missing tools, for a message.
pub fn tools(missing: &[MissingTool]) -> String {
    missing.iter().map(|missing| missing.tool.as_str()).collect::<Vec<_>>().join(", ")
}

/// The command that installs what is missing.
pub fn install(missing: &[MissingTool]) -> String {
    let mut packages: Vec<&str> = missing.iter().map(|missing| missing.package.as_str()).collect();
    packages.sort_unstable();
    packages.dedup();
    format!("sudo apt-get install {}", packages.join(" "))
}
