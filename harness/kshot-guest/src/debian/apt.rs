//! Debian's archive through a private apt: its state is in kshot's cache, signatures are checked, and the
//! host's apt state is neither used nor changed.
//!
//! One folder holds one index: the packages of a suite for one architecture, or the sources of a suite. The
//! index is downloaded on first use, and again only when the archive no longer has a file that it lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duct::cmd;

use super::deb::exact_dependencies;
use super::mirrors::{Archive, Mirrors, is_security};
use crate::host::cache::{self, Cache, CacheError, Lookup};
use crate::host::{FileError, OnInterrupt, ToolError, ToolLog, install, list, output_of, tied};
use crate::progress::Progress;
use kshot_stack::arch::INDEX_OF_ALL;
use kshot_stack::blame::{Blame, Blamed};

/// The keyring of Debian's archive, from the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The kind of the cache's entries that are downloads.
const DOWNLOADS: &str = "downloads";
/// The file that names the archive of an index.
const SOURCES: &str = "sources.list";
/// The variable that names another keyring, for an archive that somebody else signs.
const KEYRING_VARIABLE: &str = "KSHOT_ARCHIVE_KEYRING";
/// The time that `apt-config dump` may take: 20 ms on an idle host.
const CONFIG_LIMIT: Duration = Duration::from_secs(20);

/// A request for files of one package of Debian's archive.
#[derive(Clone, Debug)]
pub struct PackageRequest<'a> {
    /// The name of the package or source package.
    pub package: &'a str,
    /// The suite.
    pub suite: &'a str,
    /// The exact version; the newest one if `None`.
    pub version: Option<&'a str>,
    /// The files of the package that are requested.
    pub files: PackageFiles<'a>,
}

/// The files of a package to download.
#[derive(Clone, Copy, Debug)]
pub enum PackageFiles<'a> {
    /// The binary package for this architecture (`amd64` for packages of `Architecture: all`). A meta package
    /// of kernels (`linux-image-arm64`) stands for the kernel that it depends on.
    Binary(&'a str),
    /// The binary package for this architecture and all that it depends on.
    BinaryAndDependencies(&'a str),
    /// The whole source package: `.dsc`, the upstream tarball and Debian's changes.
    Source,
    /// The upstream tarball alone.
    Orig,
}

/// Why a request to Debian's archive failed.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The host's apt sources name no such archive.
    #[error("the host's apt sources name no {archive} archive of Debian")]
    NoArchive {
        /// "main" or "security".
        archive: &'static str,
    },
    /// Debian's keys are not installed.
    #[error("no {}, so the archive's signatures cannot be checked", path.display())]
    NoKeyring {
        /// The keyring.
        path: PathBuf,
    },
    /// The index could not be downloaded, or its signature is not Debian's.
    #[error("cannot load the index of {suite}")]
    Update {
        /// The suite.
        suite: String,
        /// The failure of apt.
        source: Box<ToolError>,
    },
    /// The index lists no such package or version.
    #[error("{suite} has no {what}; {}", known_versions(versions))]
    NotInIndex {
        /// The package, with the requested version.
        what: String,
        /// The suite.
        suite: String,
        /// The versions that the index lists.
        versions: Vec<String>,
    },
    /// The index lists the package, but the download failed.
    #[error("cannot download {what} of {suite}; {}", known_versions(versions))]
    Download {
        /// The package, with the requested version.
        what: String,
        /// The suite.
        suite: String,
        /// The versions that the index lists.
        versions: Vec<String>,
        /// The failure of apt.
        source: Box<ToolError>,
    },
    /// A file in kshot's apt folder could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tool could not be run, or its log could not be written.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Blamed for AptError {
    fn blame(&self) -> Blame {
        match self {
            Self::Update { source, .. } | Self::Download { source, .. }
                if source.blame() == Blame::Interrupted =>
            {
                Blame::Interrupted
            }
            Self::Tool(source) if source.blame() == Blame::Interrupted => Blame::Interrupted,
            Self::Cache(source) => source.blame(),
            Self::NotInIndex { .. } => Blame::Input,
            _ => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoArchive { archive: "security" } => {
                Some("set KSHOT_SECURITY_ARCHIVE to the address of a mirror of debian-security".into())
            }
            Self::NoArchive { .. } => {
                Some("set KSHOT_DEBIAN_ARCHIVE to the address of a mirror of debian".into())
            }
            Self::NoKeyring { .. } => Some(install(["debian-archive-keyring"])),
            Self::Update { .. } => Some("see whether `apt-get update` works on this host".into()),
            Self::NotInIndex { .. } | Self::Download { .. } => Some(
                "for a version that the archive no longer holds, set KSHOT_SNAPSHOT_ARCHIVE to a snapshot of it \
                 with that version, or name another version in images/kernels.yaml"
                    .into(),
            ),
            Self::Cache(source) => source.hint(),
            _ => None,
        }
    }
}

