//! The machine against real QEMU, with a guest of 48 bytes: what it makes of an end, and that no QEMU
//! outlives us, however we end.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kshot_guest::deadline::{Deadline, wait_for};
use kshot_guest::machine::{Machine, MachineDown, MachineError, MachineSpec, Memory, SavedState};
use kshot_stack::blame::{Blame, Blamed};
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{Tests, firmware};

/// Set for the child that [`owner`] starts: what it shall do.
const ROLE: &str = "KSHOT_TEST_ROLE";

pub(crate) const TESTS: Tests = tests![
    a_dropped_machine_leaves_no_qemu,
    a_place_for_temporary_files_with_a_long_name_is_borne,
    what_a_killed_kshot_left_is_gone_after_the_next,
    a_qemu_that_was_stopped_is_not_late_by_itself,
    a_qemu_that_hangs_or_vanishes_is_a_fault_of_the_host,
    a_disk_without_room_for_a_guests_memory_is_met_first,
    a_panic_of_ours_leaves_no_qemu,
    ctrl_c_leaves_no_qemu_and_is_no_fault_of_the_guest,
    sigkill_of_ours_leaves_no_qemu,
    qemu_gives_up_when_its_owner_died_before_it_began,
    a_machine_outlives_the_thread_that_booted_it,
    a_machine_ends_when_asked,
    a_ready_line_is_awaited,
    a_machine_starts_where_another_was_saved,
    a_state_that_qemu_cannot_read_is_refused_in_its_words,
    boot_times_out_when_the_console_stays_silent,
    boot_times_out_with_the_last_line_of_the_console,
    a_panic_is_named_and_quoted_at_once,
    a_killed_qemu_is_a_fault_of_the_host,
    a_full_disk_is_a_fault_of_the_host,
    a_missing_qemu_is_named_with_its_package,
    what_qemu_refuses_is_quoted,
];

/// What is missing for these tests, if anything.
pub(crate) fn missing() -> Option<String> {
    let missing = ["qemu-system-mips64", "setpriv"].into_iter().find(|program| !is_installed(program))?;
    Some(format!("{missing} missing: apt-get install qemu-system-mips util-linux"))
}

fn a_dropped_machine_leaves_no_qemu() {
    let (_folder, machine) = boot("");
    let id = machine.process_id().unwrap();
    assert!(is_alive(id));
    drop(machine);
    assert!(!is_alive(id));
}

fn a_place_for_temporary_files_with_a_long_name_is_borne() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let (mut owner, id) = owner(&long);
    signal(owner.id(), Signal::HUP);
    assert_eq!(owner.wait().unwrap().code(), Some(7), "a closed terminal ends it in order");
    assert!(!is_alive(id));
    assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0, "nothing is left there");
}

fn what_a_killed_kshot_left_is_gone_after_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let left = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("kshot-scratch-")).count()
    };
    let (mut killed, id) = owner(folder.path());
    signal(killed.id(), Signal::KILL);
    killed.wait().unwrap();
    await_end(id);
    assert_eq!(left(), 1);
    let (mut next, _) = owner(folder.path());
    assert_eq!(left(), 1, "that of the next alone");
    signal(next.id(), Signal::TERM);
    next.wait().unwrap();
    assert_eq!(left(), 0);
}

fn a_qemu_that_was_stopped_is_not_late_by_itself() {
    let (_folder, machine) = boot("hello\n");
    signal(machine.process_id().unwrap(), Signal::STOP);
    let deadline = Deadline::new("the guest's init", Duration::from_millis(300));
    let error = machine.wait_ready(&deadline).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().contains("QEMU is stopped"), "{error}");
}

fn a_qemu_that_hangs_or_vanishes_is_a_fault_of_the_host() {
    let bin = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let fake = |script: &str| {
        let qemu = bin.path().join("qemu-system-mips64");
        std::fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&qemu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(ROLE, "boot").env("PATH", format!("{}:{path}", bin.path().display()));
        child.stderr(Stdio::piped()).spawn().unwrap()
    };
    for (script, said) in [
        ("echo it is broken >&2; exit 3", "QEMU did not start: exit status 3; it said: it is broken"),
        ("kill -KILL $$", "QEMU ended: killed by signal 9 (SIGKILL)"),
    ] {
        let output = fake(script).wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(said), "{err}");
        assert_eq!(output.status.code(), Some(1), "{err}");
    }
    let there = bin.path().join("there");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &there,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    // The last leaves somebody behind who floods the console.
    for script in ["echo $$ > THERE; exec sleep 1000", "sh -c 'echo $$ > THERE; exec yes'; exit"] {
        let hanging = fake(&script.replace("THERE", &there.to_string_lossy()));
        let id: u32 = std::fs::read_to_string(&there).unwrap().trim().parse().unwrap();
        signal(hanging.id(), Signal::TERM);
        let output = hanging.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!is_alive(id), "{script}: nobody is left");
    }
}

