//! gdb as an independent witness: at the same stop of the same machine it sees the frames that kshot tells.
#![expect(clippy::disallowed_methods, reason = "gdb is started by the test alone")]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use kshot::workspace::Workspace;
use kshot_guest::deadline::Deadline;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::machine::{Accelerator, Machine, MachineSpec, Stop, Stops};
use kshot_guest::session::{Credentials, Guest, Session};
use kshot_guest::symbols::{Cut, End, LIST_SECTIONS_COMMAND, LoadedKernel, Unwinder};
use kshot_guest::userland::{SshKeys, Userland, initramfs};
use kshot_stack::stack::gdb_json::RawFrame;
use kshot_stack::stack::gdb_raw::Raw;
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use super::on_kernel;

const LIMIT: Duration = Duration::from_secs(120);
const GDB: &str = "gdb-multiarch";
const TUN: &str = "/isam/user/eoe_filter -n lo -t tap0 -E";

/// A function to stop at: each leads to another kind of stack. [`TUN`] leads to it.
struct Halt {
    function: &'static str,
    /// How a truth may end there.
    ends: &'static [Ends],
    /// The code that gdb does not find out of, and so the last frame that is compared.
    last: Option<&'static str>,
}

/// How a truth ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// In an entry: gdb has not a frame more.
    Entry,
    /// In user space, where gdb looks for a function's beginning in a program that it does not have.
    User,
}

const HALTS: [Halt; 6] = [
    Halt { function: "register_netdevice", ends: &[Ends::Entry], last: None },
    // A leaf, in a module where drivers are modules.
    Halt { function: "tun_net_fix_features", ends: &[Ends::Entry], last: None },
    // A new task.
    Halt { function: "schedule_tail", ends: &[Ends::Entry], last: None },
    // A kernel thread.
    Halt { function: "process_one_work", ends: &[Ends::Entry], last: None },
    Halt { function: "do_page_fault", ends: &[Ends::User, Ends::Entry], last: None },
    // That code calls the handler on the interrupt's own stack, while its CFI, of a `.cfi_signal_frame`, counts on from the
    // stack of the task that was interrupted (arch/mips/kernel/genex.S). gdb, which does not know that, goes on with
    // whatever lies there. And of a signal frame gdb shows the line at its address, where we show that of the call before.
    Halt { function: "irq_enter", ends: &[Ends::User, Ends::Entry], last: Some("handle_int") },
];

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let trial = |kernel: &&'static str| {
        let workspace_ = workspace.clone();
        let found =
            catalogue.get(kernel).map(|entry| Kernel::find(entry, &workspace.images(), &workspace.cache));
        let without = matches!(found, Some(Ok(Some(Kernel { dwarf: Err(_), .. }))));
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
    for Halt { function, ends, last } in HALTS {
        let mut stops = machine.stops().unwrap();
        // The guest stands: the trigger begins when it is let go.
        let (ran, raw) = thread::scope(|scope| {
            let trigger = scope.spawn(|| session.run(TUN, LIMIT));
            assert_eq!(stops.run_to(&unwinder.starts(function)).unwrap(), Stop::Hit, "{function}");
            let raw = raw(&mut stops, &unwinder, kernel);
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
            End::Cut { .. } => panic!("{function}: {}: {ours:#?}", unwound.end),
        };
        assert!(ends.contains(&really), "{function}: {really:?}: {ours:#?}");
        let is_last = |frame: &RawFrame| last.is_some() && frame.function.as_deref() == last;
        let compared = ours.iter().position(is_last).map_or(ours.len(), |at| at + 1);
        assert_eq!(compared < ours.len(), last.is_some(), "{function}: {ours:#?}");
        if really == Ends::Entry && last.is_none() {
            assert_eq!(ours.len(), theirs.len(), "{function}: {ours:#?}\n{theirs:#?}");
        }
        // Whatever was hit has a caller.
        assert!(compared > 1 && theirs.len() >= compared, "{function}: {ours:#?}\n{theirs:#?}");
        for (ours, theirs) in ours[..compared].iter().zip(&theirs) {
            same(ours, theirs, !is_last(ours));
        }
    }
}

/// The registers and all stacks of a guest that stands.
fn raw(stops: &mut Stops, unwinder: &Unwinder, kernel: &Kernel) -> Raw {
    let (mut raw, _) = stops.raw(1, &[], &[]).unwrap();
    while let End::Cut { why: Cut::OtherStack(address), .. } = unwinder.unwind(&raw, kernel.arch.row()).end {
        raw.stacks.push(stops.stack(address, &[]).unwrap());
    }
    raw
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
        user: theirs.user,
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
        accelerator: Accelerator::Tcg,
    };
    let machine = Machine::boot(&spec, folder).unwrap();
    machine.wait_ready(&Deadline::new("the guest's init", LIMIT)).unwrap();
    let keys =
        Credentials { client_key_private: &keys.client_key_private, host_key_public: &keys.host_key_public };
    let deadline = Deadline::new("the login", Duration::from_secs(60));
    let session = Session::open(machine.ssh_port(), keys, machine.liveness(), &deadline).unwrap();
    (machine, session)
}
