//! Reproduction bundles: one archive with everything that a run was based on. Another host can judge the run
//! again, and `reproduce.sh` in it repeats the run with QEMU alone.

mod error; // what goes wrong with a bundle
mod reproduce; // reproduce.sh

use kshot_stack::snapshot;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

pub use error::BundleError;

use crate::artifacts::{self, RUN_JSON};
use crate::baseline::SnapshotPath;
use crate::run;
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::bounded::{self, Unzipped};
use kshot_guest::host::cache::Cache;
use kshot_guest::host::interrupt::{self, Interruptible};
use kshot_guest::host::{FileError, ScratchFolder};
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::probe;
use kshot_guest::progress::Progress;
use kshot_guest::symbols::NoDwarf;
use kshot_guest::userland::{self, SshKeys, Userland};
use kshot_guest::yaml;
use kshot_stack::arch::Arch;
use kshot_stack::document::RunDocument;
use kshot_stack::foreign::{Foreign, Name};

/// The version of a bundle's form.
const SCHEMA: u32 = 1;
const BUNDLE_JSON: &str = "bundle.json";

/// `bundle.json`: what the files beside it are of.
#[derive(Debug, Serialize, Deserialize)]
struct BundleManifest {
    schema: u32,
    /// kshot's version.
    harness: String,
    scenario: String,
    kernel: String,
    arch: Arch,
    release: String,
    /// SHA-256 of `vmlinux`.
    image_sha256: String,
    qemu: String,
    /// Whether the kernel is from the catalogue and therefore has snapshots.
    in_catalogue: bool,
    /// The catalogue's names, which the scenario's globs are over.
    kernels: Vec<String>,
    /// QEMU's command line of a boot, paths relative to the bundle.
    argv: Vec<String>,
}

impl BundleManifest {
    /// The folder name for a bundle whose top folder does not have a run folder's name.
    fn folder(&self) -> String {
        format!("bundle-{}-{}", self.scenario.replace('/', "."), self.kernel)
    }
}

impl Foreign for BundleManifest {
    const WHAT: &'static str = "the contents of a bundle";
    const SCHEMA: u32 = SCHEMA;

    fn names(&self) -> Vec<Name<'_>> {
        let mut names =
            vec![Name::Scenario(&self.scenario), Name::Kernel(&self.kernel), Name::Release(&self.release)];
        names.extend(self.kernels.iter().map(|kernel| Name::Kernel(kernel)));
        names
    }
}

/// An unpacked bundle that was judged again.
#[derive(Debug)]
pub struct ImportedBundle {
    /// The folder that it was unpacked to.
    pub folder: PathBuf,
    /// The result document that came with it.
    pub original: RunDocument,
    /// The result document, judged again from the raw captures.
    pub rejudged: RunDocument,
}

/// Exports or imports so that Ctrl-C ends it in order: its temporary folders go.
///
/// # Errors
/// [`BundleError`].
pub fn interruptible<T>(work: impl FnOnce() -> Result<T, BundleError>) -> Result<T, BundleError> {
    interrupt::install_handlers().map_err(BundleError::Signals)?;
    match work() {
        Err(_) if interrupt::arrived() => Err(BundleError::Interrupted),
        ended => ended,
    }
}

