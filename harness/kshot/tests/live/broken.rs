//! A run broken on purpose, one way at a time: each is caught, and for the right reason.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use libtest_mimic::{Failed, Trial};

use super::common::{Ended, Replica};
use super::on_kernel;
use super::wait::until;

/// The time that what another process does may take.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
const KERNEL: &str = "mips64-6.1";
const SCENARIO: &str = "tunsetiff/func_stack_trace";
const YAML: &str = "scenarios/tunsetiff/func_stack_trace.yaml";
const TRIGGER: &str = "/isam/user/eoe_filter -n lo -t tap0 -E";

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let cases: [(&str, fn()); 14] = [
        ("nothing_broken_ends_0_in_72_mib", nothing_broken),
        ("the_json_document_fits_its_schema", json_fits_its_schema),
        ("a_frame_changed_in_a_snapshot_is_drift", changed_frame),
        ("a_wrong_ftrace_option_is_drift", wrong_option),
        ("a_trigger_that_does_nothing_is_drift", idle_trigger),
        ("a_kernel_that_panics_at_boot_is_quoted", panic_at_boot),
        ("a_panic_in_a_step_ends_the_run_within_2_s", panic_in_a_step),
        ("a_guest_without_ssh_is_told_so", no_ssh),
        ("a_killed_qemu_is_a_fault_of_the_host", killed_qemu),
        ("a_full_disk_is_a_fault_of_the_host", full_disk),
        ("a_step_that_fails_shows_what_it_printed", failing_step),
        ("a_guest_that_rests_on_its_way_up_is_not_waited_for", resting_guest),
        ("a_kernel_without_a_network_driver_is_told_its_option", no_network),
        ("a_kernel_without_a_file_system_of_inits_is_told_its_option", no_file_system),
    ];
    let trial = |(name, case): (&str, fn())| {
        let test = move |_: &Kernel| -> Result<(), Failed> {
            case();
            Ok(())
        };
        on_kernel(workspace, catalogue, &format!("broken::{name}"), KERNEL, test)
    };
    cases.into_iter().map(trial).collect()
}

fn run(replica: &Replica) -> Ended {
    replica.run(&["run", SCENARIO, "--kernel", KERNEL])
}

