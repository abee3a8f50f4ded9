use std::collections::BTreeSet;

use super::*;
use crate::bisect::log::{BisectRequest, CandidateSource};
use crate::bisect::{CandidateGraph, Question, SearchPlan};
use kshot_guest::host::FileError;

/// A fake tester: the fault begins at node 20, and some nodes do not build.
#[derive(Default)]
struct Fake {
    broken: Vec<usize>,
    /// The nodes that do not build without saying why.
    doubtful: Vec<usize>,
    /// How often the last built node was built again.
    proofs: usize,
    /// Whether building it again fails.
    cannot_build: bool,
    runs: usize,
    builds: Vec<Candidate>,
    /// After how many builds and runs it is killed, or interrupted.
    lives: Option<usize>,
    host_fails: bool,
}

impl Fake {
    fn live(&mut self) -> Result<(), CandidateError> {
        match &mut self.lives {
            Some(0) => {
                let why = std::io::Error::other("killed");
                let folder = std::path::PathBuf::from("x");
                let error = BisectLogError::from(FileError { action: "read", path: folder, source: why });
                Err(CandidateError::Abort(error.into()))
            }
            Some(lives) => {
                *lives -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Tester for Fake {
    fn name(&self, candidate: Candidate) -> String {
        format!("{candidate:?}")
    }

    fn build(&mut self, candidate: Candidate) -> Result<BuiltCandidate, CandidateError> {
        self.live()?;
        if self.host_fails {
            let source = std::io::Error::other("no space");
            return Err(CandidateError::Host(
                BisectLogError::from(FileError { action: "write", path: "disk".into(), source }).into(),
            ));
        }
        self.builds.push(candidate);
        match candidate {
            Candidate::Node(node) if self.broken.contains(&node) => {
                Err(CandidateError::Skip("it does not build".into()))
            }
            Candidate::Node(node) if self.doubtful.contains(&node) => {
                Err(CandidateError::InDoubt("nobody says why".into()))
            }
            _ => Ok(BuiltCandidate { image_sha256: format!("{candidate:?}"), ..BuiltCandidate::default() }),
        }
    }

    fn run(&mut self, candidate: Candidate, _: usize) -> Result<TestRun, CandidateError> {
        self.live()?;
        self.runs += 1;
        let is_bad = matches!(candidate, Candidate::Node(20..) | Candidate::Applied(_));
        Ok(TestRun {
            answer: if is_bad { "fails" } else { "holds" }.into(),
            run_folder: Some(self.runs.to_string()),
        })
    }

    fn build_last_again(&mut self) -> Result<(), CandidateError> {
        self.proofs += 1;
        let source = std::io::Error::other("no compiler");
        let error = BisectLogError::from(FileError { action: "run", path: "cc".into(), source });
        if self.cannot_build { Err(CandidateError::Host(error.into())) } else { Ok(()) }
    }

    fn build_ahead(&mut self, _: &[usize]) {}
}

pub(crate) fn header() -> BisectRequest {
    let plan = SearchPlan {
        graph: CandidateGraph::linear(64),
        good: vec![0],
        bad: 63,
        good_answers: BTreeSet::from(["holds".to_owned()]),
        accepted_error: 0.01,
        patience: 20,
        can_verify_culprit: true,
        spot_checks: 0,
    };
    BisectRequest {
        schema: 1,
        command: "kshot bisect".into(),
        scenario: "a/b".into(),
        probes: vec![],
        question: Question::Claims(vec![]),
        range: CandidateSource::Git("/tree".into()),
        paths: vec![],
        configuration_of: "k".into(),
        config: vec![],
        require: vec![],
        terms: ("good".into(), "bad".into()),
        plan,
        names: (0..64).map(|node| format!("{node:012}{:028}", 0)).collect(),
        titles: (0..64).map(|node| format!("change {node}")).collect(),
        notes: vec![],
    }
}

fn search(log: &BisectLog) -> Bisector {
    let mut search = Bisector::new(log.header().plan.clone());
    log.entries().iter().filter_map(|record| record.event.clone()).for_each(|event| search.add_event(event));
    search
}

fn culprit(outcome: &BisectionResult) -> usize {
    match outcome {
        BisectionResult::Found { changes, .. } => changes[0].culprit(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hunt_that_is_killed_at_any_step_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = BisectLog::create(&folder.path().join("whole"), header()).unwrap();
    let mut tester = Fake { broken: vec![31], ..Fake::default() };
    let whole = drive_search(&mut search(&log), &mut log, &mut tester, &Progress::silent()).unwrap();
    assert_eq!(culprit(&whole), 20);
    let steps = log.entries().len();
    for lives in 0..steps {
        let folder = folder.path().join(lives.to_string());
        let mut log = BisectLog::create(&folder, header()).unwrap();
        let mut killed = Fake { broken: vec![31], lives: Some(lives), ..Fake::default() };
        drive_search(&mut search(&log), &mut log, &mut killed, &Progress::silent()).unwrap_err();
        drop(log);
        let mut log = BisectLog::open(&folder).unwrap();
        let mut rest = Fake { broken: vec![31], ..Fake::default() };
        let outcome = drive_search(&mut search(&log), &mut log, &mut rest, &Progress::silent()).unwrap();
        assert_eq!(outcome, whole, "killed after {lives}");
        assert_eq!(killed.runs + rest.runs, tester.runs, "killed after {lives}: nothing runs twice");
        assert_eq!(killed.builds.len() + rest.builds.len(), tester.builds.len(), "killed after {lives}");
    }
}

#[test]
fn a_line_that_a_kill_cut_short_never_happened() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = BisectLog::create(folder.path(), header()).unwrap();
    let outcome =
        drive_search(&mut search(&log), &mut log, &mut Fake::default(), &Progress::silent()).unwrap();
    let steps = log.entries().len();
    drop(log);
    let path = folder.path().join("events.jsonl");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 7]).unwrap();
    let mut log = BisectLog::open(folder.path()).unwrap();
    assert_eq!(log.entries().len(), steps - 1);
    let again = drive_search(&mut search(&log), &mut log, &mut Fake::default(), &Progress::silent()).unwrap();
    assert_eq!(again, outcome);
    drop(log);
    assert_eq!(BisectLog::open(folder.path()).unwrap().entries().len(), steps);
}

#[test]
fn a_host_that_fails_stops_the_hunt_and_is_forgotten_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = BisectLog::create(folder.path(), header()).unwrap();
    let mut tester = Fake { host_fails: true, ..Fake::default() };
    let outcome = drive_search(&mut search(&log), &mut log, &mut tester, &Progress::silent()).unwrap();
    assert!(matches!(outcome, BisectionResult::TooManyHostErrors { .. }));
    drop(log);
    let mut log = BisectLog::open(folder.path()).unwrap();
    let outcome =
        drive_search(&mut search(&log), &mut log, &mut Fake::default(), &Progress::silent()).unwrap();
    assert_eq!(culprit(&outcome), 20);
}

#[test]
fn a_build_in_doubt_is_skipped_only_where_this_host_can_still_build() {
    let hunt = |cannot_build| {
        let folder = tempfile::tempdir().unwrap();
        let mut log = BisectLog::create(folder.path(), header()).unwrap();
        let mut tester = Fake { doubtful: vec![31], cannot_build, ..Fake::default() };
        let outcome = drive_search(&mut search(&log), &mut log, &mut tester, &Progress::silent()).unwrap();
        let skipped =
            log.entries().iter().filter(|entry| matches!(entry.event, Some(SearchEvent::Skip { .. })));
        (outcome, skipped.count(), tester.proofs)
    };
    let (outcome, skipped, proofs) = hunt(false);
    assert_eq!((culprit(&outcome), skipped > 0, proofs > 0), (20, true, true));
    let (outcome, skipped, _) = hunt(true);
    assert!(matches!(outcome, BisectionResult::TooManyHostErrors { .. }), "{outcome:?}");
    assert_eq!(skipped, 0, "nothing is blamed for a host that cannot build");
}

#[test]
fn nobody_else_works_on_a_hunt() {
    let folder = tempfile::tempdir().unwrap();
    let _journal = BisectLog::create(folder.path(), header()).unwrap();
    assert!(matches!(BisectLog::open(folder.path()), Err(BisectLogError::Busy { .. })));
}

#[test]
fn the_newest_hunt_without_a_result_is_taken_up() {
    let base = tempfile::tempdir().unwrap();
    assert!(matches!(BisectLog::unfinished(base.path()), Err(BisectLogError::NoneUnfinished { .. })));
    for name in ["1", "2", "3"] {
        let log = BisectLog::create(&base.path().join(name), header()).unwrap();
        if name == "3" {
            log.finish(&BisectionResult::NoGoodFound, &[("report.md", "text".into())]).unwrap();
        }
    }
    assert_eq!(BisectLog::unfinished(base.path()).unwrap(), base.path().join("2"));
}

#[test]
fn a_folder_that_is_no_hunt_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let error = BisectLog::open(folder.path()).unwrap_err();
    assert!(matches!(error, BisectLogError::NoBisection { .. }) && error.blame() == Blame::Usage);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no lock is left in it");
    std::fs::write(folder.path().join("bisect.json"), "{}").unwrap();
    let error = BisectLog::open(folder.path()).unwrap_err();
    assert_eq!((error.blame(), matches!(error, BisectLogError::Json { .. })), (Blame::Usage, true));
}

#[test]
fn a_step_is_told_with_its_purpose_and_what_is_left() {
    let line = |purpose, evaluations| {
        let event = SearchEvent::Ran { candidate: Candidate::Node(1), purpose, answer: "fails".into() };
        let record = LogEntry {
            name: "6.1.180".into(),
            event: Some(event),
            milliseconds: 3900,
            run_folder: Some("run".into()),
            ..LogEntry::default()
        };
        let left = RemainingWork { suspects: 3, evaluations, runs: 12 };
        progress_line(&record, purpose, left, &StepDurations::of(std::slice::from_ref(&record)))
    };
    assert_eq!(
        line(Purpose::Halve, 2),
        "6.1.180: fails (evaluation, 3.9 s); 3 suspects, 2 evaluations and 12 runs to go, about 1 min"
    );
    assert!(line(Purpose::Halve, 1).contains(", 1 evaluation and "));
    assert_eq!(
        line(Purpose::Reproduce, 2),
        "6.1.180: fails (reproduction, 3.9 s); 12 runs to go, about 1 min"
    );
}

#[test]
fn a_long_reason_is_cut_to_its_gist() {
    let why = "cannot make kernel k: kbuild failed (exit status: 2); the log /x ends with:\n  CC a.o\na.c:1: error: kshot\n";
    assert_eq!(
        shorten_reason(why),
        "cannot make kernel k: kbuild failed (exit status: 2): a.c:1: error: kshot"
    );
    assert_eq!(shorten_reason("the guest panicked"), "the guest panicked");
    assert_eq!(shorten_reason(&"x".repeat(500)).len(), 160);
}

#[test]
fn whose_fault_it_is_decides_what_it_says_of_a_candidate() {
    use kshot_guest::host::ToolError;
    let step = |diagnosis: Option<&str>| {
        let failed = ToolError::Failed {
            what: "kbuild".into(),
            status: "exit status: 2".into(),
            log: "log".into(),
            tail: "make: *** [vmlinux] Error 2".into(),
            diagnosis: diagnosis.map(Into::into),
        };
        CandidateError::from(KernelError::Tool { kernel: "k".into(), source: Box::new(failed) })
    };
    assert!(matches!(step(Some("fs/a.c:1: error: x")), CandidateError::Skip(_)));
    assert!(matches!(step(None), CandidateError::InDoubt(_)));
    let interrupted = ToolError::Interrupted { what: "kbuild".into() };
    let stopped =
        CandidateError::from(KernelError::Tool { kernel: "k".into(), source: Box::new(interrupted) });
    assert!(matches!(stopped, CandidateError::Abort(_)));
    let conflict = GitError::Conflict { command: "git revert x".into(), stderr: "conflict".into() };
    assert!(matches!(CandidateError::from(conflict), CandidateError::Skip(_)));
}
