//! Files that have no end, or are no files.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode};

use crate::common::Replica;

const YAML: &str =
    "summary: it shows something\nkernels: [mips64-6.1]\nsteps:\n  - run: 'true'\nprobes:\n  - ftrace: {}\n";

fn fifo(replica: &Replica, name: &str) {
    rustix::fs::mknodat(CWD, replica.path(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn scenario(text: &str) -> Replica {
    let replica = Replica::new();
    fs::create_dir(replica.path("scenarios/own")).unwrap();
    fs::write(replica.path("scenarios/own/one.yaml"), text).unwrap();
    replica
}

#[test]
fn a_kernel_that_is_a_device_or_a_fifo_is_refused() {
    let replica = Replica::new();
    fifo(&replica, "fifo");
    for kernel in ["/dev/zero", "./fifo"] {
        let ended = replica.run(&["run", "tunsetiff/perf_probe", "--kernel", kernel]);
        ended.expect(128, &["it is not a regular file"]);
    }
}

#[test]
fn a_run_folder_with_a_fifo_or_a_device_is_refused() {
    let replica = Replica::new();
    for name in ["one", "two"] {
        fs::create_dir(replica.path(name)).unwrap();
    }
    fifo(&replica, "one/run.json");
    symlink("/dev/zero", replica.path("two/run.json")).unwrap();
    for name in ["one", "two"] {
        replica.run(&["report", name]).expect(128, &["it is not a regular file"]);
    }
}

#[test]
fn a_bundle_that_is_a_fifo_is_refused() {
    let replica = Replica::new();
    fifo(&replica, "bundle.tar.gz");
    let ended = replica.run(&["import", "bundle.tar.gz", "--out", "home"]);
    ended.expect(131, &["it is not a regular file"]);
}

#[test]
fn yaml_that_takes_a_parser_for_ever_is_refused() {
    let aliases =
        format!("a: &a {}\nb: &b [{}]\nc: [{}]\n", "x".repeat(60_000), "*a,".repeat(1000), "*b,".repeat(20));
    for (text, why) in [("[".repeat(80_000), "brackets"), (aliases, "aliases expanded")] {
        let ended = scenario(&text).run(&["validate", "own/one"]);
        ended.expect(129, &[why]);
        assert!(ended.out.len() < 4000, "{} bytes of it are quoted", ended.out.len());
    }
}

#[test]
fn a_fault_behind_carriage_returns_and_letters_is_no_panic() {
    // Where each line's end was counted one byte short, the key was looked for within the last letter.
    let replica = scenario(&YAML.replace("kernels", "# Fuß\n# Fuß\nkernels").replace('\n', "\r\n"));
    replica.edit("scenarios/own/one.yaml", "mips64-6.1", "mips46-6.1");
    replica.run(&["validate", "own/one"]).expect(129, &["one.yaml:4:11", "`mips46-6.1`"]);
}

#[test]
fn a_scenario_does_not_steer_the_terminal() {
    let ended = scenario(&YAML.replace("steps:", "stepz: # \u{202e}\u{200b}")).run(&["validate", "own/one"]);
    ended.expect(129, &["unknown field `stepz`"]);
    assert!(!ended.out.contains(['\u{202e}', '\u{200b}', '\u{1b}']), "{}", ended.out);
}
