use super::*;
use crate::samples;

fn probe(left_out_because: Option<&str>) -> ProbeResult {
    let left_out_because = left_out_because.map(ToOwned::to_owned);
    ProbeResult { left_out_because, ..samples::probe("ftrace", Vec::new()) }
}

/// The text of a snapshot with one stack of these frames.
fn text(frames: &[&str]) -> String {
    let frames: String = frames.iter().map(|frame| format!("    {frame}\n")).collect();
    format!("1 event\n\n1 x eoe_filter, register_netdevice: truncated at c\n{frames}")
}

fn info() -> SnapshotInfo {
    SnapshotInfo { release: "6.1.192".into(), image_sha256: "00ff".into(), qemu: "7.2.22".into() }
}

#[test]
fn a_snapshot_is_the_same_drifts_or_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = SnapshotPath::new(folder.path(), "tunsetiff/func_stack_trace", "mips64-6.1", "ftrace");
    assert!(snapshot.file().ends_with("tunsetiff/func_stack_trace/mips64-6.1/ftrace.snap"));
    assert_eq!(compare(&snapshot, "x\n").unwrap(), Comparison::Missing);

    let old = text(&["a", "b", "c"]);
    let new = text(&["a", "c"]);
    std::fs::create_dir_all(&snapshot.folder).unwrap();
    std::fs::write(
        snapshot.file(),
        format!("---\nsource: harness/tests/live.rs\ninfo:\n  kernel: x\n---\n{old}"),
    )
    .unwrap();
    assert_eq!(compare(&snapshot, &old).unwrap(), Comparison::Same);
    let Comparison::Drift { diff } = compare(&snapshot, &new).unwrap() else { panic!("no drift") };
    assert_eq!(
        diff,
        "--- snapshot\n+++ this run\n@@ -2,5 +2,4 @@\n \n 1 x eoe_filter, register_netdevice: truncated at c\n     a\n-    b\n     c\n"
    );
}

/// What insta writes through [`Place::settings`] is what [`compare`] reads: they cannot disagree.
#[test]
fn insta_and_compare_mean_the_same_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/baseline");
    let snapshot = SnapshotPath::new(&folder, "area/name", "kernel", "probe");
    let text = "5 events\n\n5 x eoe_filter, register_netdevice: truncated at ftrace_graph_call\n    ftrace_graph_call\n    0\n";
    snapshot.settings(&info()).bind(|| insta::assert_snapshot!(snapshot.name.clone(), text));
    assert_eq!(compare(&snapshot, text).unwrap(), Comparison::Same);
    let file = std::fs::read_to_string(snapshot.file()).unwrap();
    assert!(file.contains("kernel: 6.1.192\n") && file.contains("qemu: 7.2.22\n"), "{file}");
}

#[test]
fn a_written_snapshot_is_one_for_compare_and_a_pending_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = SnapshotPath::new(folder.path(), "area/name", "kernel", "probe");
    let text = text(&["a", "c"]);
    let pending = write(&snapshot, &info(), &text, Review::Pending).unwrap();
    assert!(pending.ends_with("area/name/kernel/probe.snap.new") && pending.is_file());
    assert_eq!(compare(&snapshot, &text).unwrap(), Comparison::Missing);
    assert_eq!(write(&snapshot, &info(), &text, Review::Accepted).unwrap(), snapshot.file());
    assert_eq!(compare(&snapshot, &text).unwrap(), Comparison::Same);
    assert!(!pending.exists(), "nothing is left to review");
}

#[test]
fn a_run_without_the_truth_has_snapshots_of_its_own() {
    let snapshot = || SnapshotPath::new(Path::new("s"), "a", "k", "ftrace");
    let (there, absent) = (probe(None), probe(Some("no DWARF")));
    assert_eq!(snapshot().for_run(&[]), snapshot());
    assert_eq!(snapshot().for_run(std::slice::from_ref(&there)), snapshot());
    assert_eq!(snapshot().for_run(&[there, absent]).file(), Path::new("s/a/k/without-truth/ftrace.snap"));
}

#[test]
fn a_name_with_a_slash_stays_one_file() {
    let snapshot = SnapshotPath::new(Path::new("s"), "a/b", "../k", "../../p");
    assert_eq!(snapshot.file(), Path::new("s/a/b/..__k/..__..__p.snap"));
}

#[test]
fn a_broken_snapshot_is_a_fault_and_no_drift() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = SnapshotPath::new(folder.path(), "a", "k", "p");
    std::fs::create_dir_all(&snapshot.folder).unwrap();
    std::fs::write(snapshot.file(), "---\n\tx: [\n---\ntext\n").unwrap();
    assert_eq!(compare(&snapshot, "text").unwrap_err().blame(), Blame::Input);
    std::fs::write(snapshot.file(), "---\nsource: x\n---\ntext").unwrap();
    assert_eq!(compare(&snapshot, "text").unwrap(), Comparison::Same);
    std::fs::write(snapshot.file(), b"---\nsource: x\n---\n\xff\xfe").unwrap();
    let error = compare(&snapshot, "text").unwrap_err();
    assert!(error.hint().is_some() && error.to_string().contains("p.snap"));
}