fn a_disk_without_room_for_a_guests_memory_is_met_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = firmware::machine(folder.path(), "");
    // More than any disk has.
    spec.memory_mib = u32::MAX;
    let memory = folder.path().join("ram");
    let error = Machine::boot_saveable(&spec, &memory, folder.path()).unwrap_err();
    assert!(matches!(error, MachineError::NoRoom { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Host);
    assert!(!folder.path().join("console.log").exists(), "QEMU was not started");
}

fn a_panic_of_ours_leaves_no_qemu() {
    let mut id = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let (_folder, machine) = boot("");
        id = machine.process_id().unwrap();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(result.is_err());
    assert!(id != 0 && !is_alive(id));
}

fn ctrl_c_leaves_no_qemu_and_is_no_fault_of_the_guest() {
    let (mut owner, id) = owner(&std::env::temp_dir());
    signal(owner.id(), Signal::INT);
    let status = owner.wait().unwrap();
    assert_eq!(status.code(), Some(7), "the wait is to end with Blame::Interrupted");
    assert!(!is_alive(id));
}

fn sigkill_of_ours_leaves_no_qemu() {
    let (mut owner, id) = owner(&std::env::temp_dir());
    signal(owner.id(), Signal::KILL);
    assert_eq!(owner.wait().unwrap().signal(), Some(9));
    await_end(id);
}

fn qemu_gives_up_when_its_owner_died_before_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let spec = firmware::machine(folder.path(), "");
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("qmp.sock")).unwrap());
    let argv = spec.argv(Memory::Anonymous);
    let mut qemu = Command::new(&argv[0]);
    let qemu = qemu.args(&argv[1..]).current_dir(folder.path()).stdin(Stdio::null());
    let output = qemu.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Connection refused"), "{said}");
}

fn a_machine_outlives_the_thread_that_booted_it() {
    let (_folder, machine) = std::thread::spawn(|| boot("")).join().unwrap();
    // A killed QEMU would be seen by this wait before its end.
    let deadline = Deadline::new("nothing", Duration::from_millis(300));
    assert!(matches!(machine.wait_ready(&deadline), Err(MachineError::NotReady { .. })));
    assert!(is_alive(machine.process_id().unwrap()));
}

fn a_machine_ends_when_asked() {
    let (_folder, machine) = boot("WARNING: CPU: 0 PID: 1 at lib/x.c:5 f+0x1/0x2\nnext\n");
    let id = machine.process_id().unwrap();
    machine.wait_ready(&Deadline::new("nothing", Duration::from_millis(300))).unwrap_err();
    let events = machine.shutdown();
    assert!(!is_alive(id));
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind.as_str(), events[0].excerpt.len()), ("warn", 2));
}

fn a_ready_line_is_awaited() {
    let (folder, machine) = boot("\x1b[1mhello\r\nkshot-guest: ready\r\n");
    let took = machine.wait_ready(&Deadline::new("the guest's init", Duration::from_secs(20))).unwrap();
    assert!(took < Duration::from_secs(20));
    assert!(machine.ssh_port() > 0);
    machine.shutdown();
    let log = std::fs::read(folder.path().join("console.log")).unwrap();
    assert_eq!(log, b"\x1b[1mhello\r\nkshot-guest: ready\r\n", "the log holds raw bytes");
}

/// A state of a guest that is ready, and the spec of its machine, all in `folder`.
fn saved(folder: &Path) -> (MachineSpec, SavedState) {
    let spec = firmware::machine(folder, "kshot-guest: ready\n");
    let (memory, state) = (folder.join("ram"), folder.join("state"));
    std::fs::create_dir(&state).unwrap();
    let machine = Machine::boot_saveable(&spec, &memory, folder).unwrap();
    machine.wait_ready(&Deadline::new("the guest's init", Duration::from_secs(20))).unwrap();
    machine.save(&memory, "nonce", folder, &state).unwrap();
    machine.liveness().check().expect("it goes on");
    machine.shutdown();
    (spec, SavedState::open(&state).unwrap())
}

fn a_machine_starts_where_another_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, state) = saved(folder.path());
    assert_eq!(state.nonce(), "nonce");
    let runs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Two at once, of one file.
    let machines = runs.each_ref().map(|run| Machine::restore(&spec, &state, run.path()).unwrap());
    for (machine, run) in machines.iter().zip(&runs) {
        machine.wait_ready(&Deadline::new("the guest's init", Duration::from_secs(20))).unwrap();
        let log = std::fs::read_to_string(run.path().join("console.log")).unwrap();
        assert_eq!(log, "kshot-guest: ready\n", "said once, before it was saved: it did not boot again");
    }
    assert_ne!(machines[0].ssh_port(), machines[1].ssh_port());
}

fn a_state_that_qemu_cannot_read_is_refused_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, state) = saved(folder.path());
    let devices = folder.path().join("state/devices");
    let length = std::fs::metadata(&devices).unwrap().len();
    std::fs::write(&devices, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    let run = tempfile::tempdir().unwrap();
    let error = Machine::restore(&spec, &state, run.path()).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().contains("Not a migration stream"), "{error}");
}