/// A run that the test watches; its run folders lie in `runs`.
fn start(replica: &Replica) -> Child {
    let mut command = replica.kshot(&["run", SCENARIO, "--kernel", KERNEL, "--out", "runs"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn nothing_broken() {
    let replica = Replica::new();
    let mut kshot = start(&replica);
    let mut peak = 0;
    until("the end of kshot", WAIT_LIMIT, || {
        peak = peak.max(peak_memory_kib(kshot.id()));
        kshot.try_wait().unwrap()
    });
    Ended::of(kshot.wait_with_output().unwrap())
        .expect(0, &["verdict: match", "truncated", "ftrace_graph_call"]);
    // Some 26 MiB are pages of the program, as a dev build has them.
    assert!((1..=72 << 10).contains(&peak), "{peak} KiB of memory at most");
}

/// The most memory that a process had resident, without its children (proc_pid_status(5)).
fn peak_memory_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or(0, |peak| peak.trim().trim_end_matches(" kB").parse().unwrap())
}

fn changed_frame() {
    let replica = Replica::new();
    replica.edit(&format!("snapshots/{SCENARIO}/{KERNEL}/perf.snap"), " tun_chr_ioctl", " tap_chr_ioctl");
    run(&replica).expect(1, &["verdict: drift", "-    tap_chr_ioctl", "+    tun_chr_ioctl"]);
}

fn wrong_option() {
    let replica = Replica::new();
    replica.edit(YAML, "options: [func_stack_trace]", "options: [func_stack_tracing]");
    run(&replica).expect(1, &["verdict: drift", "ftrace"]);
}

fn idle_trigger() {
    let replica = Replica::new();
    replica.edit(YAML, TRIGGER, "true");
    run(&replica).expect(1, &["verdict: drift", "claim `perf` fails: 0 instead of 5 stacks"]);
}

fn panic_at_boot() {
    let replica = Replica::new();
    replica.edit(YAML, "steps:", "  cmdline: [init=/nonexistent]\nsteps:");
    let started = Instant::now();
    run(&replica)
        .expect(125, &["verdict: inconclusive", "Kernel panic - not syncing: Attempted to kill init!"]);
    let took = started.elapsed();
    // Half of what a boot may take; on a busy host the boot itself takes 20 s.
    assert!(took < Duration::from_secs(60), "a panic has to end the wait, not the deadline: {took:?}");
}

fn panic_in_a_step() {
    let replica = Replica::new();
    replica.edit(YAML, &format!("run: {TRIGGER}"), "run: echo c > /proc/sysrq-trigger");
    let mut kshot = start(&replica);
    let console = |text: &str| console_holds(&replica.path("runs"), text);
    until("the panic's console line", WAIT_LIMIT, || console("Kernel panic - not syncing").then_some(()));
    let panicked = Instant::now();
    until("the end of kshot", WAIT_LIMIT, || kshot.try_wait().unwrap());
    let took = panicked.elapsed();
    Ended::of(kshot.wait_with_output().unwrap())
        .expect(125, &["verdict: inconclusive", "Kernel panic - not syncing: sysrq triggered crash"]);
    assert!(took < Duration::from_secs(2), "{took:?} from the console line to the end");
}

fn no_ssh() {
    let replica = Replica::new();
    replica.edit("images/guest/init", "dropbear -", "true -");
    run(&replica).expect(125, &["verdict: inconclusive", "SSH"]);
}

fn resting_guest() {
    let replica = Replica::new();
    replica.edit("images/guest/init", "echo \"kshot-guest: ready\"", "echo \"almost there\"");
    // Where the deadline ends the wait, it says nothing of rest.
    run(&replica).expect(125, &["it is idle, and its console has been silent for 1", "\"almost there\""]);
}

fn no_network() {
    let replica = Replica::new();
    replica.edit("images/guest/init", "ifconfig eth0", "ifconfig eth9");
    run(&replica)
        .expect(125, &["no network device eth0", "CONFIG_PCNET32 (it drives the board's network card"]);
}

fn no_file_system() {
    let replica = Replica::new();
    replica.edit("images/guest/init", "need devtmpfs /dev", "need nosuchfs /dev");
    run(&replica).expect(125, &["cannot mount nosuchfs: does the kernel lack CONFIG_DEVTMPFS?"]);
}

fn failing_step() {
    let replica = Replica::new();
    replica.edit(YAML, TRIGGER, "echo what it printed; exit 3");
    run(&replica).expect(125, &["verdict: inconclusive", "status 3", "what it printed"]);
}

fn killed_qemu() {
    let replica = Replica::new();
    replica.edit(YAML, TRIGGER, "echo waiting > /dev/console; cat /dev/ttyS0");
    let mut kshot = start(&replica);
    until("the step", WAIT_LIMIT, || console_holds(&replica.path("runs"), "waiting").then_some(()));
    let qemu = qemu_of(kshot.id());
    assert!(Command::new("kill").args(["-KILL", &qemu.to_string()]).status().unwrap().success());
    until("the end of kshot", WAIT_LIMIT, || kshot.try_wait().unwrap());
    Ended::of(kshot.wait_with_output().unwrap()).expect(131, &["QEMU"]);
}

fn full_disk() {
    let replica = Replica::new();
    // A file system of 64 KiB of our own, in a mount namespace of our own.
    let script = "mkdir runs && mount -t tmpfs -o size=64k none runs && exec \"$0\" \"$@\"";
    let kshot = replica.kshot(&["run", SCENARIO, "--kernel", KERNEL, "--out", "runs"]);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(kshot.get_program());
    command.args(kshot.get_args()).current_dir(replica.path(""));
    for (name, value) in kshot.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Ended::of(command.output().unwrap()).expect(131, &["No space left on device", "--out"]);
}

/// Whether the console log of a run below `runs` holds `text`.
fn console_holds(runs: &Path, text: &str) -> bool {
    let logs = fs::read_dir(runs).into_iter().flatten().flatten().map(|run| run.path().join("console.log"));
    logs.into_iter()
        .any(|log| fs::read(log).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)))
}

/// The QEMU of a kshot.
fn qemu_of(parent: u32) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children: String =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap()).collect();
    let is_qemu = |child: &&str| {
        let name = fs::read_to_string(format!("/proc/{child}/comm"));
        name.is_ok_and(|name| name.starts_with("qemu-system"))
    };
    children.split_whitespace().find(is_qemu).expect("a QEMU").parse().unwrap()
}

fn json_fits_its_schema() {
    let replica = Replica::new();
    let ended = replica.run(&["run", SCENARIO, "--kernel", KERNEL, "--format", "json"]);
    ended.expect(0, &[]);
    let schema = include_str!("../../../schema/result.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let document = serde_json::from_str(&ended.out).unwrap();
    let faults: Vec<_> = validator.iter_errors(&document).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let folder = fs::read_dir(replica.path("state/kshot/runs")).unwrap().next().unwrap().unwrap().path();
    let on_disk: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    assert_eq!(document, on_disk, "run.json is what was printed");
    for path in document["artifacts"].as_object().unwrap().values() {
        assert!(folder.join(path.as_str().unwrap()).is_file(), "{path} is listed and not there");
    }
}
