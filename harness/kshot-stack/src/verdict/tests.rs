use super::*;
use crate::document::{Deviation, Fidelity, FrameDifference, ReferenceKind, Start};
use crate::samples::{self, probe};
use crate::stack::Warning;

fn stack(count: u64, frames: &[&str], state: State) -> StackResult {
    StackResult { count, ..samples::stack(frames, state) }
}

fn full(count: u64) -> StackResult {
    stack(count, &["register_netdevice", "__tun_chr_ioctl", "sys_ioctl", "syscall_common"], State::Complete)
}

fn broken(count: u64) -> StackResult {
    stack(count, &["ftrace_graph_call"], State::Truncated)
}

fn claim(through: &[&str], stacks: Option<u64>, complete: bool) -> Claim {
    let through = through.iter().map(|function| (*function).to_owned()).collect();
    let witness_count = stacks;
    Claim {
        name: "c".into(),
        probe: "ftrace".into(),
        through,
        witness_count,
        complete,
        exact: false,
        whole: false,
    }
}

fn known() -> Vec<KnownFault> {
    vec![KnownFault { kernels: vec!["*".into()], claim: "c".into(), because: "the unwinder stops".into() }]
}

fn judged(
    claims: &[Claim],
    known: &[KnownFault],
    stacks: Vec<StackResult>,
    comparison: Comparison,
) -> Judgement {
    let comparisons = [("ftrace".to_owned(), comparison)];
    let probes = [probe("ftrace", stacks)];
    judge(Evidence {
        claims,
        known_faults: known,
        probes: &probes,
        comparisons: &comparisons,
        ..Evidence::default()
    })
}

fn told(why: &[Reason]) -> Vec<String> {
    why.iter().map(ToString::to_string).collect()
}

fn reason(text: &str) -> Reason {
    Reason::Text { text: text.into() }
}

fn drift() -> Comparison {
    Comparison::Drift { diff: "-a\n+b\n".into() }
}

#[test]
fn a_claim_holds_or_says_why_not() {
    let path = ["register_netdevice", "__tun_chr_ioctl"];
    let cases = [
        ("the path is there", claim(&path, None, false), vec![full(5)], ""),
        (
            "others may stand between",
            claim(&["register_netdevice", "syscall_common"], None, true),
            vec![full(5)],
            "",
        ),
        ("one witness is enough", claim(&path, None, false), vec![broken(9), full(1)], ""),
        ("the number is right", claim(&path, Some(5), true), vec![full(2), broken(1), full(3)], ""),
        ("no path means every stack", claim(&[], Some(6), false), vec![full(5), broken(1)], ""),
        ("no stack is asked for", claim(&[], Some(0), false), vec![], ""),
        ("a suffix does not matter", claim(&["sys_ioctl.isra.0"], None, false), vec![full(1)], ""),
        (
            "the path is missing",
            claim(&path, None, false),
            vec![broken(5)],
            "none of the 5 stacks of `ftrace` passes through register_netdevice, __tun_chr_ioctl; they end at ftrace_graph_call (5)",
        ),
        (
            "the order is wrong",
            claim(&["__tun_chr_ioctl", "register_netdevice"], None, false),
            vec![full(1)],
            "the one stack of `ftrace` does not pass through __tun_chr_ioctl, register_netdevice; they end at syscall_common (1); the nearest has no register_netdevice after __tun_chr_ioctl: register_netdevice, __tun_chr_ioctl, sys_ioctl, syscall_common",
        ),
        ("there is no stack", claim(&[], None, false), vec![], "`ftrace` has no stack, so none passes"),
        (
            "the number is wrong",
            claim(&path, Some(5), false),
            vec![full(4), broken(1)],
            "4 instead of 5 stacks through register_netdevice, __tun_chr_ioctl; they end at syscall_common (4), ftrace_graph_call (1)",
        ),
        (
            "a witness is cut",
            claim(&["register_netdevice"], None, true),
            vec![full(1), stack(1, &["register_netdevice", "x"], State::Truncated)],
            "a stack through register_netdevice ends at x, before any entry",
        ),
        (
            "a witness is empty",
            claim(&[], None, true),
            vec![stack(1, &[], State::Empty)],
            "a stack is empty, before any entry",
        ),
    ];
    for (name, claim, stacks, fault) in cases {
        let verdict = judged(&[claim], &[], stacks, Comparison::Same);
        let (word, why) = match fault {
            "" => (Verdict::Match, vec![]),
            fault => (Verdict::Drift, vec![format!("claim `c` fails: {fault}")]),
        };
        assert_eq!((verdict.verdict, told(&verdict.reasons)), (word, why), "{name}");
    }
}

