//! A kernel and a workspace of one's own, without a guest: what is read of a build folder, and what is
//! refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ended, Replica};
use crate::elf::elf_header;

const BANNER: &[u8] = b"\0Linux version 6.1.192-mine (me@host) gcc\0";
/// What the scenario below needs, as malta has it.
const CONFIG: &str = "\
#
# Automatically generated file; DO NOT EDIT.
# Linux/mips 6.1.192 Kernel Configuration
#
CONFIG_MIPS=y\nCONFIG_MIPS_MALTA=y\nCONFIG_64BIT=y\nCONFIG_CPU_BIG_ENDIAN=y\nCONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_PCNET32=y
CONFIG_MIPS_FP_SUPPORT=y\nCONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\nCONFIG_BINFMT_ELF=y\nCONFIG_BINFMT_SCRIPT=y
CONFIG_TTY=y\nCONFIG_PRINTK=y\nCONFIG_DEVTMPFS=y\nCONFIG_PROC_FS=y\nCONFIG_SYSFS=y\nCONFIG_SHMEM=y\nCONFIG_TMPFS=y
CONFIG_UNIX98_PTYS=y\nCONFIG_FUTEX=y\nCONFIG_POSIX_TIMERS=y\nCONFIG_MULTIUSER=y\nCONFIG_INET=y\nCONFIG_KALLSYMS=y
CONFIG_FUNCTION_TRACER=y\nCONFIG_DYNAMIC_FTRACE=y\nCONFIG_TRACING=y\nCONFIG_STACKTRACE=y\nCONFIG_KPROBE_EVENTS=y
CONFIG_PERF_EVENTS=y\nCONFIG_EVENTFD=y\nCONFIG_TUN=y
";

