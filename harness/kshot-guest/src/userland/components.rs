//! The components of the userland: how each is built from Debian's source packages, or taken out of binary
//! ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use duct::{Expression, cmd};

use super::UserlandError;
use crate::debian::{
    PackageFiles, PackageRequest, deb_version, file_with_suffix, find_deb, unpack_linux_source,
};
use crate::host::ToolLog;
use crate::host::cache::{self, Cache, Lookup};
use crate::host::{FileError, list};
use crate::host::{
    MissingTool, ToolError, UNPACK, compiler, missing, missing_build_tools, missing_compiler, tied,
};
use crate::kernel::{self, LinuxSourcePackage};
use crate::kernel::{ImagesFolder, ProvisionContext};
use crate::progress::Progress;
use kshot_stack::arch::{Arch, ArchRow};

/// The version of components out of binary packages; it changes when the same inputs give another component.
const PACKAGED_VERSION: &str = "packaged-2";

/// The suite of the source packages.
const SUITE: &str = "bookworm";

/// The files of `images/guest/dropbear`: options, elliptic curves by libsodium, and how that is configured.
const DROPBEAR_FILES: [&str; 3] = ["localoptions.h", "curve25519.c", SODIUM_CONFIG];
const SODIUM_CONFIG: &str = "sodium.h";

/// The source files of libsodium that implement Curve25519 and Ed25519. They are compiled without its build
/// system: Debian's source has no configure script.
const SODIUM_FILES: [&str; 9] = [
    "crypto_core/ed25519/ref10/ed25519_ref10.c",
    "crypto_hash/sha512/cp/hash_sha512_cp.c",
    "crypto_scalarmult/curve25519/ref10/x25519_ref10.c",
    "crypto_scalarmult/curve25519/scalarmult_curve25519.c",
    "crypto_sign/ed25519/ref10/keypair.c",
    "crypto_sign/ed25519/ref10/open.c",
    "crypto_sign/ed25519/ref10/sign.c",
    "crypto_verify/sodium/verify.c",
    "sodium/utils.c",
];

/// The parts of the kernel source that perf is built from (see `tools/perf/MANIFEST`).
const PERF_SOURCE: &[&str] = &["tools/*", "scripts/bpf_doc.py", "arch/*/include/uapi/asm/perf_regs.h"];

/// A component of the userland.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    /// perf, with the features that its subcommands record, script and report need.
    Perf,
    /// The shell and its tools.
    Busybox,
    /// The SSH server.
    Dropbear,
    /// The C programs of `images/guest`.
    Programs,
}

/// The build of one component.
pub(super) struct ComponentBuild<'a> {
    pub(super) part: Component,
    pub(super) row: &'static ArchRow,
    images: &'a ImagesFolder,
    pub(super) cache: &'a Cache,
    pub(super) progress: &'a Progress,
    log: ToolLog,
    /// The number of processes that a build may start at a time.
    jobs: usize,
    /// The folder of sources and objects, removed after the build.
    scratch: PathBuf,
    /// The folder that becomes the cache entry.
    pub(super) root: PathBuf,
}

