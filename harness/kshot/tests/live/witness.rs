//! gdb as an independent witness: at the same stop of the same machine it sees the frames that kshot tells.
#![expect(clippy::disallowed_methods, reason = "gdb is started by the test alone")]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use kshot::workspace::Workspace;
use kshot_guest::deadline::Deadline;
use kshot_guest::image::{SshKeys, Userland, initramfs};
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::machine::{Machine, MachineSpec, Stop};
use kshot_guest::session::{Credentials, Guest, Session};
use kshot_guest::symbols::{End, LIST_SECTIONS_COMMAND, LoadedKernel, Unwinder};
use kshot_stack::stack::gdb_json::RawFrame;
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::on_kernel;

const LIMIT: Duration = Duration::from_secs(120);
const GDB: &str = "gdb-multiarch";
const TUN: &str = "/isam/user/eoe_filter -n lo -t tap0 -E";

/// How a truth ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// In an entry: gdb has not a frame more.
    Entry,
    /// It is cut at `handle_int`, and says so ([`CUT`]). That code calls the handler on the interrupt's own stack, while
    /// its CFI, of a `.cfi_signal_frame`, counts on from the stack of the task that was interrupted
    /// (arch/mips/kernel/genex.S). So there is no way on in DWARF; gdb, which does not know that, goes on with whatever
    /// lies there. And of a signal frame gdb shows the line at its address, where we show that of the call before.
    Cut,
    /// In user space, where gdb looks for a function's beginning in a program that it does not have.
    User,
}

/// How a stack ends that an interrupt began.
const CUT: &str = "cut at handle_int: CFI leads out of the stack";

/// Where to break, what leads there, and how the stack ends: each kind of stack that a kernel has.
const STOPS: [(&str, &str, &[Ends]); 6] = [
    ("register_netdevice", TUN, &[Ends::Entry]),
    ("tun_net_fix_features", TUN, &[Ends::Entry]), // a leaf, in a module where drivers are modules
    ("schedule_tail", TUN, &[Ends::Entry]),        // a new task
    ("process_one_work", TUN, &[Ends::Entry]),     // a kernel thread
    ("do_page_fault", TUN, &[Ends::User, Ends::Entry]),
    ("irq_enter", TUN, &[Ends::Cut]),
];

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let trial = |kernel: &&'static str| {
        let workspace_ = workspace.clone();
        let found =
            catalogue.get(kernel).map(|entry| Kernel::find(entry, &workspace.images(), &workspace.cache));
        let without = matches!(found, Some(Ok(Some(Kernel { dwarf: None, .. }))));
        let test = move |kernel: &Kernel| -> Result<(), Failed> {
            agree(&workspace_, kernel);
            Ok(())
        };
        let name = format!("witness::gdb_sees_each_frame_of_the_truth::{kernel}");
        let trial = on_kernel(workspace, catalogue, &name, kernel, test);
        match without {
            true => trial
                .with_ignored_flag(true)
                .with_kind(format!("no DWARF: cargo kshot provision {kernel} --dwarf")),
            false => trial,
        }
    };
    ["mips64-6.1", "mips64-6.1-fixed", "mips64el-6.1-debian"].iter().map(trial).collect()
}

