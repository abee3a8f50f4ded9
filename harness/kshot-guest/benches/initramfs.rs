//! Writing the initramfs' archive, in bytes a second, and, to compare with, gzip alone over as many bytes.
#![expect(clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, Throughput};
use flate2::Compression;
use flate2::write::GzEncoder;
use kshot_guest::userland::overlay;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let files = files();
    let data: Vec<u8> = files.iter().flat_map(|(.., data)| data.clone()).collect();
    let mut group = criterion.benchmark_group("initramfs");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("write", |bencher| {
        bencher.iter(|| overlay(black_box(files.clone())).unwrap().len());
    });
    group.bench_function("gzip alone", |bencher| {
        bencher.iter(|| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(black_box(&data)).unwrap();
            gzip.finish().unwrap().len()
        });
    });
    group.finish();
    criterion.final_summary();
}

/// 64 files of 64 KiB that compress about as programs do: this bench's own text of instructions, each time a
/// little different.
fn files() -> Vec<(String, u32, Vec<u8>)> {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let chunks = program.chunks_exact(64 << 10).take(64).enumerate();
    let files: Vec<_> =
        chunks.map(|(number, chunk)| (format!("usr/bin/program-{number}"), 0o755, chunk.to_vec())).collect();
    assert_eq!(files.len(), 64, "the bench itself is too small to be its own sample");
    files
}