fn boot_times_out_when_the_console_stays_silent() {
    let (_folder, machine) = boot("");
    let error =
        machine.wait_ready(&Deadline::new("the guest's init", Duration::from_millis(300))).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    let text = error.to_string();
    assert!(text.starts_with("the guest is not up: waited 3"), "{text}");
    assert!(text.contains("for the guest's init; its console said nothing at all; "), "{text}");
    assert!(text.contains("may lack one of ") && text.contains("CONFIG_SERIAL_8250_CONSOLE ("), "{text}");
    assert!(error.hint().unwrap().contains("console.log"));
}

fn boot_times_out_with_the_last_line_of_the_console() {
    let (_folder, machine) = boot("Linux version 6.1\n[    0.1] Freeing memory\n");
    let error =
        machine.wait_ready(&Deadline::new("the guest's init", Duration::from_millis(500))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("silent for") && text.contains("\"[    0.1] Freeing memory\""), "{text}");
}

fn a_panic_is_named_and_quoted_at_once() {
    let (_folder, machine) = boot(
        "[    1.0] before\n[    1.1] Kernel panic - not syncing: Attempted to kill init!\n[    1.2] after\n",
    );
    let began = Instant::now();
    let error = machine.wait_ready(&Deadline::new("the guest's init", Duration::from_secs(60))).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("Kernel panic - not syncing: Attempted to kill init!"), "{error}");
    let MachineError::Down(MachineDown::GuestCrashed { event, .. }) = error else { panic!("{error}") };
    assert_eq!(event.kind, "panic");
    assert_eq!(event.excerpt.len(), 3, "{:?}", event.excerpt);
}

fn a_killed_qemu_is_a_fault_of_the_host() {
    let (_folder, machine) = boot("");
    signal(machine.process_id().unwrap(), Signal::KILL);
    let error = machine.wait_ready(&Deadline::new("the guest's init", Duration::from_secs(60))).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert_eq!(error.to_string(), "QEMU ended: killed by signal 9 (SIGKILL)");
}

fn a_full_disk_is_a_fault_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("console.log")).unwrap();
    let spec = firmware::machine(folder.path(), "hello\n");
    let deadline = Deadline::new("the guest's init", Duration::from_secs(20));
    let result = Machine::boot(&spec, folder.path()).and_then(|machine| machine.wait_ready(&deadline));
    let error = result.unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().contains("console.log: No space left on device"), "{error}");
}

fn a_missing_qemu_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let setpriv = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("setpriv"))
        .find(|path| path.exists());
    std::os::unix::fs::symlink(setpriv.unwrap(), folder.path().join("setpriv")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.env(ROLE, "boot").env("PATH", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("qemu-system-mips64 is not installed") && said.contains("qemu-system-mips"),
        "{said}"
    );
}

fn what_qemu_refuses_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = firmware::machine(folder.path(), "");
    spec.memory_mib = 1 << 20;
    let error = Machine::boot(&spec, folder.path()).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().starts_with("QEMU did not start: exit status 1; it said: "), "{error}");
}

fn boot(text: &str) -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::boot(&firmware::machine(folder.path(), text), folder.path()).unwrap();
    (folder, machine)
}

/// Starts a process of ours that owns a machine, with its temporary files in `folder`, and says which QEMU
/// that is.
fn owner(folder: &Path) -> (Child, u32) {
    // Whoever runs the tests may ignore SIGHUP, as nohup does.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(std::env::current_exe().unwrap());
    let mut child = command.env(ROLE, "own").env("TMPDIR", folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let id = line.trim().parse().unwrap();
    assert!(is_alive(id));
    (child, id)
}

/// The other side, where this process is a child of [`owner`]: boots a machine, says its process id, waits
/// for ever.
pub(crate) fn play() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let folder = tempfile::tempdir().unwrap();
    let result = Machine::boot(&firmware::machine(folder.path(), ""), folder.path()).and_then(|machine| {
        println!("{}", machine.process_id().unwrap());
        let limit = if role == "own" { Duration::from_secs(300) } else { Duration::ZERO };
        machine.wait_ready(&Deadline::new("the end", limit))
    });
    let error = result.unwrap_err();
    eprintln!("{error}: {}", error.hint().unwrap_or_default());
    drop(folder);
    Some(if error.blame() == Blame::Interrupted { ExitCode::from(7) } else { ExitCode::FAILURE })
}

/// Waits for the end of a process that is not our child.
fn await_end(id: u32) {
    let Ok(process) = pidfd_open(Pid::from_raw(id.cast_signed()).unwrap(), PidfdFlags::empty()) else {
        return;
    };
    assert!(
        wait_for(process, PollFlags::IN, Duration::from_secs(10)).unwrap(),
        "QEMU, process {id}, lives on"
    );
}

/// Whether a process runs; a zombie that its new parent has not reaped does not.
fn is_alive(id: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists())
}

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}
