//! Warm starts: a restored guest is the one that was saved, its stacks are those of one that booted, and
//! restored machines differ where they must.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kshot::run::{self, RunContext, RunOptions, RunOutcome, STATES, StartPolicy};
use kshot::scenario::{Scenario, Step};
use kshot::workspace::Workspace;
use kshot_guest::host::cache::Cache;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_guest::progress::Progress;
use kshot_stack::document::{Start, Verdict};
use libtest_mimic::{Failed, Trial};

use super::on_kernel;

const KERNEL: &str = "mips64-6.1";

/// A test's name, and what it does.
type Case = (&'static str, fn(&Desk, &Kernel));

/// What a cause of a cold start says, and what brings it about in a state's folder.
type Spoiled = (&'static str, fn(&Path));

/// A workspace whose cache has no saved states of its own making yet.
struct Desk {
    workspace: Workspace,
    scenario: Scenario,
    _folder: tempfile::TempDir,
}

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let cases: [Case; 4] = [
        ("the_first_run_boots_and_the_next_is_restored", the_first_run_boots_and_the_next_is_restored),
        ("restored_guests_differ_where_they_must", restored_guests_differ_where_they_must),
        ("an_unusable_state_is_replaced_and_told", an_unusable_state_is_replaced_and_told),
        ("a_cold_and_a_warm_start_agree", a_cold_and_a_warm_start_agree),
    ];
    let names: Vec<String> = catalogue.names().into_iter().map(Into::into).collect();
    let trial = |(name, case): Case| {
        let (workspace_, names) = (workspace.clone(), names.clone());
        on_kernel(workspace, catalogue, &format!("warm::{name}"), KERNEL, move |kernel| {
            case(&Desk::of(&workspace_, &names), kernel);
            Ok::<(), Failed>(())
        })
    };
    cases.map(trial).into()
}

impl Desk {
    /// All of the cache but its states and locks, which are of this test alone: a state that another test
    /// saves has the same key, and its lock is held meanwhile.
    fn of(workspace: &Workspace, names: &[String]) -> Self {
        let folder = tempfile::tempdir_in(workspace.cache.root()).unwrap();
        for entry in fs::read_dir(workspace.cache.root()).unwrap().flatten() {
            let name = entry.file_name();
            if name != STATES && name != "durations" && name != "locks" && entry.path() != folder.path() {
                std::os::unix::fs::symlink(entry.path(), folder.path().join(name)).unwrap();
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scenario = Scenario::load(&workspace.scenarios(), "tunsetiff/func_stack_trace", &names).unwrap();
        let workspace = Workspace { cache: Cache::at(folder.path()), ..workspace.clone() };
        Self { workspace, scenario, _folder: folder }
    }

    fn run(&self, kernel: &Kernel, starts: StartPolicy) -> RunOutcome {
        let options = RunOptions { start_policy: starts, ..RunOptions::default() };
        let context = RunContext { workspace: &self.workspace, kernel, progress: &Progress::silent() };
        run::run(context, &self.scenario, &options).unwrap()
    }

    fn states(&self) -> Vec<std::path::PathBuf> {
        let held = self.workspace.cache.entries().unwrap();
        held.into_iter().filter(|held| held.kind == STATES).map(|held| held.path).collect()
    }
}

fn the_first_run_boots_and_the_next_is_restored(desk: &Desk, kernel: &Kernel) {
    let first = desk.run(kernel, StartPolicy::Warm);
    assert_eq!(first.document.start, Start::Cold);
    assert_eq!(first.document.cold_because.as_deref(), Some("there was no saved state"));
    let second = desk.run(kernel, StartPolicy::Warm);
    assert_eq!((second.document.start, &second.document.cold_because), (Start::Warm, &None));
    for outcome in [&first.document, &second.document] {
        assert_eq!(outcome.verdict, Verdict::Match, "{:?}", outcome.reasons);
    }
    let log = |outcome: &Path| fs::read_to_string(outcome.join("console.log")).unwrap();
    let (first, second) = (log(&first.folder), log(&second.folder));
    assert!(second.contains("Linux version"), "what was said before the state was saved is in the log");
    let booted = first.lines().next().unwrap();
    assert_eq!(second.lines().next().unwrap(), booted);
    assert_eq!(desk.states().len(), 1);
    let cold = desk.run(kernel, StartPolicy::Cold);
    assert_eq!(cold.document.cold_because.as_deref(), Some("as asked"));
}

fn restored_guests_differ_where_they_must(desk: &Desk, kernel: &Kernel) {
    let script = "date +%s; head -c 16 /dev/urandom | md5sum; cat /run/kshot-state";
    let step = Step {
        script: script.into(),
        repeat: 1,
        timeout: Duration::from_secs(20),
        expected_status: 0,
        nmi: false,
    };
    let asking = Scenario { steps: vec![step], ..desk.scenario.clone() };
    let desk =
        Desk { workspace: desk.workspace.clone(), scenario: asking, _folder: tempfile::tempdir().unwrap() };
    desk.run(kernel, StartPolicy::Warm);
    let said = || {
        let outcome = desk.run(kernel, StartPolicy::Warm);
        assert_eq!(outcome.document.start, Start::Warm);
        let text = fs::read_to_string(outcome.folder.join("steps/01-01.txt")).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let clock: u64 = lines[0].parse().unwrap();
        assert!(now.abs_diff(clock) < 60, "the guest's clock says {clock}, and it is {now}");
        lines
    };
    let (one, other) = (said(), said());
    assert_ne!(one[1], other[1], "random numbers");
    assert_eq!(one[2], other[2], "both are of one state");
}

fn an_unusable_state_is_replaced_and_told(desk: &Desk, kernel: &Kernel) {
    desk.run(kernel, StartPolicy::Warm);
    let spoil: [Spoiled; 3] = [
        ("devices has 4 bytes", |state| fs::write(state.join("devices"), "none").unwrap()),
        ("was saved by QEMU 0.9", |state| {
            let path = state.join("note.json");
            let mut note: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            note["qemu"] = "0.9".into();
            fs::write(path, note.to_string()).unwrap();
        }),
        ("not the one that was saved (status 0)", |state| {
            let path = state.join("note.json");
            let mut note: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            note["nonce"] = "another".into();
            fs::write(path, note.to_string()).unwrap();
        }),
    ];
    for (wrong, spoil) in spoil {
        spoil(&desk.states()[0]);
        let outcome = desk.run(kernel, StartPolicy::Warm);
        let because = outcome.document.cold_because.unwrap_or_default();
        assert!(because.starts_with("the saved state is unusable: ") && because.contains(wrong), "{because}");
        assert_eq!(outcome.document.verdict, Verdict::Match, "{:?}", outcome.document.reasons);
        assert!(desk.states().is_empty(), "it is gone");
        assert_eq!(desk.run(kernel, StartPolicy::Warm).document.start, Start::Cold);
        assert_eq!(desk.run(kernel, StartPolicy::Warm).document.start, Start::Warm, "a new one is there");
    }
}

fn a_cold_and_a_warm_start_agree(desk: &Desk, kernel: &Kernel) {
    let outcome = desk.run(kernel, StartPolicy::Both);
    assert_eq!(outcome.document.verdict, Verdict::Match, "{:?}", outcome.document.reasons);
    assert_eq!(outcome.document.repeats.len(), 2);
    assert_eq!(desk.run(kernel, StartPolicy::Warm).document.start, Start::Warm);
}
