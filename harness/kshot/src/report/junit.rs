//! `junit.xml`: a suite a kernel, a case a scenario. The template beside this file holds the markup.

use askama::Template;

use super::ReportError;
use kshot_stack::document::Reason;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{Attempt, Night, NightKernel, Pair, PairStatus};

/// The file.
#[derive(Template)]
#[template(path = "junit.xml")]
struct Junit<'a> {
    night: &'a Night,
    counts: CaseCounts,
    suites: Vec<Suite<'a>>,
}

/// What a test of `kshot test` came to.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// The test's name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed, `None` if it passed.
    pub failure: Option<String>,
}

#[derive(Template)]
#[template(path = "tests.xml")]
struct Tests {
    cases: Vec<TestCase>,
    failures: usize,
}

/// Tests as JUnit XML.
///
/// # Errors
/// [`ReportError::Template`].
pub fn test_cases(cases: Vec<TestCase>) -> Result<String, ReportError> {
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    Ok(Tests { cases, failures }.render()? + "\n")
}

struct Suite<'a> {
    kernel: &'a NightKernel,
    counts: CaseCounts,
    cases: Vec<Case<'a>>,
}

/// The number of cases, in total and by outcome.
struct CaseCounts {
    tests: usize,
    skipped: usize,
    errors: usize,
    failures: usize,
}

struct Case<'a> {
    pair: &'a Pair,
    /// The element for a pair that did not pass.
    element: Option<&'static str>,
    /// The reasons, a line each.
    why: String,
    /// The attempts before the one that counts: a case says of itself that it took more than one.
    reruns: Vec<&'a Attempt>,
}

/// The text of the file.
///
/// # Errors
/// [`ReportError::Template`].
pub(super) fn text(report: &NightReport) -> Result<String, ReportError> {
    let night = &report.night;
    let suites = night.kernels.iter().map(|kernel| {
        let pairs = night.pairs.iter().filter(|pair| pair.kernel == kernel.name);
        let cases: Vec<Case<'_>> = pairs.map(|pair| Case::of(report, pair)).collect();
        Suite { kernel, counts: CaseCounts::of(&cases), cases }
    });
    let suites: Vec<Suite<'_>> = suites.collect();
    let counts = CaseCounts::of(suites.iter().flat_map(|suite| &suite.cases));
    Ok(Junit { night, counts, suites }.render()? + "\n")
}

impl CaseCounts {
    fn of<'a>(cases: impl IntoIterator<Item = &'a Case<'a>>) -> Self {
        let mut counts = Self { tests: 0, skipped: 0, errors: 0, failures: 0 };
        for case in cases {
            counts.tests += 1;
            match case.element {
                Some("skipped") => counts.skipped += 1,
                Some("error") => counts.errors += 1,
                Some("failure") => counts.failures += 1,
                _ => {}
            }
        }
        counts
    }
}

impl<'a> Case<'a> {
    fn of(report: &NightReport, pair: &'a Pair) -> Self {
        let element = match pair.status() {
            PairStatus::Match => None,
            PairStatus::Drift => Some("failure"),
            // There is no verdict, which is not a failure of the kernel.
            PairStatus::Unstable | PairStatus::Inconclusive | PairStatus::HostError => Some("error"),
            PairStatus::NotRun => Some("skipped"),
        };
        let why = pair.run().map(|run| Reason::join(&run.reasons, "\n"));
        let why = why.or_else(|| report.night.why_no_verdict(pair).map(Into::into)).unwrap_or_default();
        let deciding = pair.deciding_attempt();
        let others =
            pair.attempts.iter().filter(|attempt| deciding.is_none_or(|one| !std::ptr::eq(*attempt, one)));
        Self { pair, element, why, reruns: others.collect() }
    }

    fn first_line(&self) -> &str {
        self.why.lines().next().unwrap_or_default()
    }

    /// The element of an attempt before the one that counts, by how that one ended.
    fn rerun_element(&self) -> &'static str {
        if self.element.is_none() { "flakyError" } else { "rerunError" }
    }
}

/// Seconds with three decimals.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}