impl AptError {
    /// Whether Debian's archive no longer has the package, whatever its index says.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NotInIndex { .. } => true,
            Self::Download { source, .. } => {
                matches!(&**source, ToolError::Failed { tail, .. } if tail.lines().any(says_gone))
            }
            _ => false,
        }
    }

    fn is_interrupted(&self) -> bool {
        self.blame() == Blame::Interrupted
    }
}

impl PackageRequest<'_> {
    /// The versions of the package in the archive's index, oldest first.
    ///
    /// # Errors
    /// [`AptError`].
    pub fn versions(&self, cache: &Cache, progress: &Progress) -> Result<Vec<String>, AptError> {
        let apt = PackageIndex::open(self, Archive::Current, cache, progress)?;
        if !apt.has_index() {
            let _task = progress.task(format!("read the index of {}", self.suite), 0);
            apt.update()?;
        }
        let mut versions = apt.versions_of(self)?;
        versions.reverse();
        Ok(versions)
    }

    /// Downloads the requested files unless they are in the cache, whole. Returns the folder that holds them.
    ///
    /// # Errors
    /// [`AptError`].
    pub fn download(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf, AptError> {
        let on_wait =
            || progress.print_line(&format!("waiting for another kshot to download {}", self.package));
        let on_damage = || {
            progress.print_line(&format!("{} in the cache is damaged: it is downloaded anew", self.package));
        };
        let draft = match cache.find_whole_or_draft(DOWNLOADS, &self.key(), on_wait, on_damage)? {
            Lookup::Found(path) => return Ok(path),
            Lookup::Missing(draft) => draft,
        };
        let task = progress.task(format!("download {}", self.package_and_version()), 0);
        task.update(0, self.suite);
        let current = self.download_from(Archive::Current, draft.path(), cache, progress);
        match current {
            Err(gone) if gone.is_unavailable() && self.version.is_some() => {
                // Without a snapshot the archive's own answer says more.
                match self.download_from(Archive::Snapshot, draft.path(), cache, progress) {
                    Err(AptError::NoArchive { .. }) => return Err(gone),
                    snapshot => snapshot?,
                }
            }
            current => current?,
        }
        Ok(draft.commit_with_sums()?)
    }

    fn download_from(
        &self,
        archive: Archive,
        folder: &Path,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<(), AptError> {
        let apt = PackageIndex::open(self, archive, cache, progress)?;
        if apt.has_index() {
            match apt.download(self, folder) {
                // The archive may have changed since the index was downloaded.
                Err(error) if !error.is_interrupted() => {}
                done => return done,
            }
        }
        apt.update()?;
        apt.download(self, folder)
    }

    /// Removes the downloaded files from the cache.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn discard(&self, cache: &Cache) -> Result<(), CacheError> {
        cache.remove(DOWNLOADS, &self.key()).map(drop)
    }

    fn package_and_version(&self) -> String {
        self.version.map_or_else(|| self.package.into(), |version| format!("{}={version}", self.package))
    }

    fn key(&self) -> String {
        let (kind, architecture) = match self.files {
            PackageFiles::Binary(architecture) => ("binary", architecture),
            PackageFiles::BinaryAndDependencies(architecture) => ("closure", architecture),
            PackageFiles::Source => ("source", ""),
            PackageFiles::Orig => ("orig", ""),
        };
        let version = self.version.unwrap_or_default();
        let parts = [kind, architecture, self.package, self.suite, version].map(str::as_bytes);
        format!("{}-{}", self.package, cache::key(parts))
    }
}

/// One downloaded index of the archive, locked while this value lives.
struct PackageIndex {
    root: PathBuf,
    suite: String,
    cache: Cache,
    _lock: fs::File,
}

