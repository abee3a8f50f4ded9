//! Saved states: the memory of an idle guest in one file, its devices in another. Any number of machines can
//! start from one state; each has private copies of the pages that it writes.
//!
//! QEMU writes the devices as a migration stream without the memory (`x-ignore-shared`), which takes about 10
//! ms: docs/devel/migration.rst, qapi/migration.json.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::{MachineError, StateError};
use super::spec::{GDB, Memory};
use super::{CONSOLE_LOG, Machine, MachineSpec, socket_path, timer};
use crate::deadline::{Deadline, PollResult};
use crate::host::FileError;
use crate::host::cache;
use crate::host::find_program;

/// The file of the guest's memory, sparse where the guest has written nothing.
const MEMORY: &str = "memory";
/// The file of the machine's devices, as QEMU's migration writes it.
const DEVICES: &str = "devices";
/// The file of the state's [`StateMetadata`], as JSON.
const METADATA: &str = "note.json";
/// The link to the devices file in QEMU's own folder.
const DEVICES_LINK: &str = "devices";
/// The time that saving or restoring may take: 20 ms each on an idle host.
const LIMIT: Duration = Duration::from_secs(20);

/// A saved state that a machine can start from.
#[derive(Clone, Debug)]
pub struct SavedState {
    folder: PathBuf,
    metadata: StateMetadata,
}

/// The metadata of a saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StateMetadata {
    /// The version of the QEMU that saved the state.
    qemu: String,
    /// The random word in the guest that proves that it was restored from this state.
    nonce: String,
    /// The size of the memory file in bytes.
    memory: u64,
    /// The size of the devices file in bytes.
    devices: u64,
}

impl SavedState {
    /// The file names of a saved state.
    pub const FILES: [&str; 4] = [MEMORY, DEVICES, CONSOLE_LOG, METADATA];

    /// Opens the state in a folder that [`Machine::save`] filled.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(METADATA);
        let unreadable = FileError::on("read", &path);
        let metadata = fs::read(&path).map_err(&unreadable)?;
        let metadata: StateMetadata =
            serde_json::from_slice(&metadata).map_err(|error| unreadable(error.into()))?;
        for (name, wanted) in [(MEMORY, metadata.memory), (DEVICES, metadata.devices)] {
            let path = folder.join(name);
            let length = fs::metadata(&path).map(|metadata| metadata.len());
            match length {
                Ok(got) if got != wanted => return Err(StateError::WrongSize { path, got, wanted }),
                Ok(_) => {}
                Err(source) => return Err(FileError { action: "read", path, source }.into()),
            }
        }
        Ok(Self { folder: folder.into(), metadata })
    }

    /// The random word in the guest that proves that it was restored from this state.
    pub fn nonce(&self) -> &str {
        &self.metadata.nonce
    }

    pub(super) fn memory(&self) -> PathBuf {
        self.folder.join(MEMORY)
    }

    /// The console output from before the save.
    pub(super) fn console(&self) -> Result<File, StateError> {
        let path = self.folder.join(CONSOLE_LOG);
        Ok(File::open(&path).map_err(FileError::on("read", &path))?)
    }
}

impl MachineSpec {
    /// The cache key of the state that machines of this spec can share: kernel and initramfs by content
    /// (`kernel_sha256`, `initrd_sha256`), QEMU by its file, both command lines, and the commands that
    /// prepared the guest (`preparation`).
    pub fn state_key(&self, kernel_sha256: &str, initrd_sha256: &str, preparation: &str) -> String {
        let spec = Self { kernel: kernel_sha256.into(), initrd: initrd_sha256.into(), ..self.clone() };
        let argv = spec.argv(Memory::Restored(Path::new(MEMORY)));
        let qemu = qemu_fingerprint(self.arch.row().qemu);
        let parts =
            argv.iter().map(|word| word.as_encoded_bytes()).chain([qemu.as_bytes(), preparation.as_bytes()]);
        format!("{}-{}", self.arch, cache::key(parts))
    }
}

