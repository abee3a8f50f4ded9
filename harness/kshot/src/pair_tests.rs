//! Scenarios as tests: one for each scenario and kernel, named `tunsetiff::func_stack_trace::mips64-6.1`.

use crate::baseline::{self, SnapshotInfo, SnapshotPath};
use crate::run::{self, RunContext, RunOptions};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel, KernelSpec};
use kshot_guest::progress::Progress;
use kshot_stack::blame::{Blame, Blamed, error_chain};
use kshot_stack::document::{Reason, Verdict};
use kshot_stack::exit::ExitCode;
use kshot_stack::snapshot::snapshot_text;

/// A scenario on a kernel, as a test.
#[derive(Clone, Debug)]
pub struct PairTest {
    /// The test's name.
    pub name: String,
    /// What is run, or why it cannot be.
    pair: Result<Box<(Scenario, Kernel)>, CannotRun>,
}

/// Why a test cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotRun {
    /// The reason, for people.
    pub because: String,
    /// Whether this makes the test ignored; otherwise it fails.
    pub is_ignored: bool,
    /// Who has to act on it.
    pub blame: Blame,
}

/// Why a test failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFailure {
    /// The message, for people.
    pub text: String,
    /// The exit code of a run that ends this way.
    pub exit: ExitCode,
}

/// Called with the snapshot text of each probe of a run that does not match, to propose it for review.
pub type Propose<'a> = &'a dyn Fn(&SnapshotPath, &SnapshotInfo, &str);

/// The tests of a workspace. A scenario that cannot be read is a test that fails, so that listing does not.
pub fn of_workspace(workspace: &Workspace, catalogue: &Catalogue) -> Vec<PairTest> {
    let ids = match Scenario::list_ids(&workspace.scenarios()) {
        Ok(ids) => ids,
        Err(error) => return vec![PairTest::failing("scenarios".into(), &error)],
    };
    let of_id = |id: &String| match Scenario::load(&workspace.scenarios(), id, &catalogue.names()) {
        Ok(scenario) => {
            let kernels = catalogue.matching(scenario.kernels.iter().map(String::as_str));
            kernels.into_iter().map(|spec| PairTest::new(workspace, &scenario, spec)).collect()
        }
        Err(error) => vec![PairTest::failing(id.replace('/', "::"), &error)],
    };
    ids.iter().flat_map(of_id).collect()
}

/// The kernel of a test. One that is not provisioned makes the test ignored, or fail where `KSHOT_REQUIRE`
/// names the kernel, in a list with commas, or is `1`, which means all. One that its user builds has to be there.
///
/// # Errors
/// [`CannotRun`].
pub fn kernel_of_test(workspace: &Workspace, spec: &KernelSpec) -> Result<Kernel, CannotRun> {
    let is_required = |list: String| list == "1" || list.split(',').any(|name| name == spec.name);
    match Kernel::find(spec, &workspace.images(), &workspace.cache) {
        Ok(Some(kernel)) => Ok(kernel),
        Ok(None) => Err(CannotRun {
            because: match spec.built_path() {
                Some(path) => format!("there is no kernel in {}", path.display()),
                None => format!("not provisioned: cargo kshot provision {}", spec.name),
            },
            is_ignored: spec.built_path().is_none() && !std::env::var("KSHOT_REQUIRE").is_ok_and(is_required),
            blame: Blame::Usage,
        }),
        Err(error) => Err(CannotRun::failing(&error)),
    }
}

impl CannotRun {
    fn failing(error: &impl Blamed) -> Self {
        Self { because: error_chain(error), is_ignored: false, blame: error.blame() }
    }
}

impl PairTest {
    fn new(workspace: &Workspace, scenario: &Scenario, spec: &KernelSpec) -> Self {
        let name = format!("{}::{}", scenario.id.replace('/', "::"), spec.name);
        let kernel = kernel_of_test(workspace, spec);
        Self { name, pair: kernel.map(|kernel| Box::new((scenario.clone(), kernel))) }
    }

    fn failing(name: String, error: &impl Blamed) -> Self {
        Self { name, pair: Err(CannotRun::failing(error)) }
    }

    /// Why the test is ignored; `None` if it is to be run.
    pub fn ignored_because(&self) -> Option<&str> {
        self.pair.as_ref().err().filter(|why| why.is_ignored).map(|why| why.because.as_str())
    }

    /// Runs the scenario: it has to match.
    ///
    /// # Errors
    /// [`TestFailure`].
    pub fn run(&self, workspace: &Workspace, propose: Propose<'_>) -> Result<(), TestFailure> {
        let failure = |text, blame| TestFailure { text, exit: ExitCode::from(blame) };
        let (scenario, kernel) =
            self.pair.as_deref().map_err(|why| failure(why.because.clone(), why.blame))?;
        let context = RunContext { workspace, kernel, progress: &Progress::silent() };
        let outcome = run::run(context, scenario, &RunOptions::default())
            .map_err(|error| failure(error_chain(&error), error.blame()))?;
        let document = &outcome.document;
        if document.verdict == Verdict::Match {
            return Ok(());
        }
        let info = SnapshotInfo::of(document);
        let snapshots = workspace.snapshots();
        for (snapshot, probe) in baseline::of_run(&snapshots, &scenario.id, &kernel.name, &document.probes) {
            propose(&snapshot, &info, &snapshot_text(probe));
        }
        let folder = outcome.folder.display();
        let reasons = Reason::join(&document.reasons, "\n");
        let text = format!("{}\n{reasons}\nartifacts: {folder}", document.verdict.name());
        Err(TestFailure { text, exit: document.verdict.into() })
    }
}
