//! What is fed: the parsers of captures, the documents that others may have written, YAML, archives.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use kshot::artifacts;
use kshot::scenario::Scenario;
use kshot_guest::bounded::Unzipped;
use kshot_guest::machine::{Registers, packet};
use kshot_guest::symbols::{LoadedKernel, Unwinder};
use kshot_guest::yaml;
use kshot_stack::arch::Arch;
use kshot_stack::console::Recogniser;
use kshot_stack::document::RunDocument;
use kshot_stack::foreign;
use kshot_stack::format::{DetectedFormat, TextFormat};
use kshot_stack::night::results::Night;
use kshot_stack::normalize::normalize;
use kshot_stack::stack::bpf_stacks::{self, BpfEvent};
use kshot_stack::stack::gdb_raw::{RawHit, StackCopy};
use kshot_stack::stack::kallsyms::Kallsyms;
use kshot_stack::stack::{DEEPEST_STACK, ParsedCapture, gdb_json, gdb_raw, perf_data};
use kshot_stack::sweep;
use kshot_stack::text::printable;
use serde_json::json;

/// A parser of untrusted bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, also that of its finds.
    pub name: &'static str,
    /// Whole inputs, which are damaged.
    pub seeds: Vec<Vec<u8>>,
    /// Runs the target on one input.
    pub feed: fn(&[u8]),
}

/// Every target.
pub fn all() -> Vec<Target> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kshot-stack/tests/data");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let captures = |name: &str| files(&data.join(name), &[".txt", ".jsonl"]);
    let mut scenarios = files(&root.join("scenarios"), &[".yaml"]);
    scenarios.push(b"a: &a [x, y]\nb: *a\n".to_vec());
    macro_rules! texts {
        ($($name:literal of $folder:literal as $format:ident,)*) => {
            vec![$(Target {
                name: $name,
                seeds: captures($folder),
                feed: |input| text_of(TextFormat::$format, input),
            }),*]
        };
    }
    let mut targets = texts! {
        "ftrace" of "ftrace" as Ftrace,
        "trace-cmd" of "trace_cmd" as Ftrace,
        "perf" of "perf" as PerfScript,
        "proc-stack" of "proc_stack" as ProcStack,
        "stack-tracer" of "stack_tracer" as StackTracer,
        "hist" of "hist" as Hist,
        "call-trace" of "console" as CallTrace,
        "pasted" of "pasted" as CallTrace,
        "bpftrace" of "bpftrace" as Bpftrace,
    };
    targets.extend([
        Target { name: "perf-data", seeds: files(&data.join("perf_data"), &[".data"]), feed: perf_data_of },
        Target { name: "bpf", seeds: vec![BPF_STACKS.into()], feed: bpf_stacks_of },
        Target {
            name: "kallsyms",
            seeds: files(&data.join("perf_data"), &[".kallsyms"]),
            feed: |input| drop(Kallsyms::read(input)),
        },
        Target {
            name: "gdb",
            seeds: captures("gdb"),
            feed: |input| stacks(gdb_json::parse(input, Arch::Mips64.row())),
        },
        Target { name: "gdb-raw", seeds: captures("gdb"), feed: |input| drop(gdb_raw::parse(input)) },
        Target { name: "gdb-packets", seeds: vec![packets()], feed: read_packets },
        Target { name: "gdb-registers", seeds: vec![registers().into_bytes()], feed: read_registers },
        Target { name: "unwind", seeds: vec![call_stack()], feed: unwind },
        Target { name: "console", seeds: captures("console"), feed: console },
        Target { name: "printable", seeds: captures("console"), feed: |input| drop(printable(input)) },
        Target {
            name: "run",
            seeds: vec![text(&run())],
            feed: |input| drop(foreign::read::<RunDocument>(input)),
        },
        Target {
            name: "night",
            seeds: vec![text(&night())],
            feed: |input| drop(foreign::read::<Night>(input)),
        },
        Target {
            name: "sweep",
            seeds: vec![text(&swept())],
            feed: |input| drop(foreign::read::<sweep::document::SweepDocument>(input)),
        },
        Target { name: "scenario", seeds: scenarios, feed: scenario },
        Target { name: "yaml", seeds: files(&root.join("images"), &[".yaml"]), feed: values },
        Target { name: "archive", seeds: vec![archive()], feed: unpacked },
        Target { name: "gzip", seeds: vec![zipped(&archive())], feed: unzipped },
    ]);
    targets
}