/// The identity of QEMU's file: path, size and modification time. Running it for its version would take
/// longer than restoring a state.
fn qemu_fingerprint(program: &str) -> String {
    let Some(path) = find_program(program) else { return String::new() };
    let metadata =
        fs::metadata(&path).map(|file| format!("{} {}.{}", file.len(), file.mtime(), file.mtime_nsec()));
    format!("{} {}", path.display(), metadata.unwrap_or_default())
}

impl Machine {
    /// Saves the state of a machine that was booted with [`Machine::boot_saveable`] into the empty folder
    /// `folder`, and continues the guest. `nonce` is the random word that the guest holds.
    ///
    /// # Errors
    /// [`MachineError`]. The guest may be stopped then.
    pub fn save(
        &self,
        memory: &Path,
        nonce: &str,
        run_folder: &Path,
        folder: &Path,
    ) -> Result<(), MachineError> {
        let deadline = Deadline::new("QEMU to save its state", LIMIT);
        let devices = folder.join(DEVICES);
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| MachineError::Save { path, source }
        };
        self.link(&devices)?;
        self.monitor.execute("stop", json!({}), &deadline)?;
        self.set_migration_capabilities(&deadline)?;
        self.monitor.execute(
            "migrate",
            json!({ "uri": format!("exec:exec cat >{DEVICES_LINK}") }),
            &deadline,
        )?;
        self.await_migration(&deadline)?;
        let kept = folder.join(MEMORY);
        copy_with_holes(memory, &kept).map_err(write(&kept))?;
        let (console, log) = (folder.join(CONSOLE_LOG), run_folder.join(CONSOLE_LOG));
        fs::copy(&log, &console).map_err(write(&console))?;
        self.await_end_of_migration(&deadline)?;
        self.monitor.execute("cont", json!({}), &deadline)?;
        let length = |path: &Path| fs::metadata(path).map(|file| file.len()).map_err(write(path));
        let metadata = StateMetadata {
            qemu: self.version.clone(),
            nonce: nonce.into(),
            memory: length(&kept)?,
            devices: length(&devices)?,
        };
        let path = folder.join(METADATA);
        let text = serde_json::to_vec(&metadata).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).map_err(write(&path))
    }

    /// Loads a state into a machine that waits for it. The guest runs when this returns.
    pub(super) fn load_state(&self, state: &SavedState) -> Result<(), MachineError> {
        if state.metadata.qemu != self.version {
            let (saved, running) = (state.metadata.qemu.clone(), self.version.clone());
            return Err(StateError::QemuMismatch { saved, running }.into());
        }
        let deadline = Deadline::new("QEMU to restore a state", LIMIT);
        self.link(&state.folder.join(DEVICES))?;
        self.set_migration_capabilities(&deadline)?;
        let from = json!({ "uri": format!("exec:exec cat {DEVICES_LINK}") });
        self.monitor.execute("migrate-incoming", from, &deadline)?;
        self.await_migration(&deadline)?;
        let row = self.qemu.arch.row();
        match row.timer_start {
            Some(start) => {
                timer::start(&socket_path(&self.folder, GDB), start, row).map_err(MachineError::Timer)
            }
            None => Ok(self.monitor.execute("cont", json!({}), &deadline).map(drop)?),
        }
    }

    fn link(&self, devices: &Path) -> Result<(), MachineError> {
        let devices = std::path::absolute(devices).map_err(MachineError::Folder)?;
        symlink(devices, self.folder.path().join(DEVICES_LINK)).map_err(MachineError::Folder)
    }

    fn set_migration_capabilities(&self, deadline: &Deadline) -> Result<(), MachineError> {
        let capability = |name: &str| json!({ "capability": name, "state": true });
        let capabilities = [capability("x-ignore-shared"), capability("events")];
        let arguments = json!({ "capabilities": capabilities });
        self.monitor.execute("migrate-set-capabilities", arguments, deadline)?;
        Ok(())
    }

    /// Waits until QEMU has left the state `finish-migrate`: it reports a migration as completed a moment
    /// before the machine can continue.
    fn await_end_of_migration(&self, deadline: &Deadline) -> Result<(), MachineError> {
        deadline.poll(|slice| {
            let status = self.monitor.execute("query-status", json!({}), deadline)?;
            if status["status"] != "finish-migrate" {
                return Ok(PollResult::Done(()));
            }
            self.liveness().wait(slice.min(Duration::from_millis(1)));
            Ok(PollResult::Pending(None))
        })
    }

    fn await_migration(&self, deadline: &Deadline) -> Result<(), MachineError> {
        deadline.poll(|slice| match self.migrations.recv_timeout(slice).as_deref() {
            Ok("completed") => Ok(PollResult::Done(())),
            Ok("failed" | "cancelled") => Err(MachineError::Migration),
            Ok(status) => Ok(PollResult::Pending(Some(format!("QEMU says \"{status}\"")))),
            // QEMU exits if it cannot read a state.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.liveness().check()?;
                self.liveness().wait(slice.min(Duration::from_millis(1)));
                Ok(PollResult::Pending(None))
            }
        })
    }
}

