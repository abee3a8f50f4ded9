//! What no compiler sees: orphans, stale schemas, sizes, stray names.
#![expect(clippy::unwrap_used, reason = "a test")]

mod architectures;
mod imports;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kshot::baseline::SnapshotPath;
use kshot::commands::SchemaKind;
use kshot::scenario::Scenario;
use kshot_guest::kernel::{Catalogue, DwarfAvailability};
use kshot_guest::probe::ProbeSpec;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files(folder: &Path, ends: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            files(&path, ends, found);
        } else if path.to_string_lossy().ends_with(ends) {
            found.push(path);
        }
    }
}

fn scenarios() -> Vec<Scenario> {
    let folder = root().join("scenarios");
    let ids = Scenario::list_ids(&folder).unwrap();
    assert!(!ids.is_empty());
    let catalogue = catalogue();
    let names = catalogue.names();
    ids.iter()
        .map(|id| Scenario::load(&folder, id, &names).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

fn catalogue() -> Catalogue {
    Catalogue::load(&root().join("images/kernels.yaml")).unwrap()
}

fn snapshots() -> BTreeSet<String> {
    let folder = root().join("snapshots");
    let mut found = Vec::new();
    files(&folder, ".snap", &mut found);
    found.iter().map(|path| path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned()).collect()
}

/// The snapshots that the scenarios and the catalogue call for, as `id/kernel/probe.snap`; those of a kernel
/// that may be without its DWARF twice.
fn expected_snapshots() -> BTreeSet<String> {
    let catalogue = catalogue();
    let mut expected = BTreeSet::new();
    for scenario in scenarios() {
        for entry in catalogue.matching(scenario.kernels.iter().map(String::as_str)) {
            let asks = scenario.probes.iter().any(ProbeSpec::records_truth);
            for probe in &scenario.probes {
                let snapshot = SnapshotPath::new(Path::new(""), &scenario.id, &entry.name, &probe.name);
                let mut add =
                    |snapshot: SnapshotPath| expected.insert(snapshot.file().to_string_lossy().into_owned());
                if !asks || entry.dwarf_availability() != DwarfAvailability::Unavailable {
                    add(snapshot.clone());
                }
                if asks && !probe.records_truth() && entry.dwarf_availability() != DwarfAvailability::Built {
                    add(snapshot.without_truth());
                }
            }
        }
    }
    expected
}

#[test]
fn no_snapshot_is_an_orphan() {
    let expected = expected_snapshots();
    let orphans: Vec<_> = snapshots().into_iter().filter(|path| !expected.contains(path)).collect();
    assert!(orphans.is_empty(), "no scenario, kernel or probe for: {orphans:#?}");
}

#[test]
fn every_scenario_has_a_snapshot_for_each_of_its_kernels_and_probes() {
    let there = snapshots();
    let missing: Vec<_> = expected_snapshots().into_iter().filter(|path| !there.contains(path)).collect();
    assert!(
        missing.is_empty(),
        "run these with `cargo test --test live`, read them, accept them: {missing:#?}"
    );
}

#[test]
fn the_schemas_on_file_are_those_of_the_types() {
    for (path, which, word) in [
        ("scenarios/schema.json", SchemaKind::Scenario, "scenario"),
        ("harness/schema/result.json", SchemaKind::Result, "result"),
        ("harness/schema/nightly.json", SchemaKind::Nightly, "nightly"),
        ("harness/schema/sweep.json", SchemaKind::Sweep, "sweep"),
        ("harness/schema/stacks.json", SchemaKind::Stacks, "stacks"),
        ("harness/schema/survey.json", SchemaKind::Survey, "survey"),
    ] {
        assert!(read(path) == which.schema_text(), "stale: run `cargo kshot schema {word} > {path}`");
    }
}

#[test]
fn the_scenarios_on_file_fit_their_schema() {
    let schema: serde_json::Value = serde_json::from_str(&read("scenarios/schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for id in Scenario::list_ids(&root().join("scenarios")).unwrap() {
        let value: serde_json::Value = serde_yaml::from_str(&read(&format!("scenarios/{id}.yaml"))).unwrap();
        let faults: Vec<_> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{id}: {faults:?}");
    }
    assert!(
        !validator.is_valid(&serde_json::json!({ "summary": "s", "kernels": [], "probes": [], "stepz": [] }))
    );
}

#[test]
fn the_documents_keep_to_their_lengths() {
    for (path, most) in [("README.md", 150), ("harness/ARCHITECTURE.md", 200)] {
        let lines = read(path).lines().count();
        assert!(lines <= most, "{path} has {lines} lines, more than {most}");
    }
}

#[test]
fn no_source_file_asks_to_be_split_or_hides_its_name() {
    let mut sources = Vec::new();
    files(&root().join("harness"), ".rs", &mut sources);
    for path in sources {
        // A module's file stands beside its folder; only Cargo's `tests` know a folder by its `mod.rs`.
        let named = !path.ends_with("mod.rs") || path.components().any(|part| part.as_os_str() == "tests");
        assert!(named, "{} should be named for its module", path.display());
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn each_lib_rs_lists_every_module_with_its_line() {
    for name in ["kshot-stack", "kshot-guest", "kshot"] {
        let lib = read(&format!("harness/{name}/src/lib.rs"));
        for entry in fs::read_dir(root().join(format!("harness/{name}/src"))).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name().to_string_lossy().replace(".rs", "");
            let module = entry.path().is_dir() || entry.path().extension().is_some_and(|ends| ends == "rs");
            if module && !["lib", "main"].contains(&file.as_str()) {
                assert!(lib.contains(&format!("mod {file}; // ")), "{file} is not in {name}'s lib.rs");
            }
        }
    }
}

/// Whoever is killed leaves a folder of tempfile's for ever; those of these two modules go with the next
/// kshot.
#[test]
fn temporary_folders_are_made_where_those_of_the_dead_are_removed() {
    let mut makers = Vec::new();
    for name in imports::CRATES {
        for (module, code) in imports::production_code(&root().join(format!("harness/{name}/src"))) {
            if code.contains("tempdir") || code.contains("TempDir::new") {
                makers.push([&[name.to_owned()], module.as_slice()].concat().join("::"));
            }
        }
    }
    assert_eq!(makers, ["kshot-guest::host::cache", "kshot-guest::host::scratch"]);
}

/// An architecture's name says all; every other module within another says beside its name what it holds.
#[test]
fn every_module_within_another_says_what_it_holds() {
    let mut sources = Vec::new();
    for name in ["kshot-stack", "kshot-guest", "kshot"] {
        files(&root().join(format!("harness/{name}/src")), ".rs", &mut sources);
    }
    let mut seen = 0;
    for path in sources.iter().filter(|path| !path.ends_with("src/arch.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (line, before) in lines.iter().zip([""].iter().chain(&lines)) {
            let is_module = line.starts_with("mod ") || line.starts_with("pub") && line.contains(" mod ");
            if is_module && line.contains(';') && !before.starts_with("#[") {
                assert!(line.contains("; // "), "{}: {line}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}
