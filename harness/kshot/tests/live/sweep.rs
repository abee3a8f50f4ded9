//! The sweep: that it tells a kernel whose stacks are wrong from one whose stacks are right.

use kshot::workspace::Workspace;
use kshot_guest::kernel::{Catalogue, Kernel};
use kshot_stack::sweep::document::{BreakKind, SweepDocument};
use libtest_mimic::{Failed, Trial};

use super::common::{Ended, Replica};
use super::on_kernel;

pub(crate) fn trials(workspace: &Workspace, catalogue: &Catalogue) -> Vec<Trial> {
    let cases: [(&str, &str, fn()); 2] = [
        ("on_a_stock_kernel_no_function_is_traced_truly", "mips64-6.1", stock),
        ("on_a_repaired_kernel_nearly_all_functions_are", "mips64-6.1-fixed", repaired),
    ];
    let trial = |(name, kernel, case): (&str, &str, fn())| {
        let test = move |_: &Kernel| -> Result<(), Failed> {
            case();
            Ok(())
        };
        on_kernel(workspace, catalogue, &format!("sweep::{name}"), kernel, test)
    };
    cases.into_iter().map(trial).collect()
}

/// A twentieth of the functions of a kernel, judged twice.
fn sweep(kernel: &str) -> (SweepDocument, Ended) {
    let replica = Replica::new();
    let ended = replica.run(&["sweep", kernel, "--slices", "1", "--format", "json", "--out", "runs"]);
    let document: SweepDocument = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let schema = serde_json::from_str(include_str!("../../../schema/sweep.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::from_str(&ended.out).unwrap()));

    let folder = std::fs::read_dir(replica.path("runs")).unwrap().next().unwrap().unwrap().path();
    let again = replica.run(&["sweep", "--replay", folder.to_str().unwrap(), "--format", "json"]);
    assert_eq!(again.out, ended.out, "{}", again.err);
    (document, ended)
}

fn stock() {
    let (document, ended) = sweep("mips64-6.1");
    ended.expect(1, &[]);
    let findings = document.findings;
    assert!(findings.functions.compared >= 50, "{:?}", findings.functions);
    assert_eq!((findings.functions.whole, findings.stacks.whole), (0, 0));
    let [one] = findings.breaks.as_slice() else { panic!("{:?}", findings.breaks) };
    assert_eq!((one.kind, one.at.as_deref()), (BreakKind::Cut, Some("ftrace_graph_call")));
}

fn repaired() {
    let (document, _) = sweep("mips64-6.1-fixed");
    let functions = document.findings.functions;
    assert!(functions.compared >= 50, "{functions:?}");
    assert!(functions.whole * 10 >= functions.compared * 9, "{:?}", document.findings.breaks);
}