impl PackageIndex {
    fn open(
        request: &PackageRequest<'_>,
        archive: Archive,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Self, AptError> {
        let (list, architecture) = match request.files {
            PackageFiles::Binary(architecture) | PackageFiles::BinaryAndDependencies(architecture) => {
                ("deb", architecture)
            }
            PackageFiles::Source | PackageFiles::Orig => ("deb-src", INDEX_OF_ALL),
        };
        let url = Mirrors::from_apt_sources().url_of(request.suite, archive).map(str::to_owned);
        let no_archive =
            AptError::NoArchive { archive: if is_security(request.suite) { "security" } else { "main" } };
        let (name, options) = match archive {
            Archive::Current => (format!("{}-{list}-{architecture}", request.suite), ""),
            // A snapshot's signature has expired.
            Archive::Snapshot if url.is_some() => {
                (format!("{}-{list}-{architecture}-snapshot", request.suite), " check-valid-until=no")
            }
            Archive::Snapshot => return Err(no_archive),
        };
        let lock = cache.lock(&format!("apt-{name}"), || {
            progress.print_line(&format!("waiting for another kshot to read the index of {}", request.suite));
        })?;
        let root = cache.root().join("apt").join(&name);
        let apt = Self { root, suite: request.suite.into(), cache: cache.clone(), _lock: lock };
        let keyring = std::env::var_os(KEYRING_VARIABLE).unwrap_or_else(|| KEYRING.into());
        let keyring = PathBuf::from(keyring);
        if !keyring.exists() {
            return Err(AptError::NoKeyring { path: keyring });
        }
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            let path = apt.root.join(folder);
            fs::create_dir_all(&path).map_err(FileError::on("write", &path))?;
        }
        apt.write("status", "")?;
        apt.write("apt.conf", &apt.configuration(architecture))?;
        match url {
            Some(url) => {
                let signed = keyring.display();
                apt.set_source(&format!(
                    "{list} [signed-by={signed}{options}] {url} {} main\n",
                    request.suite
                ))?;
            }
            // An index that was downloaded before is still usable.
            None if apt.has_index() => {}
            None => return Err(no_archive),
        }
        Ok(apt)
    }

    /// Writes down which archive the index is of. An index of another one is removed.
    fn set_source(&self, source: &str) -> Result<(), AptError> {
        let path = self.root.join(SOURCES);
        if fs::read_to_string(&path).is_ok_and(|before| before == source) {
            return Ok(());
        }
        let lists = self.root.join("state/lists");
        for file in list(&lists)?.into_iter().filter(|file| file.is_file()) {
            fs::remove_file(&file).map_err(FileError::on("remove", &file))?;
        }
        self.write(SOURCES, source)
    }

