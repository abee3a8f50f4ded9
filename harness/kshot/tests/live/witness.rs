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
use kshot_stack::stack::gdb_json::HitFrame;
use kshot_stack::stack::gdb_raw::RawHit;
use libtest_mimic::{Failed, Trial};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::on_kernel;

const LIMIT: Duration = Duration::from_secs(120);
const GDB: &str = "gdb-multiarch";
const TUN: &str = "/isam/user/eoe_filter -n lo -t tap0 -E";
/// The kernel asks for a module that nobody has, by a program that a kernel thread starts.
const WORK: &str = "! mount -t nosuchfs none /tmp 2> /dev/null";

/// A function to stop at: each leads to another kind of stack.
struct Halt {
    function: &'static str,
    /// The command that leads to it.
    trigger: &'static str,
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

/// Where every architecture gets to.
const HALTS: [Halt; 3] = [
    Halt { function: "register_netdevice", trigger: TUN, ends: &[Ends::Entry], last: None },
    // A new task.
    Halt { function: "schedule_tail", trigger: TUN, ends: &[Ends::Entry], last: None },
    // A kernel thread.
    Halt { function: "process_one_work", trigger: WORK, ends: &[Ends::Entry], last: None },
];

/// A leaf, in a module where drivers are modules, and where exceptions and interrupts lead to on MIPS.
const MIPS: [Halt; 3] = [
    Halt { function: "tun_net_fix_features", trigger: TUN, ends: &[Ends::Entry], last: None },
    Halt { function: "do_page_fault", trigger: TUN, ends: &[Ends::User, Ends::Entry], last: None },
    // That code calls the handler on the interrupt's own stack, while its CFI, of a `.cfi_signal_frame`,
    // counts on from the stack of the task that was interrupted (arch/mips/kernel/genex.S). gdb, which does
    // not know that, goes on with whatever lies there. And of a signal frame gdb shows the line at its
    // address, where we show that of the call before.
    Halt { function: "irq_enter", trigger: TUN, ends: &[Ends::User, Ends::Entry], last: Some("handle_int") },
];

/// In a module on the others. gdb counts all functions of a module from the beginning of `.text`, so that
/// those of `.init.text` lie over its first ones, and `tun_net_fix_features` is `tun_init` for it.
const MODULE: [Halt; 1] = [Halt { function: "tun_net_init", trigger: TUN, ends: &[Ends::Entry], last: None }];

/// What gdb makes of an entry, which is assembly code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryFrame {
    /// The same frame.
    Same,
    /// A frame at the same place. On armhf it has another of the labels there, on riscv64 a line where the
    /// truth has none.
    SamePlace,
    /// A frame at the same place, and often further ones: it takes the registers of user space that are saved
    /// there for return addresses.
    Passed,
    /// None: it ends at the function that the entry calls.
    Absent,
}

/// A kernel, where else it is stopped, and what gdb makes of its entries.
struct Subject {
    kernel: &'static str,
    further: &'static [Halt],
    entry: EntryFrame,
}

