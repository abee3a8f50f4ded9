use super::*;
use crate::samples::{self, Sample};
use kshot_stack::document::{ConsoleReport, Fidelity, Reason, ReferenceKind, StackResult};
use kshot_stack::stack::State;

const SCENARIO: &str = "
summary: a test
kernels: [k]
steps: [{ run: 'true' }]
probes: [{ ftrace: {} }]
claims: [{ probe: ftrace, through: [register_netdevice], complete: true }]
console: [{ name: quiet, never: BUG }]
known: [{ kernels: [k], claim: ftrace, because: it is known }]
";

fn scenario() -> Scenario {
    Scenario::parse("a/b", "a/b.yaml", SCENARIO, &["k"]).unwrap()
}

fn document(state: State, got: u64) -> RunDocument {
    let stack = samples::stack(&["register_netdevice", "syscall_common"], state);
    let stack = StackResult { fidelity: Some(Fidelity::new(4, got, ReferenceKind::Perf)), ..stack };
    RunDocument { probes: vec![samples::probe("ftrace", vec![stack])], ..RunDocument::sample() }
}

fn answer(question: &Question, document: &RunDocument) -> Result<String, String> {
    let scenario = scenario();
    let captures = ["<stack trace>\n => ftrace_graph_call\n => 0\n".to_owned()];
    let console = "[1.0] BUG: spinlock\n";
    let seen = RunEvidence {
        scenario: &scenario,
        document,
        captures: &captures,
        console,
        last_step: "x\nkshot-answer: 3\n",
    };
    question.evaluate(&seen)
}

fn says(question: &Question) -> String {
    answer(question, &document(State::Complete, 4)).unwrap()
}

#[test]
fn claims_are_judged_whatever_is_known_of_them() {
    let all = Question::Claims(vec![]);
    assert_eq!(says(&all), "holds");
    assert_eq!(answer(&all, &document(State::Truncated, 4)).unwrap(), "fails: ftrace");
    assert_eq!(
        answer(&Question::Claims(vec!["quiet".into()]), &document(State::Truncated, 4)).unwrap(),
        "holds"
    );
    let mut noisy = document(State::Complete, 4);
    noisy.console.push(ConsoleReport {
        kind: "bug".into(),
        line: "BUG: x".into(),
        ..ConsoleReport::default()
    });
    assert_eq!(answer(&all, &noisy).unwrap(), "fails: quiet");
}

#[test]
fn a_text_matches_by_lines() {
    assert_eq!(says(&Question::Text("=> 0$".into())), "matches");
    assert_eq!(says(&Question::Text("^0".into())), "does not match");
    assert_eq!(says(&Question::Console("BUG: spin".into())), "matches");
}

#[test]
fn a_drift_is_the_same_for_the_same_stacks_and_another_for_others() {
    let question = Question::Drift(Some("ftrace".into()));
    assert_eq!(says(&question), says(&question));
    assert_ne!(says(&question), answer(&question, &document(State::Truncated, 4)).unwrap());
}

#[test]
fn a_fidelity_is_held_to_its_threshold() {
    let question = |percent| Question::Fidelity { probe: "ftrace".into(), percent };
    let of = |percent, got| answer(&question(percent), &document(State::Complete, got)).unwrap();
    assert_eq!([of(75, 3), of(76, 3), of(100, 4)], ["holds", "fails", "holds"]);
    let mut unmeasured = document(State::Complete, 4);
    unmeasured.probes[0].stacks[0].fidelity = None;
    assert!(answer(&question(1), &unmeasured).unwrap_err().contains("nothing to measure"));
}

#[test]
fn a_predicate_answers_by_its_status() {
    let of = |text: &str| predicate_answer(text);
    assert_eq!(of("kshot-answer: 0\n").unwrap(), "holds");
    assert_eq!(of("noise\nkshot-answer: 1").unwrap(), "fails");
    assert!(of("kshot-answer: 125").is_err() && of("kshot-answer: 137").is_err() && of("cut off").is_err());
    assert_eq!(says(&Question::Shell("test -e /x".into())), "fails");
}

#[test]
fn the_predicate_is_a_step_of_its_own_after_the_others() {
    let prepared = Question::Shell("exit 7".into()).add_step(scenario());
    assert_eq!(prepared.steps.len(), 2);
    assert!(prepared.steps[1].script.contains("exit 7") && prepared.steps[1].expected_status == 0);
}

#[test]
fn a_run_without_a_verdict_tells_nothing_but_what_its_console_says() {
    let mut dead = document(State::Complete, 4);
    (dead.verdict, dead.reasons) =
        (Verdict::Inconclusive, vec![Reason::GuestFailed { error: "it panicked".into() }]);
    for question in [Question::Claims(vec![]), Question::Text("x".into()), Question::Verdict("k".into())] {
        assert_eq!(answer(&question, &dead).unwrap_err(), "it panicked");
    }
    assert_eq!(answer(&Question::Console("BUG".into()), &dead).unwrap(), "matches");
    assert_eq!(answer(&Question::Console("oops".into()), &dead).unwrap_err(), "it panicked");
}

#[test]
fn a_text_answers_where_the_claims_have_no_reference() {
    let mut seen = document(State::Complete, 4);
    let known = Reason::KnownFault { claim: "path".into(), because: "it is skipped".into() };
    (seen.verdict, seen.reasons) =
        (Verdict::Inconclusive, vec![Reason::NoReference { claim: "ftrace".into() }, known]);
    assert_eq!(answer(&Question::Text("x".into()), &seen).unwrap(), "does not match");
    for question in [Question::Claims(vec![]), Question::Verdict("k".into())] {
        let refused = answer(&question, &seen).unwrap_err();
        assert!(refused.contains("claim `ftrace` cannot be judged: a stack has no reference"), "{refused}");
    }
}

#[test]
fn a_verdict_is_the_runs_own() {
    assert_eq!(says(&Question::Verdict("k".into())), "match");
    let mut drift = document(State::Complete, 4);
    drift.verdict = Verdict::Drift;
    assert_eq!(answer(&Question::Verdict("k".into()), &drift).unwrap(), "drift");
}

#[test]
fn what_the_scenario_does_not_have_is_refused_with_what_it_has() {
    let refused = |question: Question| question.check(&scenario()).unwrap_err().to_string();
    assert_eq!(
        refused(Question::Claims(vec!["perf".into()])),
        "a/b has no claim `perf`; it has ftrace, quiet"
    );
    assert_eq!(refused(Question::Drift(Some("gdb".into()))), "a/b has no probe `gdb`; it has ftrace");
    assert!(refused(Question::Text("(".into())).contains("not a regular expression"));
    assert!(refused(Question::Fidelity { probe: "x".into(), percent: 1 }).contains("no probe `x`"));
    let bare = Scenario::empty("a/b");
    assert!(matches!(Question::Claims(vec![]).check(&bare), Err(QuestionError::NoClaims { .. })));
}

#[test]
fn only_a_question_of_right_and_wrong_knows_its_answer_beforehand() {
    assert!(
        !Question::Claims(vec![]).good_answers().is_empty()
            && !Question::Shell(String::new()).good_answers().is_empty()
    );
    assert!(
        Question::Text(String::new()).good_answers().is_empty()
            && Question::Drift(None).good_answers().is_empty()
    );
}
