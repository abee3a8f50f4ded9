//! The command line without a guest: what it says and how it ends.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it may fail and starts what it tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod elf; // the head of a made-up kernel
mod faults; // of the host, of files and of strangers
mod own; // a kernel and a workspace of one's own

use std::fs;
use std::path::Path;

use crate::common::{Ended, Replica};

#[test]
fn help_names_every_verb_and_exit_code() {
    let replica = Replica::new();
    let help = replica.run(&["--help"]);
    help.expect(0, &["125", "131", "132"]);
    let command = kshot::commands::command_line();
    let names: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(help.out.contains(&format!("\n  {name} ")), "no {name} in {}", help.out);
        let ended = replica.run(&[name, "--help"]);
        ended.expect(0, &["Usage: kshot", name]);
    }
}

#[test]
fn an_unknown_option_ends_128_and_not_claps_2() {
    Replica::new().run(&["run", "--frobnicate"]).expect(128, &["--frobnicate"]);
    Replica::new().run(&[]).expect(128, &["Usage"]);
}

#[test]
fn an_unknown_scenario_ends_128_with_a_guess() {
    let ended = Replica::new().run(&["run", "tunsetiff/func_stack_trac"]);
    ended.expect(
        128,
        &["no scenario `tunsetiff/func_stack_trac`", "did you mean `tunsetiff/func_stack_trace`?"],
    );
}

#[test]
fn dwarf_that_nobody_knows_of_ends_128_before_any_download() {
    let replica = Replica::new();
    replica.edit("images/kernels.yaml", ", dbg: linux-image-5kc-malta-dbg", "");
    let mut kshot = replica.kshot(&["provision", "mips64el-6.1-debian", "--dwarf"]);
    let ended = Ended::of(kshot.env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap());
    ended.expect(128, &["the DWARF of kernel mips64el-6.1-debian", "name that as `dbg`"]);
    assert!(!replica.path("cache").exists());
}

#[test]
fn an_unknown_kernel_ends_128_with_a_guess() {
    let ended = Replica::new().run(&["run", "tunsetiff/perf_probe", "--kernel", "mips46-6.1"]);
    ended.expect(128, &["no kernel `mips46-6.1`", "did you mean `mips64-6.1`?"]);
    let ended = Replica::new().run(&["run", "tunsetiff/perf_probe", "--kernel", "mips64[el"]);
    ended.expect(128, &["`mips64[el` is not a valid glob", "correct the pattern; `kshot list` shows"]);
}

/// A scenario of a test's own, so that places in it stay where they are.
const YAML: &str = "\
summary: it shows something
kernels: [mips64-6.1, 'mips64el-*']
steps:
  - run: 'true'
probes:
  - ftrace: {}
";

fn with_scenario(from: &str, to: &str) -> Replica {
    assert!(YAML.contains(from), "{from}");
    let replica = Replica::new();
    fs::create_dir(replica.path("scenarios/own")).unwrap();
    fs::write(replica.path("scenarios/own/one.yaml"), YAML.replace(from, to)).unwrap();
    replica
}

#[test]
fn an_unknown_key_ends_129_and_shows_the_line_with_a_caret() {
    let replica = with_scenario("steps:", "stepz:");
    replica.run(&["run", "own/one"]).expect(
        129,
        &["scenarios/own/one.yaml:3:1", "unknown field `stepz`", "3 │ stepz:", "did you mean `steps`?"],
    );
    replica.run(&["validate"]).expect(129, &["ok: tunsetiff/func_stack_trace:", "invalid: own/one"]);
    replica.run(&["validate", "--format", "json", "own/one"]).expect(
        129,
        &[
            r#""scenario":"own/one""#,
            r#""ok":false"#,
            r#"one.yaml:3:1: unknown field `stepz`"#,
            r#""hint":"did you mean `steps`?""#,
        ],
    );
    replica.run(&["list"]).expect(0, &["invalid: kshot validate own/one", "tunsetiff/func_stack_trace"]);
}

