//! An archive of Debian's, made here, and what it drops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kshot_guest::host::cache::sha256_file;

use crate::common::{Ended, Replica};
use crate::elf::elf_header;

/// A kernel of the suite's meta package, and one of an exact package and version.
const KERNELS: &str = "
- name: newest
  arch: mips64el
  source: { debian-package: { package: linux-image-malta, suite: bookworm } }
- name: pinned
  arch: mips64el
  source: { debian-package: { package: linux-image-6.1.0-50-malta, suite: bookworm, version: 6.1.176-1 } }
";

/// A signed archive, and a workspace that reads it.
struct Archive {
    replica: Replica,
}

/// One version of a kernel.
struct Version {
    abi: &'static str,
    version: &'static str,
}

const OLD: Version = Version { abi: "6.1.0-50", version: "6.1.176-1" };
const NEW: Version = Version { abi: "6.1.0-51", version: "6.1.180-1" };

impl Archive {
    /// `None` where a tool lacks that makes archives.
    fn new() -> Option<Self> {
        let tools = ["gpg", "dpkg-deb", "apt-get", "depmod", "xz", "setpriv"];
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
        let lacks = |tool: &&&str| !path.split(':').any(|folder| Path::new(folder).join(tool).exists());
        if let Some(tool) = tools.iter().find(lacks) {
            // `scripts/test` has installed them.
            assert!(std::env::var_os("KSHOT_REQUIRE").is_none(), "there is no {tool} here");
            super::not_shown(&format!("there is no {tool} here"));
            return None;
        }
        let replica = Replica::new();
        let catalogue = replica.path("images/kernels.yaml");
        fs::write(&catalogue, fs::read_to_string(&catalogue).unwrap() + KERNELS).unwrap();
        fs::create_dir(replica.path("gnupg")).unwrap();
        let archive = Self { replica };
        run(Command::new("chmod").arg("700").arg(archive.replica.path("gnupg")));
        run(archive.gpg().args([
            "--passphrase",
            "",
            "--quick-gen-key",
            "kshot test",
            "default",
            "default",
            "never",
        ]));
        run(archive.gpg().arg("--output").arg(archive.keyring()).args(["--export", "kshot test"]));
        Some(archive)
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.replica.path("gnupg")).args(["--batch", "--quiet", "--yes"]);
        gpg
    }

    fn keyring(&self) -> PathBuf {
        self.replica.path("keyring.gpg")
    }

    /// Makes the archive `name` hold one version and no other.
    fn publish(&self, name: &str, version: &Version) {
        let root = self.replica.path(name);
        drop(fs::remove_dir_all(&root));
        let index = root.join("dists/bookworm/main/binary-mips64el");
        fs::create_dir_all(root.join("pool")).unwrap();
        fs::create_dir_all(&index).unwrap();
        let Version { abi, version } = version;
        let release = format!("{abi}-malta");
        let kernel = format!("linux-image-{release}");
        let packages = [
            self.deb(&root, &kernel, version, "", &kernel_files(&release)),
            self.deb(&root, "linux-image-malta", version, &format!("Depends: {kernel} (= {version})\n"), &[]),
        ];
        fs::write(index.join("Packages"), packages.concat()).unwrap();
        let packages = index.join("Packages");
        let release = format!(
            "Origin: Debian\nSuite: bookworm\nCodename: bookworm\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n\
             Architectures: mips64el\nComponents: main\nSHA256:\n {} {} main/binary-mips64el/Packages\n",
            sha256_file(&packages).unwrap(),
            packages.metadata().unwrap().len()
        );
        let dist = root.join("dists/bookworm");
        fs::write(dist.join("Release"), release).unwrap();
        let sign = ["--pinentry-mode", "loopback", "--passphrase", "", "--clearsign", "--output"];
        run(self.gpg().args(sign).arg(dist.join("InRelease")).arg(dist.join("Release")));
    }

    /// Builds a package into the pool. Returns its paragraph of the index.
    fn deb(
        &self,
        root: &Path,
        package: &str,
        version: &str,
        more: &str,
        files: &[(String, Vec<u8>)],
    ) -> String {
        let tree = self.replica.path("deb");
        drop(fs::remove_dir_all(&tree));
        let control = format!(
            "Package: {package}\nVersion: {version}\nArchitecture: mips64el\n\
             Maintainer: nobody <nobody@example.org>\n{more}Description: a test\n"
        );
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        for (name, bytes) in files {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let name = format!("pool/{package}_{version}_mips64el.deb");
        let deb = root.join(&name);
        run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&deb));
        let size = deb.metadata().unwrap().len();
        format!("{control}Filename: {name}\nSize: {size}\nSHA256: {}\n\n", sha256_file(&deb).unwrap())
    }

    /// `kshot provision`, which has a kernel before it looks for the guest's userland, of which this archive
    /// knows nothing.
    fn provision(&self, kernel: &str, archive: &str, more: &[(&str, String)]) -> Ended {
        let url = |name: &str| format!("file:{}", self.replica.path(name).display());
        let mut kshot = self.kshot(&["provision", kernel]);
        kshot.env("KSHOT_DEBIAN_ARCHIVE", url(archive)).env("KSHOT_ARCHIVE_KEYRING", self.keyring());
        for (name, value) in more {
            kshot.env(name, url(value));
        }
        Ended::of(kshot.output().unwrap())
    }

    /// The release of a kernel that is provisioned.
    fn release(&self, kernel: &str) -> Option<String> {
        let ended = Ended::of(self.kshot(&["list", "--format", "json"]).output().unwrap());
        ended.expect(0, &[]);
        let kernels = fs::read_dir(self.replica.path("cache/kshot/kernels")).into_iter().flatten().flatten();
        let entry = kernels
            .map(|entry| entry.path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{kernel}-")))?;
        let text = fs::read(entry.join("kernel.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        Some(format!("{} {}", json["release"].as_str().unwrap(), json["version"].as_str().unwrap()))
    }

    fn kshot(&self, words: &[&str]) -> Command {
        let mut kshot = self.replica.kshot(words);
        kshot.env("XDG_CACHE_HOME", self.replica.path("cache"));
        kshot
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        kill.arg("--homedir").arg(self.replica.path("gnupg")).args(["--kill", "all"]);
        // What it leaves ends when its folder is gone.
        drop(kill.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// The files of a package of a kernel, as far as kshot takes them out.
fn kernel_files(release: &str) -> Vec<(String, Vec<u8>)> {
    let mut vmlinux = elf_header(u16::to_le_bytes);
    vmlinux.extend(format!("\0Linux version {release} (a@b) gcc\0").bytes());
    // So much that half of the package is no package.
    vmlinux.extend((0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
    let modules = format!("lib/modules/{release}");
    vec![
        (format!("boot/vmlinux-{release}"), vmlinux),
        (format!("boot/config-{release}"), b"CONFIG_MIPS=y\n".to_vec()),
        (format!("boot/System.map-{release}"), Vec::new()),
        (format!("{modules}/modules.order"), Vec::new()),
        (format!("{modules}/modules.builtin"), Vec::new()),
    ]
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_kernel_that_the_archive_dropped_gives_way_to_the_newest_of_its_series() {
    let Some(archive) = Archive::new() else { return };
    archive.publish("debian", &NEW);
    archive.provision("newest", "debian", &[]);
    assert_eq!(archive.release("newest").as_deref(), Some("6.1.0-51-malta 6.1.180-1"));
    // Of an exact version, the error says what there is and what can be done.
    let gone = archive.provision("pinned", "debian", &[]);
    gone.expect(129, &["linux-image-6.1.0-50-malta=6.1.176-1", "KSHOT_SNAPSHOT_ARCHIVE"]);
    archive.publish("snapshot", &OLD);
    archive.provision("pinned", "debian", &[("KSHOT_SNAPSHOT_ARCHIVE", "snapshot".into())]);
    assert_eq!(archive.release("pinned").as_deref(), Some("6.1.0-50-malta 6.1.176-1"));
}

#[test]
fn an_index_that_names_what_is_gone_is_read_anew() {
    let Some(archive) = Archive::new() else { return };
    archive.publish("debian", &OLD);
    // The index is read, and the archive changes before anything is downloaded.
    let pool = archive.replica.path("debian/pool");
    fs::rename(&pool, pool.with_extension("away")).unwrap();
    archive.provision("newest", "debian", &[]).expect(131, &["cannot download"]);
    archive.publish("debian", &NEW);
    archive.provision("newest", "debian", &[]);
    assert_eq!(archive.release("newest").as_deref(), Some("6.1.0-51-malta 6.1.180-1"));
}

#[test]
fn another_address_of_the_archive_counts_at_once() {
    let Some(archive) = Archive::new() else { return };
    archive.publish("one", &OLD);
    archive.publish("two", &NEW);
    archive.provision("pinned", "one", &[]);
    assert_eq!(archive.release("pinned").as_deref(), Some("6.1.0-50-malta 6.1.176-1"));
    archive.provision("newest", "two", &[]);
    assert_eq!(archive.release("newest").as_deref(), Some("6.1.0-51-malta 6.1.180-1"));
}

#[test]
fn a_package_that_was_cut_in_the_cache_is_downloaded_anew() {
    let Some(archive) = Archive::new() else { return };
    archive.publish("debian", &NEW);
    archive.provision("newest", "debian", &[]);
    let downloads = fs::read_dir(archive.replica.path("cache/kshot/downloads")).unwrap();
    let files = downloads.flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap());
    let deb =
        files.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let deb = deb.unwrap();
    let length = deb.metadata().unwrap().len();
    fs::File::options().write(true).open(&deb).unwrap().set_len(length / 2).unwrap();
    fs::remove_dir_all(archive.replica.path("cache/kshot/kernels")).unwrap();
    let ended = archive.provision("newest", "debian", &[]);
    assert!(ended.err.contains("is damaged: it is downloaded anew"), "{}", ended.err);
    assert_eq!(archive.release("newest").as_deref(), Some("6.1.0-51-malta 6.1.180-1"));
    assert_eq!(deb.metadata().unwrap().len(), length);
}