#[test]
fn claims_known_faults_and_snapshots_give_one_word() {
    let (same, missing) = (Comparison::Same, Comparison::Missing);
    let cases = [
        ("all is well", full(5), vec![], same.clone(), Verdict::Match),
        ("a claim fails", broken(5), vec![], same.clone(), Verdict::Drift),
        ("a claim fails as known", broken(5), known(), same.clone(), Verdict::Match),
        ("a known fault is mended", full(5), known(), same, Verdict::Drift),
        ("the snapshot differs", full(5), vec![], drift(), Verdict::Drift),
        ("the snapshot of a known fault differs", broken(5), known(), drift(), Verdict::Drift),
        ("no snapshot", full(5), vec![], missing.clone(), Verdict::Inconclusive),
        ("no snapshot of a known fault", broken(5), known(), missing.clone(), Verdict::Inconclusive),
        ("no snapshot, but a claim fails", broken(5), vec![], missing.clone(), Verdict::Drift),
        ("no snapshot, but a known fault is mended", full(5), known(), missing, Verdict::Drift),
    ];
    for (name, stack, known, comparison, word) in cases {
        let claims = [claim(&["register_netdevice"], None, false)];
        let verdict = judged(&claims, &known, vec![stack], comparison);
        assert_eq!(verdict.verdict, word, "{name}: {:?}", verdict.reasons);
    }
}

#[test]
fn the_reasons_name_probe_claim_and_remedy() {
    let claims = [claim(&["register_netdevice"], None, false)];
    let why = |stack, comparison| told(&judged(&claims, &known(), vec![stack], comparison).reasons);
    assert_eq!(
        why(full(1), drift()),
        [
            "claim `c` holds, but is known to fail (the unwinder stops); remove it from `known`",
            "the stacks of `ftrace` differ from its snapshot:\n-a\n+b",
        ]
    );
    assert_eq!(
        why(broken(1), Comparison::Missing),
        [
            "claim `c` fails, as known: the unwinder stops",
            "no snapshot on file for `ftrace`: `kshot record` shows its stacks and proposes one",
        ]
    );
}

#[test]
fn a_known_fault_excuses_its_own_claim_alone() {
    let other = Claim { name: "other".into(), ..claim(&["register_netdevice"], None, false) };
    let claims = [claim(&["register_netdevice"], None, false), other];
    assert_eq!(judged(&claims, &known(), vec![broken(1)], Comparison::Same).verdict, Verdict::Drift);
}

#[test]
fn a_report_that_must_not_come_fails_its_claim_or_is_known() {
    let silences = [ConsoleClaim { name: "c".into(), forbidden_text: "stack_trace_save_regs".into() }];
    let report =
        |line: &str| ConsoleReport { kind: "warn".into(), line: line.into(), ..ConsoleReport::default() };
    let ours =
        [report("WARNING: CPU: 0 PID: 105 at kernel/stacktrace.c:256 stack_trace_save_regs+0x44/0x70")];
    let other = [report("WARNING: CPU: 0 PID: 53 at perf_regs.c:56 perf_reg_value+0xac/0xb8")];
    let known = known();
    let cases: [(&[ConsoleReport], &[KnownFault], Verdict, &str); 5] = [
        (&[], &[], Verdict::Match, ""),
        (&other, &[], Verdict::Match, ""),
        (&ours, &[], Verdict::Drift, "claim `c` fails: the console reports (warn): WARNING: "),
        (&ours, &known, Verdict::Match, "claim `c` fails, as known: the unwinder stops"),
        (&other, &known, Verdict::Drift, "claim `c` holds, but is known to fail"),
    ];
    for (console, known, word, why) in cases {
        let verdict = judge(Evidence {
            console_claims: &silences,
            console,
            known_faults: known,
            ..Evidence::default()
        });
        assert_eq!(verdict.verdict, word, "{:?}", verdict.reasons);
        assert!(told(&verdict.reasons).concat().starts_with(why), "{:?}", verdict.reasons);
    }
}

#[test]
fn a_probe_that_brought_nothing_cannot_be_judged() {
    let claims = [claim(&[], None, false)];
    let verdict = judge(Evidence { claims: &claims, ..Evidence::default() });
    assert_eq!(verdict.verdict, Verdict::Inconclusive);
    assert_eq!(told(&verdict.reasons), ["claim `c`: there is no result of the probe `ftrace`"]);
}

