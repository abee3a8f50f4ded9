//! A real guest for live tests: the big-endian kernel that this repository provisions.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kshot::workspace::Workspace;
use kshot_guest::deadline::Deadline;
use kshot_guest::image::{SshKeys as Pair, Userland, initramfs};
use kshot_guest::kernel::Kernel;
use kshot_guest::machine::{Accelerator, Machine, MachineSpec};
use kshot_guest::session::{Credentials, Session, SessionError};
use libtest_mimic::{Arguments, Trial};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const KERNEL: &str = "mips64-6.1";

/// Runs tests that need the guest; without its kernel they are ignored, or fail where it is required.
pub(crate) fn run(tests: &[(&'static str, fn())]) -> ExitCode {
    let is_there = is_there();
    let why =
        if is_there { String::new() } else { format!("not provisioned: cargo kshot provision {KERNEL}") };
    let trial = |&(name, test): &(&'static str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!is_there).with_kind(why.clone())
    };
    let conclusion = libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect());
    shared().end();
    conclusion.exit_code()
}

/// Whether the tests are to run: the kernel is there, or has to be.
fn is_there() -> bool {
    let required = std::env::var("KSHOT_REQUIRE");
    kernel().is_some() || required.is_ok_and(|list| list == "1" || list.split(',').any(|name| name == KERNEL))
}

/// A booted guest, logged in.
pub(crate) struct Fixture {
    pub(crate) session: Session,
    pub(crate) machine: Machine,
    pub(crate) folder: tempfile::TempDir,
}

/// The cache's keys.
pub(crate) fn keys() -> Pair {
    Pair::provision(&workspace().cache).unwrap()
}

fn workspace() -> &'static Workspace {
    static WORKSPACE: OnceLock<Workspace> = OnceLock::new();
    WORKSPACE.get_or_init(|| Workspace::find(None).unwrap())
}

fn kernel() -> Option<Kernel> {
    let workspace = workspace();
    let catalogue = workspace.catalogue().unwrap();
    Kernel::find(catalogue.get(KERNEL).unwrap(), &workspace.images(), &workspace.cache).unwrap()
}

fn boot(cmdline: &[&str]) -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let (workspace, images) = (workspace(), workspace().images());
    let kernel = kernel().expect("not provisioned: cargo kshot provision mips64-6.1");
    let userland =
        Userland::find(kernel.arch, true, &images, &workspace.cache).unwrap().expect("no userland");
    let spec = MachineSpec {
        arch: kernel.arch,
        initrd: initramfs(&kernel, &userland, &keys(), &images, &workspace.cache).unwrap().path,
        kernel: kernel.boot,
        cmdline: cmdline.iter().map(ToString::to_string).collect(),
        memory_mib: 256,
        icount: false,
        accelerator: Accelerator::Tcg,
    };
    let machine = Machine::boot(&spec, folder.path()).unwrap();
    (folder, machine)
}

pub(crate) fn open(
    machine: &Machine,
    host_key_public: &[u8],
    client: &Path,
) -> Result<Session, SessionError> {
    let keys = Credentials { client_key_private: client, host_key_public };
    Session::open(
        machine.ssh_port(),
        keys,
        machine.liveness(),
        &Deadline::new("the login", Duration::from_secs(20)),
    )
}

/// Boots a guest of the caller's own.
pub(crate) fn login(cmdline: &[&str]) -> Fixture {
    let (folder, machine) = boot(cmdline);
    machine.wait_ready(&Deadline::new("the guest's init", LIMIT)).unwrap();
    let session = open(&machine, &keys().host_key_public, &keys().client_key_private).unwrap();
    Fixture { session, machine, folder }
}

/// The one guest of the tests that leave it as they found it.
pub(crate) struct Shared(MutexGuard<'static, Option<Fixture>>);

/// Waits for the shared guest.
pub(crate) fn shared() -> Shared {
    static SHARED: Mutex<Option<Fixture>> = Mutex::new(None);
    Shared(SHARED.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Shared {
    pub(crate) fn get(&mut self) -> &mut Fixture {
        // One that a test before has lost is of no use to this one.
        self.0.take_if(|fixture| fixture.machine.liveness().check().is_err());
        self.0.get_or_insert_with(|| login(&[]))
    }

    /// Statics are not dropped: the guest's files would stay.
    pub(crate) fn end(mut self) {
        drop(self.0.take());
    }
}
