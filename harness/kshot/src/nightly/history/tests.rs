use super::*;
use crate::samples::{self, Sample};
use kshot_stack::document::{Reason, Verdict};
use kshot_stack::night::results::GitCommit;

fn run(verdict: Verdict, boot: u64) -> RunSummary {
    RunSummary {
        verdict,
        reasons: vec![Reason::Text { text: "why \"so\"".into() }],
        start: Start::Warm,
        timings_ms: Timings { boot, ssh: 2, steps: 3, collect: 4, total: 5 },
        ..RunSummary::sample()
    }
}

fn attempt(run: Option<RunSummary>, wall_ms: u64) -> Attempt {
    Attempt { wall_ms, ..samples::attempt(run) }
}

fn git() -> Option<GitCommit> {
    Some(GitCommit { tree: "/src/linux".into(), commit: "v6.1".into() })
}

fn night(name: &str, attempts: Vec<Attempt>) -> Night {
    Night {
        name: name.into(),
        kernels: vec![NightKernel { git: git(), ..NightKernel::sample() }],
        pairs: vec![Pair { attempts, ..Pair::sample() }],
        ..Night::sample()
    }
}

fn document(run: &RunSummary) -> RunDocument {
    let probes = vec![samples::probe("ftrace", Vec::new())];
    PastResult { run: Some(run.clone()), probes, ..PastResult::sample() }.document("a/s").unwrap()
}

fn store() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(&folder.path().join("deep/history.sqlite")).unwrap();
    (folder, history)
}

#[test]
fn what_is_recorded_comes_back_whole_the_latest_first() {
    let (_folder, mut history) = store();
    let one = run(Verdict::Match, 1);
    let document = document(&one);
    history
        .record(&night("n1", vec![attempt(None, 7), attempt(Some(one.clone()), 8)]), |_| Some(&document))
        .unwrap();
    history.record(&night("n2", vec![attempt(None, 7)]), |_| None).unwrap();
    let past = history.past_results("a/s", "k", "n3", 9).unwrap();
    assert_eq!(past.iter().map(|one| one.night.as_str()).collect::<Vec<_>>(), ["n2", "n1"]);
    assert_eq!((past[0].status, &past[0].run), (PairStatus::HostError, &None));
    assert_eq!((past[1].status, &past[1].run), (PairStatus::Match, &Some(one)));
    assert_eq!(
        (past[1].harness.as_str(), past[1].origin.as_str(), past[1].inputs_hash.as_str()),
        ("0.1.0 (ec7b59b0a1c2)", "linux-source-6.1", "in")
    );
    assert_eq!(past[1].git, git());
    assert_eq!(past[1].probes, document.probes);
    assert_eq!(history.past_results("a/s", "k", "n2", 9).unwrap().len(), 1, "only nights before");
    assert_eq!(history.past_results("a/s", "k", "n3", 1).unwrap().len(), 1, "no more than asked for");
    assert_eq!(history.kernels("a/s").unwrap(), ["k"]);
}