#[test]
fn what_may_be_among_the_lost_entries_is_no_drift() {
    let path = ["register_netdevice", "__tun_chr_ioctl"];
    let verdict = |claim: Claim, stacks: Vec<StackResult>, comparison, lost| {
        let probes = [ProbeResult { lost, ..probe("ftrace", stacks) }];
        let comparisons = [("ftrace".to_owned(), comparison)];
        let claims = [claim];
        judge(Evidence { claims: &claims, probes: &probes, comparisons: &comparisons, ..Evidence::default() })
            .verdict
    };
    let same = || Comparison::Same;
    for (claim, stacks, comparison, without, with) in [
        // Too few stacks, or other ones than in the snapshot.
        (claim(&path, Some(5), false), vec![full(4)], same(), Verdict::Drift, Verdict::Inconclusive),
        (claim(&path, None, false), vec![broken(1)], same(), Verdict::Drift, Verdict::Inconclusive),
        (claim(&path, None, false), vec![full(1)], drift(), Verdict::Drift, Verdict::Inconclusive),
        // Too many stacks, or wrong ones, do not come of a loss.
        (claim(&path, Some(5), false), vec![full(6)], same(), Verdict::Drift, Verdict::Drift),
        (
            claim(&path[..1], None, true),
            vec![stack(1, &["register_netdevice"], State::Truncated)],
            same(),
            Verdict::Drift,
            Verdict::Drift,
        ),
        (claim(&path, Some(5), false), vec![full(5)], same(), Verdict::Match, Verdict::Match),
    ] {
        assert_eq!(verdict(claim.clone(), stacks.clone(), comparison.clone(), 0), without, "{claim:?}");
        assert_eq!(verdict(claim.clone(), stacks, comparison, 3), with, "{claim:?}");
    }
    // A fault that is known is known with a loss, too.
    let (claims, known) = ([claim(&path, None, false)], known());
    let probes = [ProbeResult { lost: 3, ..probe("ftrace", vec![broken(1)]) }];
    let evidence = Evidence { claims: &claims, known_faults: &known, probes: &probes, ..Evidence::default() };
    assert_eq!(judge(evidence).verdict, Verdict::Match);
}

#[test]
fn losses_and_unread_lines_are_told_but_change_no_word() {
    let warning = |kind: &str| Warning { kind: kind.into(), count: 2, example: "x".into(), line: None };
    let warnings = vec![warning("lost-events"), warning("unreadable-line")];
    let probes = [ProbeResult { lost: 3, warnings, ..probe("ftrace", vec![full(1)]) }];
    let verdict = judge(Evidence { probes: &probes, ..Evidence::default() });
    assert_eq!(verdict.verdict, Verdict::Match);
    assert_eq!(
        told(&verdict.reasons),
        ["`ftrace` lost 3 entries, so its counts are too low", "`ftrace`: 2 x unreadable-line, first: x"]
    );
}

#[test]
fn repeats_agree_or_are_unstable() {
    use Verdict::{Drift, Inconclusive, Match, Unstable};
    let cases: &[(&[Verdict], Verdict)] = &[
        (&[], Inconclusive),
        (&[Match], Match),
        (&[Drift, Drift, Drift], Drift),
        (&[Inconclusive, Inconclusive], Inconclusive),
        (&[Match, Drift], Unstable),
        (&[Drift, Match, Match], Unstable),
        (&[Match, Inconclusive], Unstable),
        (&[Unstable, Unstable], Unstable),
    ];
    for (words, expected) in cases {
        let verdicts: Vec<_> = words
            .iter()
            .map(|&word| Judgement { verdict: word, reasons: vec![reason(word.name())] })
            .collect();
        assert_eq!(combine_repeats(&verdicts, vec![]).verdict, *expected, "{words:?}");
    }
    let verdict = |word, why: &str| Judgement { verdict: word, reasons: vec![reason(why)] };
    let folded = combine_repeats(&[verdict(Match, "a"), verdict(Drift, "b"), verdict(Drift, "b")], vec![]);
    assert_eq!(told(&folded.reasons), ["3 runs disagree: match in 1, drift in 2", "a", "b"]);
    assert_eq!(told(&combine_repeats(&[verdict(Drift, "b"), verdict(Drift, "b")], vec![]).reasons), ["b"]);
    let differing =
        || vec![Reason::StacksDiffer { probe: "ftrace".into(), starts: [Start::Cold, Start::Warm] }];
    let folded = combine_repeats(&[verdict(Drift, "b"), verdict(Drift, "b")], differing());
    let sentence = "the stacks of `ftrace` differ between a cold and a warm start";
    assert_eq!((folded.verdict, told(&folded.reasons)), (Unstable, vec![sentence.to_owned(), "b".into()]));
    let folded = combine_repeats(&[verdict(Match, "a"), verdict(Drift, "b")], differing());
    assert_eq!(folded.verdict, Unstable);
    assert_eq!(told(&folded.reasons), ["2 runs disagree: match in 1, drift in 1", sentence, "a", "b"]);
}

