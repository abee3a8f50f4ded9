//! Builds that the host cuts short, in doubt, or in company.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Ended, Replica};

/// A tree of its own, and a `make` that runs a script.
struct Tree {
    replica: Replica,
}

impl Tree {
    fn new(script: &str) -> Self {
        let replica = Replica::new();
        for folder in ["bin", "tree", "cache", "tmp"] {
            fs::create_dir(replica.path(folder)).unwrap();
        }
        let git = "git init -q && touch Makefile && git add . && git -c user.name=a -c user.email=a@b commit -qm tree";
        let made = Command::new("sh").args(["-c", git]).current_dir(replica.path("tree")).status().unwrap();
        assert!(made.success());
        let tree = Self { replica };
        tree.fake("make", script);
        tree
    }

    fn fake(&self, program: &str, script: &str) {
        let path = self.replica.path("bin").join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn fifo(&self, name: &str) -> std::path::PathBuf {
        let path = self.replica.path(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    /// `kshot bisect-step` over the tree.
    fn step(&self) -> Command {
        let words = ["bisect-step", "tunsetiff/func_stack_trace", "--like", "mips64-6.1", "--tree", "tree"];
        let path = std::env::var("PATH").unwrap();
        let plain = self.replica.kshot(&words);
        // Whoever runs the tests may ignore SIGHUP, as nohup does.
        let mut kshot = Command::new("env");
        kshot.arg("--default-signal=HUP").arg(plain.get_program()).args(plain.get_args());
        kshot.current_dir(self.replica.path("")).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            kshot.env(name, value.unwrap_or_default());
        }
        kshot.env("PATH", format!("{}:{path}", self.replica.path("bin").display()));
        kshot.env("XDG_CACHE_HOME", self.replica.path("cache")).env("TMPDIR", self.replica.path("tmp"));
        kshot.env("KCFLAGS", "-DBROKEN").env("LANG", "de_DE.UTF-8");
        kshot.stdout(Stdio::piped()).stderr(Stdio::piped());
        kshot
    }

    fn run(&self) -> Ended {
        Ended::of(self.step().output().unwrap())
    }

    fn is_clean(&self) -> bool {
        fs::read_dir(self.replica.path("tmp")).unwrap().count() == 0
    }
}

fn step(script: &str) -> Ended {
    Tree::new(script).run()
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal).unwrap();
}

fn is_alive(process: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(process.trim()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// A step whose `make` hangs: kshot, and the process id of that make.
fn hanging(tree: &Tree) -> (Child, String) {
    let there = tree.fifo("there");
    tree.fake("make", &format!("echo $$ > {}; exec sleep 1000", there.display()));
    let kshot = tree.step().spawn().unwrap();
    (kshot, fs::read_to_string(there).unwrap())
}

#[test]
fn a_compiler_that_is_killed_stops_a_search() {
    for script in [
        "echo 'make[3]: *** [scripts/Makefile.build:250: kernel/fork.o] Killed'; exit 2",
        "echo 'gcc: fatal error: Killed signal terminated program cc1'; exit 2",
        "echo 'gcc: internal compiler error: Killed (program cc1)'; exit 2",
        "echo 'collect2: fatal error: ld terminated with signal 9 [Killed]'; exit 2",
        "echo 'ld: final link failed: Disk quota exceeded'; exit 2",
        "echo 'as: BFD: reopening a.o: Read-only file system'; exit 2",
        // Other jobs go on and print for a while.
        "echo 'gcc: fatal error: Killed signal terminated program cc1'; seq 1 500; exit 2",
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
fn a_tree_that_kbuild_refuses_stops_a_search_and_names_the_remedy() {
    let refused = "echo '***'; echo '*** The source tree is not clean, please run '\\''make ARCH=mips mrproper'\\'; \
                   echo '*** in /linux'; echo '***'; exit 2";
    step(refused).expect(128, &["The source tree is not clean", "run `make mrproper`"]);
    let place = "echo 'Makefile:1: *** source directory cannot contain spaces or colons.  Stop.'; exit 2";
    step(place).expect(128, &["cannot contain spaces or colons", "move it"]);
}

#[test]
fn a_tree_of_another_user_is_trusted_as_git_is_told() {
    let tree = Tree::new("echo 'a.c:1:1: error: expected ;'; exit 2");
    let path = std::env::var_os("PATH").unwrap();
    let git =
        std::env::split_paths(&path).map(|folder| folder.join("git")).find(|git| git.is_file()).unwrap();
    // git's own tests set this where none of their users may own what another has.
    tree.fake("git", &format!("GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {} \"$@\"", git.display()));
    let step = || {
        let mut kshot = tree.step();
        kshot.env("XDG_CONFIG_HOME", tree.replica.path("config")).env("HOME", tree.replica.path(""));
        Ended::of(kshot.output().unwrap())
    };
    step().expect(128, &["belongs to another user", "git config --global --add safe.directory"]);
    fs::create_dir_all(tree.replica.path("config/git")).unwrap();
    let settings = format!("[safe]\n\tdirectory = {}\n", tree.replica.path("tree").display());
    fs::write(tree.replica.path("config/git/config"), settings).unwrap();
    step().expect(125, &["expected ;"]);
    fs::write(tree.replica.path("config/git/config"), "[safe]\n\tdirectory = *\n\tdirectory =\n").unwrap();
    step().expect(128, &["belongs to another user"]);
}

#[test]
fn a_build_knows_nothing_of_the_users_shell() {
    step("echo \"[$KCFLAGS] [$LANG] [$LC_ALL]\"; exit 2").expect(125, &["[] [] [C]"]);
}

#[test]
fn a_build_that_does_not_say_why_it_failed_is_made_again() {
    // The first time it is a fault that comes and goes.
    let tree = Tree::new("");
    let count = tree.replica.path("count");
    let script = format!(
        "echo x >> {0}; [ $(wc -l < {0}) -gt 1 ] && echo 'a.c:1:1: error: expected ;'; exit 2",
        count.display()
    );
    tree.fake("make", &script);
    tree.run().expect(125, &["error: expected ;"]);
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), 2);
    // Without a word, and without a commit that was ever built, it is skipped.
    step("exit 2").expect(125, &["cannot tell"]);
}

#[test]
fn a_host_that_cannot_build_what_it_built_stops_a_search() {
    let tree = Tree::new("exit 2");
    tree.run().expect(125, &[]);
    let head = Command::new("git")
        .args(["-C", "tree", "rev-parse", "HEAD"])
        .current_dir(tree.replica.path(""))
        .output()
        .unwrap();
    let head = String::from_utf8(head.stdout).unwrap().trim().to_owned();
    let workshops = fs::read_dir(tree.replica.path("cache/kshot/workshops")).unwrap();
    let workshop = workshops.map(|entry| entry.unwrap().path()).next().unwrap();
    // As a step leaves it that came to a kernel.
    fs::write(workshop.join("last-built"), &head).unwrap();
    tree.run().expect(131, &["this host cannot build any more", &head[..12]]);
}

#[test]
fn a_closed_terminal_and_a_signal_leave_no_tool_and_no_folder() {
    for sent in [Signal::HUP, Signal::TERM, Signal::INT] {
        let tree = Tree::new("");
        let (kshot, make) = hanging(&tree);
        signal(kshot.id(), sent);
        let ended = Ended::of(kshot.wait_with_output().unwrap());
        ended.expect(130, &["was interrupted"]);
        assert!(!is_alive(&make), "{sent:?}: make, process {make}, lives on");
        assert!(tree.is_clean(), "{sent:?}");
    }
}

#[test]
fn a_killed_kshot_leaves_no_tool_and_its_folder_to_the_next() {
    let tree = Tree::new("");
    let (mut kshot, make) = hanging(&tree);
    // Whoever waits for the end of a pipe waits for all that hold it.
    let output = kshot.stderr.take().unwrap();
    signal(kshot.id(), Signal::KILL);
    kshot.wait().unwrap();
    std::io::copy(&mut { output }, &mut std::io::sink()).unwrap();
    until_dead(&make);
    assert!(!tree.is_clean(), "its folder is left");
    tree.fake("make", "echo 'a.c:1:1: error: expected ;'; exit 2");
    tree.run().expect(125, &["expected ;"]);
    assert!(tree.is_clean(), "and gone after the next");
}

/// Waits until a process that is not our child has ended.
fn until_dead(process: &str) {
    let id = Pid::from_raw(process.trim().parse().unwrap()).unwrap();
    let Ok(process) = rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()) else { return };
    let limit = std::time::Duration::from_secs(20);
    assert!(kshot_guest::deadline::wait_for(process, rustix::event::PollFlags::IN, limit).unwrap());
}

#[test]
fn two_steps_at_once_build_one_after_the_other() {
    let tree = Tree::new("");
    let busy = tree.replica.path("busy");
    tree.fake(
        "make",
        &format!(
            "mkdir {0} || {{ echo 'a.c:1:1: error: two at once'; exit 2; }}\nrmdir {0}\n\
             echo 'a.c:1:1: error: expected ;'; exit 2",
            busy.display()
        ),
    );
    thread::scope(|scope| {
        let steps: Vec<_> = (0..4).map(|_| scope.spawn(|| tree.run())).collect();
        for step in steps {
            let ended = step.join().unwrap();
            ended.expect(125, &["expected ;"]);
            assert!(!ended.out.contains("two at once"), "{}", ended.out);
        }
    });
    assert!(tree.is_clean());
}

#[test]
fn a_cache_on_a_full_disk_is_the_hosts_fault() {
    let tree = Tree::new("exec yes x");
    let script = "mount -t tmpfs -o size=64k none cache && exec \"$0\" \"$@\"";
    let step = tree.step();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(step.get_program());
    command.args(step.get_args()).current_dir(tree.replica.path("")).stdin(Stdio::null());
    for (name, value) in step.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let ended = Ended::of(command.output().unwrap());
    if ended.err.contains("unshare") || ended.err.contains("mount:") {
        super::not_shown(&format!("no file system of our own can be mounted here: {}", ended.err));
        return;
    }
    ended.expect(131, &["No space left on device"]);
}

#[test]
fn a_git_that_vanishes_or_hangs_is_no_mark() {
    let tree = Tree::new("exit 2");
    tree.fake("git", "echo 'fatal: cannot' >&2; exit 128");
    tree.run().expect(131, &["git rev-parse failed: fatal: cannot"]);
    let there = tree.fifo("there");
    tree.fake("git", &format!("echo $$ > {}; exec sleep 1000", there.display()));
    let kshot = tree.step().spawn().unwrap();
    let git = fs::read_to_string(&there).unwrap();
    signal(kshot.id(), Signal::TERM);
    let code = kshot.wait_with_output().unwrap().status;
    assert!(code.code().is_none_or(|code| code >= 128), "{code}");
    until_dead(&git);
}
