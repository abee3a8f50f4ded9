use super::*;

fn text(text: &str) -> String {
    text.to_owned()
}

/// Each kind of reason with its sentence.
fn all() -> Vec<(Reason, &'static str)> {
    let (probe, claim, because) = (text("ftrace"), text("c"), text("the unwinder stops"));
    let (through, at) = (vec![text("a"), text("b")], |at: &str| Some(text(at)));
    let ends = vec![EndCount { at: at("x"), count: 5 }, EndCount { at: None, count: 1 }];
    let nearest =
        NearestStack { last: text("a"), next: text("b"), frames: vec![text("a"), text("x")], more: true };
    let fails = |failure| Reason::ClaimFails { claim: text("c"), failure };
    let count = |verdict, runs| VerdictCount { verdict, runs };
    let starts = [[Start::Cold, Start::Warm], [Start::Warm, Start::Warm]];
    vec![
        (
            Reason::NoSnapshot { probe: probe.clone() },
            "no snapshot on file for `ftrace`: `kshot record` shows its stacks and proposes one",
        ),
        (
            Reason::SnapshotDiffers { probe: probe.clone(), diff: text("-a\n+b") },
            "the stacks of `ftrace` differ from its snapshot:\n-a\n+b",
        ),
        (
            Reason::KnownFault { claim: claim.clone(), because: because.clone() },
            "claim `c` fails, as known: the unwinder stops",
        ),
        (
            Reason::KnownFaultGone { claim: claim.clone(), because: because.clone() },
            "claim `c` holds, but is known to fail (the unwinder stops); remove it from `known`",
        ),
        (
            fails(ClaimFailure::NoWitness {
                probe: probe.clone(),
                stacks: 6,
                through: through.clone(),
                ends: ends.clone(),
                nearest: Some(Box::new(nearest)),
            }),
            "claim `c` fails: none of the 6 stacks of `ftrace` passes through a, b; they end at x (5), nothing (1); the nearest has no b after a: a, x, ...",
        ),
        (
            fails(ClaimFailure::WrongCount { found: 4, wanted: 5, through: through.clone(), ends }),
            "claim `c` fails: 4 instead of 5 stacks through a, b; they end at x (5), nothing (1)",
        ),
        (
            fails(ClaimFailure::Incomplete { through: through.clone(), ends_at: at("x") }),
            "claim `c` fails: a stack through a, b ends at x, before any entry",
        ),
        (
            fails(ClaimFailure::Corrupt { through: through.clone(), ends_at: text("x") }),
            "claim `c` fails: a stack through a, b is corrupt; its last frame is x",
        ),
        (
            fails(ClaimFailure::NotWhole { through: through.clone(), gaps: text("missing: y behind a") }),
            "claim `c` fails: a stack through a, b lacks frames: missing: y behind a",
        ),
        (
            fails(ClaimFailure::NotExact { through, excess: text("extra: y behind a") }),
            "claim `c` fails: a stack through a, b has frames that its reference does not have: extra: y behind a",
        ),
        (
            Reason::NoReference { claim: claim.clone() },
            "claim `c` cannot be judged: a stack has no reference to compare it with",
        ),
        (
            Reason::ClaimUndecided { claim: claim.clone(), probe: probe.clone() },
            "claim `c` cannot be judged: what it asks for may be among what `ftrace` lost",
        ),
        (
            Reason::SnapshotUndecided { probe: probe.clone() },
            "the stacks of `ftrace` cannot be compared with its snapshot: some were lost",
        ),
        (
            fails(ClaimFailure::Console { report: text("warn"), line: text("WARNING: x") }),
            "claim `c` fails: the console reports (warn): WARNING: x",
        ),
        (
            Reason::NoProbe { claim, probe: probe.clone() },
            "claim `c`: there is no result of the probe `ftrace`",
        ),
        (
            Reason::LeftOut { probe: probe.clone(), because: text("no DWARF") },
            "`ftrace` was left out, so its claims are not judged: no DWARF",
        ),
        (
            Reason::Lost { probe: probe.clone(), entries: 3 },
            "`ftrace` lost 3 entries, so its counts are too low",
        ),
        (
            Reason::Unreadable { probe: probe.clone(), warning: text("w"), count: 2, example: text("x") },
            "`ftrace`: 2 x w, first: x",
        ),
        (Reason::NoRun {}, "there was no run"),
        (
            Reason::RunsDisagree { verdicts: vec![count(Verdict::Match, 1), count(Verdict::Drift, 2)] },
            "3 runs disagree: match in 1, drift in 2",
        ),
        (
            Reason::StacksDiffer { probe: probe.clone(), starts: starts[0] },
            "the stacks of `ftrace` differ between a cold and a warm start",
        ),
        (Reason::StacksDiffer { probe, starts: starts[1] }, "the stacks of `ftrace` differ between two runs"),
        (Reason::NoWarmStart { because: None }, "not compared with a warm start: none ran"),
        (Reason::GuestFailed { error: text("it panicked") }, "it panicked"),
        (Reason::Text { text: text("as it was told") }, "as it was told"),
    ]
}

#[test]
fn each_reason_has_its_sentence_and_comes_back_from_json() {
    for (reason, sentence) in all() {
        assert_eq!(reason.to_string(), sentence);
        let json = serde_json::to_value(&reason).unwrap();
        assert!(json["kind"].is_string(), "{json}");
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
    }
}

#[test]
fn the_first_line_is_the_headline() {
    let differs = Reason::SnapshotDiffers { probe: text("ftrace"), diff: text("-a\n+b") };
    assert_eq!(differs.headline(), "the stacks of `ftrace` differ from its snapshot:");
}

#[test]
fn the_sentences_of_a_document_of_version_1_are_read_and_an_unknown_kind_is_named() {
    let read: Vec<Reason> = serde_json::from_str(r#"["claim `c` fails: so", {"kind": "no_run"}]"#).unwrap();
    assert_eq!(read, [Reason::Text { text: text("claim `c` fails: so") }, Reason::NoRun {}]);
    let error = serde_json::from_str::<Reason>(r#"{"kind": "moon_phase"}"#).unwrap_err();
    assert!(error.to_string().contains("unknown variant `moon_phase`"), "{error}");
}
