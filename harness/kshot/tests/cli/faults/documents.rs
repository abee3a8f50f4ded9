//! Documents and archives that others wrote.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use kshot_guest::deadline::{Deadline, PollResult, TimedOut};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::{Ended, Replica};

fn run() -> Value {
    json!({
        "schema": kshot_stack::document::SCHEMA, "scenario": "own/one", "qemu": "7.2", "verdict": "inconclusive", "why": ["why"],
        "kernel": { "name": "k", "release": "6.1", "arch": "mips64", "image_sha256": "0" },
        "start": "cold", "timings_ms": { "boot": 1, "ssh": 1, "steps": 1, "collect": 1, "total": 4 },
        "probes": [], "repeats": [], "console": [], "artifacts": {}
    })
}

/// `kshot report` of a run.json that somebody changed.
fn report(change: impl FnOnce(&mut Value)) -> Ended {
    let replica = Replica::new();
    let mut value = run();
    change(&mut value);
    fs::create_dir(replica.path("theirs")).unwrap();
    fs::write(replica.path("theirs/run.json"), value.to_string()).unwrap();
    replica.run(&["report", "theirs"])
}

#[test]
fn a_schema_that_nobody_knows_is_refused() {
    report(|_| ()).expect(0, &["inconclusive"]);
    report(|run| run["schema"] = 99.into())
        .expect(128, &["theirs/run.json", "schema 99", "this kshot reads schema"]);
}

#[test]
fn a_count_that_overflows_sums_is_refused() {
    report(|run| run["timings_ms"]["total"] = (1_u64 << 60).into()).expect(128, &["timings_ms/total"]);
}

#[test]
fn a_scenario_id_that_leads_outside_is_refused() {
    report(|run| run["scenario"] = "../..".into()).expect(128, &["scenario id is `../..`"]);
}

#[test]
fn a_release_that_a_shell_would_run_is_refused() {
    report(|run| run["kernel"]["release"] = "6.1$(id)".into()).expect(128, &["release is `6.1$(id)`"]);
}

#[test]
fn text_of_a_document_does_not_steer_the_terminal() {
    let ended = report(|run| run["why"] = json!(["ab\u{202e}c"]));
    ended.expect(0, &[r"ab\u{202e}c"]);
    assert!(!ended.out.contains(['\u{1b}', '\u{202e}']));
}

/// A bundle whose files lie in the folder `top`.
fn bundle(top: &str) -> Vec<u8> {
    let scenario =
        "summary: it shows something\nkernels: [k]\nsteps:\n  - run: 'true'\nprobes:\n  - ftrace: {}\n";
    bundle_of(top, scenario.as_bytes())
}

