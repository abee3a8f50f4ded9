//! The session against a real guest: what it brings back, and how it ends when the guest does.

use std::time::{Duration, Instant};

use kshot_guest::deadline::Deadline;
use kshot_guest::machine::MachineDown;
use kshot_guest::session::{Credentials, Guest, GuestFile, OUTPUT_LIMIT, Session, SessionError};
use kshot_stack::blame::{Blame, Blamed};

use super::Tests;
use super::boot::{Fixture, LIMIT, keys, open};
use super::shared::{login, shared};

pub(crate) const TESTS: Tests = tests![
    status_and_both_outputs_come_back_in_order,
    no_script_leaves_anything_to_the_next,
    a_script_is_not_bound_by_the_length_of_a_command,
    what_runs_in_the_background_does_not_hold_a_command_up,
    five_mebibytes_and_every_byte_value_come_back_whole,
    output_beyond_the_limit_is_counted_not_kept,
    a_file_comes_byte_for_byte_or_not_at_all,
    a_full_disk_is_a_fault_of_the_host,
    a_shell_that_dies_is_no_success,
    a_command_that_hangs_ends_at_its_limit,
    a_panic_in_a_step_ends_it_within_three_seconds_named_and_quoted,
    a_reboot_in_a_step_is_the_guests_own_end,
    a_killed_qemu_ends_a_step_at_once,
    a_flood_on_the_console_does_not_reach_a_commands_output,
    a_guest_without_ssh_times_out_with_the_cause,
    a_wrong_host_key_is_refused_at_once,
    a_wrong_client_key_is_refused_at_once,
];

fn status_and_both_outputs_come_back_in_order() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let output = guest.run("echo out; echo err >&2; printf 'no newline'; exit 3", LIMIT).unwrap();
    assert_eq!((output.status, output.text.as_slice()), (3, &b"out\nerr\nno newline"[..]));
    let output = guest.run("if then", LIMIT).unwrap();
    assert!(
        output.status == 2 && String::from_utf8_lossy(&output.text).contains("syntax error"),
        "{output:?}"
    );
    let output = guest.run("kill -9 $$", LIMIT).unwrap();
    assert_eq!(output.status, 137);
    assert_eq!(guest.run("cat", LIMIT).unwrap().text, b"", "standard input is empty");
}

fn no_script_leaves_anything_to_the_next() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let first = "cd /tmp; word=left; export word; ulimit -n 64; umask 0; exec 3</dev/null; echo $PPID";
    let shell = guest.run(first, LIMIT).unwrap().text;
    let second =
        guest.run("pwd; echo $word; ulimit -n; umask; ls /proc/self/fd | wc -w; echo $PPID", LIMIT).unwrap();
    let second = String::from_utf8(second.text).unwrap();
    let (said, ppid) = second.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(said, "/root\n\n1024\n0022\n4");
    assert_eq!(shell, format!("{ppid}\n").into_bytes(), "one shell runs both");
}

fn a_script_is_not_bound_by_the_length_of_a_command() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let script = format!("echo '{}' | wc -c", "x".repeat(100_000));
    assert_eq!(guest.run(&script, LIMIT).unwrap().text, b"100001\n");
}

fn what_runs_in_the_background_does_not_hold_a_command_up() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let began = Instant::now();
    assert_eq!(guest.run("sleep 30 & echo done", LIMIT).unwrap().text, b"done\n");
    assert_eq!(guest.run("echo next", LIMIT).unwrap().text, b"next\n");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn five_mebibytes_and_every_byte_value_come_back_whole() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let output = guest.run("yes 0123456789abcde | head -c 5242880", LIMIT).unwrap();
    assert_eq!(output.text.len(), 5 << 20);
    assert!(output.text.chunks(16).all(|line| line == b"0123456789abcde\n"));
    let bytes = "i=0; while [ $i -lt 256 ]; do printf \"\\\\x$(printf %x $i)\"; i=$((i+1)); done";
    assert_eq!(guest.run(bytes, LIMIT).unwrap().text, (0..=255).collect::<Vec<u8>>());
}

fn output_beyond_the_limit_is_counted_not_kept() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let output = guest.run(&format!("head -c {} /dev/zero", OUTPUT_LIMIT + 1000), LIMIT).unwrap();
    assert!(output.text.ends_with(b"\0\n[kshot: 1000 more bytes of output were not kept]\n"));
}

fn a_file_comes_byte_for_byte_or_not_at_all() {
    let mut fixture = shared();
    let Fixture { session: guest, folder, .. } = fixture.get();
    guest.run("head -c 3000000 /dev/urandom > \"/tmp/it's\"", LIMIT).unwrap();
    guest.run("printf a > /tmp/a; : > /tmp/none", LIMIT).unwrap();
    let [to, a, none] = ["file", "a", "nothing"].map(|name| folder.path().join(name));
    let files = [("/tmp/a", &a), ("/tmp/it's", &to), ("/tmp/none", &none)];
    guest.fetch(&files.map(|(from, to)| GuestFile { from, to }), LIMIT).unwrap();
    assert_eq!([&to, &a, &none].map(|path| path.metadata().unwrap().len()), [3_000_000, 1, 0]);
    let theirs = guest.run("sha256sum < \"/tmp/it's\"", LIMIT).unwrap().text;
    assert!(theirs.starts_with(kshot_guest::host::cache::sha256_file(&to).unwrap().as_bytes()));

    let [here, gone] = ["here", "gone"].map(|name| folder.path().join(name));
    let files = [("/tmp/a", &here), ("/nonexistent", &gone)];
    let error = guest.fetch(&files.map(|(from, to)| GuestFile { from, to }), LIMIT).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("/nonexistent: stat: "), "{error}");
    assert!(!gone.exists() && !here.exists());
}

