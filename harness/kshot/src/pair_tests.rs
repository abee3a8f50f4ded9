//! Scenarios as tests: one for each scenario and kernel, named `tunsetiff::func_stack_trace::mips64-6.1`.

use crate::baseline::{SnapshotInfo, SnapshotPath};
use crate::run::{self, RunOptions};
use crate::scenario::Scenario;
use crate::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel, KernelSpec};
use kshot_guest::progress::Progress;
use kshot_stack::document::{Reason, Verdict};
use kshot_stack::fault::error_chain;
use kshot_stack::snapshot::snapshot_text;

/// A scenario on a kernel, as a test.
#[derive(Clone, Debug)]
pub struct PairTest {
    /// The test's name.
    pub name: String,
    /// Why it is not to be run, `None` where it is: its kernel is not provisioned, and nobody requires it.
    pub ignored_because: Option<String>,
    /// What is run, or why it cannot be.
    pair: Result<Box<(Scenario, Kernel)>, String>,
}

/// What is done with the text of a probe whose run is no match: it may be new, and wants a review.
pub type Propose<'a> = &'a dyn Fn(&SnapshotPath, &SnapshotInfo, &str);

/// The tests of a workspace. A scenario that cannot be read is a test that fails, so that listing does not.
pub fn of_workspace(workspace: &Workspace, catalogue: &Catalogue) -> Vec<PairTest> {
    let ids = match Scenario::list_ids(&workspace.scenarios()) {
        Ok(ids) => ids,
        Err(error) => return vec![PairTest::failing("scenarios".into(), error_chain(&error))],
    };
    let of_id = |id: &String| match Scenario::load(&workspace.scenarios(), id, &catalogue.names()) {
        Ok(scenario) => {
            let kernels = catalogue.matching(scenario.kernels.iter().map(String::as_str));
            kernels.into_iter().map(|spec| PairTest::new(workspace, &scenario, spec)).collect()
        }
        Err(error) => vec![PairTest::failing(id.replace('/', "::"), error_chain(&error))],
    };
    ids.iter().flat_map(of_id).collect()
}

/// Whether a kernel that is not provisioned makes a test fail: `KSHOT_REQUIRE` names it, in a list with commas, or is
/// `1`, which means all.
pub fn is_required(kernel: &str) -> bool {
    std::env::var("KSHOT_REQUIRE").is_ok_and(|list| list == "1" || list.split(',').any(|name| name == kernel))
}

impl PairTest {
    fn new(workspace: &Workspace, scenario: &Scenario, spec: &KernelSpec) -> Self {
        let name = format!("{}::{}", scenario.id.replace('/', "::"), spec.name);
        match Kernel::find(spec, &workspace.images(), &workspace.cache) {
            Ok(Some(kernel)) => {
                Self { name, ignored_because: None, pair: Ok(Box::new((scenario.clone(), kernel))) }
            }
            Ok(None) => {
                let why = format!("not provisioned: cargo kshot provision {}", spec.name);
                let ignored_because = (!is_required(&spec.name)).then(|| why.clone());
                Self { name, ignored_because, pair: Err(why) }
            }
            Err(error) => Self::failing(name, error_chain(&error)),
        }
    }

    fn failing(name: String, why: String) -> Self {
        Self { name, ignored_because: None, pair: Err(why) }
    }

    /// Runs the scenario: it has to match.
    ///
    /// # Errors
    /// The message of a failed test.
    pub fn run(&self, workspace: &Workspace, propose: Propose<'_>) -> Result<(), String> {
        let pair = self.pair.as_ref().map_err(Clone::clone)?;
        let (scenario, kernel) = pair.as_ref();
        let outcome = run::run(workspace, scenario, kernel, &RunOptions::default(), &Progress::silent())
            .map_err(|error| error_chain(&error))?;
        let document = &outcome.document;
        if document.verdict == Verdict::Match {
            return Ok(());
        }
        let info = SnapshotInfo::of(document);
        for probe in document.probes.iter().filter(|probe| probe.left_out_because.is_none()) {
            let place = SnapshotPath::new(&workspace.snapshots(), &scenario.id, &kernel.name, &probe.name)
                .for_run(&document.probes);
            propose(&place, &info, &snapshot_text(probe));
        }
        let folder = outcome.folder.display();
        Err(format!("{:?}\n{}\nartifacts: {folder}", document.verdict, Reason::join(&document.reasons, "\n")))
    }
}