/// A few symbols of a kernel and of a module, as /proc/kallsyms has them.
const SYMBOLS: &[u8] =
    b"ffffffff80100000 T _text\nffffffff8028f4d0 T vfs_mkdir\nffffffffc0003000 t tun_chr_open\t[tun]\n";
/// What `bpf_stacks` writes.
const BPF_STACKS: &[u8] =
    b"113 mkdir\n\tffffffff8028f4d8\n\tffffffffc0003010\n114 a task\nfailed 14\nlost 2\n";

fn symbols() -> Kallsyms {
    Kallsyms::read(SYMBOLS).expect("reading from memory does not fail")
}

fn perf_data_of(input: &[u8]) {
    stacks(perf_data::parse(input, &symbols()));
    perf_data::print_script(|| Ok(input), &symbols(), io::sink()).expect("a sink takes everything");
}

fn bpf_stacks_of(input: &[u8]) {
    let event = BpfEvent { name: "vfs_mkdir".into(), function: Some("vfs_mkdir".into()) };
    stacks(bpf_stacks::parse(input, &symbols(), &event));
}

/// Reads a text in its format, and guesses it, which must not fault either.
fn text_of(format: TextFormat, input: &[u8]) {
    stacks(format.parse(input));
    let sections = DetectedFormat::guess(input).sections(input).expect("reading from memory does not fail");
    sections.into_iter().for_each(|section| stacks(Ok(section.parsed)));
}

fn stacks(parsed: io::Result<ParsedCapture>) {
    for (stack, _) in parsed.expect("reading from memory does not fail").stacks {
        drop(normalize(stack));
    }
}

fn read_packets(mut input: &[u8]) {
    while let Ok(text) = packet::answer(&mut input) {
        drop(packet::bytes(&text));
    }
}

fn read_registers(input: &[u8]) {
    for arch in Arch::all() {
        if let Some(registers) = Registers::of_answer(input, arch.row()) {
            assert_eq!(
                registers.get(arch.row().registers.program_counter),
                Some(registers.program_counter())
            );
            assert_eq!(registers.get(input.len()), None, "a register that was not told");
        }
    }
}

fn unwind(input: &[u8]) {
    thread_local! {
        static UNWINDER: Unwinder = {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kshot-stack/tests/data/unwind/frames.elf");
            let kernel = LoadedKernel { vmlinux: path, offset: 0, modules: Vec::new() };
            Unwinder::read(&kernel).expect("the fixture can be read")
        };
    }
    let mut words =
        input.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes")));
    let (Some(pc), Some(stack_pointer), Some(return_address)) = (words.next(), words.next(), words.next())
    else {
        return;
    };
    let registers = vec![(29, stack_pointer), (31, return_address)];
    let memory = input[3 * 8..].to_vec();
    let raw = RawHit {
        number: 1,
        pc,
        registers,
        stacks: vec![StackCopy { base: STACK, memory }],
        ..RawHit::default()
    };
    let unwound = UNWINDER.with(|unwinder| unwinder.unwind(&raw, Arch::Mips64.row()));
    assert!((1..=DEEPEST_STACK).contains(&unwound.frames.len()), "{} frames", unwound.frames.len());
}

fn console(input: &[u8]) {
    let mut recogniser = Recogniser::default();
    kshot_stack::text::Lines::default().feed(input, |line| recogniser.line(&line));
    drop(recogniser.events());
}

fn scenario(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    drop(Scenario::parse("a/s", "s.yaml", &text, &["mips64-6.1", "mips64el-6.1-debian"]));
}

fn values(input: &[u8]) {
    drop(yaml::from_str::<serde_yaml::Value>("a.yaml", &String::from_utf8_lossy(input)));
}

fn unpacked(input: &[u8]) {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let into = folder.path().join("a/b");
    drop(artifacts::unpack(input, &into));
    let beside = fs::read_dir(folder.path().join("a")).expect("it was just made").count();
    assert_eq!(beside, 1, "something was unpacked elsewhere");
}

fn unzipped(input: &[u8]) {
    drop(io::copy(&mut Unzipped::new(input).take(1 << 30), &mut io::sink()));
}

/// The contents of the files below a folder, by name.
fn files(folder: &Path, ends: &[&str]) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the fixtures are there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("the fixtures can be read")).collect()
}

/// Where the stack of [`call_stack`] lies.
const STACK: u64 = 0x9800_0000_0100_0000;

