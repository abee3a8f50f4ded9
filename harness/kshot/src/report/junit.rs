//! `junit.xml`: a suite a kernel, a case a scenario.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::ReportError;
use kshot_stack::document::Reason;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{Pair, Standing, Try};

/// The file's text.
///
/// # Errors
/// [`ReportError::Junit`].
pub(super) fn text(report: &NightReport) -> Result<String, ReportError> {
    let night = &report.night;
    let mut file = Report::new(format!("kshot {}", night.night));
    file.set_time(Duration::from_millis(night.wall_ms));
    for kernel in &night.kernels {
        let mut suite = TestSuite::new(kernel.name.as_str());
        suite.add_property(("origin", kernel.origin.as_str()));
        suite.add_property(("harness", night.harness.as_str()));
        for pair in night.pairs.iter().filter(|pair| pair.kernel == kernel.name) {
            suite.add_test_case(case(report, pair));
        }
        file.add_test_suite(suite);
    }
    Ok(file.to_string()?)
}

fn case(report: &NightReport, pair: &Pair) -> TestCase {
    let mut status = match pair.standing() {
        Standing::Match => TestCaseStatus::success(),
        Standing::Drift => TestCaseStatus::non_success(NonSuccessKind::Failure),
        // It cannot be told, which is no failure of the kernel.
        Standing::Unstable | Standing::Inconclusive | Standing::Fault => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
        Standing::NotReached => TestCaseStatus::skipped(),
    };
    let why = pair.run().map(|run| Reason::join(&run.why, "\n"));
    if let Some(message) = why.or_else(|| report.night.obstacle(pair).map(Into::into)) {
        let first = message.lines().next().unwrap_or_default().to_owned();
        if pair.standing() != Standing::Match {
            status.set_type(pair.standing().name()).set_message(first).set_description(message);
        }
    }
    // The attempts before the one that counts: its case says of itself that it took more than one.
    let telling = pair.telling();
    let others = pair.tries.iter().filter(|attempt| telling.is_none_or(|one| !std::ptr::eq(*attempt, one)));
    let reruns: Vec<TestRerun> = others.map(rerun).collect();
    status.add_reruns(reruns);
    let mut case = TestCase::new(pair.scenario.as_str(), status);
    case.set_classname(format!("kshot.{}", pair.kernel));
    if let Some(attempt) = telling {
        case.set_time(Duration::from_millis(attempt.wall_ms));
    }
    if let Some(run) = pair.run() {
        case.add_property(("folder", run.folder.as_str()));
        case.add_property(("release", run.kernel.release.as_str()));
        case.add_property(("image_sha256", run.kernel.image_sha256.as_str()));
        case.add_property(("qemu", run.qemu.as_str()));
    }
    case
}

fn rerun(attempt: &Try) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Error);
    rerun.set_type(Standing::Fault.name()).set_time(Duration::from_millis(attempt.wall_ms));
    if let Some(fault) = &attempt.fault {
        rerun.set_message(format!("on {}: {}", attempt.host, fault.what));
    }
    rerun
}
