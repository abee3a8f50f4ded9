//! The parsers, in bytes a second, over captures of `tests/data` many times over: in their format, and as a
//! text that may go on in another; and, to compare with, a search for the ends of the lines of the same
//! bytes.
//!
//! `cargo bench --bench parsers`, or one of them: `cargo bench --bench parsers -- ftrace/sched`.
#![expect(clippy::unwrap_used, reason = "a bench")]

use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use kshot_stack::format::{DetectedFormat, TextFormat};

/// Enough to fill no cache but the last.
const CAPTURE: usize = 4 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let captures: [(TextFormat, &str, &[&str]); 9] = [
        (
            TextFormat::Ftrace,
            "ftrace",
            &["func_stack_trace", "sched-stacktrace", "lost-pipe", "function_graph-stacktrace-trigger"],
        ),
        (TextFormat::PerfScript, "perf", &["cpu-clock", "addresses-alone", "tracepoint"]),
        (TextFormat::ProcStack, "proc_stack", &["many-by-grep", "many-by-tail"]),
        (TextFormat::StackTracer, "stack_tracer", &["two-entries"]),
        (TextFormat::Hist, "hist", &["stack-key"]),
        (TextFormat::BpfStacks, "bpf", &["fentry"]),
        (TextFormat::Bpftrace, "bpftrace", &["maps"]),
        (TextFormat::CallTrace, "pasted", &["ftrace-frames", "crash-bt"]),
        (TextFormat::CallTrace, "console", &["sysrq-t", "sysrq-l", "warn-perf-regs", "boot-banner"]),
    ];
    for (format, folder, names) in captures {
        for name in names {
            bench(&mut criterion, folder, name, |bytes| format.parse(bytes).unwrap().events);
        }
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, folder: &str, name: &str, parse: impl Fn(&[u8]) -> u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{folder}/{name}.txt"));
    let capture = fs::read(&path).unwrap();
    let capture = capture.repeat(CAPTURE / capture.len());
    let mut group = criterion.benchmark_group(format!("{folder}/{name}"));
    group.throughput(Throughput::Bytes(capture.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(&capture))));
    group.bench_function("sections", |bencher| {
        bencher.iter(|| DetectedFormat::guess(black_box(&capture)).sections(&capture[..]).unwrap().len());
    });
    group.bench_function("line ends", |bencher| {
        bencher.iter(|| memchr::memchr_iter(b'\n', black_box(&capture)).map(black_box).count());
    });
    group.finish();
}