#[test]
fn a_probe_that_is_left_out_is_neither_judged_nor_known_to_be_mended() {
    let claims = [claim(&["register_netdevice"], None, false)];
    let probes = [ProbeResult { left_out_because: Some("no DWARF".into()), ..probe("ftrace", vec![]) }];
    for known in [known(), Vec::new()] {
        let verdict =
            judge(Evidence { claims: &claims, known_faults: &known, probes: &probes, ..Evidence::default() });
        assert_eq!(verdict.verdict, Verdict::Match);
        assert_eq!(told(&verdict.reasons), ["`ftrace` was left out, so its claims are not judged: no DWARF"]);
    }
}

#[test]
fn an_exact_claim_fails_by_a_frame_that_is_not_there() {
    let exact = Claim { exact: true, ..claim(&["register_netdevice"], Some(5), true) };
    let measured = |differences: Vec<FrameDifference>| StackResult {
        fidelity: Some(Fidelity::new(4, 4, ReferenceKind::Gdb)),
        differences,
        ..full(5)
    };
    let difference = |deviation, at| FrameDifference { deviation, frame: "f".into(), at };
    let judged =
        |stack: StackResult| judged(std::slice::from_ref(&exact), &[], vec![stack], Comparison::Same);
    assert_eq!(judged(measured(vec![])).verdict, Verdict::Match);
    assert_eq!(judged(measured(vec![difference(Deviation::Missing, 1)])).verdict, Verdict::Match);
    let verdict = judged(measured(vec![difference(Deviation::Extra, 1), difference(Deviation::Repeated, 0)]));
    assert_eq!(verdict.verdict, Verdict::Drift);
    let why = "has frames that its reference does not have: extra: f behind register_netdevice; repeated: f, innermost";
    assert!(verdict.reasons[0].to_string().ends_with(why), "{verdict:?}");
    let whole = Claim { exact: false, whole: true, ..exact.clone() };
    let gap = measured(vec![difference(Deviation::Missing, 1)]);
    let verdict = super::judge(Evidence {
        claims: std::slice::from_ref(&whole),
        probes: &[probe("ftrace", vec![gap])],
        ..Evidence::default()
    });
    assert!(
        verdict.reasons[0].to_string().ends_with("lacks frames: missing: f before __tun_chr_ioctl"),
        "{verdict:?}"
    );
    let verdict = judged(full(5));
    assert_eq!(
        (verdict.verdict, verdict.reasons[0].to_string().contains("no reference")),
        (Verdict::Inconclusive, true)
    );
}

#[test]
fn an_exact_claim_does_without_a_truth_that_cannot_be_had() {
    let claims = [Claim { exact: true, ..claim(&[], None, true) }];
    let gone = ProbeResult { left_out_because: Some("no DWARF".into()), ..probe("gdb", vec![]) };
    let probes = [probe("ftrace", vec![full(5)]), gone];
    let verdict = judge(Evidence { claims: &claims, probes: &probes, ..Evidence::default() });
    assert_eq!(verdict.verdict, Verdict::Match);
    // What is not measured may be a known fault all the same.
    let known_faults =
        [KnownFault { kernels: vec!["*".into()], claim: claims[0].name.clone(), because: "a".into() }];
    let evidence =
        Evidence { claims: &claims, known_faults: &known_faults, probes: &probes, ..Evidence::default() };
    assert_eq!(judge(evidence).verdict, Verdict::Match);
}

#[test]
fn a_stack_with_a_frame_behind_its_entry_is_not_complete() {
    let corrupt = StackResult { state: State::Corrupt, ..full(5) };
    let verdict = judged(&[claim(&[], None, true)], &[], vec![corrupt], Comparison::Same);
    assert!(
        verdict.reasons[0].to_string().contains("is corrupt; its last frame is syscall_common"),
        "{verdict:?}"
    );
}
