//! Live tests: one for each scenario and kernel, named `tunsetiff::func_stack_trace::mips64-6.1`, and the
//! ways to break a run on purpose.
//!
//! A kernel that is not provisioned makes its tests ignored; named in `KSHOT_REQUIRE` (a comma-separated list
//! of kernels, or `1` for all) it makes them fail. `cargo insta review` accepts what drifted.

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod evidence;
mod mutants;
mod night;
mod sweep;
mod sweep_witness;
mod truth;
mod wait;
mod warm;
mod witness;

use std::panic;
use std::process::ExitCode;

use kshot::baseline::{self, SnapshotInfo, SnapshotPath};
use kshot::pair_tests::{self, CannotRun, PairTest, kernel_of_test};
use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use libtest_mimic::{Arguments, Failed, Trial};

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match Workspace::find(None) {
        Ok(workspace) => trials(&workspace),
        Err(error) => vec![failing("workspace", error.to_string())],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(workspace: &Workspace) -> Vec<Trial> {
    let catalogue = match workspace.catalogue() {
        Ok(catalogue) => catalogue,
        Err(error) => return vec![failing("catalogue", error.to_string())],
    };
    let mut trials = broken::trials(workspace, &catalogue);
    trials.extend(evidence::trials(workspace, &catalogue));
    trials.extend(sweep::trials(workspace, &catalogue));
    trials.extend(sweep_witness::trials(workspace, &catalogue));
    trials.extend(truth::trials(workspace, &catalogue));
    trials.extend(witness::trials(workspace, &catalogue));
    trials.extend(mutants::trials(workspace, &catalogue));
    trials.extend(warm::trials(workspace, &catalogue));
    trials.extend(night::trials());
    trials.extend(
        pair_tests::of_workspace(workspace, &catalogue).into_iter().map(|test| of_pair(workspace, test)),
    );
    trials
}

fn of_pair(workspace: &Workspace, test: PairTest) -> Trial {
    let (name, workspace) = (test.name.clone(), workspace.clone());
    let ignored_because = test.ignored_because().map(ToOwned::to_owned);
    let trial = Trial::test(name, move || {
        // insta panics on a difference once it has written it down; every probe gets its turn.
        let propose = |snapshot: &SnapshotPath, info: &SnapshotInfo, text: &str| {
            drop(panic::catch_unwind(|| baseline::assert_with_insta(snapshot, info, text)));
        };
        test.run(&workspace, &propose).map_err(|failure| Failed::from(failure.text))
    });
    trial.with_ignored_flag(ignored_because.is_some()).with_kind(ignored_because.unwrap_or_default())
}

/// A test that needs a kernel of the catalogue: ignored without it, or failing where it is required.
fn on_kernel(
    workspace: &Workspace,
    catalogue: &Catalogue,
    name: &str,
    kernel: &str,
    test: impl FnOnce(&Kernel) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let Some(spec) = catalogue.get(kernel) else {
        return failing(name, format!("no kernel {kernel} in the catalogue"));
    };
    match kernel_of_test(workspace, spec) {
        Ok(kernel) => Trial::test(name, move || test(&kernel)),
        Err(CannotRun { because, is_ignored, .. }) => {
            let kind = if is_ignored { because.clone() } else { String::new() };
            failing(name, because).with_ignored_flag(is_ignored).with_kind(kind)
        }
    }
}

fn failing(name: &str, why: String) -> Trial {
    Trial::test(name, move || Err(why.into()))
}
