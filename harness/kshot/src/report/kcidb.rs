//! `kcidb.json`: a report to the kernel's common result store, in kcidb-io's schema of version 5.3.

use serde_json::{Value, json};

use kshot_stack::document::Reason;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{Night, Pair, PairStatus, RunSummary};

/// The origin that the store lists our reports under.
const ORIGIN: &str = "kshot";
/// The longest excerpt that the schema allows, in characters.
const EXCERPT: usize = 16_384;

/// The document: a checkout and a build a kernel, a test a pair.
pub(super) fn text(report: &NightReport) -> String {
    let night = &report.night;
    let (mut checkouts, mut builds) = (Vec::new(), Vec::new());
    for kernel in &night.kernels {
        let id = build_id(night, &kernel.name);
        let run = night.pairs.iter().filter(|pair| pair.kernel == kernel.name).find_map(Pair::run);
        checkouts.push(json!({ "id": id, "origin": ORIGIN, "comment": printable(&kernel.origin) }));
        let mut build = json!({
            "id": id, "origin": ORIGIN, "checkout_id": id, "config_name": kernel.name,
            "comment": printable(&kernel.origin),
        });
        if let Some(RunSummary { kernel, .. }) = run {
            build["architecture"] = kernel.arch.as_str().into();
            build["misc"] = json!({ "release": kernel.release, "image_sha256": kernel.image_sha256 });
        }
        builds.push(build);
    }
    let tests: Vec<Value> = night.pairs.iter().map(|pair| test(report, pair)).collect();
    let document = json!({
        "version": { "major": 5, "minor": 3 }, "checkouts": checkouts, "builds": builds, "tests": tests,
    });
    format!("{document:#}\n")
}

fn test(report: &NightReport, pair: &Pair) -> Value {
    let night = &report.night;
    let mut test = json!({
        "id": format!("{ORIGIN}:{}:{}", night.name, pair.anchor()),
        "origin": ORIGIN,
        "build_id": build_id(night, &pair.kernel),
        "path": format!("{ORIGIN}.{}", path(&pair.scenario)),
        "status": status(pair.status()),
        "misc": { "verdict": pair.status().name(), "harness": night.harness, "attempts": pair.attempts.len() },
    });
    let run = pair.run();
    let why = run.map(|run| Reason::join(&run.reasons, "\n"));
    if let Some(excerpt) = why.or_else(|| night.why_no_verdict(pair).map(Into::into)) {
        test["log_excerpt"] = printable(&excerpt).chars().take(EXCERPT).collect::<String>().into();
    }
    if let Some(attempt) = pair.deciding_attempt() {
        test["start_time"] = attempt.started.as_str().into();
        test["duration"] = (attempt.wall_ms as f64 / 1000.0).into();
        test["environment"] = json!({
            "comment": match run {
                Some(run) => printable(&format!("QEMU {} on {}", run.qemu, attempt.host)),
                None => printable(&attempt.host),
            },
        });
    }
    test
}

/// The status in kcidb's terms: ERROR is "the test didn't complete ..., and the status of the tested code is
/// unknown"; MISS "the test didn't run due to a failure in the test harness".
fn status(standing: PairStatus) -> &'static str {
    match standing {
        PairStatus::Match => "PASS",
        PairStatus::Drift => "FAIL",
        PairStatus::Unstable | PairStatus::Inconclusive => "ERROR",
        PairStatus::HostError | PairStatus::NotRun => "MISS",
    }
}

fn build_id(night: &Night, kernel: &str) -> String {
    format!("{ORIGIN}:{}:{kernel}", night.name)
}

/// A scenario's id as a dot-separated path of letters, digits, dashes and underscores.
fn path(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    id.split('/').map(|part| part.chars().map(plain).collect::<String>()).collect::<Vec<_>>().join(".")
}

/// The schema allows no NUL.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
