//! perf.data is kept as evidence and not read by kshot. Here another reader reads it, once for each byte order:
//! what `perf script` printed in the guest is what the kernel recorded.

use std::fs::{self, File};
use std::io::{BufReader, Cursor};
use std::path::Path;

use kshot::run::{self, Options};
use kshot::scenario::Scenario;
use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::progress::Progress;
use kshot_stack::stack::{Stack, perf_script};
use libtest_mimic::{Failed, Trial};
use linux_perf_data::linux_perf_event_reader::EventRecord;
use linux_perf_data::{PerfFileReader, PerfFileRecord};

use super::on_kernel;

const SCENARIO: &str = "tunsetiff/perf_probe";

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let names: Vec<String> = catalogue.names().into_iter().map(Into::into).collect();
    ["mips64-6.1", "mips64el-6.1-debian"]
        .map(|name| {
            let (workspace_, names) = (workspace.clone(), names.clone());
            let test = move |kernel: &Kernel| agree(&workspace_, &names, kernel);
            on_kernel(
                workspace,
                catalogue,
                &format!("evidence::perf_data_and_script_agree::{name}"),
                name,
                test,
            )
        })
        .into()
}

fn agree(workspace: &Workspace, names: &[String], kernel: &Kernel) -> Result<(), Failed> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scenario = Scenario::load(&workspace.scenarios(), SCENARIO, &names).unwrap();
    let outcome = run::run(workspace, &scenario, kernel, &Options::default(), &Progress::silent()).unwrap();
    let file = |end: &str| {
        let artifacts = &outcome.document.artifacts;
        let name = artifacts.values().find(|name| name.ends_with(end));
        outcome.folder.join(name.unwrap_or_else(|| panic!("no {end} in {artifacts:?}")))
    };
    let script = BufReader::new(File::open(file("perf-script.txt")).unwrap());
    let parsed = perf_script::parse(script).unwrap();
    let addresses = |stack: &Stack| {
        stack.frames.iter().filter(|frame| !frame.user).filter_map(|frame| frame.address).collect()
    };
    let each = parsed.stacks.iter().flat_map(|(stack, count)| (0..*count).map(|_| addresses(stack)));
    let mut printed: Vec<Vec<u64>> = each.collect();
    let mut recorded = call_chains(&file("perf.data"));
    assert_eq!(recorded.len(), 5, "samples");
    // Equal stacks were counted together.
    printed.sort();
    recorded.sort();
    assert_eq!(recorded, printed);
    Ok(())
}

/// The kernel's part of each sample's call chain, innermost first.
fn call_chains(path: &Path) -> Vec<Vec<u64>> {
    /// The markers between the parts of a call chain (`PERF_CONTEXT_MAX`, include/uapi/linux/perf_event.h).
    const CONTEXTS: u64 = -4095_i64 as u64;
    const CONTEXT_USER: u64 = -512_i64 as u64;
    let bytes = in_declared_bit_order(fs::read(path).unwrap());
    let PerfFileReader { mut perf_file, mut record_iter } =
        PerfFileReader::parse_file(Cursor::new(bytes)).unwrap();
    let mut chains = Vec::new();
    while let Some(record) = record_iter.next_record(&mut perf_file).unwrap() {
        let PerfFileRecord::EventRecord { record, .. } = record else { continue };
        let EventRecord::Sample(sample) = record.parse().unwrap() else { continue };
        let chain = sample.callchain.expect("a call chain");
        let addresses = (0..chain.len()).filter_map(|index| chain.get(index));
        chains.push(addresses.take_while(|&at| at != CONTEXT_USER).filter(|&at| at < CONTEXTS).collect());
    }
    chains
}

/// The flags of `perf_event_attr` are a C bit field, which a big-endian compiler fills from the other end. The
/// reader knows the little-endian order alone, so they are turned round wherever an attr stands in the file.
fn in_declared_bit_order(mut bytes: Vec<u8>) -> Vec<u8> {
    /// Offset of the flags in `perf_event_attr`.
    const FLAGS: usize = 40;
    if bytes.starts_with(b"PERFILE2") {
        return bytes;
    }
    // struct perf_file_header (tools/perf/util/header.h): magic, size, attr_size, attrs { offset, size }.
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (entry, start, length) = (word(16), word(24), word(32));
    let attrs: Vec<Vec<u8>> =
        (start..start + length).step_by(entry).map(|at| bytes[at..at + FLAGS + 8].to_vec()).collect();
    assert!(!attrs.is_empty());
    for attr in attrs {
        let places: Vec<usize> = bytes
            .windows(attr.len())
            .enumerate()
            .filter(|(_, part)| *part == attr)
            .map(|(at, _)| at)
            .collect();
        let flags = u64::from_be_bytes(attr[FLAGS..].try_into().unwrap()).reverse_bits().to_be_bytes();
        for at in places {
            bytes[at + FLAGS..at + FLAGS + 8].copy_from_slice(&flags);
        }
    }
    bytes
}