impl Component {
    /// The components of a guest with perf or without it, the longest build first.
    pub(super) fn of_guest(perf: bool) -> &'static [Self] {
        const ALL: &[Component] =
            &[Component::Perf, Component::Busybox, Component::Dropbear, Component::Programs];
        if perf { ALL } else { &ALL[1..] }
    }

    /// The suite that the component of `row` comes from as a binary package, `None` where it is built.
    fn packaged_in(self, row: &ArchRow) -> Option<&'static str> {
        row.userland_suite.filter(|_| matches!(self, Self::Busybox | Self::Dropbear))
    }

    /// The tools that the component for `arch` needs and the host lacks.
    pub(super) fn missing_tools(self, arch: Arch) -> Vec<MissingTool> {
        match self {
            _ if self.packaged_in(arch.row()).is_some() => missing(UNPACK),
            Self::Programs => missing_compiler(arch),
            Self::Perf | Self::Busybox | Self::Dropbear => missing_build_tools(arch),
        }
    }

    /// The component's root folder, if it is in the cache.
    ///
    /// # Errors
    /// [`UserlandError::File`].
    pub(super) fn find(
        self,
        arch: Arch,
        images: &ImagesFolder,
        cache: &Cache,
    ) -> Result<Option<PathBuf>, UserlandError> {
        Ok(cache.find("userland", &self.key(arch, images)?))
    }

    /// The component's root folder, from the cache or built now by `jobs` processes at a time.
    ///
    /// # Errors
    /// [`UserlandError`].
    pub(super) fn provision(
        self,
        arch: Arch,
        context: &ProvisionContext<'_>,
        jobs: usize,
    ) -> Result<PathBuf, UserlandError> {
        let ProvisionContext { images, cache, progress } = context;
        let on_wait =
            || progress.print_line(&format!("waiting for another kshot to build {} for {arch}", self.name()));
        let draft = match cache.find_or_draft("userland", &self.key(arch, images)?, on_wait)? {
            Lookup::Found(root) => return Ok(root),
            Lookup::Missing(draft) => draft,
        };
        let log = ToolLog::create(cache, &format!("{}-{arch}", self.name())).map_err(self.build_error())?;
        let scratch = draft.scratch()?;
        let mut build = ComponentBuild {
            part: self,
            row: arch.row(),
            images,
            cache,
            progress,
            log,
            jobs,
            scratch: scratch.path().into(),
            root: draft.path().into(),
        };
        match (self, self.packaged_in(arch.row())) {
            (Self::Perf, _) => build.perf()?,
            (Self::Busybox, None) => build.busybox()?,
            (Self::Busybox, Some(suite)) => build.packaged_busybox(suite)?,
            (Self::Dropbear, None) => build.dropbear()?,
            (Self::Dropbear, Some(suite)) => build.packaged_dropbear(suite)?,
            (Self::Programs, _) => build.triggers()?,
        }
        Ok(draft.commit_with_sums()?)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Busybox => "busybox",
            Self::Dropbear => "dropbear",
            Self::Programs => "triggers",
        }
    }

    /// The version of the recipe; it changes when the same inputs give another component.
    fn recipe_version(self) -> &'static str {
        match self {
            Self::Perf => "3",
            Self::Busybox | Self::Dropbear | Self::Programs => "2",
        }
    }

    /// The files of `images/guest` that the component is built from.
    fn inputs(self, images: &ImagesFolder) -> Result<Vec<PathBuf>, UserlandError> {
        let guest = images.guest_folder();
        match self {
            Self::Perf => Ok(Vec::new()),
            Self::Busybox => Ok(vec![guest.join("busybox.config")]),
            Self::Dropbear => Ok(DROPBEAR_FILES.map(|name| guest.join("dropbear").join(name)).into()),
            Self::Programs => {
                let mut sources = list(&guest)?;
                sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
                Ok(sources)
            }
        }
    }

    fn key(self, arch: Arch, images: &ImagesFolder) -> Result<String, UserlandError> {
        if let Some(suite) = self.packaged_in(arch.row()) {
            let parts = [PACKAGED_VERSION, suite].map(str::as_bytes);
            return Ok(format!("{}-{arch}-{}", self.name(), cache::key(parts)));
        }
        let mut parts =
            vec![self.recipe_version().into(), SUITE.into(), compiler(arch.row().triplet).into_bytes()];
        for path in self.inputs(images)? {
            parts.push(path.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
            parts.push(fs::read(&path).map_err(FileError::on("read", &path))?);
        }
        Ok(format!("{}-{arch}-{}", self.name(), cache::key(parts.iter().map(Vec::as_slice))))
    }

    fn build_error(self) -> impl Fn(ToolError) -> UserlandError {
        move |source| UserlandError::Build { part: self.name(), source: Box::new(source) }
    }
}