/// A folder as kbuild leaves it, as far as kshot reads it before a boot: big-endian MIPS64.
fn build_folder(replica: &Replica, config: &str) -> PathBuf {
    let folder = replica.path("linux");
    let mut vmlinux = elf_header(u16::to_be_bytes);
    vmlinux.extend(BANNER);
    for name in ["arch", "drivers/net"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for (name, bytes) in
        [("vmlinux", &*vmlinux), (".config", config.as_bytes()), ("Kbuild", b""), ("MAINTAINERS", b"")]
    {
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder
}

/// `kshot` in a folder, with no workspace but what is there.
fn kshot_in(folder: &Path, replica: &Replica, arguments: &[&str]) -> Ended {
    let mut kshot = replica.kshot(arguments);
    let kshot =
        kshot.env_remove("KSHOT_ROOT").env("XDG_CACHE_HOME", replica.path("cache")).current_dir(folder);
    Ended::of(kshot.output().unwrap())
}

fn without(option: &str) -> String {
    let line = format!("CONFIG_{option}=");
    let kept = CONFIG.lines().filter(|one| !one.starts_with(&line));
    kept.map(|one| format!("{one}\n")).collect()
}

#[test]
fn each_option_that_a_kernel_lacks_is_named_before_anything_is_built_or_booted() {
    let replica = Replica::new();
    for option in [
        "PCNET32",
        "BLK_DEV_INITRD",
        "SERIAL_8250_CONSOLE",
        "DEVTMPFS",
        "TUN",
        "KPROBE_EVENTS",
        "RD_GZIP",
        "EVENTFD",
    ] {
        let folder = build_folder(&replica, &without(option));
        let scenario = "tunsetiff/func_stack_trace";
        let ended = kshot_in(&replica.path("."), &replica, &["run", scenario, "--kernel", "./linux"]);
        let named = format!("CONFIG_{option}");
        ended.expect(128, &[&named, "6.1.192-mine", "kshot config"]);
        let ended = kshot_in(&folder, &replica, &["config", "--scenario", scenario]);
        ended.expect(1, &[&format!("{named}=y\n")]);
        assert_eq!(ended.out.matches("# ").count(), 1, "no more than that: {}", ended.out);
    }
    assert!(!replica.path("cache/kshot/userland").exists());
}

#[test]
fn a_build_folder_of_an_architecture_with_an_image_of_its_own_needs_that_too() {
    let replica = Replica::new();
    let folder = build_folder(&replica, CONFIG);
    let mut vmlinux = fs::read(folder.join("vmlinux")).unwrap();
    // Little-endian, EM_X86_64.
    vmlinux[5] = 1;
    vmlinux[16..20].copy_from_slice(&[2, 0, 62, 0]);
    vmlinux[52..54].copy_from_slice(&[64, 0]);
    fs::write(folder.join("vmlinux"), vmlinux).unwrap();
    let run = |kernel: &str| {
        kshot_in(&replica.path("."), &replica, &["run", "tunsetiff/truth", "--kernel", kernel])
    };
    run("./linux").expect(128, &["arch/x86/boot/bzImage", "make bzImage"]);
    let boot = folder.join("arch/x86/boot");
    fs::create_dir_all(&boot).unwrap();
    let mut image = vec![0; 128 << 10];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(boot.join("bzImage"), image).unwrap();
    // Whatever is named of it, it is the same kernel, with the configuration beside it.
    for kernel in ["./linux", "./linux/vmlinux", "./linux/arch/x86/boot/bzImage"] {
        run(kernel).expect(128, &["6.1.192-mine", "CONFIG_VIRTIO_NET", "the board's network card"]);
    }
}

#[test]
fn an_option_that_is_a_module_is_enough_where_modules_are_built() {
    let replica = Replica::new();
    let folder = build_folder(&replica, &(without("TUN") + "CONFIG_TUN=m\n"));
    let config = || kshot_in(&folder, &replica, &["config", "--scenario", "tunsetiff/func_stack_trace"]);
    config().expect(1, &["CONFIG_TUN=y\n"]);
    let run = ["run", "tunsetiff/func_stack_trace", "--kernel", "./linux"];
    kshot_in(&replica.path("."), &replica, &run).expect(128, &["CONFIG_TUN"]);
    fs::write(folder.join("modules.order"), "drivers/net/tun.ko\n").unwrap();
    config().expect(0, &[".config: no options missing"]);
    // A folder in which nothing is built yet may build modules.
    fs::remove_file(folder.join("modules.order")).unwrap();
    fs::remove_file(folder.join("vmlinux")).unwrap();
    config().expect(0, &[".config: no options missing"]);
}

#[test]
fn an_option_that_nothing_of_the_run_uses_may_be_off() {
    let replica = Replica::new();
    let folder = build_folder(&replica, &without("KPROBE_EVENTS"));
    let ended = kshot_in(&folder, &replica, &["config"]);
    ended.expect(0, &[".config: no options missing"]);
    assert_eq!(ended.out, "");
}

#[test]
fn a_module_that_is_listed_and_not_built_is_said_so() {
    let replica = Replica::new();
    let folder = build_folder(&replica, CONFIG);
    fs::write(folder.join("modules.order"), "kernel/drivers/net/tun.ko\n").unwrap();
    let run = ["run", "tunsetiff/truth", "--kernel", "./linux"];
    kshot_in(&replica.path("."), &replica, &run).expect(128, &["drivers/net/tun.ko", "make modules"]);
    fs::write(folder.join("drivers/net/tun.ko"), "none").unwrap();
    kshot_in(&replica.path("."), &replica, &run).expect(128, &["drivers/net/tun.ko", "it is not a module"]);
}

#[test]
fn a_folder_without_a_kernel_and_a_config_of_nothing_known_end_128() {
    let replica = Replica::new();
    let run = ["run", "tunsetiff/truth", "--kernel", "./images"];
    replica.run(&run).expect(128, &["no vmlinux"]);
    replica.run(&["config", "images"]).expect(128, &["no .config"]);
    fs::write(replica.path(".config"), "# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_X86_32=y\n").unwrap();
    replica
        .run(&["config"])
        .expect(128, &["an architecture that kshot cannot boot", "x86-64: CONFIG_X86_64"]);
}

#[test]
fn a_workspace_of_ones_own_is_made_in_a_kernels_tree() {
    let replica = Replica::new();
    let tree = build_folder(&replica, CONFIG);
    kshot_in(&tree, &replica, &["init"]).expect(0, &["kshot record example"]);
    let own = tree.join("kshot");
    kshot_in(&own, &replica, &["validate"]).expect(0, &["ok: example: who calls vfs_mkdir"]);
    kshot_in(&own, &replica, &["list"]).expect(0, &["mine", "example", "mips64-6.1"]);
    let listed = kshot_in(&own, &replica, &["test", "--list"]);
    listed.expect(0, &[]);
    assert_eq!(listed.out, "example::mine: test\n");
    kshot_in(&tree, &replica, &["init"]).expect(128, &["is not empty"]);
    fs::remove_file(tree.join("vmlinux")).unwrap();
    // A kernel that is gone is no test that passed.
    kshot_in(&own, &replica, &["test"]).expect(128, &["example::mine", "there is no kernel in"]);
    kshot_in(&own, &replica, &["run", "example"]).expect(128, &["build it in", "(kshot does not build it)"]);
    kshot_in(&own, &replica, &["run", "example", "--kernel", "mine"])
        .expect(128, &["no kernel was built there yet"]);
    for filter in ["nosuch", "./example.yaml"] {
        kshot_in(&own, &replica, &["test", filter]).expect(128, &["no test matches", filter]);
    }
    kshot_in(&own, &replica, &["run", "./nosuch.yaml"])
        .expect(128, &["there is no scenario file ./nosuch.yaml"]);
}

#[test]
fn a_configuration_that_nothing_can_complete_is_left_as_it_is() {
    let replica = Replica::new();
    let folder = build_folder(&replica, &without("TUN"));
    let before = fs::read(folder.join(".config")).unwrap();
    let merge = ["config", "./linux", "--scenario", "tunsetiff/truth", "--merge"];
    kshot_in(&replica.path("."), &replica, &merge).expect(128, &["./linux has no Makefile"]);
    fs::write(folder.join("Makefile"), "all:\n").unwrap();
    kshot_in(&replica.path("."), &replica, &merge).expect(125, &["olddefconfig"]);
    assert_eq!(fs::read(folder.join(".config")).unwrap(), before);
}

#[test]
fn what_init_cannot_do_leaves_nothing_behind() {
    let replica = Replica::new();
    let tree = build_folder(&replica, CONFIG);
    for (arguments, word) in [
        (&["init", "w", "--name", "mips64-6.1"][..], "the catalogue already has a kernel `mips64-6.1`"),
        (&["init", "w", "--name", "../x"], "`../x` is not a valid kernel name"),
        (&["init", "w", "--kernel", "/none"], "/none is not a kernel that kshot can boot"),
    ] {
        kshot_in(&tree, &replica, arguments).expect(128, &[word]);
        assert!(!tree.join("w").exists());
    }
    kshot_in(&replica.path("."), &replica, &["init", "w"]).expect(128, &["--kernel ../linux"]);
}

#[test]
fn a_kernel_that_two_catalogues_name_ends_129_and_shows_its_place() {
    let replica = Replica::new();
    let tree = build_folder(&replica, CONFIG);
    kshot_in(&tree, &replica, &["init"]).expect(0, &[]);
    let file = tree.join("kshot/kshot.yaml");
    let text = fs::read_to_string(&file).unwrap();
    replica.edit("linux/kshot/kshot.yaml", "\"mine\"", "\"mips64-6.1\"");
    kshot_in(&tree.join("kshot"), &replica, &["list"])
        .expect(129, &["kshot.yaml", "a kernel `mips64-6.1`, too"]);
    fs::write(&file, text.replace("mips64\"", "mips64el\"")).unwrap();
    kshot_in(&tree.join("kshot"), &replica, &["test"])
        .expect(128, &["it is for mips64, and kernel mine is said to be for mips64el"]);
}

#[test]
fn a_scenario_may_lie_anywhere() {
    let replica = Replica::new();
    fs::rename(replica.path("scenarios/tunsetiff/truth.yaml"), replica.path("mine.yaml")).unwrap();
    replica.run(&["validate", "./mine.yaml"]).expect(0, &["ok: ./mine.yaml: "]);
    replica.run(&["validate", "./none.yaml"]).expect(128, &["there is no scenario file ./none.yaml"]);
    fs::write(replica.path("mine.yaml"), "summary: x\nkernel: [mips64-6.1]\n").unwrap();
    replica.run(&["validate", "./mine.yaml"]).expect(129, &["mine.yaml:2:1", "kernel"]);
}
