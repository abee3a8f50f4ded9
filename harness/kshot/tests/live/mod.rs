//! Live tests: one for each scenario and kernel, named `tunsetiff::func_stack_trace::mips64-6.1`, and the
//! ways to break a run on purpose.
//!
//! A kernel that is not provisioned makes its tests ignored; named in `KSHOT_REQUIRE` (a comma-separated list
//! of kernels, or `1` for all) it makes them fail. `cargo insta review` accepts what drifted.

mod broken;
mod evidence;
mod mutants;
#[path = "../support/mod.rs"]
mod support;
mod sweep;
mod truth;
mod warm;

use kshot_stack::snapshot;
use std::panic;
use std::process::ExitCode;

use kshot::baseline::{self, SnapshotInfo, SnapshotPath};
use kshot::run::{self, RunOptions};
use kshot::scenario::Scenario;
use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel, KernelSpec};
use kshot_guest::progress::Progress;
use kshot_stack::document::{Reason, Verdict};
use kshot_stack::fault::error_chain;
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
    let catalogue = match Catalogue::load(&workspace.images().kernels_yaml()) {
        Ok(catalogue) => catalogue,
        Err(error) => return vec![failing("catalogue", error.to_string())],
    };
    let ids = match Scenario::list_ids(&workspace.scenarios()) {
        Ok(ids) => ids,
        Err(error) => return vec![failing("scenarios", error.to_string())],
    };
    let mut trials = broken::trials(workspace, &catalogue);
    trials.extend(evidence::trials(workspace, &catalogue));
    trials.extend(sweep::trials(workspace, &catalogue));
    trials.extend(truth::trials(workspace, &catalogue));
    trials.extend(mutants::trials(workspace, &catalogue));
    trials.extend(warm::trials(workspace, &catalogue));
    for id in ids {
        match Scenario::load(&workspace.scenarios(), &id, &catalogue.names()) {
            Ok(scenario) => trials.extend(of_scenario(workspace, &catalogue, &scenario)),
            // Listing must not fail: a broken scenario is a test that does.
            Err(error) => trials.push(failing(&id.replace('/', "::"), error.to_string())),
        }
    }
    trials
}

fn of_scenario(workspace: &Workspace, catalogue: &Catalogue, scenario: &Scenario) -> Vec<Trial> {
    let name = scenario.id.replace('/', "::");
    let entries = catalogue.matching(scenario.kernels.iter().map(String::as_str));
    let trial = |entry: &KernelSpec| {
        let (workspace_, scenario) = (workspace.clone(), scenario.clone());
        on_kernel(workspace, catalogue, &format!("{name}::{}", entry.name), &entry.name, move |kernel| {
            holds(&workspace_, &scenario, kernel)
        })
    };
    entries.into_iter().map(trial).collect()
}

/// A test that needs a kernel of the catalogue: ignored without it, or failing where it is required.
fn on_kernel(
    workspace: &Workspace,
    catalogue: &Catalogue,
    name: &str,
    kernel: &str,
    test: impl FnOnce(&Kernel) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let found = catalogue.get(kernel).map(|entry| Kernel::find(entry, &workspace.images(), &workspace.cache));
    match found {
        Some(Ok(Some(kernel))) => Trial::test(name, move || test(&kernel)),
        Some(Ok(None)) => {
            let why = format!("not provisioned: cargo kshot provision {kernel}");
            let ignored = !required(kernel);
            Trial::test(name, move || Err(why.into())).with_ignored_flag(ignored).with_kind(if ignored {
                format!("not provisioned: cargo kshot provision {kernel}")
            } else {
                String::new()
            })
        }
        Some(Err(error)) => failing(name, error.to_string()),
        None => failing(name, format!("no kernel {kernel} in the catalogue")),
    }
}

fn required(kernel: &str) -> bool {
    std::env::var("KSHOT_REQUIRE").is_ok_and(|list| list == "1" || list.split(',').any(|name| name == kernel))
}

fn failing(name: &str, why: String) -> Trial {
    Trial::test(name, move || Err(why.into()))
}

/// The run matches; what drifted is left for `cargo insta review`.
fn holds(workspace: &Workspace, scenario: &Scenario, kernel: &Kernel) -> Result<(), Failed> {
    let outcome = run::run(workspace, scenario, kernel, &RunOptions::default(), &Progress::silent())
        .map_err(|error| Failed::from(error_chain(&error)))?;
    let document = &outcome.document;
    if document.verdict == Verdict::Match {
        return Ok(());
    }
    let info = SnapshotInfo {
        release: document.kernel.release.clone(),
        image_sha256: document.kernel.image_sha256.clone(),
        qemu: document.qemu.clone(),
    };
    for probe in document.probes.iter().filter(|probe| probe.left_out_because.is_none()) {
        let place = SnapshotPath::new(&workspace.snapshots(), &scenario.id, &kernel.name, &probe.name)
            .for_run(&document.probes);
        // insta panics on a difference once it has written it down; every probe gets its turn.
        drop(panic::catch_unwind(|| {
            baseline::assert_with_insta(&place, &info, &snapshot::snapshot_text(probe))
        }));
    }
    let folder = outcome.folder.display();
    Err(format!("{:?}\n{}\nartifacts: {folder}", document.verdict, Reason::join(&document.reasons, "\n"))
        .into())
}
