//! The truth: gdb, from outside, with the kernel's own DWARF ([`Machine::watch`]). The guest is only asked whether
//! it is the kernel that the DWARF is of.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::ReadCache;

use super::{
    COMMAND_LIMIT, Capture, CaptureFormat, GDB_STACKS, GdbContext, ProbeError, ProbeGuest, file_stem,
};
use crate::machine::{Debugger, GdbError, Reader, Watch};
use crate::session::Guest;
use crate::symbols::{LoadedKernel, build_id, build_id_of_notes};

/// The kernel's notes as it shows them itself, its build id among them (Documentation/ABI/testing/sysfs-kernel-notes).
const NOTES: &str = "/sys/kernel/notes";

/// A gdb that reads the DWARF of the kernel that will run, and the files it writes on this side.
#[derive(Debug)]
pub struct StartedGdb {
    reader: Reader,
    stacks: PathBuf,
    log: PathBuf,
}

/// A gdb at work, and the files it writes on this side.
#[derive(Debug)]
pub(super) struct GdbProbe {
    debugger: Debugger,
    stacks: PathBuf,
    log: PathBuf,
}

impl StartedGdb {
    pub(super) fn start(probe: &str, vmlinux: &Path, folder: &Path, index: &Path) -> Result<Self, GdbError> {
        // gdb runs in another folder.
        let folder =
            std::path::absolute(folder).map_err(|source| GdbError::Write { path: folder.into(), source })?;
        let stem = file_stem(probe);
        let (stacks, log) =
            (folder.join(format!("{stem}.{GDB_STACKS}")), folder.join(format!("{stem}.gdb-log.txt")));
        Ok(Self { reader: Reader::start(vmlinux, index, &log)?, stacks, log })
    }
}

impl GdbProbe {
    pub(super) fn start<G: Guest>(
        guest: &mut ProbeGuest<'_, G>,
        (function, hits, traced): (&str, u32, bool),
        outside: GdbContext<'_>,
    ) -> Result<Self, ProbeError<G::Error>> {
        let GdbContext { machine, loaded: LoadedKernel { vmlinux, modules }, ahead } = outside;
        let StartedGdb { reader, stacks, log } = ahead;
        let answer = guest.guest.run(&format!("cat {NOTES}"), COMMAND_LIMIT).map_err(ProbeError::Guest)?;
        // Old kernels show no notes; gdb compares the banners in any case.
        let notes = if answer.status == 0 { answer.text } else { Vec::new() };
        same_build(vmlinux, &notes)?;

        let watch = Watch { function, hits, traced, modules, stacks: &stacks };
        let debugger = machine.watch(reader, &watch)?;
        Ok(Self { debugger, stacks, log })
    }

    pub(super) fn stop(&self) -> Result<(), GdbError> {
        self.debugger.detach()
    }

    pub(super) fn fault(&self) -> Option<GdbError> {
        self.debugger.fault()
    }

    /// Everything is on this side already.
    pub(super) fn captures(&self, probe: &str) -> Vec<Capture> {
        let capture =
            |format, path: &PathBuf| Capture { probe: probe.to_owned(), format, path: path.clone() };
        vec![capture(CaptureFormat::GdbJson, &self.stacks), capture(CaptureFormat::Supplement, &self.log)]
    }
}

/// Whether the notes of the guest are those of `vmlinux`. Banners alone do not tell: builds with a fixed date
/// share them.
fn same_build(vmlinux: &Path, notes: &[u8]) -> Result<(), GdbError> {
    let unreadable =
        |error: object::Error| GdbError::Unreadable { path: vmlinux.into(), why: error.to_string() };
    let file = File::open(vmlinux)
        .map_err(|error| GdbError::Unreadable { path: vmlinux.into(), why: error.to_string() })?;
    // With its DWARF it is some hundred megabytes, of which the notes are a few bytes.
    let file = ReadCache::new(file);
    let ours = build_id(&file).map_err(unreadable)?;
    let theirs = build_id_of_notes(&file, notes).map_err(unreadable)?;
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            let why =
                format!("its build id is {}, the guest's is {}", hex::encode(ours), hex::encode(theirs));
            Err(GdbError::OtherKernel { vmlinux: vmlinux.into(), why })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A big-endian ELF file with nothing but a section of notes.
    fn vmlinux(notes: &[u8]) -> Vec<u8> {
        let names = b"\0.notes\0.shstrtab\0";
        let (half, word, long) = (
            u16::to_be_bytes as fn(u16) -> [u8; 2],
            u32::to_be_bytes as fn(u32) -> [u8; 4],
            u64::to_be_bytes,
        );
        let notes_at = 64_u64;
        let names_at = notes_at + notes.len() as u64;
        let sections_at = names_at + names.len() as u64;
        let mut file = b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([half(2), half(8)].concat());
        file.extend(word(1));
        file.extend([long(0), long(0), long(sections_at)].concat());
        file.extend(word(0));
        file.extend([half(64), half(56), half(0), half(64), half(3), half(2)].concat());
        file.extend(notes);
        file.extend(names);
        for (name, kind, at, size) in
            [(0_u32, 0_u32, 0, 0), (1, 7, notes_at, notes.len() as u64), (8, 3, names_at, names.len() as u64)]
        {
            file.extend([word(name), word(kind)].concat());
            file.extend([long(0), long(0), long(at), long(size)].concat());
            file.extend([word(0), word(0)].concat());
            file.extend([long(4), long(0)].concat());
        }
        file
    }

    fn note(id: &[u8; 4]) -> Vec<u8> {
        [&4_u32.to_be_bytes()[..], &4_u32.to_be_bytes(), &3_u32.to_be_bytes(), b"GNU\0", id].concat()
    }

    fn compare(file: &[u8], guest: &[u8]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux.debug");
        std::fs::write(&path, vmlinux(file)).unwrap();
        same_build(&path, guest).map_err(|error| error.to_string())
    }

    #[test]
    fn another_build_of_the_same_kernel_is_no_truth() {
        assert_eq!(compare(&note(&[1, 2, 3, 4]), &note(&[1, 2, 3, 4])), Ok(()));
        let error = compare(&note(&[1, 2, 3, 4]), &note(&[1, 2, 3, 5])).unwrap_err();
        assert!(error.ends_with("its build id is 01020304, the guest's is 01020305"), "{error}");
    }

    #[test]
    fn where_one_side_has_no_build_id_the_banners_decide() {
        assert_eq!(compare(&note(&[1, 2, 3, 4]), b""), Ok(()));
        assert_eq!(compare(b"", &note(&[1, 2, 3, 4])), Ok(()));
        // What the guest shows need not be notes at all.
        assert_eq!(compare(&note(&[1, 2, 3, 4]), b"\xff\xff\xff\xff garbage"), Ok(()));
    }
}
