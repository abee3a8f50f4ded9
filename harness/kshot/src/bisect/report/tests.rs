use super::*;
use crate::bisect::CulpritVerification;
use crate::bisect::driver::tests::header;

fn record(name: &str, event: SearchEvent) -> LogEntry {
    let folder = matches!(event, SearchEvent::Ran { .. }).then(|| "run".to_owned());
    LogEntry {
        name: name.into(),
        event: Some(event),
        milliseconds: 4000,
        run_folder: folder,
        ..LogEntry::default()
    }
}

fn ran(node: usize, purpose: Purpose, answer: &str) -> LogEntry {
    let event = SearchEvent::Ran { candidate: Candidate::Node(node), purpose, answer: answer.into() };
    record(&format!("{node:012}"), event)
}

fn records() -> Vec<LogEntry> {
    let built = |node: usize, image: &str| {
        let event = SearchEvent::Built { candidate: Candidate::Node(node), image: image.into() };
        record(&format!("{node:012}"), event)
    };
    vec![
        built(0, "a"),
        ran(0, Purpose::ConfirmEnd, "holds"),
        built(63, "b"),
        ran(63, Purpose::ConfirmEnd, "fails: ftrace"),
        built(31, "c"),
        ran(31, Purpose::Halve, "fails: ftrace"),
        built(19, "a"),
        ran(19, Purpose::ProveGood, "holds"),
        ran(20, Purpose::ProveGood, "fails: ftrace"),
        record(
            &format!("{:012}", 25),
            SearchEvent::Skip {
                candidate: Candidate::Node(25),
                why: "it | does not build\nsecond line".into(),
            },
        ),
    ]
}

fn outcome() -> BisectionResult {
    let flip = Some(CulpritVerification { candidate: Candidate::Reverted(20), confirmed: true });
    let change = ChangePoint { suspects: vec![20], parents: vec![19], unproven: vec![], verification: flip };
    BisectionResult::Found { changes: vec![change], error_bound: 0.006 }
}