/// Packs the run in `folder` into a new archive `to`. A kernel that is none of the catalogue's is
/// `own_kernel`.
///
/// # Errors
/// [`BundleError`]; nothing of the archive is left then.
pub fn export(
    workspace: &Workspace,
    catalogue: &Catalogue,
    folder: &Path,
    own_kernel: Option<&Path>,
    to: &Path,
    progress: &Progress,
) -> Result<(), BundleError> {
    let document = artifacts::read_document(folder)?;
    let kernel = find_kernel(workspace, catalogue, own_kernel, &document)?;
    let names = catalogue.names();
    let scenario = Scenario::load(&workspace.scenarios(), &document.scenario, &names)?;
    // The packed run must still have its verdict; refuse it if the scenario or a snapshot has changed since.
    let again = run::rejudge(&document, &scenario, &kernel, folder, &workspace.snapshots())?;
    if again.verdict != document.verdict {
        return Err(BundleError::Changed { original: document.verdict, rejudged: again.verdict });
    }
    let scratch = ScratchFolder::create().map_err(FileError::on("create a folder for", to))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let into = BundleFolder { path: scratch.path().join(&name) };
    into.copy(&kernel.boot, "vmlinux")?;
    if let Some(config) = &kernel.config {
        into.copy(config, "config")?;
    }
    // The bundle gets SSH keys of its own, so that this host's keys stay private.
    let own = Cache::at(scratch.path().join("cache"));
    let perf = probe::need_perf(&scenario.probes);
    let userland = Userland::provision(kernel.arch, perf, &workspace.provisioning(progress))?;
    let initramfs =
        userland::initramfs(&kernel, &userland, &SshKeys::provision(&own)?, &workspace.images(), &own)?;
    into.copy(&initramfs.path, "initramfs")?;
    into.copy(&workspace.scenarios().join(format!("{}.yaml", scenario.id)), "scenario.yaml")?;
    for result in &document.probes {
        let got = snapshot::snapshot_text(result);
        into.write(&format!("got/{}.txt", result.name.replace('/', "__")), got.as_bytes())?;
        let snapshot = |snapshots: &Path| {
            SnapshotPath::new(snapshots, &scenario.id, &kernel.name, &result.name).for_run(&document.probes)
        };
        let (snapshot, inside) = (snapshot(&workspace.snapshots()), snapshot(Path::new("snapshots")));
        if snapshot.file().is_file() {
            into.copy(&snapshot.file(), &inside.file().to_string_lossy())?;
        }
    }
    for path in document.artifacts.values().map(String::as_str).chain([RUN_JSON]) {
        into.copy(&folder.join(path), &format!("run/{path}"))?;
    }
    let rerun = reproduce::ReproduceFiles::of(&scenario, &kernel, folder)?;
    into.write("overlay.cpio.gz", &rerun.overlay)?;
    into.write("reproduce.sh", rerun.script.as_bytes())?;
    let script = into.path.join("reproduce.sh");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, mode).map_err(FileError::on("make executable", &script))?;
    let contents = BundleManifest {
        schema: SCHEMA,
        harness: env!("CARGO_PKG_VERSION").into(),
        scenario: scenario.id.clone(),
        kernel: kernel.name.clone(),
        arch: kernel.arch,
        release: kernel.release.clone(),
        image_sha256: kernel.sha256.clone(),
        qemu: document.qemu.clone(),
        in_catalogue: kernel.in_catalogue,
        kernels: names.into_iter().map(Into::into).collect(),
        argv: rerun.argv,
    };
    let json = serde_json::to_vec_pretty(&contents).map_err(io::Error::from);
    into.write(BUNDLE_JSON, &json.map_err(FileError::on("write", to))?)?;
    pack(&into.path, &name, to)
}

/// Unpacks a bundle below `out` and judges its raw captures again.
///
/// # Errors
/// [`BundleError`].
pub fn import(bundle: &Path, out: &Path) -> Result<ImportedBundle, BundleError> {
    let file = bounded::open(bundle).map_err(FileError::on("open", bundle))?;
    fs::create_dir_all(out).map_err(FileError::on("create", out))?;
    let scratch = ScratchFolder::create_in(out).map_err(FileError::on("create a folder in", out))?;
    let none = || BundleError::NotABundle { path: bundle.into() };
    let plain = Unzipped::new(Interruptible(file));
    if !plain.is_gzip() {
        return Err(none());
    }
    artifacts::unpack(plain, scratch.path())
        .map_err(|source| BundleError::Unpack { path: bundle.into(), source })?;
    let mut entries = fs::read_dir(scratch.path()).map_err(FileError::on("list", scratch.path()))?;
    let (Some(Ok(entry)), None) = (entries.next(), entries.next()) else { return Err(none()) };
    let contents = entry.path().join(BUNDLE_JSON);
    if !contents.is_file() {
        return Err(none());
    }
    let contents: BundleManifest = artifacts::foreign(&contents)
        .map_err(|error| BundleError::from(error).inside(scratch.path(), bundle))?;
    let name = entry.file_name().to_string_lossy().into_owned();
    // Any other name could mean something where it lands: `.ssh`, `.cargo`, `bin`.
    let name = if artifacts::is_run_name(&name) { name } else { contents.folder() };
    let folder = out.join(name);
    if folder.exists() {
        return Err(BundleError::Exists { path: folder });
    }
    let (then, now) =
        judge(&entry.path(), contents, bundle).map_err(|error| error.inside(scratch.path(), bundle))?;
    if interrupt::arrived() {
        return Err(BundleError::Interrupted);
    }
    fs::rename(entry.path(), &folder).map_err(FileError::on("rename", &folder))?;
    Ok(ImportedBundle { folder, original: then, rejudged: now })
}

