//! The bytes of a kernel image, and the kernels inside of images: compressed files (`Image.gz`, `vmlinux.zst`),
//! EFI images that unpack themselves, and the compressed kernel in a `bzImage` or `zImage`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::KernelError;
use crate::bounded;
use crate::host::cache::{self, Cache, Lookup};
use crate::host::{Compression, FileError};
use kshot_stack::arch::Arch;
use kshot_stack::name::is_release;

/// The largest kernel, in bytes: with DWARF, Debian's take half a gigabyte.
const SIZE_MOST: u64 = 4 << 30;
/// The cache's kind of unpacked images.
const UNPACKED: &str = "unpacked";
/// The file of an entry with the image.
const IMAGE: &str = "image";
/// The most bytes that an image unpacks to; Debian's vmlinux with DWARF has half a gigabyte.
const UNPACKED_MOST: u64 = 2 << 30;
/// How many places in an image are tried that begin as compressed data does.
const PLACES_MOST: usize = 16;
/// How much of a compressed kernel is searched for its banner.
const SEARCHED_MOST: u64 = 256 << 20;

/// The bytes of a kernel image.
///
/// # Errors
/// [`KernelError::NotBootable`] for what is not a regular file, or too large; [`KernelError::File`].
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, KernelError> {
    bounded::read(path, SIZE_MOST).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge => {
            KernelError::NotBootable { path: path.into(), why: error.to_string() }
        }
        _ => FileError::on("read", path)(error).into(),
    })
}

/// What QEMU boots of a kernel file: the file itself or, where that is compressed as a whole, what it unpacks to,
/// in the cache.
///
/// # Errors
/// [`KernelError::NotBootable`], [`KernelError::File`], [`KernelError::Cache`].
pub(super) fn unpacked(path: &Path, cache: &Cache) -> Result<PathBuf, KernelError> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let bytes = read_bytes(path)?;
    let packed = efi_payload(&bytes).unwrap_or(&bytes);
    let Some(compression) = Compression::of_file(packed) else { return Ok(path.to_owned()) };
    let key = &cache::sha256_file(path)?[..16];
    let folder = match cache.find_whole_or_draft(UNPACKED, key, || (), || ())? {
        Lookup::Found(folder) => folder,
        Lookup::Missing(draft) => {
            let not = |why: String| KernelError::NotBootable { path: path.into(), why };
            let plain = match compression.unpack(packed, UNPACKED_MOST) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    return Err(FileError::on("unpack", path)(error).into());
                }
                plain => plain.map_err(|error| not(format!("it cannot be unpacked: {error}")))?,
            };
            if Arch::of_image(&plain).is_none() && !plain.starts_with(b"\x7fELF") {
                return Err(not("what it unpacks to is neither an ELF file nor a kernel image".into()));
            }
            let image = draft.path().join(IMAGE);
            fs::write(&image, plain).map_err(FileError::on("write", &image))?;
            draft.commit_with_sums()?
        }
    };
    Ok(folder.join(IMAGE))
}

/// The compressed kernel in an EFI image that unpacks itself (drivers/firmware/efi/libstub/zboot-header.S):
/// its offset and its size in bytes stand at 8 and 12, in little-endian.
fn efi_payload(bytes: &[u8]) -> Option<&[u8]> {
    let is_zboot = bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg");
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let (from, size) = (word(8)?, word(12)?);
    bytes.get(from..from.checked_add(size)?).filter(|_| is_zboot)
}

/// The release in the banner of the compressed kernel that an image holds, as scripts/extract-vmlinux finds it.
pub(super) fn inner_release(bytes: &[u8]) -> Option<String> {
    Compression::MARKED.into_iter().find_map(|compression| {
        let places = memchr::memmem::find_iter(bytes, compression.magic()).take(PLACES_MOST);
        places.filter_map(|at| release_in(compression, &bytes[at..])).next()
    })
}

/// The release in the banner of a compressed kernel, which other data may follow.
fn release_in(compression: Compression, packed: &[u8]) -> Option<String> {
    /// The longest banner: the release, who built it, and with what.
    const BANNER_MOST: usize = 4096;
    let mut reader = compression.reader(packed).ok()?.take(SEARCHED_MOST);
    let (mut window, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        // What follows the compressed data is an error of the reader: what came before counts.
        let read = reader.read(&mut chunk).unwrap_or(0);
        if read == 0 {
            return None;
        }
        window.extend_from_slice(&chunk[..read]);
        if let Some(release) = banner_release(&window) {
            return Some(release);
        }
        window.drain(..window.len().saturating_sub(BANNER_MOST));
    }
}