fn summary<T>(outcome: &BisectionResult, tell: impl FnOnce(&BisectReport<'_>) -> T) -> T {
    let (header, records) = (header(), records());
    let evidence = ChangeEvidence {
        before: "a\nb".into(),
        after: "a".into(),
        commit: "commit 20".into(),
        author: "A <a@example.org>".into(),
        missing: Vec::new(),
    };
    tell(&BisectReport { header: &header, records: &records, outcome, evidence: &evidence })
}

#[test]
fn the_sentence_names_the_culprit_its_parent_the_proof_and_the_doubt() {
    assert_eq!(
        summary(&outcome(), |report| report.summary()),
        "000000000020 (\"change 20\") is the first bad candidate; 000000000019 before it is good; reverted on the \
         newer end, it changes the verdict. The probability that this is wrong is at most 0.0060."
    );
}

#[test]
fn suspects_that_are_left_are_all_named() {
    let change =
        ChangePoint { suspects: vec![20, 21], parents: vec![19], unproven: vec![19], verification: None };
    let said = summary(&BisectionResult::Found { changes: vec![change], error_bound: 0.0 }, |report| {
        report.summary()
    });
    assert!(
        said.contains("among 000000000020, 000000000021, of which only the last could be tested"),
        "{said}"
    );
    assert!(said.contains("not proven, because it does not build or boot: 000000000019"), "{said}");
}

#[test]
fn every_outcome_has_its_sentence() {
    let outcomes = [
        BisectionResult::NotMonotonic { with_change: 3, without_change: 5 },
        BisectionResult::NoChange { runs: 20 },
        BisectionResult::TooRare { bad_runs: 1, runs: 21 },
        BisectionResult::GoodEndIsBad { end: 0, answer: "fails".into() },
        BisectionResult::Unstable { end: 0, answers: 4 },
        BisectionResult::UnusableEnd { end: 0, why: "it does not boot.".into() },
        BisectionResult::NotReproducible { at: 3, bad_runs: 1, runs: 21 },
        BisectionResult::NoGoodFound,
        BisectionResult::TooManyHostErrors { why: "no space.".into() },
    ];
    let said = outcomes.map(|outcome| summary(&outcome, |report| report.summary()));
    insta::assert_snapshot!(said.join("\n"), @"
    The answer changed more than once: 000000000003 has the change, but its descendant 000000000005 does not, so there is no single culprit.
    No change found: in 20 runs 000000000063 gave no answer that the other end does not give.
    The fault is too rare: 000000000063 showed it in 1 of 21 runs. Raise --patience.
    000000000000 was given as good but is bad: fails. Are the two ends swapped, or does the search need an older good end?
    000000000000 gave 4 different answers: the question has no stable answer there.
    000000000000 cannot serve as an end: it does not boot.
    000000000003 was bad in 1 of 21 runs and then never again: the fault is not reproducible there.
    Every candidate that was tried is bad.
    The host fails too often to continue: no space.
    ");
}

#[test]
fn a_row_tells_of_each_candidate_once() {
    let rows = summary(&outcome(), |report| report.rows());
    let names: Vec<&str> = rows.iter().map(|row| row.name.trim_start_matches('0')).collect();
    assert_eq!(names, ["", "63", "31", "19", "20", "25"]);
    let marks: Vec<&str> = rows.iter().filter_map(|row| row.mark.as_deref()).collect();
    assert_eq!(marks, ["good", "bad", "bad", "good", "bad", "skip"]);
    assert_eq!(rows[3].notes, ["no-op: the image of 000000000000"]);
}

#[test]
fn the_markdown_has_one_line_a_candidate_and_no_broken_cell() {
    let text = summary(&outcome(), |report| report.markdown());
    assert!(text.contains("| 000000000025 |  |  |  | 0 |  |  | skipped: it \\| does not build |"), "{text}");
    assert!(text.contains("| evaluation | 1 |") && text.contains("| proof | 1 |"), "{text}");
    assert!(text.contains("## What changed") && text.contains("git bisect bad"), "{text}");
}

#[test]
fn the_mail_is_one_that_regzbot_reads() {
    let mail = summary(&outcome(), |report| report.mail()).unwrap();
    assert!(mail.starts_with("Subject: [REGRESSION] a/b: the claims fail since "), "{mail}");
    assert!(mail.contains("\nTo: A <a@example.org>\nCc: regressions@lists.linux.dev\n"), "{mail}");
    assert!(mail.ends_with(&format!("\n#regzbot introduced: {:012}{:028}\n", 20, 0)), "{mail}");
}

#[test]
fn a_version_is_told_as_its_tag_and_a_kernel_of_the_catalogue_by_its_name() {
    assert_eq!(version_tag("6.1.180"), "v6.1.180");
    assert_eq!(version_tag("mips64-6.1"), "mips64-6.1");
}

#[test]
fn a_hunt_that_found_its_good_end_itself_marks_what_it_passed_as_bad() {
    let (mut header, mut records) = (header(), records());
    (header.plan.good, header.plan.good_answers) = (vec![], Default::default());
    // 63 is bad; 62 and 61 are passed, 0 is good.
    records.splice(0..2, []);
    for (node, answer) in [(62, "stacks b"), (61, "stacks c"), (0, "stacks a")] {
        records.push(ran(node, Purpose::FindGoodEnd, answer));
    }
    records.push(ran(63, Purpose::ConfirmEnd, "stacks a"));
    let report = BisectReport {
        header: &header,
        records: &records,
        outcome: &outcome(),
        evidence: &ChangeEvidence::default(),
    };
    let rows = report.rows();
    let mark = |node: usize| {
        let row = rows.iter().find(|row| row.name == format!("{node:012}")).unwrap();
        row.mark.clone().unwrap()
    };
    assert_eq!((mark(62), mark(61), mark(0)), ("bad".into(), "bad".into(), "good".into()));
    assert_eq!(
        report.rate(),
        "1 of 2 runs",
        "a run of the bad end that was good is none that shows the fault"
    );
    assert!(report.mail().is_some(), "a regression is one without --good, too");
}

#[test]
fn a_fault_that_ended_and_a_hunt_without_a_result_are_no_regression() {
    assert!(summary(&BisectionResult::NoGoodFound, |report| report.mail()).is_none());
    let (mut header, records) = (header(), records());
    (header.plan.good, header.plan.bad) = (vec![63], 0);
    let report = BisectReport {
        header: &header,
        records: &records,
        outcome: &outcome(),
        evidence: &ChangeEvidence::default(),
    };
    assert!(report.mail().is_none());
    assert!(report.searches_fix());
}
