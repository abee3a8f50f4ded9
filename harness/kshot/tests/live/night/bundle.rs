//! A run packed here, unpacked elsewhere: judged again, and made again with QEMU alone.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::KERNEL;
use crate::live::common::{Ended, Replica};

const SCENARIO: &str = "tunsetiff/perf_probe";

pub(crate) fn elsewhere() {
    let replica = Replica::new();
    replica.run(&["run", SCENARIO, "--kernel", KERNEL, "--out", "runs"]).expect(0, &["verdict: match"]);
    let run = fs::read_dir(replica.path("runs")).unwrap().next().unwrap().unwrap().path();
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    replica.run(&["export", run.to_str().unwrap(), "--out", "bundle.tar.gz"]).expect(0, &["reproduce.sh"]);

    // What would be judged differently today is no bundle of that run.
    let yaml = "scenarios/tunsetiff/perf_probe.yaml";
    replica.edit(yaml, "stacks: 5", "stacks: 4");
    let ended = replica.run(&["export", run.to_str().unwrap(), "--out", "changed.tar.gz"]);
    ended.expect(128, &["verdict was `match`, but now it would be `drift`"]);
    assert!(!replica.path("changed.tar.gz").exists());

    // Elsewhere there is no repository, no cache and no kshot's state; only the archive.
    let elsewhere = tempfile::tempdir().unwrap();
    let import = |more: &[&str]| {
        let mut command = replica.kshot(&["import", replica.path("bundle.tar.gz").to_str().unwrap()]);
        command.args(more).current_dir(elsewhere.path());
        for name in ["KSHOT_ROOT", "XDG_STATE_HOME", "HOME"] {
            command.env_remove(name);
        }
        Ended::of(command.output().unwrap())
    };
    import(&[]).expect(0, &["judged again: match, as before the export"]);
    import(&[]).expect(128, &["already exists"]);

    let unpacked = elsewhere.path().join(&name);
    for file in [
        "vmlinux",
        "initramfs",
        "scenario.yaml",
        "bundle.json",
        "run/run.json",
        "run/guest.jsonl",
        "got/perf.txt",
    ] {
        assert!(unpacked.join(file).is_file(), "{file}");
    }
    let reproduce = || Ended::of(Command::new("./reproduce.sh").current_dir(&unpacked).output().unwrap());
    reproduce().expect(0, &["perf.perf-script.txt: the same 5 stacks"]);
    // As `kshot export` says: from where it was unpacked.
    let mut outside = Command::new(format!("{name}/reproduce.sh"));
    outside.arg("--show").current_dir(unpacked.parent().unwrap());
    Ended::of(outside.output().unwrap()).expect(0, &["qemu-system-mips64"]);

    // It tells other stacks from these: one frame of what was recorded is renamed.
    let script = unpacked.join("run/perf.perf-script.txt");
    let text = fs::read_to_string(&script).unwrap();
    assert!(text.contains("register_netdevice+"));
    fs::write(&script, text.replace("__tun_chr_ioctl", "another_ioctl")).unwrap();
    reproduce().expect(1, &["perf.perf-script.txt: other stacks", "another_ioctl"]);
    // What is judged is what was recorded: there the kernel's own name of it has to be another.
    let symbols = unpacked.join("run/perf.kallsyms.gz");
    let mut text = String::new();
    GzDecoder::new(fs::File::open(&symbols).unwrap()).read_to_string(&mut text).unwrap();
    let mut packed = GzEncoder::new(fs::File::create(&symbols).unwrap(), Compression::fast());
    packed.write_all(text.replace(" __tun_chr_ioctl\t", " another_ioctl\t").as_bytes()).unwrap();
    packed.finish().unwrap();
    let other = elsewhere.path().join("other");
    fs::create_dir(&other).unwrap();
    let tampered = elsewhere.path().join("tampered.tar.gz");
    let packed =
        Command::new("tar").arg("-C").arg(elsewhere.path()).arg("-czf").arg(&tampered).arg(&name).status();
    assert!(packed.unwrap().success());
    let mut command =
        replica.kshot(&["import", tampered.to_str().unwrap(), "--out", other.to_str().unwrap()]);
    Ended::of(command.output().unwrap())
        .expect(1, &["judged again: drift; before the export: match", "+    another_ioctl"]);
}
