//! The initramfs: userland, init, SSH keys, and the modules of a modular kernel.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::archive::{Archive, Node};
use super::{ImageError, Images, Keys, Userland};
use crate::cache::{self, Cache, Entry};
use crate::kernel::{Kernel, closure};

/// The version of the format; it changes when the same inputs give other bytes.
const RECIPE: &str = "1";

/// Folders that init mounts on or writes to.
const FOLDERS: &[&str] = &["proc", "sys", "dev", "tmp", "run", "root", "isam/user", "var"];

const PASSWD: &str = "root:*:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// An initramfs in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The path of the file: cpio newc, compressed with gzip.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The initramfs of `kernel`, from the cache or created now. Equal inputs give equal bytes.
///
/// # Errors
/// [`ImageError`].
pub fn initramfs(
    kernel: &Kernel,
    userland: &Userland,
    keys: &Keys,
    images: &Images,
    cache: &Cache,
) -> Result<Image, ImageError> {
    let own = own_files(kernel, keys, images)?;
    let mut parts: Vec<&[u8]> = vec![RECIPE.as_bytes()];
    parts.extend(userland.roots.iter().map(|root| root.as_os_str().as_encoded_bytes()));
    for (path, node) in &own {
        parts.push(path.as_bytes());
        if let Node::File(_, data) = node {
            parts.push(data);
        }
    }
    let key = format!("{}-{}", kernel.arch, cache::key(parts));
    let folder = match cache.entry("images", &key, || ())? {
        Entry::Ready(folder) => folder,
        Entry::Draft(draft) => {
            let mut archive = Archive::default();
            for root in &userland.roots {
                add_tree(&mut archive, root, root)?;
            }
            for (path, node) in own {
                archive.add(&path, node);
            }
            let path = draft.path().join("initramfs");
            File::create(&path)
                .and_then(|file| archive.write(BufWriter::new(file)))
                .map_err(ImageError::io("write", &path))?;
            let sum = draft.path().join("sha256");
            fs::write(&sum, cache::sha256_file(&path)?).map_err(ImageError::io("write", &sum))?;
            draft.commit()?
        }
    };
    let sum = folder.join("sha256");
    let sha256 = fs::read_to_string(&sum).map_err(ImageError::io("read", &sum))?;
    Ok(Image { path: folder.join("initramfs"), sha256 })
}

/// The files of the initramfs besides the userland.
fn own_files(kernel: &Kernel, keys: &Keys, images: &Images) -> Result<Vec<(String, Node)>, ImageError> {
    let guest = images.guest_dir();
    let authorized = format!("{}\n", keys.client_public);
    let mut files: Vec<(String, Node)> = FOLDERS.iter().map(|path| ((*path).into(), Node::Folder)).collect();
    let mut add = |path: &str, node| files.push((path.into(), node));
    // The kernel opens it for init before anything is mounted.
    add("dev/console", Node::Device(0o600, 5, 1));
    add("dev/null", Node::Device(0o666, 1, 3));
    add("init", Node::File(0o755, read(&guest.join("init"))?));
    add("etc/passwd", Node::File(0o644, PASSWD.into()));
    add("etc/group", Node::File(0o644, GROUP.into()));
    add("etc/modules", Node::File(0o644, read(&guest.join("modules"))?));
    add("etc/dropbear/host", Node::File(0o600, keys.host_private.clone()));
    add("root/.ssh/authorized_keys", Node::File(0o600, authorized.into_bytes()));
    if let Some(root) = &kernel.modules {
        let inside = format!("lib/modules/{}", kernel.release);
        let dep = String::from_utf8_lossy(&read(&root.join(&inside).join("modules.dep"))?).into_owned();
        let lines = closure(&dep, &images.guest_modules()?);
        for path in lines.iter().filter_map(|line| line.split(':').next()) {
            add(&format!("{inside}/{path}"), Node::File(0o644, read(&root.join(&inside).join(path))?));
        }
        let dep: String = lines.iter().map(|line| format!("{line}\n")).collect();
        add(&format!("{inside}/modules.dep"), Node::File(0o644, dep.into_bytes()));
    }
    Ok(files)
}

fn add_tree(archive: &mut Archive, root: &Path, folder: &Path) -> Result<(), ImageError> {
    for file in fs::read_dir(folder).map_err(ImageError::io("read", folder))?.flatten() {
        let path = file.path();
        let metadata = path.symlink_metadata().map_err(ImageError::io("read", &path))?;
        let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if metadata.is_dir() {
            add_tree(archive, root, &path)?;
        } else if metadata.is_symlink() {
            let to = fs::read_link(&path).map_err(ImageError::io("read", &path))?;
            archive.add(&inside, Node::Link(to.into_os_string().into_encoded_bytes()));
        } else {
            archive.add(&inside, Node::File(metadata.permissions().mode() & 0o755, read(&path)?));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(ImageError::io("read", path))
}
