//! The truth: that it is one, and that nothing else is taken for it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use kshot::run::{self, RunOptions};
use kshot::scenario::Scenario;
use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::progress::Progress;
use kshot_guest::symbols::LoadedKernel;
use kshot_guest::symbols::Symbols;
use kshot_stack::document::{Reference, RunDocument};
use libtest_mimic::{Failed, Trial};

use super::on_kernel;
use super::support::Replica;

const KERNEL: &str = "mips64-6.1";
const REPAIRED: &str = "*-fixed";
/// With drivers as modules, and DWARF on request.
const MODULAR: &str = "mips64el-6.1-debian";
const SCENARIO: &str = "tunsetiff/truth";

type Case = (&'static str, fn(&Kernel));

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let cases: [Case; 3] = [
        ("where_the_unwinder_is_right_perf_and_gdb_agree_on_every_physical_frame", all_agree),
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
    let agree =
        "truth::where_the_unwinder_is_repaired_ftrace_kprobe_perf_and_gdb_agree_on_every_physical_frame";
    for entry in catalogue.matching([REPAIRED]) {
        let test = |kernel: &Kernel| -> Result<(), Failed> {
            all_four_agree(&kernel.name);
            Ok(())
        };
        trials.push(on_kernel(workspace, catalogue, &format!("{agree}::{}", entry.name), &entry.name, test));
    }
    for kernel in [KERNEL, MODULAR] {
        trials.push(same_lines(workspace, catalogue, kernel));
    }
    trials
}

/// Two readers of the same DWARF: gdb, and ours, which stacks.txt is from. In modules both have to relocate it.
fn same_lines(workspace: &Workspace, catalogue: &Catalogue, kernel: &'static str) -> Trial {
    let name = format!("truth::gdb_and_stacks_txt_agree_on_file_line_and_inlines::{kernel}");
    let found = catalogue.get(kernel).map(|entry| Kernel::find(entry, &workspace.images(), &workspace.cache));
    let without = matches!(found, Some(Ok(Some(Kernel { dwarf: None, .. }))));
    let workspace_ = workspace.clone();
    let names: Vec<String> = catalogue.names().into_iter().map(Into::into).collect();
    let test = move |kernel: &Kernel| compare_lines(&workspace_, &names, kernel);
    let trial = on_kernel(workspace, catalogue, &name, kernel, test);
    if without {
        let how = format!("no DWARF: cargo kshot provision {kernel} --dwarf");
        return trial.with_ignored_flag(true).with_kind(how);
    }
    trial
}

fn compare_lines(workspace: &Workspace, names: &[String], kernel: &Kernel) -> Result<(), Failed> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scenario = Scenario::load(&workspace.scenarios(), SCENARIO, &names).unwrap();
    let outcome =
        run::run(workspace, &scenario, kernel, &RunOptions::default(), &Progress::silent()).unwrap();
    let text = fs::read_to_string(outcome.folder.join("gdb.jsonl")).unwrap();
    let hits = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let frames: Vec<_> = hits.filter_map(|hit| hit["frames"].as_array().cloned()).collect();
    assert_eq!(frames.len(), 5);

    let pc = |frame: &serde_json::Value| {
        u64::from_str_radix(frame["pc"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let loaded = LoadedKernel::from_run_folder(kernel.dwarf.as_ref().unwrap(), &outcome.folder);
    let symbols = Symbols::read(&loaded, frames.iter().flatten().map(pc)).unwrap();
    let decoded = fs::read_to_string(outcome.folder.join("stacks.txt")).unwrap();
    let mut modules = BTreeSet::new();
    for stack in frames {
        // A physical frame comes behind what was inlined into it.
        let physical = stack.split_inclusive(|frame| frame["inlined"] == false);
        for (depth, frames) in physical.enumerate() {
            let place = symbols.place(pc(&frames[0]), depth > 0).unwrap();
            let ours: Vec<u64> = place.lines.iter().map(|line| line.line.into()).collect();
            let theirs: Vec<u64> = frames.iter().filter_map(|frame| frame["line"].as_u64()).collect();
            assert_eq!(ours, theirs, "{place:?}\n{frames:?}");
            for (line, frame) in place.lines.iter().zip(frames) {
                assert!(frame["file"].as_str().unwrap().ends_with(&line.file), "{line:?}: {frame}");
            }
            assert!(decoded.contains(&place.decoded()), "{}", place.decoded());
            modules.extend(place.module);
        }
    }
    let expected = if kernel.name == MODULAR { vec!["tun".to_owned()] } else { Vec::new() };
    assert_eq!(modules.into_iter().collect::<Vec<_>>(), expected);
    Ok(())
}

/// ftrace and perf at once, then kprobe alone, because it records where ftrace does. What was traced before gdb could
/// attach, while the kernel booted, has no truth: the trigger's stacks count.
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
                assert_eq!(fidelity.reference, Reference::Gdb);
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
        assert_eq!(fidelity.reference, Reference::Gdb);
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
    let ended = super::support::Ended::of(kshot.env("XDG_CACHE_HOME", &ours).output().unwrap());
    ended.expect(131, &["is not the kernel that runs: its build id is", "provision the kernel again"]);
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