#[test]
fn a_night_recorded_again_replaces_itself_and_leaves_no_recording_behind() {
    let (_folder, mut history) = store();
    let one = run(Verdict::Match, 1);
    let document = document(&one);
    for _ in 0..2 {
        history.record(&night("n1", vec![attempt(Some(one.clone()), 8)]), |_| Some(&document)).unwrap();
    }
    assert_eq!(history.past_results("a/s", "k", "n2", 9).unwrap().len(), 1);
    history.record(&night("n1", vec![attempt(None, 8)]), |_| None).unwrap();
    let left: i64 =
        history.connection.query_row("SELECT count(*) FROM recording", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn the_expected_time_is_the_middle_of_the_last_five_runs_with_a_verdict() {
    let (_folder, mut history) = store();
    assert_eq!(history.expected("a/s", "k").unwrap(), None);
    for (number, ms) in [9_000_000, 10, 50, 20, 40, 30].into_iter().enumerate() {
        let tries = vec![attempt(None, 1), attempt(Some(run(Verdict::Match, 1)), ms)];
        history.record(&night(&format!("n{number}"), tries), |_| None).unwrap();
    }
    assert_eq!(history.expected("a/s", "k").unwrap(), Some(Duration::from_millis(30)));
}

#[test]
fn a_store_of_version_1_is_brought_up_to_date_and_its_rows_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(SCHEMA_SQL).unwrap();
    old.execute_batch(
        r#"PRAGMA user_version = 1;
        INSERT INTO night VALUES ('n1', 't', 'local', '0.1.0', 9);
        INSERT INTO attempt VALUES ('n1', 'a/s', 'k', 0, 't', 8, 'h', 'commit a of /src', 'in', NULL, 'drift',
            '["claim `c` fails: so"]', 'runs/1', '6.1.1', 'mips64', 'ab', '7.2', 'cold', 1, 2, 3, 4, 5, NULL);"#,
    )
    .unwrap();
    drop(old);
    let mut history = History::open(&path).unwrap();
    let past = history.past_results("a/s", "k", "n3", 9).unwrap().remove(0);
    assert_eq!(past.run.unwrap().reasons, [Reason::Text { text: "claim `c` fails: so".into() }]);
    assert_eq!((past.origin.as_str(), past.git), ("commit a of /src", None), "no sentence is read back");
    history.record(&night("n2", vec![attempt(Some(run(Verdict::Match, 1)), 8)]), |_| None).unwrap();
    assert_eq!(history.past_results("a/s", "k", "n3", 9).unwrap()[0].git, git());
}

#[test]
fn a_store_of_a_newer_kshot_is_left_alone() {
    let (folder, history) = store();
    history.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(history);
    let error = History::open(&folder.path().join("deep/history.sqlite")).unwrap_err();
    assert!(error.to_string().contains("is of version 99, this kshot knows 2"), "{error}");
    assert_eq!(error.blame(), Blame::Usage);
}

#[test]
fn a_file_that_is_no_store_is_a_fault_of_the_host_and_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are my notes, and not a database of any kind whatsoever").unwrap();
    let error = History::open(&path).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("these are my notes"));
}

#[test]
fn a_history_that_is_broken_leaves_the_night_without_a_past() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    std::fs::write(&path, "no database of any kind, whatever its name says, and long enough").unwrap();
    let (mut history, why) = History::open_or_forget(&path).unwrap();
    assert!(why.unwrap().starts_with("not compared with earlier nights: "));
    assert_eq!(history.past_results("a/s", "k", "n2", 5).unwrap(), []);
    history.record(&night("n1", vec![]), |_| None).unwrap();
    let (_, why) = History::open_or_forget(&folder.path().join("new.sqlite")).unwrap();
    assert_eq!(why, None);
}

#[test]
fn a_history_that_is_mended_is_no_longer_called_broken() {
    let folder = tempfile::tempdir().unwrap();
    let results = crate::nightly::ResultFolder::open(&folder.path().join("night")).unwrap();
    let path = folder.path().join("history.sqlite");
    std::fs::write(&path, "no database of any kind, whatever its name says, and long enough").unwrap();
    let (mut history, why) = History::open_or_forget(&path).unwrap();
    let mut begun = night("n1", vec![attempt(Some(run(Verdict::Match, 1)), 8)]);
    begun.notes = vec!["host a was taken out".into()];
    begun.add_note(why.unwrap());
    let report = crate::nightly::close(&mut history, &results, begun).unwrap();
    // The run's folder is not there, either.
    assert_eq!(report.night.notes.len(), 3, "{:?}", report.night.notes);
    std::fs::remove_file(&path).unwrap();
    let (mut history, why) = History::open_or_forget(&path).unwrap();
    assert_eq!(why, None);
    let (resumed, _) = results.night().unwrap();
    let mut resumed = resumed.unwrap();
    crate::nightly::forget_notes_of_end(&mut resumed);
    let report = crate::nightly::close(&mut history, &results, resumed).unwrap();
    assert_eq!(report.night.notes.len(), 2, "{:?}", report.night.notes);
    assert!(!report.night.notes.iter().any(|note| note.starts_with(WITHOUT_PAST)));
}