#[test]
fn a_kernel_glob_that_matches_nothing_ends_129() {
    let replica = with_scenario("mips64-6.1", "mips46-6.1");
    replica.run(&["validate"]).expect(129, &["one.yaml:2:11", "`mips46-6.1`", "did you mean `mips64-6.1`?"]);
}

#[test]
fn a_fault_in_the_catalogue_ends_129_and_shows_its_place() {
    let replica = Replica::new();
    replica.edit("images/kernels.yaml", "arch: mips64\n", "arch: mips46\n");
    replica.run(&["list"]).expect(129, &["images/kernels.yaml:", "mips46", "did you mean `mips64`?"]);
}

#[test]
fn a_kernel_file_that_is_none_ends_128() {
    let replica = Replica::new();
    fs::write(replica.path("text"), "no kernel").unwrap();
    for (path, word) in [
        ("./text", "ELF"),
        ("./missing", "./missing is not a kernel"),
        ("./images", "this folder has no vmlinux"),
    ] {
        let ended = replica.run(&["run", "tunsetiff/perf_probe", "--kernel", path]);
        ended.expect(128, &[word]);
    }
}

#[test]
fn a_check_on_a_kernel_that_no_scenario_names_ends_128_and_says_what_does_run_it() {
    let replica = Replica::new();
    replica.run(&["check", "tunsetiff/static_ftrace", "--kernel", "mips64-6.1"]).expect(
        128,
        &[
            "none of these scenarios lists mips64-6.1 in its `kernels`",
            "kshot run tunsetiff/static_ftrace --kernel mips64-6.1",
        ],
    );
}

#[test]
fn a_sweep_says_what_it_cannot_sweep_over() {
    let replica = Replica::new();
    replica.run(&["sweep"]).expect(128, &["<KERNEL>"]);
    replica.run(&["sweep", "mips64-6.2"]).expect(128, &["no kernel `mips64-6.2`", "did you mean"]);
    replica.run(&["sweep", "mips64-6.1", "--slices", "21"]).expect(128, &["not a number from 1 to 20"]);
    replica.run(&["sweep", "--replay", "images"]).expect(128, &["cannot read images/sweep.json"]);
}

#[test]
fn a_comparison_takes_one_kernel_a_side() {
    let replica = Replica::new();
    replica
        .run(&["compare", "tunsetiff/leaf", "mips64-6.1", "mips64-6.1*"])
        .expect(128, &["`mips64-6.1*` matches", "exactly one is needed"]);
    replica.run(&["compare", "tunsetiff/leaf", "mips64-6.1"]).expect(128, &["<RIGHT>"]);
    replica.run(&["compare", "tunsetiff/*", "mips64-6.1", "mips64-6.1"]).expect(128, &["no scenario"]);
}

#[test]
fn run_folders_cannot_be_made_in_a_file() {
    let replica = Replica::new();
    fs::write(replica.path("runs"), "no folder").unwrap();
    replica
        .run(&["run", "tunsetiff/leaf", "--out", "runs"])
        .expect(128, &["'runs' for '--out <DIR>': it is not a folder"]);
}

#[test]
fn the_list_speaks_json() {
    let ended = Replica::new().run(&["list", "--format", "json"]);
    ended.expect(0, &[]);
    let list: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let names: Vec<_> =
        list["kernels"].as_array().unwrap().iter().map(|kernel| kernel["name"].clone()).collect();
    assert!(names.contains(&"mips64-6.1".into()), "{names:?}");
}

#[test]
fn a_kernel_that_is_not_provisioned_names_the_command() {
    let replica = Replica::new();
    let mut command = replica.kshot(&["run", "tunsetiff/perf_probe"]);
    let output = command.env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap();
    Ended::of(output)
        .expect(128, &["no kernel of tunsetiff/perf_probe is provisioned", "kshot provision mips64-6.1"]);
}

#[test]
fn a_missing_cross_compiler_ends_131_and_names_the_package_before_any_download() {
    let replica = Replica::new();
    let tools = replica.path("bin");
    fs::create_dir(&tools).unwrap();
    for folder in ["/usr/bin", "/bin", "/usr/sbin"].map(Path::new) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_name().to_string_lossy().starts_with("mips64-linux-") {
                let _ = std::os::unix::fs::symlink(entry.path(), tools.join(entry.file_name()));
            }
        }
    }
    let mut command = replica.kshot(&["provision", "mips64-6.1"]);
    let output = command.env("PATH", &tools).env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap();
    Ended::of(output).expect(131, &["mips64-linux-gnuabi64-gcc", "gcc-mips64-linux-gnuabi64"]);
    assert!(!replica.path("cache/kshot/downloads").exists());
}

