//! The initramfs: userland, init, SSH keys, and the modules of a modular kernel.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cpio::{CpioArchive, CpioEntry};
use super::{SshKeys, Userland, UserlandError};
use crate::bounded;
use crate::host::cache::{self, Cache, Lookup};
use crate::host::{FileError, list};
use crate::kernel::{ImagesFolder, Kernel, MODULE_BYTES_MOST, with_dependencies};

/// The version of the format; it changes when the same inputs give other bytes.
const RECIPE_VERSION: &str = "2";

/// Folders that init mounts on or writes to, and those that busybox links its applets into.
const FOLDERS: &[&str] =
    &["proc", "sys", "dev", "tmp", "run", "root", "isam/user", "var", "bin", "sbin", "usr/bin", "usr/sbin"];

const PASSWD: &str = "root:*:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// An initramfs in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initramfs {
    /// The path of the file: cpio newc, compressed with gzip.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The initramfs of `kernel`, from the cache or created now. Equal inputs give equal bytes.
///
/// # Errors
/// [`UserlandError`].
pub fn initramfs(
    kernel: &Kernel,
    userland: &Userland,
    keys: &SshKeys,
    images: &ImagesFolder,
    cache: &Cache,
) -> Result<Initramfs, UserlandError> {
    let own = base_files(kernel, keys, images)?;
    let mut parts: Vec<&[u8]> = vec![RECIPE_VERSION.as_bytes()];
    parts.extend(userland.roots.iter().map(|root| root.as_os_str().as_encoded_bytes()));
    for (path, node) in &own {
        parts.push(path.as_bytes());
        if let CpioEntry::File(_, data) = node {
            parts.push(data);
        }
    }
    let key = format!("{}-{}", kernel.arch, cache::key(parts));
    let mut lookup = cache.find_or_draft("images", &key, || ())?;
    if let Lookup::Found(folder) = &lookup
        && !is_complete(folder)
    {
        cache.remove("images", &key)?;
        lookup = cache.find_or_draft("images", &key, || ())?;
    }
    let folder = match lookup {
        Lookup::Found(folder) => folder,
        Lookup::Missing(draft) => {
            let mut archive = CpioArchive::default();
            for root in &userland.roots {
                add_tree(&mut archive, root, root)?;
            }
            for (path, node) in own {
                archive.add(&path, node);
            }
            let path = draft.path().join("initramfs");
            File::create(&path)
                .and_then(|file| archive.write(BufWriter::new(file)))
                .map_err(FileError::on("write", &path))?;
            let sum = draft.path().join("sha256");
            fs::write(&sum, cache::sha256_file(&path)?).map_err(FileError::on("write", &sum))?;
            draft.commit()?
        }
    };
    let sum = folder.join("sha256");
    let sha256 = fs::read_to_string(&sum).map_err(FileError::on("read", &sum))?;
    Ok(Initramfs { path: folder.join("initramfs"), sha256 })
}

/// Whether an entry of the cache has both of its files, neither of them empty, as after a power loss.
fn is_complete(folder: &Path) -> bool {
    ["initramfs", "sha256"]
        .iter()
        .all(|name| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 0))
}

/// The files of the initramfs besides the userland.
fn base_files(
    kernel: &Kernel,
    keys: &SshKeys,
    images: &ImagesFolder,
) -> Result<Vec<(String, CpioEntry)>, UserlandError> {
    let guest = images.guest_folder();
    let authorized = format!("{}\n", keys.client_key_public);
    let mut files: Vec<(String, CpioEntry)> =
        FOLDERS.iter().map(|path| ((*path).into(), CpioEntry::Folder)).collect();
    let mut add = |path: &str, node| files.push((path.into(), node));
    // The kernel opens it for init before anything is mounted.
    add("dev/console", CpioEntry::Device(0o600, 5, 1));
    add("dev/null", CpioEntry::Device(0o666, 1, 3));
    add("init", CpioEntry::File(0o755, read(&guest.join("init"))?));
    add("etc/passwd", CpioEntry::File(0o644, PASSWD.into()));
    add("etc/group", CpioEntry::File(0o644, GROUP.into()));
    add("etc/modules", CpioEntry::File(0o644, read(&guest.join("modules"))?));
    add("etc/dropbear/host", CpioEntry::File(0o600, keys.host_key_private.clone()));
    add("root/.ssh/authorized_keys", CpioEntry::File(0o600, authorized.into_bytes()));
    if let Some(root) = &kernel.modules {
        let inside = format!("lib/modules/{}", kernel.release);
        let dep = String::from_utf8_lossy(&read(&root.join(&inside).join("modules.dep"))?).into_owned();
        let lines = with_dependencies(&dep, &images.guest_modules()?);
        for path in lines.iter().filter_map(|line| line.split(':').next()) {
            let module = root.join(&inside).join(path);
            let bytes = bounded::read(&module, MODULE_BYTES_MOST).map_err(FileError::on("read", &module))?;
            add(&format!("{inside}/{path}"), CpioEntry::File(0o644, bytes));
        }
        let dep: String = lines.iter().map(|line| format!("{line}\n")).collect();
        add(&format!("{inside}/modules.dep"), CpioEntry::File(0o644, dep.into_bytes()));
    }
    Ok(files)
}

fn add_tree(archive: &mut CpioArchive, root: &Path, folder: &Path) -> Result<(), UserlandError> {
    for path in list(folder)?.into_iter().filter(|path| *path != root.join(cache::SUMS)) {
        let metadata = path.symlink_metadata().map_err(FileError::on("read", &path))?;
        let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if metadata.is_dir() {
            add_tree(archive, root, &path)?;
        } else if metadata.is_symlink() {
            let to = fs::read_link(&path).map_err(FileError::on("read", &path))?;
            archive.add(&inside, CpioEntry::Link(to.into_os_string().into_encoded_bytes()));
        } else {
            archive.add(&inside, CpioEntry::File(metadata.permissions().mode() & 0o755, read(&path)?));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::on("read", path))
}
