//! What the host does wrong: it never becomes a mark.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Ended, Replica};

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
    ended.expect(131, &["cannot write to standard output", "No space left"]);
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
    for most in 3..12 {
        let code = limited(&replica, &format!("-n {most}"), &["validate"]).code;
        // The loader itself may fail, in the shell's words.
        assert!(code.is_none_or(|code| code == 0 || code >= 126), "{most} descriptors: {code:?}");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_the_hosts_fault_and_lists_all_the_same() {
    let replica = Replica::new();
    // Not even root makes a folder there.
    let home = |arguments: &[&str]| {
        let mut kshot = replica.kshot(arguments);
        kshot.env("HOME", "/proc/self").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
        Ended::of(kshot.output().unwrap())
    };
    home(&["list"]).expect(0, &["tunsetiff/func_stack_trace"]);
    home(&["provision", "mips64-6.1"]).expect(131, &["cannot create", "/proc/self/.cache/kshot"]);
}

#[test]
fn no_locale_changes_what_is_said() {
    let replica = Replica::new();
    let list = |name: &str, value: &str| {
        let mut kshot = replica.kshot(&["list", "--format", "json"]);
        for known in ["LANG", "LC_ALL", "LANGUAGE"] {
            kshot.env_remove(known);
        }
        let ended = Ended::of(kshot.env(name, value).output().unwrap());
        ended.expect(0, &[]);
        ended.out
    };
    let none = list("LANG", "");
    assert!(!none.is_empty());
    for locale in ["C", "POSIX", "de_DE.UTF-8", "xx_XX.nowhere"] {
        assert_eq!(list("LC_ALL", locale), none, "{locale}");
    }
}

#[test]
fn a_dry_run_makes_and_downloads_nothing() {
    let replica = Replica::new();
    let mut kshot = replica.kshot(&["run", "tunsetiff/perf_probe", "--kernel", "mips64-6.1", "--dry-run"]);
    let ended = Ended::of(kshot.env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap());
    ended.expect(128, &["`mips64-6.1` is not provisioned", "kshot provision mips64-6.1"]);
    assert!(!replica.path("cache").exists());
}

#[test]
fn a_hunt_is_resumed_as_it_began_and_only_a_hunt() {
    let replica = Replica::new();
    fs::create_dir(replica.path("folder")).unwrap();
    replica.run(&["bisect", "--resume", "folder"]).expect(128, &["there is no bisection in folder"]);
    assert_eq!(fs::read_dir(replica.path("folder")).unwrap().count(), 0);
    for more in [["--patience", "5"], ["--error", "0.1"], ["--claim", "perf"], ["--like", "mips64-6.1"]] {
        let mut words = vec!["bisect", "--resume", "folder"];
        words.extend(more);
        replica.run(&words).expect(128, &["cannot be used with", more[0]]);
    }
}

#[test]
fn a_glob_that_fits_many_is_asked_to_be_one() {
    let replica = Replica::new();
    for words in [["bisect-step", "tunsetiff/*"], ["verdict", "tunsetiff/*"]] {
        let mut words = words.to_vec();
        if words[0] == "verdict" {
            words.extend(["--image", "/nowhere"]);
        }
        replica.run(&words).expect(128, &["`tunsetiff/*` matches", "exactly one is needed"]);
    }
    let step = ["bisect-step", "tunsetiff/perf_probe", "--like", "mips64-6.1*"];
    replica.run(&step).expect(128, &["`mips64-6.1*` matches", "kernels, but exactly one"]);
}

#[test]
fn a_host_without_a_home_is_told_so() {
    let replica = Replica::new();
    let mut kshot = replica.kshot(&["list"]);
    let ended = kshot.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
    Ended::of(ended.output().unwrap()).expect(128, &["HOME"]);
}

#[test]
fn a_relative_folder_for_the_cache_or_the_state_is_ignored() {
    let replica = Replica::new();
    let mut kshot = replica.kshot(&["provision", "mips64-6.1"]);
    kshot.env("XDG_CACHE_HOME", "cache").env("XDG_STATE_HOME", "state").env("HOME", "/proc/self");
    Ended::of(kshot.output().unwrap()).expect(131, &["cannot create", "/proc/self/.cache/kshot"]);
    assert!(!replica.path("cache").exists() && !replica.path("state").exists());
    kshot.env("HOME", "home");
    Ended::of(kshot.output().unwrap()).expect(128, &["neither XDG_CACHE_HOME nor HOME", "absolute"]);
}