impl ComponentBuild<'_> {
    /// Builds perf. The disabled features would need libraries, or time, for things that kshot does not use:
    /// what perf records is decoded on the host.
    fn perf(&mut self) -> Result<(), UserlandError> {
        const WITHOUT: &[&str] = &[
            "AUXTRACE",
            "BACKTRACE",
            "DEMANGLE",
            "DWARF",
            "GTK2",
            "JVMTI",
            "LIBAUDIT",
            "LIBBABELTRACE",
            "LIBBPF",
            "LIBCAP",
            "LIBCRYPTO",
            "LIBDEBUGINFOD",
            "LIBDW_DWARF_UNWIND",
            "LIBELF",
            "LIBNUMA",
            "LIBPERL",
            "LIBPFM4",
            "LIBPYTHON",
            "LIBUNWIND",
            "LIBZSTD",
            "LZMA",
            "SDT",
            "SLANG",
            "SYSCALL_TABLE",
        ];
        // In place of perf's own, which optimise as far as gcc can and describe every macro to debuggers:
        // that takes twice as long.
        const OPTIONS: &str =
            "-O1 -DNDEBUG=1 -std=gnu99 -D_LARGEFILE64_SOURCE -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE";
        let package = LinuxSourcePackage {
            package: "linux-source-6.1".into(),
            suite: "bookworm-security".into(),
            version: None,
        };
        let download = |source| UserlandError::Download { part: "perf", source: Box::new(source) };
        let folder =
            kernel::linux_source_request(&package).download(self.cache, self.progress).map_err(download)?;
        let (source, objects) = (self.folder("linux")?, self.folder("perf")?);
        let deb = find_deb(&folder)?;
        let unpack = unpack_linux_source(&deb, &package.package, &source, PERF_SOURCE);
        self.run("unpacking perf", &unpack)?;
        // perf looks for its version here if the tree is neither a git tree nor complete.
        let version = format!("#define PERF_VERSION \"{}\"\n", deb_version(&deb).unwrap_or_default());
        let file = source.join("PERF-VERSION-FILE");
        fs::write(&file, version).map_err(FileError::on("write", &file))?;

        // The file `Makefile` passes no variable on.
        let mut argv = vec![
            "-f".into(),
            "Makefile.perf".into(),
            format!("-j{}", self.jobs),
            format!("O={}", objects.display()),
            format!("ARCH={}", self.row.kbuild),
            format!("CROSS_COMPILE={}-", self.row.triplet),
            format!("CORE_CFLAGS={OPTIONS}"),
            "LDFLAGS=-static".into(),
            "WERROR=0".into(),
            objects.join("perf").display().to_string(),
        ];
        argv.extend(WITHOUT.iter().map(|feature| format!("NO_{feature}=1")));
        self.run("building perf", &tied("make", argv).dir(source.join("tools/perf")))?;
        self.install(&objects.join("perf"), "usr/bin")
    }

    fn busybox(&mut self) -> Result<(), UserlandError> {
        let source = self.source("busybox")?;
        let fragment = self.images.guest_folder().join("busybox.config");
        let make = |target: &str| {
            let cross = format!("CROSS_COMPILE={}-", self.row.triplet);
            let arguments = [
                format!("-j{}", self.jobs),
                format!("ARCH={}", self.row.kbuild),
                cross,
                "EXTRA_CFLAGS=-O1".into(),
                target.into(),
            ];
            tied("make", arguments).dir(&source)
        };
        let steps = [make("allnoconfig"), make("oldconfig"), make("busybox"), make("busybox.links")];
        let [allnoconfig, oldconfig, build, links] = steps;
        self.run("configuring busybox", &allnoconfig)?;
        // In busybox's old kconfig the first line of a symbol wins, so the fragment comes first. Empty lines
        // answer the questions about newly visible symbols with the default.
        let config = source.join(".config");
        let read = |path: &Path| fs::read_to_string(path).map_err(FileError::on("read", path));
        let merged = read(&fragment)? + &read(&config)?;
        fs::write(&config, merged).map_err(FileError::on("write", &config))?;
        self.run("configuring busybox", &oldconfig.stdin_bytes(vec![b'\n'; 4096]))?;
        self.run("building busybox", &build)?;
        self.run("building busybox", &links)?;
        self.install(&source.join("busybox"), "bin")?;

        // `/usr/bin/awk`, a line for each applet.
        for applet in read(&source.join("busybox.links"))?.lines() {
            let link = self.root.join(applet.trim_start_matches('/'));
            create_parent(&link)?;
            symlink("/bin/busybox", &link).map_err(FileError::on("create", &link))?;
        }
        Ok(())
    }

    fn dropbear(&mut self) -> Result<(), UserlandError> {
        const WITHOUT: &[&str] = &[
            "harden",
            "lastlog",
            "loginfunc",
            "pututline",
            "pututxline",
            "syslog",
            "utmp",
            "utmpx",
            "wtmp",
            "wtmpx",
            "zlib",
        ];
        let sodium = self.sodium()?;
        let source = self.source("dropbear")?;
        for path in self.part.inputs(self.images)? {
            copy(&path, &source.join(path.file_name().unwrap_or_default()))?;
        }
        let mut argv =
            vec!["./configure".into(), format!("--host={}", self.row.triplet), "--enable-static".into()];
        argv.extend(WITHOUT.iter().map(|feature| format!("--disable-{feature}")));
        let configure = cmd("sh", argv)
            .env("CFLAGS", format!("-O2 -I{}", sodium.join("include").display()))
            .env("LDFLAGS", format!("-L{}", sodium.display()))
            .env("LIBS", "-lsodium");
        self.run("configuring dropbear", &configure.dir(&source))?;
        let make = tied("make", [format!("-j{}", self.jobs), "PROGRAMS=dropbear".into()]);
        self.run("building dropbear", &make.dir(&source))?;
        self.install(&source.join("dropbear"), "usr/sbin")
    }

    /// Builds libsodium.a of [`SODIUM_FILES`]; returns its folder, which also has the headers, in `include`.
    fn sodium(&mut self) -> Result<PathBuf, UserlandError> {
        let source = self.source("libsodium")?;
        let folder = source.join("src/libsodium");
        copy(&source.join("builds/msvc/version.h"), &folder.join("include/sodium/version.h"))?;
        let config = self.images.guest_folder().join("dropbear").join(SODIUM_CONFIG);
        let options = ["-O3", "-c", "-Iinclude/sodium", "-Iinclude", "-include"].map(PathBuf::from);
        let argv = options.into_iter().chain([config]).chain(SODIUM_FILES.map(PathBuf::from));
        let compile = cmd(format!("{}-gcc", self.row.triplet), argv).dir(&folder);
        self.run("compiling libsodium", &compile)?;
        let objects = SODIUM_FILES.map(|file| Path::new(file).with_extension("o"));
        let objects = objects.iter().filter_map(|object| object.file_name()).map(PathBuf::from);
        let argv = ["rcs", "libsodium.a"].map(PathBuf::from).into_iter().chain(objects);
        let archive = cmd(format!("{}-ar", self.row.triplet), argv).dir(&folder);
        self.run("archiving libsodium", &archive)?;
        Ok(folder)
    }

    fn triggers(&mut self) -> Result<(), UserlandError> {
        for source in self.part.inputs(self.images)? {
            let program = self.scratch.join(source.file_stem().unwrap_or_default());
            let compiler = format!("{}-gcc", self.row.triplet);
            let compile =
                cmd!(compiler, "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", &program, &source);
            self.run(&format!("compiling {}", source.display()), &compile)?;
            self.install(&program, "usr/bin")?;
        }
        Ok(())
    }

    /// Downloads and unpacks a source package, Debian's patches applied.
    fn source(&mut self, package: &'static str) -> Result<PathBuf, UserlandError> {
        let wanted = PackageRequest { package, suite: SUITE, version: None, files: PackageFiles::Source };
        let download = |source| UserlandError::Download { part: self.part.name(), source: Box::new(source) };
        let folder = wanted.download(self.cache, self.progress).map_err(download)?;
        let dsc = file_with_suffix(&folder, ".dsc")?;
        let into = self.scratch.join(package);
        // apt has verified the files; dpkg-source would ask for the maintainer's own key.
        let unpack = cmd!("dpkg-source", "--no-check", "-x", dsc, &into);
        self.run(&format!("unpacking {package}"), &unpack)?;
        Ok(into)
    }

    fn install(&mut self, program: &Path, folder: &str) -> Result<(), UserlandError> {
        let to = self.root.join(folder).join(program.file_name().unwrap_or_default());
        create_parent(&to)?;
        let strip = cmd!(format!("{}-strip", self.row.triplet), "-o", &to, program);
        self.run("stripping", &strip)
    }

    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, UserlandError> {
        let path = self.scratch.join(name);
        fs::create_dir_all(&path).map_err(FileError::on("create", &path))?;
        Ok(path)
    }

    pub(super) fn run(&mut self, what: &str, expression: &Expression) -> Result<(), UserlandError> {
        let task = self.progress.task(format!("{} {}", self.row.name, what), 0);
        let ran = self.log.run(what, expression).map_err(self.part.build_error());
        drop(task);
        ran
    }
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    create_parent(to)?;
    fs::copy(from, to).map(drop).map_err(FileError::on("copy", from))
}

fn create_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(FileError::on("create", parent))
}
