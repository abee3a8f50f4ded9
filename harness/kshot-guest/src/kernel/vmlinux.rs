//! The architecture and release of a kernel image.

use std::path::Path;

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};

use super::KernelError;
use super::image::{banner_release, inner_release, leading_release, read_bytes};
use crate::symbols::{NoDwarf, is_split};
use kshot_stack::arch::Arch;

/// The facts of a kernel image.
#[derive(Debug)]
pub(super) struct Vmlinux {
    pub arch: Arch,
    /// Whether it is the ELF file `vmlinux`, which not every architecture boots.
    pub elf: bool,
    /// The release in the kernel's banner; `None` for a compressed `vmlinuz`, which on MIPS is an ELF file
    /// too.
    pub release: Option<String>,
    /// Whether the file has DWARF that can be read, or why not.
    pub dwarf: Result<(), NoDwarf>,
}

/// Reads the kernel image `path`.
///
/// # Errors
/// [`KernelError::NotBootable`], which says what the file is instead; [`KernelError::File`].
pub(super) fn read(path: &Path) -> Result<Vmlinux, KernelError> {
    let not = |why: String| KernelError::NotBootable { path: path.into(), why };
    if path.is_dir() {
        return Err(not("it is a folder; name the vmlinux in it".into()));
    }
    let bytes = read_bytes(path)?;
    if let Some(arch) = Arch::of_image(&bytes) {
        let release =
            banner_release(&bytes).or_else(|| bzimage_release(&bytes)).or_else(|| inner_release(&bytes));
        return Ok(Vmlinux { arch, elf: false, release, dwarf: Err(NoDwarf::Unknown) });
    }
    let read = match object::FileKind::parse(&*bytes) {
        Ok(object::FileKind::Elf64) => read_elf::<FileHeader64<Endianness>>(&bytes),
        Ok(object::FileKind::Elf32) => read_elf::<FileHeader32<Endianness>>(&bytes),
        _ => return Err(not(describe_file(&bytes))),
    };
    read.map_err(not)
}

/// Reads an ELF file, or says why it cannot be booted.
fn read_elf<Header: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Vmlinux, String> {
    let file = ElfFile::<Header>::parse(bytes).map_err(|error| error.to_string())?;
    let (header, endian) = (file.elf_header(), file.endian());
    let machine = header.e_machine(endian).0;
    let word_bytes = if header.is_type_64() { 8 } else { 4 };
    let arch = Arch::of_elf(machine, endian == Endianness::Big)
        .filter(|arch| arch.row().word_bytes == word_bytes)
        .ok_or_else(|| {
            let bits = 8 * word_bytes;
            format!("its ELF machine is {machine}, {bits} bits; kshot boots {}", architectures())
        })?;
    let release = own_banner(&file).or_else(|| banner_release(bytes));
    let has = |name: &str| file.section_by_name(name).is_some();
    let dwarf = match () {
        () if has(".debug_info") && object::File::parse(bytes).is_ok_and(|file| is_split(&file)) => {
            Err(NoDwarf::Split)
        }
        () if has(".debug_info") => Ok(()),
        () if has(".zdebug_info") => Err(NoDwarf::OldCompression),
        () if has(".BTF") => Err(NoDwarf::BtfAlone),
        () => Err(NoDwarf::Without),
    };
    Ok(Vmlinux { arch, elf: true, release, dwarf })
}

/// The release in the kernel's own banner: another kernel's may stand before it, in an initramfs that is linked
/// in.
fn own_banner<'a>(file: &impl Object<'a>) -> Option<String> {
    let symbol = file.symbol_by_name("linux_banner")?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let at = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
    banner_release(section.data().ok()?.get(at..)?)
}

/// `6.1.0-50-amd64 (user@host) ...` in the header of an x86 bzImage, whose kernel is compressed
/// (Documentation/arch/x86/boot.rst, `kernel_version`).
fn bzimage_release(bytes: &[u8]) -> Option<String> {
    let pointer = bytes.get(0x20e..0x210)?;
    let at = 0x200 + usize::from(u16::from_le_bytes([pointer[0], pointer[1]]));
    leading_release(bytes.get(at..)?)
}

/// A guess at the type of a file that is not ELF.
fn describe_file(bytes: &[u8]) -> String {
    match bytes {
        [] => "it is empty".into(),
        [0x27, 0x05, 0x19, 0x56, ..] => "it is a U-Boot uImage; kshot boots what kbuild makes".into(),
        _ => "it is neither an ELF file nor a kernel image".into(),
    }
}

