//! The files of a night's reports, each read by a reader that is not ours where there is one.

use quick_junit::{Report, TestCaseStatus};
use serde_json::Value;

use super::test_night::{HOSTILE, night_report};
use super::{files, night_table};

fn file(name: &str) -> String {
    let files = files(&night_report()).unwrap();
    files.into_iter().find(|(file, _)| *file == name).unwrap().1
}

#[test]
fn the_headline_and_the_summary_tell_what_changed_first() {
    assert_eq!(night_report().headline(), "1 new drift, 1 unstable, 3 could not tell, 2 of 7 match");
    insta::assert_snapshot!(night_table(&night_report().night));
}

#[test]
fn junit_tells_failures_errors_skips_and_retries_apart() {
    let report = Report::deserialize_from_str(&file("junit.xml")).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (7, 1, 3));
    let case = |kernel: &str, scenario: &str| {
        let suite = report.test_suites.iter().find(|suite| suite.name.as_str() == kernel).unwrap();
        suite.test_cases.iter().find(|case| case.name.as_str() == scenario).unwrap().status.clone()
    };
    let TestCaseStatus::Success { flaky_runs } = case("mips64el-6.1", "tunsetiff/leaf") else {
        panic!("a retry that came to a match is a match")
    };
    assert_eq!(flaky_runs.len(), 1, "the attempt before it stands beside it");
    let TestCaseStatus::NonSuccess { ty, reruns, .. } = case("mips64-6.1-fixed", "perf/watching_nothing")
    else {
        panic!("a fault of the host is an error")
    };
    assert_eq!((ty.unwrap().as_str(), reruns.runs.len()), ("host fault", 1));
    assert!(matches!(case("mips64el-6.1", "perf/watching_nothing"), TestCaseStatus::Skipped { .. }));
}

#[test]
fn ktap_is_as_ktap_rst_says() {
    insta::assert_snapshot!(file("results.ktap"));
}

/// The kernel's own parser reads it, and counts as we do. tests/data/kunit says where it comes from.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test: the reader is a Python program")]
fn the_kernels_own_parser_reads_the_ktap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.ktap");
    std::fs::write(&path, file("results.ktap")).unwrap();
    let script = "import sys; sys.path.insert(0, sys.argv[1]); import kunit_parser as parser\n\
                  test = parser.parse_run_tests(open(sys.argv[2]))\n\
                  counts = test.counts\n\
                  print('counts', counts.passed, counts.failed, counts.crashed, counts.skipped, counts.errors)";
    let parser = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kunit");
    let output = std::process::Command::new("python3")
        .args(["-B", "-c", script, parser])
        .arg(&path)
        .output()
        .unwrap_or_else(|error| panic!("python3 (images/host-packages.txt): {error}"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("counts 2 3 0 2 0"), "{said}");
}

#[test]
fn kcidb_fits_the_schema_of_kcidb_io_and_the_hosts_faults_are_misses() {
    // Python writes NUL so that others read a reference to a group.
    let schema = include_str!("../../tests/data/kcidb/v5.3.json").replace("\\\\0", "\\\\x00");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let mut report: Value = serde_json::from_str(&file("kcidb.json")).unwrap();
    let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let statuses: Vec<_> = report["tests"].as_array().unwrap().iter().map(|test| &test["status"]).collect();
    assert_eq!(statuses, ["FAIL", "PASS", "PASS", "ERROR", "MISS", "MISS", "ERROR"]);
    report["tests"][0]["status"] = "BROKEN".into();
    assert!(!validator.is_valid(&report), "a schema that takes anything would prove nothing");
}

#[test]
fn nothing_that_a_guest_said_is_markup_or_invisible() {
    let page = file("index.html");
    assert!(page.contains("&lt;script&gt;alert(1)"), "the text itself is there");
    assert!(page.contains("\\u{202e}gnp.exe\\u{1b}[31m\\u{0}#"), "what is invisible is shown");
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains(HOSTILE));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}') && !page.contains('\0'));
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
}

#[test]
fn the_page_asks_the_network_for_nothing() {
    let page = file("index.html");
    assert!(page.contains("default-src 'none'"));
    let elsewhere = ["http://", "https://", "src=\"", "@import", "url("];
    let found: Vec<_> = elsewhere.iter().filter(|word| page.contains(**word)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_link_of_the_page_leads_somewhere() {
    let page = file("index.html");
    let ids: Vec<&str> = values(&page, " id=\"");
    let mut links = 0;
    for link in values(&page, "href=\"") {
        if let Some(id) = link.strip_prefix('#').filter(|id| !id.is_empty()) {
            assert!(ids.contains(&id), "#{id}");
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
    assert!(page.contains("href=\"runs/tunsetiff.leaf--mips64-6.1/a%252fb%20%231.txt\""));
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "an id comes twice");
}

fn values<'a>(page: &'a str, before: &str) -> Vec<&'a str> {
    page.split(before).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn what_is_missing_is_said_in_words_and_not_in_colour_alone() {
    let page = file("index.html");
    for word in [
        "4 of 4 frames missing, measured against gdb; truncated at ftrace_graph_call",
        "<i>missing</i>",
        "gdb: 5 x eoe_filter (the truth)",
        "syscall_common: lost, 5 stacks before",
        "match in the night 20261124T020000Z, drift now",
        "<span class=\"said\">not meant for this kernel</span>",
    ] {
        assert!(page.contains(word), "{word}");
    }
}