/// Creates the guest's memory file with its disk space reserved: otherwise a disk that fills up later would
/// kill QEMU by SIGBUS. Parts that were never written still read as holes.
pub(super) fn make_memory_file(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create_new(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can reserve space; then it has to be enough that the space is free now.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let room = rustix::fs::fstatvfs(&file)?;
            let is_enough = room.f_bavail.saturating_mul(room.f_frsize) >= bytes;
            if is_enough { file.set_len(bytes) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        made => Ok(made?),
    }
}

/// Copies a sparse file and keeps its holes, which are the larger part of a guest's memory.
fn copy_with_holes(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(&from, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = rustix::fs::seek(&from, rustix::fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&mut from).take(at - start), &mut to)?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Accelerator;
    use kshot_stack::arch::Arch;

    fn spec() -> MachineSpec {
        MachineSpec {
            arch: Arch::Mips64,
            kernel: "/a/vmlinux".into(),
            initrd: "/a/initramfs".into(),
            cmdline: vec!["ftrace=function".into()],
            memory_mib: 256,
            icount: false,
            accelerator: Accelerator::Tcg,
        }
    }

    #[test]
    fn machines_share_a_state_by_content_and_not_by_path() {
        let key = |spec: &MachineSpec, kernel: &str| spec.state_key(kernel, "initrd", "");
        let moved = MachineSpec { kernel: "/b/vmlinux".into(), ..spec() };
        assert_eq!(key(&spec(), "1"), key(&moved, "1"));
        assert_ne!(key(&spec(), "1"), key(&spec(), "2"));
        assert_ne!(spec().state_key("1", "a", ""), spec().state_key("1", "b", ""));
        assert_ne!(spec().state_key("1", "a", ""), spec().state_key("1", "a", "perf record"));
        for other in [
            MachineSpec { cmdline: vec!["ftrace=nop".into()], ..spec() },
            MachineSpec { memory_mib: 512, ..spec() },
            MachineSpec { icount: true, ..spec() },
            MachineSpec { arch: Arch::Mips64el, ..spec() },
        ] {
            assert_ne!(key(&spec(), "1"), key(&other, "1"));
        }
        let tcg = MachineSpec { arch: Arch::X8664, ..spec() };
        let kvm = MachineSpec { accelerator: Accelerator::Kvm, ..tcg.clone() };
        assert_ne!(key(&tcg, "1"), key(&kvm, "1"));
    }

    #[test]
    fn holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        make_memory_file(&from, 64 << 20).unwrap();
        let mut file = File::options().write(true).open(&from).unwrap();
        file.seek(SeekFrom::Start(32 << 20)).unwrap();
        file.write_all(b"text").unwrap();
        copy_with_holes(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_state_that_was_cut_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let metadata = StateMetadata { qemu: "7".into(), nonce: "n".into(), memory: 5, devices: 3 };
        fs::write(folder.path().join(METADATA), serde_json::to_vec(&metadata).unwrap()).unwrap();
        fs::write(folder.path().join(MEMORY), "12345").unwrap();
        assert!(matches!(SavedState::open(folder.path()), Err(StateError::File(_))));
        fs::write(folder.path().join(DEVICES), "12").unwrap();
        let error = SavedState::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("devices has 2 bytes, not 3"), "{error}");
        fs::write(folder.path().join(DEVICES), "123").unwrap();
        assert_eq!(SavedState::open(folder.path()).unwrap().nonce(), "n");
    }
}