    fn has_index(&self) -> bool {
        // apt names them archive_dists_suite_main_source_Sources and _binary-arch_Packages, compressed or
        // not.
        fs::read_dir(self.root.join("state/lists")).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| {
                    let name = file.file_name();
                    let name = name.to_string_lossy();
                    name.contains("_Sources") || name.contains("_Packages")
                })
            })
        })
    }

    fn update(&self) -> Result<(), AptError> {
        let update = self.apt_command(&["apt-get", "update", "--error-on=any"], &self.root);
        ToolLog::create(&self.cache, &self.log_name("update"))?
            .run("apt-get update", &update)
            .map_err(|source| AptError::Update { suite: self.suite.clone(), source: Box::new(source) })
    }

    fn download(&self, request: &PackageRequest<'_>, folder: &Path) -> Result<(), AptError> {
        let mut what = request.package_and_version();
        let archives = format!("Dir::Cache::archives={}", folder.display());
        let verb: &[&str] = match request.files {
            PackageFiles::Binary(_) => {
                what = self.kernel_behind(&what)?.unwrap_or(what);
                &["download"]
            }
            // This apt has no package installed, so it downloads every dependency.
            PackageFiles::BinaryAndDependencies(_) => {
                let partial = folder.join("partial");
                fs::create_dir_all(&partial).map_err(FileError::on("create", &partial))?;
                &["install", "--download-only", "--no-install-recommends", "--yes", "--option", &archives]
            }
            PackageFiles::Source => &["source", "--download-only", "--only-source"],
            PackageFiles::Orig => &["source", "--download-only", "--only-source", "--tar-only"],
        };
        let argv: Vec<&str> = ["apt-get"].iter().chain(verb).copied().chain([what.as_str()]).collect();
        let mut log = ToolLog::create(&self.cache, &self.log_name(request.package))?;
        let Err(source) = log.run(&format!("downloading {what}"), &self.apt_command(&argv, folder)) else {
            return Ok(());
        };
        let said = String::from_utf8_lossy(&log.end()).into_owned();
        let (suite, versions) = (self.suite.clone(), self.versions_of(request)?);
        let unknown = ["was not found", "Unable to locate package", "Unable to find a source package"];
        if unknown.iter().any(|words| said.contains(words)) {
            return Err(AptError::NotInIndex { what, suite, versions });
        }
        Err(AptError::Download { what, suite, versions, source: Box::new(source) })
    }

    /// The kernel that a meta package depends on, as `package=version`; `None` where it is no such package.
    fn kernel_behind(&self, what: &str) -> Result<Option<String>, AptError> {
        Ok(kernel_dependency(&self.ask_index(&["show", what])?))
    }

    /// The versions of a package in the index, newest first.
    fn versions_of(&self, request: &PackageRequest<'_>) -> Result<Vec<String>, AptError> {
        // ` linux-source-6.1 | 6.1.192-2 | http://archive/debian bookworm/main amd64 Packages`
        let text = self.ask_index(&["madison", request.package])?;
        let mut versions: Vec<String> =
            text.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect();
        versions.dedup();
        Ok(versions)
    }

    /// What apt-cache prints; nothing of a package that the index does not list.
    fn ask_index(&self, words: &[&str]) -> Result<String, AptError> {
        let argv: Vec<&str> = ["apt-cache"].iter().chain(words).copied().collect();
        let mut text = String::new();
        let mut log = ToolLog::create(&self.cache, &self.log_name("cache"))?;
        let asked = log.run_with_lines(&argv.join(" "), &self.apt_command(&argv, &self.root), |line| {
            text.push_str(line);
        });
        match asked {
            // `show` fails on an unknown package.
            Err(ToolError::Failed { .. }) => Ok(String::new()),
            asked => Ok(asked.map(|()| text)?),
        }
    }

    fn apt_command(&self, argv: &[&str], folder: &Path) -> duct::Expression {
        tied(argv[0], &argv[1..]).dir(folder).env("APT_CONFIG", self.root.join("apt.conf"))
    }

    fn log_name(&self, what: &str) -> String {
        format!("apt-{}-{what}", self.suite)
    }

    /// An apt configuration that takes only the network settings (proxies) from the host's.
    fn configuration(&self, architecture: &str) -> String {
        let dump = output_of(&cmd!("apt-config", "dump"), "apt-config dump", CONFIG_LIMIT, OnInterrupt::Kill);
        let dump = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let acquire: String = dump
            .unwrap_or_default()
            .lines()
            .filter(|line| {
                ["http", "ForceIPv"].iter().any(|key| line.starts_with(&format!("Acquire::{key}")))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        // With a sandbox user, apt warns when root downloads into a folder that `_apt` cannot write to.
        format!(
            r#"{acquire}
Dir "{root}/";
Dir::State "state/";
Dir::State::status "{root}/status";
Dir::Cache "cache/";
Dir::Etc "{root}/";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"#,
            root = self.root.display()
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), AptError> {
        let path = self.root.join(name);
        Ok(fs::write(&path, text).map_err(FileError::on("write", &path))?)
    }
}

/// Whether a line of apt's output says that the archive has no such file: `404 Not Found [IP: 203.0.113.80
/// 80]`, `410 Gone`, and of an archive on disk `File not found - /debian/pool/x.deb (2: No such file or
/// directory)`.
fn says_gone(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).any(|pair| pair == ["410", "Gone"])
        || words.windows(3).any(|words| matches!(words, ["404", "Not", "Found"] | ["File", "not", "found"]))
}

/// `Depends: linux-image-6.1.0-50-arm64 (= 6.1.176-1)` of the first paragraph, which is that of the newest
/// version, as `package=version`.
fn kernel_dependency(show: &str) -> Option<String> {
    let depends =
        show.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("Depends: "))?;
    let kernel = exact_dependencies(depends).find(|exact| exact.package.starts_with("linux-image-"))?;
    Some(format!("{}={}", kernel.package, kernel.version))
}

fn known_versions(versions: &[String]) -> String {
    match versions {
        [] => "its index has no version of it".into(),
        versions => format!("its index has {}", versions.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_apts_own_words_say_that_a_file_is_gone() {
        assert!(says_gone("  404  Not Found [IP: 203.0.113.80 80]"));
        assert!(says_gone("   File not found - /debian/pool/x.deb (2: No such file or directory)"));
        assert!(!says_gone("Need to get 40.4 MB of archives, linux-image-6.1.0-404-arm64 of 404 kB"));
        assert!(!says_gone("Failed to fetch http://archive/404/x.deb  Connection timed out"));
    }

    #[test]
    fn a_meta_package_stands_for_the_kernel_that_it_depends_on() {
        let meta = "Package: linux-image-arm64\nVersion: 6.12.95-1~bpo12+1\n\
                    Depends: linux-image-6.12.95+deb12-arm64 (= 6.12.95-1~bpo12+1)\n\n\
                    Package: linux-image-arm64\nDepends: linux-image-6.12.90+deb12-arm64 (= 6.12.90-1)\n";
        let kernel = kernel_dependency(meta);
        assert_eq!(kernel.as_deref(), Some("linux-image-6.12.95+deb12-arm64=6.12.95-1~bpo12+1"));
        let kernel =
            "Package: linux-image-6.1.0-50-arm64\nDepends: kmod, linux-base (>= 4.3~), initramfs-tools\n";
        assert_eq!(kernel_dependency(kernel), None);
        assert_eq!(kernel_dependency(""), None);
    }
}