fn a_full_disk_is_a_fault_of_the_host() {
    let mut fixture = shared();
    let Fixture { session: guest, folder, .. } = fixture.get();
    let to = folder.path().join("no/such/folder");
    let error = guest.fetch(&[GuestFile { from: "/proc/version", to: &to }], LIMIT).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}

fn a_shell_that_dies_is_no_success() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let error = guest.run("echo last words; kill -9 $PPID; sleep 5", LIMIT).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("its shell died; it said last: last words"), "{error}");
    assert_eq!(guest.run("echo alive", LIMIT).unwrap().text, b"alive\n");
}

fn a_command_that_hangs_ends_at_its_limit() {
    let mut fixture = shared();
    let guest = &mut fixture.get().session;
    let began = Instant::now();
    let error = guest.run("echo begun; sleep 1000", Duration::from_secs(1)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("for the end of `echo begun; sleep 1000`"), "{error}");
}

fn a_panic_in_a_step_ends_it_within_three_seconds_named_and_quoted() {
    let Fixture { session: mut guest, folder: _folder, machine } = login(&[]);
    let began = Instant::now();
    // The WARN of a kprobe event's stack trace (S4), made fatal; sysrq where the kernel has it.
    let script = "echo c > /proc/sysrq-trigger; cd /sys/kernel/tracing; echo 1 > /proc/sys/kernel/panic_on_warn; \
                  echo 'p:probe/rn register_netdevice' > kprobe_events; echo 1 > options/stacktrace; \
                  echo 1 > events/probe/rn/enable; /isam/user/eoe_filter -n lo -t tap0 -E; sleep 60";
    let error = guest.run(script, LIMIT).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("Kernel panic - not syncing: "), "{error}");
    assert!(error.hint().unwrap().contains("] Kernel panic"), "{:?}", error.hint());
    assert!(!machine.shutdown().is_empty());
}

fn a_reboot_in_a_step_is_the_guests_own_end() {
    let mut fixture = login(&[]);
    let error = fixture.session.run("reboot -f; sleep 60", LIMIT).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert!(matches!(error, SessionError::Down(MachineDown::GuestExited { .. })), "{error}");
}

fn a_killed_qemu_ends_a_step_at_once() {
    let Fixture { session: mut guest, machine, .. } = login(&[]);
    let id = machine.process_id().unwrap();
    let killer = std::thread::spawn(move || {
        let id = rustix::process::Pid::from_raw(id.cast_signed()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    });
    let began = Instant::now();
    let error = guest.run("sleep 60", LIMIT).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    killer.join().unwrap();
    assert_eq!(error.blame(), Blame::Host);
    assert_eq!(error.to_string(), "QEMU ended: killed by signal 9 (SIGKILL)");
}

fn a_flood_on_the_console_does_not_reach_a_commands_output() {
    let Fixture { session: mut guest, folder, machine } = login(&[]);
    let flood = "i=0; while [ $i -lt 300 ]; do echo \"WARNING: CPU: 0 PID: 1 at x.c:1 f $i\" > /dev/kmsg; i=$((i+1)); \
                 done; yes flood | head -c 1000000 > /dev/console; printf 'done'";
    assert_eq!(guest.run(flood, LIMIT).unwrap().text, b"done");
    let events = machine.shutdown();
    assert_eq!(events.len(), 101);
    assert!(events[100].line.ends_with("more reports are in console.log"), "{}", events[100].line);
    assert!(std::fs::metadata(folder.path().join("console.log")).unwrap().len() > 1_000_000);
}

fn a_guest_without_ssh_times_out_with_the_cause() {
    let Fixture { session: mut guest, machine, .. } = login(&[]);
    guest.run("killall dropbear", LIMIT).unwrap_err();
    let keys = Credentials { client_key_private: &keys().client_key_private, host_key_public: b"" };
    let deadline = Deadline::new("the SSH login", Duration::from_secs(2));
    let error = Session::open(machine.ssh_port(), keys, machine.liveness(), &deadline).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    let text = error.to_string();
    assert!(text.starts_with("waited 2.0s for the SSH login; meanwhile: "), "{text}");
}

fn a_wrong_host_key_is_refused_at_once() {
    let mut fixture = shared();
    let fixture = fixture.get();
    let began = Instant::now();
    let error = open(&fixture.machine, b"another", &keys().client_key_private).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(matches!(error, SessionError::HostKey { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Host);
}

fn a_wrong_client_key_is_refused_at_once() {
    let mut fixture = shared();
    let fixture = fixture.get();
    let began = Instant::now();
    let host = keys().host_key_public;
    let other = keys().client_key_private.with_file_name("host");
    let error = open(&fixture.machine, &host, &other).unwrap_err();
    assert!(matches!(error, SessionError::Login { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
}
