//! Guests for live tests, of any kernel that is provisioned.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use kshot::workspace::Workspace;
use kshot_guest::deadline::Deadline;
use kshot_guest::kernel::Kernel;
use kshot_guest::machine::{Accelerator, Machine, MachineSpec};
use kshot_guest::session::{Credentials, Session, SessionError};
use kshot_guest::userland::{SshKeys as Pair, Userland, initramfs};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may take to come up on a host that builds kernels meanwhile.
const BOOT_LIMIT: Duration = Duration::from_secs(300);

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

pub(crate) fn kernel(name: &str) -> Option<Kernel> {
    let workspace = workspace();
    let catalogue = workspace.catalogue().unwrap();
    Kernel::find(catalogue.get(name).unwrap(), &workspace.images(), &workspace.cache).unwrap()
}

fn boot(name: &str, cmdline: &[&str]) -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let (workspace, images) = (workspace(), workspace().images());
    let kernel = kernel(name).unwrap_or_else(|| panic!("not provisioned: cargo kshot provision {name}"));
    // With perf, where it was built for this architecture.
    let userland = [true, false]
        .into_iter()
        .find_map(|perf| Userland::find(kernel.arch, perf, &images, &workspace.cache).unwrap());
    let userland = userland.expect("no userland");
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
    Session::open(machine.ssh_port(), keys, machine.liveness(), &Deadline::new("the login", LIMIT))
}

/// Boots a guest of the caller's own.
pub(crate) fn login_to(kernel: &str, cmdline: &[&str]) -> Fixture {
    let (folder, machine) = boot(kernel, cmdline);
    machine.wait_ready(&Deadline::new("the guest's init", BOOT_LIMIT)).unwrap();
    let session = open(&machine, &keys().host_key_public, &keys().client_key_private).unwrap();
    Fixture { session, machine, folder }
}