/// The same, of another scenario.
fn bundle_of(top: &str, scenario: &[u8]) -> Vec<u8> {
    let contents = json!({
        "schema": 1, "harness": "0.1.0", "scenario": "own/one", "kernel": "k", "arch": "mips64", "release": "6.1",
        "image_sha256": "0", "qemu": "7.2", "in_catalogue": false, "kernels": ["k"], "argv": []
    });
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in [
        ("bundle.json", contents.to_string().as_bytes()),
        ("scenario.yaml", scenario),
        ("run/run.json", run().to_string().as_bytes()),
        ("run/ftrace.trace.txt", b"# tracer: nop\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o4777);
        archive.append_data(&mut header, format!("{top}/{name}"), text).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_bundle_lands_under_a_name_of_ours() {
    for top in [".cargo", ".ssh", ".git", "bin"] {
        let replica = Replica::new();
        fs::write(replica.path("theirs.tar.gz"), bundle(top)).unwrap();
        fs::create_dir(replica.path("home")).unwrap();
        let ended = replica.run(&["import", "theirs.tar.gz", "--out", "home"]);
        assert!(!replica.path("home").join(top).exists(), "{top}: {ended:?}");
        ended.expect(125, &["bundle-own.one-k"]);
        assert!(replica.path("home/bundle-own.one-k/bundle.json").is_file());
    }
}

#[test]
fn a_bundle_with_a_wrong_checksum_or_without_any_is_refused() {
    let replica = Replica::new();
    let whole = bundle("20261125T020000Z-own.one-k");
    let mut changed = whole.clone();
    // The CRC is the last but four of the bytes (RFC 1952).
    *changed.iter_mut().rev().nth(5).unwrap() ^= 1;
    for bytes in [&changed[..], &whole[..whole.len() - 8]] {
        fs::write(replica.path("theirs.tar.gz"), bytes).unwrap();
        replica
            .run(&["import", "theirs.tar.gz", "--out", "home"])
            .expect(128, &["cannot unpack theirs.tar.gz"]);
    }
    fs::write(replica.path("theirs.tar.gz"), whole).unwrap();
    replica.run(&["import", "theirs.tar.gz", "--out", "home"]).expect(125, &["own.one-k"]);
}

#[test]
fn a_scenario_in_a_bundle_that_is_no_text_is_the_bundles_fault() {
    let replica = Replica::new();
    fs::write(replica.path("theirs.tar.gz"), bundle_of("a", b"summary: \xff\xfe\n")).unwrap();
    let ended = replica.run(&["import", "theirs.tar.gz", "--out", "home"]);
    ended.expect(128, &["cannot read theirs.tar.gz/a/scenario.yaml"]);
}

#[test]
fn a_bundle_that_swells_without_end_is_refused() {
    let replica = Replica::new();
    let mut header = tar::Header::new_gnu();
    header.set_size(1 << 30);
    header.set_mode(0o644);
    header.set_path("a/file").unwrap();
    header.set_cksum();
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| to.write_all(&zeros).unwrap());
    fs::write(replica.path("bomb.tar.gz"), to.finish().unwrap()).unwrap();
    replica.run(&["import", "bomb.tar.gz", "--out", "home"]).expect(128, &["200 times its size"]);
    assert_eq!(fs::read_dir(replica.path("home")).unwrap().count(), 0, "nothing of it is left");
}

#[test]
fn an_import_that_is_interrupted_leaves_nothing() {
    let replica = Replica::new();
    fs::create_dir(replica.path("home")).unwrap();
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    // They take seconds to unpack.
    for number in 0..50_000 {
        archive.append_data(&mut header, format!("a/{number}"), &b""[..]).unwrap();
    }
    fs::write(replica.path("theirs.tar.gz"), archive.into_inner().unwrap().finish().unwrap()).unwrap();
    let mut kshot = replica.kshot(&["import", "theirs.tar.gz", "--out", "home"]);
    let kshot = kshot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = || {
        let folders = fs::read_dir(replica.path("home")).unwrap();
        folders.flatten().any(|folder| folder.path().join("a").exists())
    };
    let waited: Result<(), TimedOut> =
        Deadline::new("the first file", Duration::from_secs(60)).poll(|slice| {
            if begun() {
                return Ok(PollResult::Done(()));
            }
            std::thread::park_timeout(slice.min(Duration::from_millis(2)));
            Ok(PollResult::Pending(None))
        });
    waited.unwrap();
    kill_process(Pid::from_raw(kshot.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    Ended::of(kshot.wait_with_output().unwrap()).expect(130, &["interrupted"]);
    assert_eq!(fs::read_dir(replica.path("home")).unwrap().count(), 0);
}

/// The folder of a sweep over `kernel`, from a stranger.
fn sweep(replica: &Replica, kernel: &str) {
    let findings = json!({
        "functions": { "armed": 0, "compared": 0, "whole": 0, "partly": 0, "never": 0 },
        "stacks": { "recorded": 0, "compared": 0, "whole": 0 }, "breaks": [], "no_truth": [], "each": []
    });
    let document = json!({
        "schema": kshot_stack::sweep::document::SCHEMA, "qemu": "7.2", "findings": findings,
        "kernel": { "name": kernel, "release": "6.1", "arch": "mips64", "image_sha256": "0" },
        "timings_ms": { "boot": 1, "ssh": 1, "steps": 1, "collect": 1, "total": 4 }, "console": [], "artifacts": {}
    });
    fs::create_dir(replica.path("theirs")).unwrap();
    fs::write(replica.path("theirs/sweep.json"), document.to_string()).unwrap();
}

#[test]
fn a_sweep_of_a_stranger_downloads_nothing() {
    let replica = Replica::new();
    sweep(&replica, "mips64-7.3-fixed");
    let mut kshot = replica.kshot(&["sweep", "--replay", "theirs"]);
    let ended = Ended::of(kshot.env("XDG_CACHE_HOME", replica.path("cache")).output().unwrap());
    ended.expect(128, &["`mips64-7.3-fixed` is not provisioned"]);
    assert!(!replica.path("cache").exists());
}