fn agree(workspace: &Workspace, kernel: &Kernel) {
    let folder = tempfile::tempdir().unwrap();
    let (machine, mut session) = login(workspace, kernel, folder.path());
    let listed = session.run(LIST_SECTIONS_COMMAND, LIMIT).unwrap().text;
    let loaded = LoadedKernel::new(kernel.dwarf.as_ref().unwrap(), &listed);
    let unwinder = Unwinder::read(&loaded).unwrap();
    for (function, trigger, ends) in STOPS {
        let mut stops = machine.stops().unwrap();
        // The guest stands: the trigger begins when it is let go.
        let (ran, raw) = thread::scope(|scope| {
            let trigger = scope.spawn(|| session.run(trigger, LIMIT));
            assert_eq!(stops.run_to(&unwinder.starts(function)).unwrap(), Stop::Hit, "{function}");
            let (raw, _) = stops.raw(1, &[]).unwrap();
            // Whoever closes the connection leaves the guest as it is.
            drop(stops);
            let theirs = witness(&machine, &loaded);
            (trigger.join().unwrap(), (raw, theirs))
        });
        assert_eq!(ran.unwrap().status, 0, "{function}");
        let (raw, theirs) = raw;
        let unwound = unwinder.unwind(&raw, kernel.arch.row());
        let tables = unwinder.line_tables(&loaded, unwound.frames.iter()).unwrap();
        let ours = unwinder.frames(&unwound.frames, &tables.lines().unwrap());
        let really = match unwound.end {
            End::Entry => Ends::Entry,
            End::User => Ends::User,
            End::Cut { .. } => Ends::Cut,
        };
        assert!(ends.contains(&really), "{function}: {really:?}: {ours:#?}");
        if really == Ends::Cut {
            assert_eq!(unwound.end.to_string(), CUT, "{function}");
        }
        if really == Ends::Entry {
            assert_eq!(ours.len(), theirs.len(), "{function}: {ours:#?}\n{theirs:#?}");
        }
        // Whatever was hit has a caller.
        assert!(ours.len() > 1 && theirs.len() >= ours.len(), "{function}: {ours:#?}\n{theirs:#?}");
        let last = ours.len() - 1;
        for (depth, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let calls = depth < last || really != Ends::Cut;
            same(ours, theirs, calls);
        }
    }
}

/// Compares two frames, of one that is a caller the line, too.
fn same(ours: &RawFrame, theirs: &RawFrame, calls: bool) {
    let file = |frame: &RawFrame| frame.file.clone().unwrap_or_default();
    assert!(file(theirs).ends_with(&file(ours)), "{ours:?}\n{theirs:?}");
    // Without DWARF of a function gdb tells no bounds.
    let known = theirs.start.is_some();
    let ours = RawFrame {
        file: theirs.file.clone(),
        line: if calls { ours.line } else { theirs.line },
        start: ours.start.clone().filter(|_| known),
        size: ours.size.filter(|_| known),
        ..ours.clone()
    };
    assert_eq!(&ours, theirs);
}

/// What gdb tells of a guest that stands; it lets it go.
fn witness(machine: &Machine, loaded: &LoadedKernel) -> Vec<RawFrame> {
    let modules = loaded.modules.iter().map(|module| {
        let sections = module.sections.iter().map(|(name, at)| (name.clone(), json!(format!("{at:#x}"))));
        json!({ "path": module.path, "sections": sections.collect::<serde_json::Map<_, _>>() })
    });
    let modules: Vec<_> = modules.collect();
    let wanted = json!({ "vmlinux": loaded.vmlinux, "modules": modules, "socket": machine.stub_socket() });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/witness.py");
    let output = Command::new(GDB)
        .args(["-nx", "-batch", "-x"])
        .arg(script)
        .env("WITNESS", wanted.to_string())
        .output()
        .unwrap_or_else(|error| panic!("{GDB}: {error}; install it: apt-get install {GDB}"));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn login(workspace: &Workspace, kernel: &Kernel, folder: &Path) -> (Machine, Session) {
    let images = workspace.images();
    let keys = SshKeys::provision(&workspace.cache).unwrap();
    let userland =
        Userland::find(kernel.arch, true, &images, &workspace.cache).unwrap().expect("no userland");
    let spec = MachineSpec {
        arch: kernel.arch,
        initrd: initramfs(kernel, &userland, &keys, &images, &workspace.cache).unwrap().path,
        kernel: kernel.boot.clone(),
        cmdline: Vec::new(),
        memory_mib: 256,
        icount: false,
    };
    let machine = Machine::boot(&spec, folder).unwrap();
    machine.wait_ready(&Deadline::new("the guest's init", LIMIT)).unwrap();
    let keys =
        Credentials { client_key_private: &keys.client_key_private, host_key_public: &keys.host_key_public };
    let deadline = Deadline::new("the login", Duration::from_secs(60));
    let session = Session::open(machine.ssh_port(), keys, machine.liveness(), &deadline).unwrap();
    (machine, session)
}