/// `Linux version 6.1.176 (user@host) ...` in the read-only data; a stripped image still has it. Other texts
/// of a kernel may begin like that (`Linux version %s`), but no release and builder follow.
pub(super) fn banner_release(bytes: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(bytes, BANNER).find_map(|at| {
        let rest = &bytes[at + BANNER.len()..];
        let release = leading_release(rest)?;
        rest[release.len()..].starts_with(b" (").then_some(release)
    })
}

/// The release that these bytes begin with.
pub(super) fn leading_release(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_graphic())?;
    let release = std::str::from_utf8(&bytes[..end]).ok()?;
    (release.starts_with(|first: char| first.is_ascii_digit()) && is_release(release))
        .then(|| release.to_owned())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the host's programs pack")]
mod tests {
    use super::*;

    fn pack(program: &str, bytes: &[u8]) -> Vec<u8> {
        duct::cmd!(program, "-c").stdin_bytes(bytes).stdout_capture().run().unwrap().stdout
    }

    fn kernel() -> Vec<u8> {
        [&b"\x7fELF"[..], &vec![7; 3 << 20], b"\0Linux version 6.1.192-mine (me@host) gcc\0", &[0; 100]]
            .concat()
    }

    #[test]
    fn a_compressed_image_is_unpacked_once_and_another_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let path = folder.path().join("Image.gz");
        for program in ["gzip", "xz", "zstd"] {
            fs::write(&path, pack(program, &kernel())).unwrap();
            let image = unpacked(&path, &cache).unwrap();
            assert_eq!(fs::read(&image).unwrap(), kernel(), "{program}");
            assert_eq!(unpacked(&path, &cache).unwrap(), image);
            fs::write(&image, "cut").unwrap();
            assert_eq!(fs::read(unpacked(&path, &cache).unwrap()).unwrap(), kernel(), "{program}: damaged");
            fs::remove_file(&image).unwrap();
            assert_eq!(fs::read(unpacked(&path, &cache).unwrap()).unwrap(), kernel(), "{program}: gone");
        }
        fs::write(&path, kernel()).unwrap();
        assert_eq!(unpacked(&path, &cache).unwrap(), path);
        fs::write(&path, pack("gzip", b"a text")).unwrap();
        let error = unpacked(&path, &cache).unwrap_err().to_string();
        assert!(error.contains("neither an ELF file nor a kernel image"), "{error}");
        let mut cut = pack("gzip", &kernel());
        cut.truncate(200);
        fs::write(&path, cut).unwrap();
        let error = unpacked(&path, &cache).unwrap_err().to_string();
        assert!(error.contains("it cannot be unpacked"), "{error}");
    }

    #[test]
    fn an_efi_image_is_what_it_unpacks_to() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let path = folder.path().join("vmlinuz.efi");
        let packed = pack("zstd", &kernel());
        let size = (packed.len() as u32).to_le_bytes();
        let header = [&b"MZ\0\0zimg"[..], &64_u32.to_le_bytes(), &size, &[0; 48]].concat();
        fs::write(&path, [&header[..], &packed, b"behind it"].concat()).unwrap();
        assert_eq!(fs::read(unpacked(&path, &cache).unwrap()).unwrap(), kernel());
        // A size beyond the file's end is none of ours.
        fs::write(&path, [&header[..], &packed[..20]].concat()).unwrap();
        assert_eq!(unpacked(&path, &cache).unwrap(), path);
    }

    #[test]
    fn the_release_is_found_in_a_kernel_that_an_image_holds() {
        for program in ["gzip", "xz", "zstd"] {
            let image =
                [&b"setup code \x1f\x8b\x08 and \xfd7zXZ\0"[..], &pack(program, &kernel()), b"more"].concat();
            assert_eq!(inner_release(&image).as_deref(), Some("6.1.192-mine"), "{program}");
        }
        assert_eq!(inner_release(b"no \x1f\x8b\x08 kernel"), None);
    }
}
