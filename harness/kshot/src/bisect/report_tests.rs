use super::*;
use crate::bisect::Flip;
use crate::bisect::hunt::tests::header;

fn record(name: &str, event: Event) -> Record {
    let folder = matches!(event, Event::Ran { .. }).then(|| "run".to_owned());
    Record { name: name.into(), event: Some(event), milliseconds: 4000, folder, ..Record::default() }
}

fn ran(node: usize, purpose: Purpose, state: &str) -> Record {
    let event = Event::Ran { subject: Subject::At(node), purpose, state: state.into() };
    record(&format!("{node:012}"), event)
}

fn records() -> Vec<Record> {
    let built = |node: usize, image: &str| {
        let event = Event::Built { subject: Subject::At(node), image: image.into() };
        record(&format!("{node:012}"), event)
    };
    vec![
        built(0, "a"),
        ran(0, Purpose::End, "holds"),
        built(63, "b"),
        ran(63, Purpose::End, "fails: ftrace"),
        built(31, "c"),
        ran(31, Purpose::Mark, "fails: ftrace"),
        built(19, "a"),
        ran(19, Purpose::Proof, "holds"),
        ran(20, Purpose::Proof, "fails: ftrace"),
        record(
            &format!("{:012}", 25),
            Event::CannotTell { subject: Subject::At(25), why: "it | does not build\nsecond line".into() },
        ),
    ]
}

fn outcome() -> Outcome {
    let flip = Some(Flip { subject: Subject::Reverted(20), flips: true });
    let change = Change { suspects: vec![20], before: vec![19], unproven: vec![], flip };
    Outcome::Found { changes: vec![change], wrong: 0.006 }
}

fn told<T>(outcome: &Outcome, tell: impl FnOnce(&Telling<'_>) -> T) -> T {
    let (header, records) = (header(), records());
    let stacks = Stacks {
        before: "a\nb".into(),
        after: "a".into(),
        commit: "commit 20".into(),
        author: "A <a@example.org>".into(),
    };
    tell(&Telling { header: &header, records: &records, outcome, stacks: &stacks })
}

#[test]
fn the_sentence_names_the_culprit_its_parent_the_proof_and_the_doubt() {
    assert_eq!(
        told(&outcome(), |telling| telling.sentence()),
        "000000000020 (\"change 20\") is the first bad one; 000000000019 before it is good; taken back on the \
         newer end, it flips the verdict. The probability that this is wrong is at most 0.0060."
    );
}

#[test]
fn suspects_that_are_left_are_all_named() {
    let change = Change { suspects: vec![20, 21], before: vec![19], unproven: vec![19], flip: None };
    let said = told(&Outcome::Found { changes: vec![change], wrong: 0.0 }, |telling| telling.sentence());
    assert!(
        said.contains("among 000000000020, 000000000021, of which only the last could be told"),
        "{said}"
    );
    assert!(said.contains("not proven, because it does not build or boot: 000000000019"), "{said}");
}

#[test]
fn every_outcome_has_a_sentence_that_ends() {
    let outcomes = [
        Outcome::NotMonotonic { has: 3, lacks: 5 },
        Outcome::NoChange { runs: 20 },
        Outcome::TooRare { shows: 1, runs: 21 },
        Outcome::WrongEnd { end: 0, state: "fails".into() },
        Outcome::Unstable { end: 0, states: 4 },
        Outcome::Unusable { end: 0, why: "it does not boot.".into() },
        Outcome::Fluke { at: 3, shows: 1, runs: 21 },
        Outcome::NoGood,
        Outcome::HostFaults { why: "no space.".into() },
    ];
    for outcome in outcomes {
        let said = told(&outcome, |telling| telling.sentence());
        assert!(said.ends_with(['.', '?', 'd']) && said.len() > 20, "{said}");
    }
}

#[test]
fn a_row_tells_of_each_candidate_once() {
    let rows = told(&outcome(), |telling| telling.rows());
    let names: Vec<&str> = rows.iter().map(|row| row.name.trim_start_matches('0')).collect();
    assert_eq!(names, ["", "63", "31", "19", "20", "25"]);
    let marks: Vec<&str> = rows.iter().filter_map(|row| row.mark.as_deref()).collect();
    assert_eq!(marks, ["good", "bad", "bad", "good", "bad", "skip"]);
    assert_eq!(rows[3].notes, ["no-op: the image of 000000000000"]);
}

#[test]
fn the_markdown_has_one_line_a_candidate_and_no_broken_cell() {
    let text = told(&outcome(), |telling| telling.markdown());
    assert!(text.contains("| 000000000025 |  |  |  | 0 |  |  | skipped: it \\| does not build |"), "{text}");
    assert!(text.contains("## What changed") && text.contains("git bisect bad"), "{text}");
}

#[test]
fn the_mail_is_one_that_regzbot_reads() {
    let mail = told(&outcome(), |telling| telling.mail()).unwrap();
    assert!(mail.starts_with("Subject: [REGRESSION] a/b: the claims fail since "), "{mail}");
    assert!(mail.contains("\nTo: A <a@example.org>\nCc: regressions@lists.linux.dev\n"), "{mail}");
    assert!(mail.ends_with(&format!("\n#regzbot introduced: {:012}{:028}\n", 20, 0)), "{mail}");
}

#[test]
fn a_fault_that_ended_and_a_hunt_without_a_result_are_no_regression() {
    assert!(told(&Outcome::NoGood, |telling| telling.mail()).is_none());
    let (mut header, records) = (header(), records());
    (header.plan.good, header.plan.bad) = (vec![63], 0);
    let telling =
        Telling { header: &header, records: &records, outcome: &outcome(), stacks: &Stacks::default() };
    assert!(telling.mail().is_none());
    assert!(telling.fixed());
}