#[test]
fn outside_a_repository_kshot_says_where_it_looked() {
    let replica = Replica::new();
    let mut command = replica.kshot(&["list"]);
    let output = command.env("KSHOT_ROOT", replica.path("scenarios")).output().unwrap();
    Ended::of(output).expect(128, &["KSHOT_ROOT", "images/kernels.yaml"]);
}

#[test]
fn a_shell_without_a_terminal_says_so() {
    Replica::new().run(&["shell", "mips64-6.1"]).expect(128, &["needs a terminal"]);
}

#[test]
fn the_doctor_names_what_is_missing_and_the_command_that_mends_it() {
    let replica = Replica::new();
    let empty = replica.path("empty");
    fs::create_dir(&empty).unwrap();
    let output = replica.kshot(&["doctor"]).env("PATH", &empty).output().unwrap();
    Ended::of(output).expect(131, &["qemu-system-mips64", "apt-get install", "qemu-system-mips"]);
}

#[test]
fn kvm_is_refused_where_it_cannot_run_the_guest() {
    let replica = Replica::new();
    let run = ["run", "tunsetiff/truth", "--dry-run", "--kernel", "mips64-6.1", "--accel"];
    let kvm = replica.run(&[&run[..], &["kvm"]].concat());
    kvm.expect(128, &["kvm cannot run a guest of mips64 on this host", "tcg runs every guest"]);
    let lines = ["auto", "tcg"].map(|accel| {
        let ended = replica.run(&[&run[..], &[accel]].concat());
        ended.expect(0, &["qemu-system-mips64"]);
        ended.out
    });
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn a_run_of_some_probes_names_those_that_there_are() {
    let run = ["run", "tunsetiff/func_stack_trace", "--dry-run", "--kernel", "mips64-6.1", "--probe"];
    let ended = Replica::new().run(&[&run[..], &["ftrac"]].concat());
    ended.expect(128, &["has no probe `ftrac`", "gdb, ftrace, perf"]);
}

#[test]
fn the_version_has_the_commit_and_the_tools_and_needs_none_of_them() {
    let replica = Replica::new();
    let version = format!("kshot {}\n", env!("CARGO_PKG_VERSION"));
    let ended = replica.run(&["-V"]);
    assert_eq!((ended.code, &ended.out), (Some(0), &version));
    let empty = replica.path("empty");
    fs::create_dir(&empty).unwrap();
    let output = replica.kshot(&["--version"]).env("PATH", &empty).output().unwrap();
    let ended = Ended::of(output);
    ended.expect(0, &["\ncommit: ", "QEMU: none for arm64, armhf, ", "gdb: none\n"]);
    assert!(ended.out.starts_with(&version), "{}", ended.out);
}

/// A git tree with two commits: `start` and, on `main`, one more.
fn with_tree() -> Replica {
    let replica = Replica::new();
    let script = "git init -q -b main tree && cd tree && git config user.name a && git config user.email a@b \
                  && git commit -q --allow-empty -m one && git tag start && git commit -q --allow-empty -m two";
    let made = std::process::Command::new("sh").args(["-c", script]).current_dir(replica.path(".")).status();
    assert!(made.unwrap().success());
    replica
}

const BISECT: [&str; 4] = ["bisect", "tunsetiff/func_stack_trace", "--like", "mips64-6.1"];

#[test]
fn a_bisection_says_what_its_command_line_lacks() {
    let replica = with_tree();
    let bisect = |more: &[&str]| replica.run(&[&BISECT[..], more].concat());
    bisect(&["--good", "6.1.1"]).expect(128, &["neither --bad nor --new is given"]);
    bisect(&["--good", "6.1.1", "--bad", "6.1.2"]).expect(128, &["neither --versions nor --git is given"]);
    bisect(&["--git", "tree", "--bad", "main"]).expect(128, &["neither --good nor --old is given"]);
    bisect(&["--git", "tree", "--good", "nothing", "--bad", "main"])
        .expect(128, &["has no commit `nothing`"]);
    bisect(&["--git", "images", "--good", "a", "--bad", "b"]).expect(128, &["is not in a git repository"]);
    bisect(&["--git", "tree", "--good", "main", "--bad", "main"]).expect(128, &["both ends are the same"]);
    bisect(&["--error", "0.7"]).expect(128, &["a probability of at least 1e-9 and below 0.5"]);
    bisect(&["--text", "(", "--git", "tree", "--good", "start", "--bad", "main"])
        .expect(128, &["not a regular expression"]);
    bisect(&["--claim", "perv", "--bad", "main"]).expect(128, &["has no claim `perv`; it has", "perf"]);
    bisect(&["--only", "perv", "--bad", "main"]).expect(128, &["has no probe `perv`", "gdb, ftrace, perf"]);
    bisect(&["--text", "a", "--shell", "b"]).expect(128, &["cannot be used with"]);
}

#[test]
fn a_bisection_takes_no_configuration_from_a_prebuilt_kernel() {
    let like = ["bisect", "tunsetiff/func_stack_trace", "--like", "mips64el-6.1-debian", "--bad", "x"];
    with_tree().run(&like).expect(128, &["is a prebuilt package", "--like mips64-6.1"]);
}

#[test]
fn there_is_nothing_to_go_on_with_where_nothing_was_cut_off() {
    let replica = Replica::new();
    replica.run(&["bisect", "--resume"]).expect(128, &["no unfinished bisection in"]);
    replica.run(&["bisect", "--resume", "images"]).expect(128, &["there is no bisection in images"]);
}

#[test]
fn a_verdict_of_a_file_that_is_no_kernel_ends_128() {
    let replica = Replica::new();
    fs::write(replica.path("text"), "no kernel").unwrap();
    for option in ["--image", "--kernel"] {
        let ended = replica.run(&["verdict", "tunsetiff/leaf", option, "text"]);
        ended.expect(128, &["is not a kernel that kshot can boot"]);
    }
}

#[test]
fn a_step_outside_of_a_git_tree_is_no_mark() {
    let replica = Replica::new();
    let step = replica.run(&["bisect-step", "tunsetiff/leaf", "--like", "mips64-6.1", "--tree", "."]);
    step.expect(128, &["is not in a git repository", "name the git tree"]);
    let other = Replica::new();
    let git =
        "git init -q other && git -C other -c user.name=a -c user.email=a@b commit -q --allow-empty -m one";
    assert!(
        std::process::Command::new("sh")
            .args(["-c", git])
            .current_dir(other.path("."))
            .status()
            .unwrap()
            .success()
    );
    let words = ["bisect-step", "tunsetiff/leaf", "--like", "mips64-6.1", "--tree", "other"];
    other.run(&words).expect(128, &["it has no Makefile", "name a kernel's source tree"]);
    let missing =
        replica.run(&["bisect-step", "tunsetiff/leaf", "--like", "mips64-6.1", "--tree", "nowhere"]);
    missing.expect(128, &["is not in a git repository"]);
}

#[test]
fn a_fault_in_the_nights_matrix_ends_129_and_shows_its_place() {
    let replica = Replica::new();
    replica.edit("images/nightly.yaml", "scenarios: ['*']", "scenarios: ['tunsetif/*']");
    replica
        .run(&["nightly", "--out", "night"])
        .expect(129, &["images/nightly.yaml:4:", "`tunsetif/*` matches no scenario", "4 │ scenarios:"]);
    assert!(!replica.path("night").exists(), "nothing is made before the matrix is read");
}

#[test]
fn a_night_without_any_kernel_is_told_and_leaves_its_whole_report() {
    let replica = Replica::new();
    let night = |more: &[&str]| {
        let mut words = vec!["nightly", "--out", "night", "--kernels", "mips64-6.1", "--scenarios"];
        words.extend(more);
        let mut command = replica.kshot(&words);
        Ended::of(command.env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap())
    };
    let ended = night(&["tunsetiff/leaf"]);
    ended.expect(125, &["could not tell tunsetiff/leaf", "not provisioned: kshot provision mips64-6.1"]);
    for file in ["results.json", "junit.xml", "results.ktap", "kcidb.json", "index.html"] {
        assert!(replica.path("night").join(file).is_file(), "{file}");
    }
    let schema = serde_json::from_str(include_str!("../../../schema/nightly.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let results = fs::read(replica.path("night/results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    let faults: Vec<_> = validator.iter_errors(&results).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // The same command goes on with it; another matrix does not.
    night(&["tunsetiff/leaf"]).expect(125, &["could not tell"]);
    fs::write(replica.path("night/results.json"), "").unwrap();
    night(&["tunsetiff/leaf"]).expect(125, &["could not tell", "it was damaged", "results.json.damaged"]);
    night(&["tunsetiff/leaf"]).expect(125, &["could not tell"]);
    night(&["tunsetiff/truth"]).expect(128, &["which has other scenarios or kernels", "another --out"]);
}

#[test]
fn the_engine_parallel_wants_its_hosts() {
    Replica::new().run(&["nightly", "--out", "night", "--engine", "parallel"]).expect(128, &["--hosts"]);
    let replica = Replica::new();
    let words = ["nightly", "--out", "night", "--engine", "parallel", "--hosts", "none"];
    replica.run(&words).expect(128, &["'none' for '--hosts <FILE>': No such file"]);
}

#[test]
fn a_scenario_that_no_night_has_run_has_no_history() {
    let replica = Replica::new();
    replica.run(&["history", "tunsetiff/leaf"]).expect(128, &["no night has run tunsetiff/leaf yet"]);
    replica.run(&["history", "tunsetiff/laef"]).expect(128, &["did you mean `tunsetiff/leaf`?"]);
}

#[test]
fn what_is_no_bundle_and_no_run_is_refused() {
    let replica = Replica::new();
    fs::write(replica.path("text.tar.gz"), "no archive").unwrap();
    replica.run(&["import", "text.tar.gz"]).expect(128, &["text.tar.gz is not a bundle"]);
    for command in ["import", "export", "report"] {
        replica.run(&[command, "nothing"]).expect(128, &["'nothing' for", "No such file"]);
    }
    replica.run(&["survey", "--from", "nothing"]).expect(128, &["'nothing' for '--from <FILE>'"]);
    replica.run(&["sweep", "--replay", "nothing"]).expect(128, &["'nothing' for '--replay <FOLDER>'"]);
    replica.run(&["import", "images"]).expect(128, &["'images' for '<BUNDLE>': it is a folder"]);
    replica.run(&["nightly", "--out", "text.tar.gz"]).expect(128, &["it is not a folder"]);
    replica.run(&["history", "tunsetiff/leaf", "--history", "images"]).expect(128, &["it is not a regular"]);
    replica.run(&["export", "images", "--out", "/dev/null"]).expect(128, &["it is not a regular file"]);
    for file in ["nowhere/junit.xml", "text.tar.gz/junit.xml", "images"] {
        replica.run(&["test", "--junit", file]).expect(128, &[&format!("'{file}'")]);
    }
    std::os::unix::fs::symlink("nowhere", replica.path("dangling")).unwrap();
    replica.run(&["run", "tunsetiff/leaf", "--out", "dangling"]).expect(128, &["'dangling'"]);
    replica
        .run(&["nightly", "--out", "night", "--hosts", "text.tar.gz"])
        .expect(128, &["--hosts has no effect"]);
    replica.run(&["report", "images"]).expect(128, &["cannot read images/run.json"]);
}

#[test]
fn the_stacks_of_a_text_need_neither_workspace_nor_guest() {
    let replica = Replica::new();
    let log = replica.path("log");
    fs::write(
        &log,
        "[    1.0] Call Trace:\n[    1.0]  ? f+0x1/0x2\n[    1.0]  g\x1b[2J+0x1/0x2\n[    1.0]  h+0x1/0x2\n",
    )
    .unwrap();
    let stacks = |arguments: &[&str]| {
        let mut kshot = replica.kshot(&[&["stacks"], arguments, &[log.to_str().unwrap()]].concat());
        Ended::of(kshot.env("KSHOT_ROOT", "/nowhere").output().unwrap())
    };
    stacks(&[]).expect(0, &["call-trace, 1 event, 1 stack, 1 different", "? f+0x1/0x2", "first in line 3"]);
    stacks(&["--folded"]).expect(0, &["?;h;? 1\n"]);
    let json = stacks(&["--format", "json"]);
    json.expect(0, &["\"guess\":true"]);
    let schema = serde_json::from_str(include_str!("../../../schema/stacks.json")).unwrap();
    let document = serde_json::from_str(&json.out).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&document));
    let mail = replica.path("mail");
    let frames = "sh 93 [000] 1.5: cycles:\n\tffffffff80000004 f+0x4 ([kernel.kallsyms])\n\n";
    fs::write(&mail, format!("Hi,\n\n{frames}and\n\nCall Trace:\n g+0x1/0x2\n")).unwrap();
    let mixed = replica.run(&["stacks", mail.to_str().unwrap()]);
    mixed.expect(0, &["perf-script from line 1 on, 1 event", "call-trace from line 8 on, 1 event"]);
    stacks(&["--as", "hist"]).expect(125, &["no stacks found (read as hist); try --as FORMAT"]);
    stacks(&["--as", "history"]).expect(128, &["history", "call-trace"]);
    replica.run(&["stacks", "nowhere.txt"]).expect(128, &["cannot open nowhere.txt"]);
}

#[test]
fn a_function_that_cannot_be_one_is_refused_before_any_boot() {
    let replica = Replica::new();
    let stack = |function: &str, command: &str| {
        replica.run(&["stack", function, "--kernel", "mips64-6.1", "--while", command])
    };
    stack("vfs mkdir'", "mkdir /tmp/a").expect(128, &["cannot be the name of a function", "/proc/kallsyms"]);
    stack("", "mkdir /tmp/a").expect(128, &["cannot be the name of a function"]);
    stack("vfs_mkdir", " ").expect(128, &["--while is empty"]);
}

#[test]
fn a_survey_is_printed_again_from_its_json_and_another_document_is_refused() {
    let replica = Replica::new();
    let cell = |reporter: &str, finding: &str| {
        format!(
            r#"{{"situation":"leaf","function":"f","reporter":"{reporter}","finding":{finding},"folder":null}}"#
        )
    };
    let cells = [
        cell("perf", r#"{"finding":"complete","frames":5}"#),
        cell("kprobe-trigger", r#"{"finding":"gap","missing":["g"],"matched":4,"frames":5}"#),
    ];
    let kernel = r#"{"name":"k","release":"6.1.0","arch":"arm64","image_sha256":"0"}"#;
    let document = format!(r#"{{"schema":1,"kernel":{kernel},"qemu":"7.2","cells":[{}]}}"#, cells.join(","));
    fs::write(replica.path("survey.json"), &document).unwrap();
    let ended = replica.run(&["survey", "--from", "survey.json", "--format", "markdown"]);
    ended.expect(
        0,
        &[
            "| kernel | release | perf | kprobe-trigger |",
            "| k | 6.1.0 | 1 of 1 | 0 of 1 |",
            "| leaf (`f`) | complete (5) | **gap: g (4 of 5)** |",
        ],
    );
    fs::write(replica.path("survey.json"), document.replace("\"schema\":1", "\"schema\":99")).unwrap();
    replica.run(&["survey", "--from", "survey.json"]).expect(128, &["schema 99"]);
    let result = r#"{"schema":2,"scenario":"a","verdict":"match"}"#;
    fs::write(replica.path("result.json"), result).unwrap();
    replica
        .run(&["survey", "--from", "result.json"])
        .expect(128, &["a result document, not a survey document", "name the file"]);
    replica.run(&["survey"]).expect(128, &["KERNELS"]);
    replica
        .run(&["survey", "mips64-6.1", "--situation", "none"])
        .expect(128, &["there is no situation `none`", "softirq"]);
}