/// Program counter, stack pointer, return address and stack of a processor in `recursing` of
/// `unwind/frames.c`.
fn call_stack() -> Vec<u8> {
    let (recursing, middle, start_kernel) =
        (0xffff_ffff_8010_003c, 0xffff_ffff_8010_0078, 0xffff_ffff_8010_00a0);
    let frames = [&[7, recursing].repeat(20), &[8, middle][..], &[0; 9], &[start_kernel], &[0; 4]].concat();
    let all = [&[0xffff_ffff_8010_0018, STACK, 0][..], &frames].concat();
    all.iter().flat_map(|word: &u64| word.to_be_bytes()).collect()
}

/// All registers, as the stub of a MIPS tells them.
fn registers() -> String {
    "ffffffff801c8a80".repeat(73)
}

/// What a stub says in the course of a stop.
fn packets() -> Vec<u8> {
    let memory = "5a".repeat(2048);
    let texts = ["OK", "T05thread:p01.01;", &registers(), &memory, "E14"];
    texts.iter().flat_map(|text| [b"+".to_vec(), packet::framed(text.as_bytes())].concat()).collect()
}

fn text(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn kernel() -> serde_json::Value {
    json!({ "name": "mips64-6.1", "release": "6.1.192-kshot", "arch": "mips64", "image_sha256": "00ff" })
}

fn run() -> serde_json::Value {
    json!({
        "schema": kshot_stack::document::SCHEMA, "scenario": "tunsetiff/perf_probe", "kernel": kernel(), "qemu": "7.2.22", "verdict": "drift",
        "why": ["one\ntwo"], "start": "cold",
        "timings_ms": { "boot": 2000, "ssh": 200, "steps": 100, "collect": 100, "total": 2500 },
        "probes": [{
            "name": "ftrace", "kind": "ftrace", "events": 5, "lost": 0, "warnings": [],
            "stacks": [{
                "count": 5, "task": "eoe_filter", "event": "register_netdevice", "frames": ["ftrace_graph_call"],
                "state": "truncated", "ends_at": "ftrace_graph_call",
                "fidelity": { "of": 4, "got": 0, "reference": "gdb" }
            }]
        }],
        "repeats": [{ "verdict": "match", "why": [], "folder": "20261125T020000Z-a-b" }],
        "console": [{ "kind": "warn", "line": "WARNING: CPU: 0", "excerpt": ["a", "b"] }],
        "artifacts": { "console.log": "console.log", "steps/0.txt": "steps/0.txt" }
    })
}

fn night() -> serde_json::Value {
    let run = json!({
        "folder": "runs/one", "verdict": "match", "why": [], "kernel": kernel(), "qemu": "7.2.22", "start": "warm",
        "timings_ms": { "boot": 1, "ssh": 1, "steps": 1, "collect": 1, "total": 4 }
    });
    json!({
        "schema": 1, "night": "20261125T020000Z", "started": "2026-11-25T02:00:00Z", "wall_ms": 60000, "deadline_ms": null,
        "engine": "local", "harness": "0.1.0", "kernels": [{ "name": "mips64-6.1", "origin": "Debian", "absent": null }],
        "scenarios": [{ "id": "a/s", "summary": "it shows something" }],
        "pairs": [{ "scenario": "a/s", "kernel": "mips64-6.1", "inputs": "0123456789abcdef", "tries": [
            { "started": "2026-11-25T02:00:00Z", "wall_ms": 4, "host": "h", "run": run, "fault": null }
        ] }],
        "notes": [], "changes": []
    })
}

fn swept() -> serde_json::Value {
    json!({
        "schema": 1, "kernel": kernel(), "qemu": "7.2.22",
        "timings_ms": { "boot": 1, "ssh": 1, "steps": 1, "collect": 1, "total": 4 },
        "findings": {
            "functions": { "armed": 9, "compared": 3, "whole": 1, "partly": 1, "never": 1 },
            "stacks": { "recorded": 9, "compared": 3, "whole": 1 },
            "breaks": [{ "kind": "cut", "at": null, "functions": 1, "stacks": 1, "examples": ["do_fork"] }],
            "no_truth": [{ "ends_at": "x", "functions": 1, "stacks": 1 }],
            "each": [{ "name": "do_fork", "compared": 1, "whole": 0 }]
        },
        "console": [], "artifacts": { "sweep.json": "sweep.json" }
    })
}

fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["a/file", "a/folder/file", "a/x"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &b"text"[..]).expect("memory takes all");
    }
    archive.into_inner().expect("memory takes all")
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(bytes).expect("memory takes all");
    to.finish().expect("memory takes all")
}