/// The document in an unpacked bundle, and the document of judging its captures again.
fn judge(
    folder: &Path,
    contents: BundleManifest,
    archive: &Path,
) -> Result<(RunDocument, RunDocument), BundleError> {
    let path = folder.join("scenario.yaml");
    let text = bounded::read_text(&path, yaml::SIZE_MOST).map_err(FileError::on("read", &path))?;
    let names: Vec<&str> = contents.kernels.iter().map(String::as_str).collect();
    let scenario =
        Scenario::parse(&contents.scenario, &archive.join("scenario.yaml").to_string_lossy(), &text, &names)?;
    let boot = folder.join("vmlinux");
    let kernel = Kernel {
        name: contents.kernel,
        arch: contents.arch,
        release: contents.release,
        version: None,
        sha256: contents.image_sha256,
        // Everything that DWARF was needed for is in the captures.
        dwarf: Err(NoDwarf::Unknown),
        modules: None,
        config: Some(folder.join("config")).filter(|path| path.is_file()),
        in_catalogue: contents.in_catalogue,
        lost: Vec::new(),
        boot,
    };
    let run = folder.join("run");
    let then = artifacts::read_document(&run)?;
    let now = run::rejudge(&then, &scenario, &kernel, &run, &folder.join("snapshots"))?;
    Ok((then, now))
}

/// A bundle's folder before it is packed.
struct BundleFolder {
    path: PathBuf,
}

impl BundleFolder {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.file(name)?;
        fs::write(&path, bytes).map_err(FileError::on("write", &path))
    }

    fn copy(&self, from: &Path, name: &str) -> Result<(), FileError> {
        let path = self.file(name)?;
        let mut source = Interruptible(File::open(from).map_err(FileError::on("read", from))?);
        let copied = File::create(&path).and_then(|mut file| io::copy(&mut source, &mut file));
        copied.map(drop).map_err(FileError::on("write", &path))
    }

    /// The path of a file; creates its folder.
    fn file(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.path.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(FileError::on("create a folder for", &path))?;
        Ok(path)
    }
}

/// The kernel that the run booted, if the catalogue's, or the user's own, is still the same.
fn find_kernel(
    workspace: &Workspace,
    catalogue: &Catalogue,
    own_kernel: Option<&Path>,
    document: &RunDocument,
) -> Result<Kernel, BundleError> {
    let gone = || BundleError::KernelGone {
        kernel: document.kernel.name.clone(),
        sha256: document.kernel.image_sha256.clone(),
    };
    let found = match own_kernel {
        Some(path) => Some(Kernel::from_path(path, &workspace.images(), &workspace.cache)?),
        None => {
            let entry = catalogue.get(&document.kernel.name).ok_or_else(gone)?;
            Kernel::find(entry, &workspace.images(), &workspace.cache)?
        }
    };
    found.filter(|kernel| kernel.sha256 == document.kernel.image_sha256).ok_or_else(gone)
}

/// Writes the archive to a temporary folder beside its destination first, so that a file of the final name is
/// always complete.
fn pack(root: &Path, name: &str, to: &Path) -> Result<(), BundleError> {
    let fail = |action| FileError::on(action, to);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(FileError::on("create", folder))?;
    let scratch = ScratchFolder::create_in(folder).map_err(fail("create a folder beside"))?;
    let part = scratch.path().join(name);
    let file = File::create(&part).map_err(fail("create a file beside"))?;
    let mut archive = tar::Builder::new(GzEncoder::new(Interruptible(&file), Compression::default()));
    archive.append_dir_all(name, root).map_err(fail("write"))?;
    archive.into_inner().and_then(GzEncoder::finish).map_err(fail("write"))?;
    Ok(fs::rename(&part, to).map_err(fail("write"))?)
}
