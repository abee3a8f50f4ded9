//! What the host does wrong: it never becomes a mark.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ended, Replica};

/// A scenario that nobody can read.
fn broken() -> Replica {
    let replica = Replica::new();
    fs::create_dir(replica.path("scenarios/own")).unwrap();
    fs::write(replica.path("scenarios/own/one.yaml"), "summary: 1\nstepz: []\n").unwrap();
    replica
}

#[test]
fn a_fault_told_through_a_closed_pipe_keeps_its_code() {
    let replica = broken();
    let closed = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        replica.kshot(arguments).stdout(writer).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(closed(&["validate"]), Some(129));
    assert_eq!(closed(&["list"]), Some(0), "a success that nobody hears is none less");
}

#[test]
fn a_result_that_does_not_fit_the_disk_is_the_hosts_fault() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let replica = Replica::new();
    let mut kshot = replica.kshot(&["list"]);
    let ended = Ended::of(kshot.stdout(full).stderr(Stdio::piped()).output().unwrap());
    ended.expect(131, &["cannot write the result", "No space left"]);
}

/// `kshot` with a limit of the shell's ulimit.
fn limited(replica: &Replica, limit: &str, arguments: &[&str]) -> Ended {
    let kshot = replica.kshot(arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"])
        .arg(kshot.get_program())
        .args(kshot.get_args());
    for (name, value) in kshot.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    Ended::of(shell.current_dir(replica.path("")).stdin(Stdio::null()).output().unwrap())
}

#[test]
fn too_few_descriptors_are_no_mark() {
    let replica = Replica::new();
    let code = limited(&replica, "-n 4", &["validate"]).code.unwrap();
    assert!(code == 0 || code >= 128, "{code}");
}

#[test]
fn a_host_without_a_home_is_told_so() {
    let replica = Replica::new();
    let mut kshot = replica.kshot(&["list"]);
    let ended = kshot.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
    Ended::of(ended.output().unwrap()).expect(128, &["HOME"]);
}

/// `kshot bisect-step` with a `make` that runs `script`, over a tree of its own.
fn step(script: &str) -> Ended {
    let replica = Replica::new();
    for folder in ["bin", "tree", "cache"] {
        fs::create_dir(replica.path(folder)).unwrap();
    }
    let git =
        "git init -q && touch Makefile && git add . && git -c user.name=a -c user.email=a@b commit -qm tree";
    assert!(
        Command::new("sh").args(["-c", git]).current_dir(replica.path("tree")).status().unwrap().success()
    );
    fake(&replica.path("bin/make"), script);
    let path = std::env::var("PATH").unwrap();
    let mut kshot = replica.kshot(&[
        "bisect-step",
        "tunsetiff/func_stack_trace",
        "--like",
        "mips64-6.1",
        "--tree",
        "tree",
    ]);
    kshot.env("PATH", format!("{}:{path}", replica.path("bin").display()));
    kshot.env("XDG_CACHE_HOME", replica.path("cache")).env("KCFLAGS", "-DBROKEN").env("LANG", "de_DE.UTF-8");
    Ended::of(kshot.output().unwrap())
}

fn fake(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_compiler_that_is_killed_stops_a_search() {
    for script in [
        "echo 'make[3]: *** [scripts/Makefile.build:250: kernel/fork.o] Killed'; exit 2",
        "echo 'gcc: fatal error: Killed signal terminated program cc1'; exit 2",
        "echo 'fatal error: error writing to /tmp/cc1.s: No space left on device'; exit 2",
        "kill -TERM $$",
        "exit 127",
    ] {
        step(script).expect(131, &["was cut short by the host"]);
    }
}

#[test]
fn a_tree_that_does_not_build_is_skipped() {
    step("echo 'kernel/fork.c:1:1: error: expected identifier'; exit 2")
        .expect(125, &["expected identifier"]);
}

#[test]
fn a_build_knows_nothing_of_the_users_shell() {
    step("echo \"[$KCFLAGS] [$LANG] [$LC_ALL]\"; exit 2").expect(125, &["[] [] [C]"]);
}
