//! Busybox and dropbear out of Debian's packages: nothing is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use duct::cmd;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, elf};

use super::UserlandError;
use super::components::{ComponentBuild, copy};
use crate::bounded;
use crate::debian::{PackageFiles, PackageRequest};
use crate::host::{FileError, list};

/// The largest program or library, in bytes: that of the C library has two megabytes.
const SIZE_MOST: u64 = 64 << 20;

impl ComponentBuild<'_> {
    /// Debian's static busybox. Its applets become links in the guest (`busybox --install`): which there are
    /// only the program knows.
    pub(super) fn packaged_busybox(&mut self, suite: &str) -> Result<(), UserlandError> {
        let files = self.unpack("busybox-static", suite)?;
        copy(program(&files, "busybox")?, &self.root.join("bin/busybox"))?;
        let shell = self.root.join("bin/sh");
        Ok(symlink("/bin/busybox", &shell).map_err(FileError::on("create", &shell))?)
    }

    /// Debian's dropbear, and the libraries that it needs.
    pub(super) fn packaged_dropbear(&mut self, suite: &str) -> Result<(), UserlandError> {
        let files = self.unpack("dropbear-bin", suite)?;
        let dropbear = program(&files, "dropbear")?;
        copy(dropbear, &self.root.join("usr/sbin/dropbear"))?;
        let mut wanted = vec![dropbear.clone()];
        let mut taken = BTreeSet::new();
        while let Some(path) = wanted.pop() {
            let needs = needs(&path)?;
            // The kernel starts the interpreter at this path; all else the interpreter finds in /lib.
            if let Some(interpreter) = &needs.interpreter {
                let name = interpreter.rsplit('/').next().unwrap_or_default();
                copy(program(&files, name)?, &self.root.join(interpreter.trim_start_matches('/')))?;
            }
            for name in needs.libraries.into_iter().filter(|name| taken.insert(name.clone())) {
                let library = program(&files, &name)?;
                copy(library, &self.root.join("lib").join(&name))?;
                wanted.push(library.clone());
            }
        }
        Ok(())
    }

    /// Downloads and unpacks a package and all that it depends on. Returns the files in them by their names.
    fn unpack(
        &mut self,
        package: &'static str,
        suite: &str,
    ) -> Result<BTreeMap<String, PathBuf>, UserlandError> {
        let architecture = self.row.debian.unwrap_or(self.row.name);
        let files = PackageFiles::BinaryAndDependencies(architecture);
        let request = PackageRequest { package, suite, version: None, files };
        let download = |source| UserlandError::Download { part: self.part.name(), source: Box::new(source) };
        let folder = request.download(self.cache, self.progress).map_err(download)?;
        let into = self.folder(package)?;
        let mut debs = list(&folder)?;
        debs.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        for deb in debs {
            self.run(&format!("unpacking {package}"), &cmd!("dpkg-deb", "-x", deb, &into))?;
        }
        let mut found = BTreeMap::new();
        find_files(&into, &mut found)?;
        Ok(found)
    }
}

/// What an ELF file is started with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// The path of the program that loads it, where it is one to be started.
    interpreter: Option<String>,
    /// The names of the libraries that it is linked with.
    libraries: Vec<String>,
}

/// The needs of the ELF file `path` (System V ABI, "Dynamic Linking": PT_INTERP and DT_NEEDED).
fn needs(path: &Path) -> Result<Needs, FileError> {
    let bytes = bounded::read(path, SIZE_MOST).map_err(FileError::on("read", path))?;
    let found = match FileKind::parse(&*bytes) {
        Ok(FileKind::Elf32) => read_needs::<elf::FileHeader32<Endianness>>(&bytes),
        Ok(FileKind::Elf64) => read_needs::<elf::FileHeader64<Endianness>>(&bytes),
        Ok(_) => Ok(Needs::default()),
        Err(error) => Err(error),
    };
    found.map_err(|error| FileError::on("read", path)(std::io::Error::other(error)))
}

fn read_needs<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> object::Result<Needs> {
    let file = ElfFile::<Elf>::parse(bytes)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut needs = Needs::default();
    for segment in file.elf_program_headers() {
        if let Some(path) = segment.interpreter(file.endian(), bytes)? {
            needs.interpreter = Some(text(path));
        }
    }
    let dynamic = file.elf_dynamic_table()?;
    for entry in dynamic.iter().filter(|entry| entry.tag == elf::DT_NEEDED) {
        needs.libraries.push(text(dynamic.string(entry)?));
    }
    Ok(needs)
}

fn program<'a>(files: &'a BTreeMap<String, PathBuf>, name: &str) -> Result<&'a PathBuf, FileError> {
    let nothing = || std::io::Error::other("it is in none of the packages");
    files.get(name).ok_or_else(|| FileError::on("find", Path::new(name))(nothing()))
}

/// Finds the programs and libraries below `folder`, links to them included.
fn find_files(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), FileError> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || path.is_file() {
            // A package's link may be absolute: it is the file beside it that is meant.
            let path = match fs::read_link(&path) {
                Ok(to) => path.with_file_name(to.file_name().unwrap_or_default()),
                Err(_) => path,
            };
            if path.is_file() {
                found.insert(name, path);
            }
        } else {
            find_files(&path, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader_and_its_libraries() {
        let shell = needs(Path::new("/bin/sh").canonicalize().unwrap().as_path()).unwrap();
        assert!(shell.interpreter.unwrap().starts_with("/lib"));
        assert!(shell.libraries.iter().any(|name| name.starts_with("libc.so")), "{:?}", shell.libraries);
    }

    #[test]
    fn a_link_stands_for_the_file_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("usr/lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libgmp.so.10.4.1"), "").unwrap();
        std::os::unix::fs::symlink("/usr/lib/libgmp.so.10.4.1", lib.join("libgmp.so.10")).unwrap();
        std::os::unix::fs::symlink("nothing", lib.join("broken")).unwrap();
        let mut found = BTreeMap::new();
        find_files(folder.path(), &mut found).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["libgmp.so.10", "libgmp.so.10.4.1"]);
        assert_eq!(found["libgmp.so.10"], lib.join("libgmp.so.10.4.1"));
    }
}
