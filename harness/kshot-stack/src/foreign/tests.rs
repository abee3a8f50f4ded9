use serde_json::json;

use super::*;
use crate::document::RunDocument;
use crate::samples::Sample;
use crate::{night, sweep};

fn run() -> Value {
    let mut value = serde_json::to_value(RunDocument::sample()).unwrap();
    value["why"] = json!(["one\ntwo"]);
    value["artifacts"] = json!({ "a": "steps/a.txt" });
    value
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut value = run();
    change(&mut value);
    let error = read::<RunDocument>(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.blame(), Blame::Usage);
    assert!(error.hint().is_some());
    error.to_string()
}

/// The sentences of reasons.
fn told(why: &[crate::document::Reason]) -> Vec<String> {
    why.iter().map(ToString::to_string).collect()
}

#[test]
fn a_document_of_ours_passes() {
    let document: RunDocument = read(run().to_string().as_bytes()).unwrap();
    assert_eq!(told(&document.reasons), ["one\ntwo"]);
}

#[test]
fn a_document_of_an_unknown_schema_is_refused() {
    assert_eq!(
        refused(|run| run["schema"] = 99.into()),
        "a result document of schema 99; this kshot reads schema 2"
    );
    for schema in [json!("1"), json!(null), json!(-1)] {
        assert_eq!(refused(|run| run["schema"] = schema), "not a result document: it has no number `schema`");
    }
}

#[test]
fn another_document_of_kshots_is_called_what_it_is() {
    let night = night::results::Night::sample();
    let night = serde_json::to_vec(&night).unwrap();
    let error = read::<RunDocument>(&night).unwrap_err();
    assert_eq!(error.to_string(), "the results of a night, not a result document");
    assert_eq!(error.hint().unwrap(), "name the file that is a result document");
    // Whatever their versions are.
    let run = run().to_string();
    let error = read::<crate::survey::SurveyDocument>(run.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a result document, not a survey document");
    for what in [
        RunDocument::WHAT,
        night::results::Night::WHAT,
        sweep::document::SweepDocument::WHAT,
        crate::survey::SurveyDocument::WHAT,
    ] {
        let (_, key) = KINDS.iter().find(|(kind, _)| *kind == what).unwrap();
        assert_eq!(other_kind(what, &json!({ "schema": 1, *key: 1, "verdict": 1 })), None, "{what}");
    }
}

#[test]
fn a_document_without_end_or_ground_takes_no_memory() {
    let nested = format!("{{\"schema\":1,\"x\":{}", "[".repeat(80_000));
    let error = read::<RunDocument>(nested.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("nests more than 32 deep, at byte"), "{error}");
    let long = format!("{{\"schema\":1,\"x\":[{}0]}}", "0,".repeat(VALUES_MOST));
    assert!(matches!(read::<RunDocument>(long.as_bytes()), Err(ForeignError::Values { .. })));
    assert!(matches!(read::<RunDocument>(&vec![b' '; SIZE_MOST + 1]), Err(ForeignError::Size { .. })));
    assert!(matches!(read::<RunDocument>(b"{"), Err(ForeignError::Json { .. })));
}

#[test]
fn brackets_and_quotes_in_text_are_no_depth() {
    let text = format!("{}\\\"", "[".repeat(1000));
    let mut value = run();
    value["why"] = json!([text]);
    assert_eq!(told(&read::<RunDocument>(value.to_string().as_bytes()).unwrap().reasons), [text]);
}

#[test]
fn counts_that_could_not_be_summed_up_are_refused() {
    let error = refused(|run| run["timings_ms"]["total"] = (1_u64 << 60).into());
    assert!(error.contains("whose timings_ms/total is 1152921504606846976"), "{error}");
    refused(|run| run["timings_ms"]["total"] = (-1).into());
    refused(|run| run["timings_ms"]["total"] = 1.5.into());
}

#[test]
fn text_that_could_steer_a_terminal_is_escaped() {
    let mut value = run();
    value["why"] = json!(["a\u{1b}[2Jb\u{202e}c\u{200b}", "x\ty\nz\u{7}"]);
    let document: RunDocument = read(value.to_string().as_bytes()).unwrap();
    assert_eq!(told(&document.reasons), [r"ab\u{202e}c\u{200b}", "x\ty\nz\\u{7}"]);
    assert!(
        refused(|run| run["artifacts"]["a\u{1b}b"] = "x".into())
            .contains(r"the key `a\u{1b}b` in `artifacts`")
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    assert_eq!(
        refused(|run| run["scenario"] = "../..".into()),
        "a result document whose scenario id is `../..`"
    );
    for name in ["..", "a/b", "", "-v"] {
        assert!(refused(|run| run["kernel"]["name"] = name.into()).contains("kernel name"));
    }
    assert!(refused(|run| run["kernel"]["release"] = "6.1$(id)".into()).contains("release"));
    for name in ["/etc/passwd", "../x", ""] {
        assert!(refused(|run| run["artifacts"]["a"] = name.into()).contains("path"), "{name}");
    }
}

#[test]
fn nights_and_sweeps_come_in_by_the_same_door() {
    fn is_unknown<T: Foreign>(schema: u32) -> bool {
        let bytes = json!({ "schema": schema }).to_string();
        matches!(read::<T>(bytes.as_bytes()), Err(ForeignError::Schema { .. }))
    }
    for schema in [0, 3, 99] {
        assert!(is_unknown::<night::results::Night>(schema), "{schema}");
    }
    for schema in [0, 2, 99] {
        assert!(is_unknown::<sweep::document::SweepDocument>(schema), "{schema}");
    }
}

#[test]
fn a_night_of_the_first_version_of_the_document_is_read() {
    let night = json!({
        "schema": 1, "night": "20261125T020000Z", "started": "2026-11-25T02:00:00Z", "wall_ms": 1,
        "deadline_ms": null, "engine": "local", "harness": "0.1.0",
        "kernels": [{ "name": "mips64-6.1", "origin": "linux-source-6.1", "absent": null }],
        "scenarios": [], "pairs": [], "notes": [], "changes": [],
    });
    let night: night::results::Night = read(night.to_string().as_bytes()).unwrap();
    assert_eq!(night.kernels[0].git, None);
}
