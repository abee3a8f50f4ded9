//! The truth: that it is one, and that nothing else is taken for it.

use std::fs;
use std::os::unix::fs::symlink;

use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_stack::document::{ReferenceKind, RunDocument};
use libtest_mimic::{Failed, Trial};

use super::common::Replica;
use super::on_kernel;

const KERNEL: &str = "mips64-6.1";
// riscv64 refuses a kprobe at a function's first instruction.
const REPAIRED: [&str; 2] = ["mips64*-fixed", "arm64-*-fixed"];
const SCENARIO: &str = "tunsetiff/truth";

type Case = (&'static str, fn(&Kernel));

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let cases: [Case; 3] = [
        ("where_the_unwinder_is_right_perf_and_the_truth_agree_on_every_physical_frame", all_agree),
        ("the_vmlinux_of_another_build_is_no_truth", another_build),
        ("a_breakpoint_that_is_never_hit_says_so", never_hit),
    ];
    let trial = |(name, case): (&str, fn(&Kernel))| {
        let test = move |kernel: &Kernel| -> Result<(), Failed> {
            case(kernel);
            Ok(())
        };
        on_kernel(workspace, catalogue, &format!("truth::{name}"), KERNEL, test)
    };
    let mut trials: Vec<Trial> = cases.into_iter().map(trial).collect();
    let agree = "truth::where_the_unwinder_is_repaired_ftrace_kprobe_perf_and_the_truth_agree_on_every_physical_frame";
    for entry in catalogue.matching(REPAIRED) {
        let test = |kernel: &Kernel| -> Result<(), Failed> {
            all_four_agree(&kernel.name);
            Ok(())
        };
        trials.push(on_kernel(workspace, catalogue, &format!("{agree}::{}", entry.name), &entry.name, test));
    }
    trials
}

/// ftrace and perf at once, then kprobe alone, because it records where ftrace does. What was traced before
/// the breakpoint was in, while the kernel booted, has no truth: the trigger's stacks count.
fn all_four_agree(kernel: &str) {
    for (scenario, probes) in [
        ("tunsetiff/func_stack_trace", ["ftrace", "perf"].as_slice()),
        ("kprobe/stacktrace_trigger", &["ftrace"]),
    ] {
        let ended = Replica::new().run(&["run", scenario, "--kernel", kernel, "--format", "json"]);
        let document: RunDocument = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        for name in probes {
            let probe = document.probes.iter().find(|probe| probe.name == *name).unwrap();
            let stacks: Vec<_> = probe.stacks.iter().filter(|stack| stack.task == "eoe_filter").collect();
            assert_eq!(stacks.iter().map(|stack| stack.count).sum::<u64>(), 5, "{scenario}: {name}");
            for stack in stacks {
                let fidelity = stack.fidelity.unwrap_or_else(|| panic!("{scenario}: {name}: {stack:?}"));
                assert_eq!(fidelity.reference, ReferenceKind::Gdb);
                assert!(
                    fidelity.reference_frames >= 4 && fidelity.matched_frames == fidelity.reference_frames,
                    "{scenario}: {name}: {stack:?}"
                );
            }
        }
    }
}

fn all_agree(_: &Kernel) {
    let ended = Replica::new().run(&["run", SCENARIO, "--kernel", KERNEL, "--format", "json"]);
    let document: RunDocument = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    assert!(document.artifacts.contains_key("stacks.txt"), "{:?}", document.artifacts);
    let perf = document.probes.iter().find(|probe| probe.name == "perf").unwrap();
    assert_eq!(perf.stacks.iter().map(|stack| stack.count).sum::<u64>(), 5);
    for stack in &perf.stacks {
        let fidelity = stack.fidelity.unwrap();
        assert_eq!(fidelity.reference, ReferenceKind::Gdb);
        assert!(
            fidelity.reference_frames >= 4 && fidelity.matched_frames == fidelity.reference_frames,
            "{fidelity}"
        );
    }
}

/// The kernel of the cache, with one bit of the build id in its DWARF's file changed.
fn another_build(kernel: &Kernel) {
    let replica = Replica::new();
    let (theirs, ours) = (kernel.boot.parent().unwrap(), replica.path("cache"));
    let cache = theirs.parent().unwrap().parent().unwrap();
    let folder = ours.join("kshot/kernels").join(theirs.file_name().unwrap());
    fs::create_dir_all(&folder).unwrap();
    for entry in
        fs::read_dir(cache).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "kernels")
    {
        symlink(entry.path(), ours.join("kshot").join(entry.file_name())).unwrap();
    }
    let dwarf = &kernel.dwarf.as_ref().unwrap().vmlinux;
    for entry in fs::read_dir(theirs).unwrap().map(Result::unwrap).filter(|entry| entry.path() != *dwarf) {
        symlink(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let mut bytes = fs::read(dwarf).unwrap();
    // Size of the name, size of the id, type 3, "GNU": then the id.
    let note = [&4_u32.to_be_bytes()[..], &20_u32.to_be_bytes(), &3_u32.to_be_bytes(), b"GNU\0"].concat();
    let at = bytes.windows(note.len()).position(|window| window == note).unwrap();
    bytes[at + note.len()] ^= 1;
    fs::write(folder.join(dwarf.file_name().unwrap()), bytes).unwrap();

    let mut kshot = replica.kshot(&["run", SCENARIO, "--kernel", KERNEL]);
    let ended = super::common::Ended::of(kshot.env("XDG_CACHE_HOME", &ours).output().unwrap());
    ended.expect(
        131,
        &["is not the kernel that runs: its build id is", "replace it by the vmlinux of the build that runs"],
    );
    assert!(!ended.out.contains("verdict"), "{}", ended.out);
}

fn never_hit(_: &Kernel) {
    let replica = Replica::new();
    let yaml = format!("scenarios/{SCENARIO}.yaml");
    replica.edit(&yaml, "break: register_netdevice", "break: unregister_netdevice_many");
    replica
        .run(&["run", SCENARIO, "--kernel", KERNEL])
        .expect(1, &["verdict: drift", "1 x never-hit: the breakpoint at unregister_netdevice_many"]);
}
