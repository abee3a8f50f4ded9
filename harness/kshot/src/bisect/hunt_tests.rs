use std::collections::BTreeSet;

use super::*;
use crate::bisect::journal::{Header, Range};
use crate::bisect::{History, Plan, Question};

/// A laboratory without a machine: the fault begins at node 20, and some nodes do not build.
#[derive(Default)]
struct Fake {
    broken: Vec<usize>,
    runs: usize,
    builds: Vec<Subject>,
    /// After how many builds and runs it is killed, or interrupted.
    lives: Option<usize>,
    host_fails: bool,
}

impl Fake {
    fn live(&mut self) -> Result<(), Trouble> {
        match &mut self.lives {
            Some(0) => {
                let why = std::io::Error::other("killed");
                let folder = std::path::PathBuf::from("x");
                let error = JournalError::Io { action: "read", path: folder, source: why };
                Err(Trouble::Stop(error.into()))
            }
            Some(lives) => {
                *lives -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Lab for Fake {
    fn name(&self, subject: Subject) -> String {
        format!("{subject:?}")
    }

    fn build(&mut self, subject: Subject) -> Result<Built, Trouble> {
        self.live()?;
        if self.host_fails {
            let source = std::io::Error::other("no space");
            return Err(Trouble::Host(
                JournalError::Io { action: "write", path: "disk".into(), source }.into(),
            ));
        }
        self.builds.push(subject);
        match subject {
            Subject::At(node) if self.broken.contains(&node) => {
                Err(Trouble::CannotTell("it does not build".into()))
            }
            _ => Ok(Built { image: format!("{subject:?}"), ..Built::default() }),
        }
    }

    fn run(&mut self, subject: Subject, _: usize) -> Result<Ran, Trouble> {
        self.live()?;
        self.runs += 1;
        let shows = matches!(subject, Subject::At(20..) | Subject::Applied(_));
        Ok(Ran { state: if shows { "fails" } else { "holds" }.into(), folder: Some(self.runs.to_string()) })
    }

    fn ahead(&mut self, _: &[usize]) {}
}

pub(crate) fn header() -> Header {
    let plan = Plan {
        history: History::linear(64),
        good: vec![0],
        bad: 63,
        quiet: BTreeSet::from(["holds".to_owned()]),
        error: 0.01,
        patience: 20,
        flips: true,
        checks: 0,
    };
    Header {
        schema: 1,
        command: "kshot bisect".into(),
        scenario: "a/b".into(),
        only: vec![],
        question: Question::Claims(vec![]),
        range: Range::Git("/tree".into()),
        paths: vec![],
        like: "k".into(),
        config: vec![],
        require: vec![],
        terms: ("good".into(), "bad".into()),
        plan,
        names: (0..64).map(|node| format!("{node:012}{:028}", 0)).collect(),
        titles: (0..64).map(|node| format!("change {node}")).collect(),
        notes: vec![],
    }
}

fn search(journal: &Journal) -> Search {
    let mut search = Search::new(journal.header().plan.clone());
    journal.records().iter().filter_map(|record| record.event.clone()).for_each(|event| search.record(event));
    search
}

fn culprit(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Found { changes, .. } => changes[0].culprit(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hunt_that_is_killed_at_any_step_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&folder.path().join("whole"), header()).unwrap();
    let mut lab = Fake { broken: vec![31], ..Fake::default() };
    let whole = hunt(&mut search(&journal), &mut journal, &mut lab, &Progress::silent()).unwrap();
    assert_eq!(culprit(&whole), 20);
    let steps = journal.records().len();
    for lives in 0..steps {
        let folder = folder.path().join(lives.to_string());
        let mut journal = Journal::create(&folder, header()).unwrap();
        let mut killed = Fake { broken: vec![31], lives: Some(lives), ..Fake::default() };
        hunt(&mut search(&journal), &mut journal, &mut killed, &Progress::silent()).unwrap_err();
        drop(journal);
        let mut journal = Journal::open(&folder).unwrap();
        let mut rest = Fake { broken: vec![31], ..Fake::default() };
        let outcome = hunt(&mut search(&journal), &mut journal, &mut rest, &Progress::silent()).unwrap();
        assert_eq!(outcome, whole, "killed after {lives}");
        assert_eq!(killed.runs + rest.runs, lab.runs, "killed after {lives}: nothing runs twice");
        assert_eq!(killed.builds.len() + rest.builds.len(), lab.builds.len(), "killed after {lives}");
    }
}

#[test]
fn a_line_that_a_kill_cut_short_never_happened() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), header()).unwrap();
    let outcome =
        hunt(&mut search(&journal), &mut journal, &mut Fake::default(), &Progress::silent()).unwrap();
    let steps = journal.records().len();
    drop(journal);
    let path = folder.path().join("events.jsonl");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 7]).unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.records().len(), steps - 1);
    let again = hunt(&mut search(&journal), &mut journal, &mut Fake::default(), &Progress::silent()).unwrap();
    assert_eq!(again, outcome);
    drop(journal);
    assert_eq!(Journal::open(folder.path()).unwrap().records().len(), steps);
}

