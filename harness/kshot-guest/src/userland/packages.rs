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
        let busybox = files.find_program("busybox")?;
        needs(&busybox)?;
        copy(&busybox, &self.root.join("bin/busybox"))?;
        let shell = self.root.join("bin/sh");
        Ok(symlink("/bin/busybox", &shell).map_err(FileError::on("create", &shell))?)
    }

    /// Debian's dropbear, and the libraries that it needs.
    pub(super) fn packaged_dropbear(&mut self, suite: &str) -> Result<(), UserlandError> {
        let files = self.unpack("dropbear-bin", suite)?;
        let dropbear = files.find_program("dropbear")?;
        copy(&dropbear, &self.root.join("usr/sbin/dropbear"))?;
        let mut wanted = vec![dropbear];
        let mut taken = BTreeSet::new();
        while let Some(path) = wanted.pop() {
            let needs = needs(&path)?;
            // The kernel starts the interpreter at this path; all else the interpreter finds in /lib.
            if let Some(interpreter) = &needs.interpreter {
                let name = interpreter.rsplit('/').next().unwrap_or_default();
                copy(files.find_library(name)?, &self.root.join(interpreter.trim_start_matches('/')))?;
            }
            for name in needs.libraries.into_iter().filter(|name| taken.insert(name.clone())) {
                let library = files.find_library(&name)?;
                copy(library, &self.root.join("lib").join(&name))?;
                wanted.push(library.clone());
            }
        }
        Ok(())
    }

    /// Downloads and unpacks a package and all that it depends on.
    fn unpack(&mut self, package: &'static str, suite: &str) -> Result<UnpackedPackages, UserlandError> {
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
        Ok(UnpackedPackages::read(into)?)
    }
}

/// Where programs lie in a package (Filesystem Hierarchy Standard).
const PROGRAM_FOLDERS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

/// Packages that were unpacked into one folder.
struct UnpackedPackages {
    folder: PathBuf,
    /// The files below `lib*` and `usr/lib*`, by their names.
    libraries: BTreeMap<String, PathBuf>,
}

impl UnpackedPackages {
    fn read(folder: PathBuf) -> Result<Self, FileError> {
        let mut libraries = BTreeMap::new();
        let parents = [folder.join("usr"), folder.clone()];
        for parent in parents.iter().filter(|parent| parent.is_dir()) {
            let is_library_folder =
                |path: &PathBuf| path.is_dir() && file_name(path).starts_with("lib") && !path.is_symlink();
            for libs in list(parent)?.into_iter().filter(is_library_folder) {
                find_files(&libs, &mut libraries)?;
            }
        }
        Ok(Self { folder, libraries })
    }

    fn find_program(&self, name: &str) -> Result<PathBuf, FileError> {
        let paths = PROGRAM_FOLDERS.iter().map(|folder| self.folder.join(folder).join(name));
        paths.map(behind_link).find(|path| path.is_file()).ok_or_else(|| in_no_package(name))
    }

    fn find_library(&self, name: &str) -> Result<&PathBuf, FileError> {
        self.libraries.get(name).ok_or_else(|| in_no_package(name))
    }
}

fn in_no_package(name: &str) -> FileError {
    FileError::on("find", Path::new(name))(std::io::Error::other("it is in none of the packages"))
}

/// What an ELF file is started with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// The path of the program that loads it, where it is one to be started.
    interpreter: Option<String>,
    /// The names of the libraries that it is linked with.
    libraries: Vec<String>,
}

/// The needs of `path`, which has to be an ELF file (System V ABI, "Dynamic Linking": PT_INTERP and DT_NEEDED).
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

/// Finds the files below `folder`, links to them included.
fn find_files(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), FileError> {
    for path in list(folder)? {
        if path.is_dir() && !path.is_symlink() {
            find_files(&path, found)?;
            continue;
        }
        let name = file_name(&path);
        let path = behind_link(path);
        if path.is_file() {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// The file that a package's link stands for: it may be absolute, and means the file beside it.
fn behind_link(path: PathBuf) -> PathBuf {
    match fs::read_link(&path) {
        Ok(to) => path.with_file_name(to.file_name().unwrap_or_default()),
        Err(_) => path,
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
        let lib = folder.path().join("usr/lib/aarch64-linux-gnu");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libgmp.so.10.4.1"), "").unwrap();
        symlink("/usr/lib/aarch64-linux-gnu/libgmp.so.10.4.1", lib.join("libgmp.so.10")).unwrap();
        symlink("nothing", lib.join("broken")).unwrap();
        let packages = UnpackedPackages::read(folder.path().to_owned()).unwrap();
        assert_eq!(packages.libraries.keys().collect::<Vec<_>>(), ["libgmp.so.10", "libgmp.so.10.4.1"]);
        assert_eq!(packages.find_library("libgmp.so.10").unwrap(), &lib.join("libgmp.so.10.4.1"));
    }

    #[test]
    fn a_program_is_taken_from_where_programs_are_and_no_other_file_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["bin/busybox", "usr/sbin/dropbear", "usr/share/x/busybox", "usr/lib/dropbear/dropbear"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(folder.path().join("usr/share/lib/libc.so.6")).unwrap();
        let packages = UnpackedPackages::read(folder.path().to_owned()).unwrap();
        assert_eq!(packages.find_program("busybox").unwrap(), folder.path().join("bin/busybox"));
        assert_eq!(packages.find_program("dropbear").unwrap(), folder.path().join("usr/sbin/dropbear"));
        for name in ["conf", "x"] {
            let error = packages.find_program(name).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(packages.find_library("libc.so.6").is_err());
    }
}