fn architectures() -> String {
    Arch::all().map(|arch| arch.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use kshot_stack::arch::KernelImage;

    fn refused(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux");
        fs::write(&path, bytes).unwrap();
        match read(&path).unwrap_err() {
            KernelError::NotBootable { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    /// An ELF header without sections: class 64, this byte order and machine.
    fn header(big_endian: bool, machine: u16) -> Vec<u8> {
        let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, if big_endian { 2 } else { 1 }, 1];
        bytes.resize(16, 0);
        bytes.extend(half(2));
        bytes.extend(half(machine));
        bytes.resize(52, 0);
        bytes.extend(half(64));
        bytes.resize(64, 0);
        bytes
    }

    #[test]
    fn the_byte_order_of_the_header_tells_the_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux");
        let banner = b"\0Linux version 6.1.192-kshot (kshot@kshot) gcc\0";
        for (big_endian, arch) in [(true, Arch::Mips64), (false, Arch::Mips64el)] {
            fs::write(&path, [&header(big_endian, 8)[..], banner].concat()).unwrap();
            let image = read(&path).unwrap();
            assert_eq!((image.arch, image.release.as_deref()), (arch, Some("6.1.192-kshot")));
            assert_eq!(image.dwarf, Err(NoDwarf::Without));
        }
    }

    #[test]
    fn the_kernels_own_banner_counts_where_another_kernels_stands_before_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind");
        let image = read(&Path::new(folder).join("banner.elf")).unwrap();
        assert_eq!(image.release.as_deref(), Some("6.1.192-mine"));
    }

    #[test]
    fn a_vmlinux_without_dwarf_of_its_own_says_which_it_has() {
        let dwarf = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../kshot-stack/tests/data/unwind");
            read(&Path::new(folder).join(name)).unwrap().dwarf
        };
        assert_eq!(dwarf("dwarf4.elf"), Ok(()));
        assert_eq!(dwarf("dwarf5.elf"), Ok(()));
        assert_eq!(dwarf("split4.elf"), Err(NoDwarf::Split));
        assert_eq!(dwarf("split5.elf"), Err(NoDwarf::Split));
        assert_eq!(dwarf("btf.elf"), Err(NoDwarf::BtfAlone));
        assert_eq!(dwarf("frames.elf"), Err(NoDwarf::Without));
        assert!(NoDwarf::Split.to_string().contains("CONFIG_DEBUG_INFO_SPLIT"));
        assert!(NoDwarf::BtfAlone.to_string().contains("CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT"));
    }

    #[test]
    fn what_is_no_vmlinux_is_called_what_it_is() {
        // EM_SPARCV9.
        assert!(
            refused(&header(true, 43))
                .starts_with("its ELF machine is 43, 64 bits; kshot boots mips64, mips64el, ")
        );
        assert_eq!(refused(b""), "it is empty");
        assert_eq!(refused(b"#!/bin/sh\n"), "it is neither an ELF file nor a kernel image");
        let half = |class: u8| {
            let mut bytes = header(true, 8);
            bytes[4] = class;
            refused(&bytes)
        };
        assert!(half(1).starts_with("its ELF machine is 8, 32 bits;"));
    }

    #[test]
    fn an_image_in_its_architectures_own_format_is_known_by_its_magic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        for arch in Arch::all() {
            let KernelImage::Own { offset, magic, .. } = arch.row().image else { continue };
            let mut image = vec![0; 128 << 10];
            image[offset..offset + magic.len()].copy_from_slice(magic);
            image.extend(b"Linux version 6.1.0-50-own (debian-kernel@lists.debian.org) gcc");
            fs::write(&path, &image).unwrap();
            let read = read(&path).unwrap();
            assert_eq!((read.arch, read.elf, read.release.as_deref()), (arch, false, Some("6.1.0-50-own")));
        }
    }

    #[test]
    fn the_release_of_a_compressed_bzimage_is_in_its_header() {
        let mut image = vec![0; 0x4000];
        image[0x20e..0x210].copy_from_slice(&0x3500_u16.to_le_bytes());
        image[0x3700..0x3712].copy_from_slice(b"6.1.0-50-amd64 (d@");
        assert_eq!(bzimage_release(&image).as_deref(), Some("6.1.0-50-amd64"));
        image[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(bzimage_release(&image), None);
        assert_eq!(bzimage_release(b""), None);
    }

    #[test]
    fn a_folder_and_a_missing_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("it is a folder"));
        assert!(matches!(read(&folder.path().join("no")), Err(KernelError::File(_))));
    }

    #[test]
    fn a_banner_cut_off_by_the_files_end_gives_no_release() {
        assert_eq!(banner_release(b"Linux version 6.1"), None);
        assert_eq!(banner_release(b"Linux version %s (gcc"), None);
        assert_eq!(banner_release(b"Linux version 6.1$(id) (gcc"), None, "it would run in reproduce.sh");
        assert_eq!(banner_release(b"Linux version 6.1/../.. (gcc"), None);
    }
}