#[test]
fn a_host_that_fails_stops_the_hunt_and_is_forgotten_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), header()).unwrap();
    let mut lab = Fake { host_fails: true, ..Fake::default() };
    let outcome = hunt(&mut search(&journal), &mut journal, &mut lab, &Progress::silent()).unwrap();
    assert!(matches!(outcome, Outcome::HostFaults { .. }));
    drop(journal);
    let mut journal = Journal::open(folder.path()).unwrap();
    let outcome =
        hunt(&mut search(&journal), &mut journal, &mut Fake::default(), &Progress::silent()).unwrap();
    assert_eq!(culprit(&outcome), 20);
}

#[test]
fn nobody_else_works_on_a_hunt() {
    let folder = tempfile::tempdir().unwrap();
    let _journal = Journal::create(folder.path(), header()).unwrap();
    assert!(matches!(Journal::open(folder.path()), Err(JournalError::Busy { .. })));
}

#[test]
fn the_newest_hunt_without_a_result_is_taken_up() {
    let base = tempfile::tempdir().unwrap();
    assert!(matches!(Journal::unfinished(base.path()), Err(JournalError::Nothing { .. })));
    for name in ["1", "2", "3"] {
        let journal = Journal::create(&base.path().join(name), header()).unwrap();
        if name == "3" {
            journal.finish(&Outcome::NoGood, &[("report.md", "text".into())]).unwrap();
        }
    }
    assert_eq!(Journal::unfinished(base.path()).unwrap(), base.path().join("2"));
}

#[test]
fn a_folder_that_is_no_hunt_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bisect.json"), "{}").unwrap();
    let error = Journal::open(folder.path()).unwrap_err();
    assert_eq!((error.blame(), matches!(error, JournalError::Json { .. })), (Blame::Usage, true));
}

#[test]
fn a_long_reason_is_cut_to_its_gist() {
    let why = "cannot make kernel k: kbuild failed (exit status: 2); the log /x ends with:\n  CC a.o\na.c:1: error: kshot\n";
    assert_eq!(brief(why), "cannot make kernel k: kbuild failed (exit status: 2): a.c:1: error: kshot");
    assert_eq!(brief("the guest panicked"), "the guest panicked");
    assert_eq!(brief(&"x".repeat(500)).len(), 160);
}

#[test]
fn whose_fault_it_is_decides_what_it_says_of_a_candidate() {
    use kshot_guest::host::ToolError;
    let step = |tail: &str| {
        let failed = ToolError::Failed {
            what: "kbuild".into(),
            status: "exit status: 2".into(),
            log: "log".into(),
            tail: tail.into(),
        };
        Trouble::from(KernelError::Tool { kernel: "k".into(), source: Box::new(failed) })
    };
    assert!(matches!(step("fs/a.c:1: error: x"), Trouble::CannotTell(_)));
    assert!(matches!(step("cc1: No space left on device"), Trouble::Host(_)));
    let interrupted = ToolError::Interrupted { what: "kbuild".into() };
    let stopped = Trouble::from(KernelError::Tool { kernel: "k".into(), source: Box::new(interrupted) });
    assert!(matches!(stopped, Trouble::Stop(_)));
    let conflict = GitError::Conflict { command: "git revert x".into(), stderr: "conflict".into() };
    assert!(matches!(Trouble::from(conflict), Trouble::CannotTell(_)));
}
