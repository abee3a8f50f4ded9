//! perf.data is read without perf. Here perf reads the same file in the guest that recorded it, once for each
//! byte order: both tell of the same stacks.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kshot::workspace::Workspace;
use kshot_guest::deadline::Deadline;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::machine::{Accelerator, Machine, MachineSpec};
use kshot_guest::probe::{CaptureContent, PerfEvent, PerfProbe, ProbeKind, ProbeSpec, TextForm};
use kshot_guest::session::{Credentials, Guest, GuestFile, Session};
use kshot_guest::userland::{SshKeys, Userland, initramfs};
use kshot_stack::stack::{ParsedCapture, perf_script};
use libtest_mimic::{Failed, Trial};

use super::on_kernel;

const LIMIT: Duration = Duration::from_secs(300);
/// Kernel and user space, tasks that fork, tasks of the kernel, and one whose name is awkward.
const STEPS: &str = "cp /isam/user/eoe_filter '/tmp/a b: 1.2'
    for i in 1 2 3; do /isam/user/eoe_filter -n lo -t tap0 -E || exit; '/tmp/a b: 1.2' -n lo -t tap0 -E; done";

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    ["mips64-6.1", "mips64el-6.1-debian"]
        .map(|name| {
            let workspace_ = workspace.clone();
            let test = move |kernel: &Kernel| agree(&workspace_, kernel);
            on_kernel(
                workspace,
                catalogue,
                &format!("evidence::perf_data_and_script_agree::{name}"),
                name,
                test,
            )
        })
        .into()
}

fn agree(workspace: &Workspace, kernel: &Kernel) -> Result<(), Failed> {
    let (images, folder) = (workspace.images(), tempfile::tempdir().unwrap());
    let userland =
        Userland::find(kernel.arch, true, &images, &workspace.cache).unwrap().expect("no userland");
    let pair = SshKeys::provision(&workspace.cache).unwrap();
    let spec = MachineSpec {
        arch: kernel.arch,
        initrd: initramfs(kernel, &userland, &pair, &images, &workspace.cache).unwrap().path,
        kernel: kernel.boot.clone(),
        cmdline: Vec::new(),
        memory_mib: 256,
        icount: false,
        accelerator: Accelerator::Tcg,
    };
    let machine = Machine::boot(&spec, folder.path()).unwrap();
    let deadline = Deadline::new("a login", LIMIT);
    machine.wait_ready(&deadline).unwrap();
    let keys =
        Credentials { client_key_private: &pair.client_key_private, host_key_public: &pair.host_key_public };
    let mut session = Session::open(machine.ssh_port(), keys, machine.liveness(), &deadline).unwrap();

    let event = |name: &str| PerfEvent::Event(name.into());
    let events = [
        ("probed", PerfEvent::Probe("register_netdevice".into()), "dwarf"),
        ("switches", event("sched:sched_switch"), "fp"),
        ("clock", event("cpu-clock"), "fp"),
    ];
    for (name, event, call_graph) in events {
        let kind = ProbeKind::Perf(PerfProbe { event, call_graph: call_graph.into() });
        let spec = ProbeSpec { name: name.into(), kind };
        spec.prepare(&mut session, folder.path()).unwrap();
        let armed = spec.arm(&mut session, None).unwrap();
        assert_eq!(session.run(STEPS, LIMIT).unwrap().status, 0);
        armed.stop(&mut session).unwrap();
        let captures = armed.fetch(&mut session, folder.path()).unwrap();
        let capture = captures.iter().find(|capture| capture.content == CaptureContent::Stacks).unwrap();
        let ours = spec.parse(capture, kernel.arch.row()).unwrap().unwrap();

        let TextForm { script, output, .. } = spec.printed(capture).unwrap();
        let said = session.run(&script, LIMIT).unwrap();
        assert_eq!(said.status, 0, "{}", String::from_utf8_lossy(&said.text));
        let text = folder.path().join(format!("{name}.txt"));
        session.fetch(&[GuestFile { from: &output, to: &text }], LIMIT).unwrap();
        let theirs = perf_script::parse(&fs::read(&text).unwrap()[..]).unwrap();
        assert!(ours.events > 5 && ours.warnings.is_empty(), "{name}: {} {:?}", ours.events, ours.warnings);
        assert_eq!(without_user_names(ours), without_user_names(theirs), "{name}");
    }
    drop(machine.shutdown());
    Ok(())
}

/// perf looks for the names of user space, which it knows of programs that have not been stripped.
fn without_user_names(parsed: ParsedCapture) -> ParsedCapture {
    let nameless = |(mut stack, count): (kshot_stack::stack::Stack, u64)| {
        for frame in stack.frames.iter_mut().filter(|frame| frame.user) {
            let frame = Arc::make_mut(frame);
            (frame.symbol, frame.offset, frame.module) = (None, None, None);
        }
        (stack, count)
    };
    let stacks = kshot_stack::stack::count(parsed.stacks.into_iter().map(nameless));
    ParsedCapture { stacks, ..parsed }
}