const SUBJECTS: [Subject; 9] = [
    Subject { kernel: "mips64-6.1", further: &MIPS, entry: EntryFrame::Same },
    Subject { kernel: "mips64-6.1-fixed", further: &MIPS, entry: EntryFrame::Same },
    Subject { kernel: "mips64el-6.1-debian", further: &MIPS, entry: EntryFrame::Same },
    Subject { kernel: "arm64-6.1-debian", further: &MODULE, entry: EntryFrame::SamePlace },
    Subject { kernel: "x86-64-6.1-debian", further: &MODULE, entry: EntryFrame::Passed },
    Subject { kernel: "riscv64-6.12-debian", further: &MODULE, entry: EntryFrame::SamePlace },
    Subject { kernel: "s390x-6.1-debian", further: &MODULE, entry: EntryFrame::Absent },
    Subject { kernel: "ppc64el-6.1-debian", further: &MODULE, entry: EntryFrame::SamePlace },
    Subject { kernel: "armhf-6.1-debian", further: &MODULE, entry: EntryFrame::SamePlace },
];

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let trial = |subject: Subject| {
        let kernel = subject.kernel;
        let workspace_ = workspace.clone();
        let found =
            catalogue.get(kernel).map(|entry| Kernel::find(entry, &workspace.images(), &workspace.cache));
        let without = matches!(found, Some(Ok(Some(Kernel { dwarf: Err(_), .. }))));
        let test = move |kernel: &Kernel| -> Result<(), Failed> {
            agree(&workspace_, kernel, &subject);
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
    SUBJECTS.into_iter().map(trial).collect()
}

fn agree(workspace: &Workspace, kernel: &Kernel, subject: &Subject) {
    let folder = tempfile::tempdir().unwrap();
    let (machine, mut session) = login(workspace, kernel, folder.path());
    let listed = session.run(LIST_SECTIONS_COMMAND, LIMIT).unwrap().text;
    let loaded = LoadedKernel::new(kernel.dwarf.as_ref().unwrap(), &listed);
    let unwinder = Unwinder::read(&loaded).unwrap();
    for &Halt { function, trigger, ends, last } in HALTS.iter().chain(subject.further) {
        let mut stops = machine.stops().unwrap();
        // The guest stands: the trigger begins when it is let go.
        let (ran, raw) = thread::scope(|scope| {
            // Where the trigger does not lead to the function, its end ends the wait for a hit.
            let end = stops.end_request();
            let session = &mut session;
            let trigger = scope.spawn(move || {
                let ran = session.run(trigger, LIMIT);
                end.send();
                ran
            });
            assert_eq!(
                stops.run_to(&unwinder.entries(function, kernel.arch.row())).unwrap(),
                Stop::Hit,
                "{function}"
            );
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
        let is_last = |frame: &HitFrame| last.is_some() && frame.function.as_deref() == last;
        let compared = ours.iter().position(is_last).map_or(ours.len(), |at| at + 1);
        assert_eq!(compared < ours.len(), last.is_some(), "{function}: {ours:#?}");
        let ends_in_entry = really == Ends::Entry && last.is_none();
        let lacking = usize::from(ends_in_entry && subject.entry == EntryFrame::Absent);
        if ends_in_entry && subject.entry != EntryFrame::Passed {
            assert_eq!(ours.len(), theirs.len() + lacking, "{function}: {ours:#?}\n{theirs:#?}");
        }
        let compared = compared - lacking;
        // Whatever was hit has a caller.
        assert!(compared > 1 && theirs.len() >= compared, "{function}: {ours:#?}\n{theirs:#?}");
        for (at, (our, their)) in ours[..compared].iter().zip(&theirs).enumerate() {
            let is_entry = ends_in_entry && at + 1 == ours.len();
            match subject.entry {
                EntryFrame::SamePlace | EntryFrame::Passed if is_entry => {
                    assert_eq!((&our.pc, our.inlined), (&their.pc, their.inlined), "{function}");
                }
                _ => same(our, their, !is_last(our)),
            }
        }
    }
}

/// The registers and all stacks of a guest that stands.
fn raw(stops: &mut Stops, unwinder: &Unwinder, kernel: &Kernel) -> RawHit {
    let (mut raw, _) = stops.raw(1, &[], &[]).unwrap();
    while let End::Cut { why: Cut::OtherStack(address), .. } = unwinder.unwind(&raw, kernel.arch.row()).end {
        raw.stacks.push(stops.stack(address, &[]).unwrap());
    }
    raw
}

/// Compares two frames, of one that is a caller the line, too.
pub(super) fn same(ours: &HitFrame, theirs: &HitFrame, calls: bool) {
    let file = |frame: &HitFrame| frame.file.clone().unwrap_or_default();
    // One of them may leave out where the sources were when they were compiled.
    let (our_file, their_file) = (file(ours), file(theirs));
    assert!(their_file.ends_with(&our_file) || our_file.ends_with(&their_file), "{ours:?}\n{theirs:?}");
    // gdb takes a function's beginning out of the DWARF, which leaves out the NOPs for the tracer in front of
    // it. Without DWARF it tells no bounds.
    let end = |frame: &HitFrame| {
        let start = frame.start.as_deref()?.strip_prefix("0x")?;
        Some(u64::from_str_radix(start, 16).ok()? + frame.size?)
    };
    // Where the compiler has put a function's unlikely code elsewhere, its end there is the function's for
    // gdb.
    let alike = ours.start == theirs.start || end(ours) == end(theirs);
    assert!(theirs.start.is_none() || alike, "{ours:?}\n{theirs:?}");
    let ours = HitFrame {
        file: theirs.file.clone(),
        line: if calls { ours.line } else { theirs.line },
        start: theirs.start.clone(),
        size: theirs.size,
        user: theirs.user,
        ..ours.clone()
    };
    assert_eq!(&ours, theirs);
}

/// What gdb tells of a guest that stands; it lets it go.
fn witness(machine: &Machine, loaded: &LoadedKernel) -> Vec<HitFrame> {
    ask(loaded, json!({ "socket": machine.stub_socket() }))
}

/// What `witness.py` tells, which is asked this besides the kernel's files.
pub(super) fn ask<T: DeserializeOwned>(loaded: &LoadedKernel, mut wanted: Value) -> T {
    let modules = loaded.modules.iter().map(|module| {
        let sections = module.sections.iter().map(|(name, at)| (name.clone(), json!(format!("{at:#x}"))));
        json!({ "path": module.path, "sections": sections.collect::<serde_json::Map<_, _>>() })
    });
    wanted["modules"] = modules.collect();
    wanted["vmlinux"] = json!(loaded.vmlinux);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/witness.py");
    // Of gdb's own waits not all have an end.
    let output = Command::new("timeout")
        .args(["--signal=KILL", &LIMIT.as_secs().to_string(), GDB, "-nx", "-batch", "-x"])
        .arg(script)
        .env("WITNESS", wanted.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{GDB}: {}; install it: apt-get install {GDB}: {told}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

fn login(workspace: &Workspace, kernel: &Kernel, folder: &Path) -> (Machine, Session) {
    let images = workspace.images();
    let keys = SshKeys::provision(&workspace.cache).unwrap();
    let userland =
        Userland::find(kernel.arch, false, &images, &workspace.cache).unwrap().expect("no userland");
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
