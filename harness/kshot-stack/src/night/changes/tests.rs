use super::*;
use crate::document::{Fidelity, KernelInfo, ReferenceKind, Verdict};
use crate::night::results::NightKernel;
use crate::samples::{Sample, attempt, probe, stack};
use crate::stack::State;

fn probes(got: u64) -> Vec<ProbeResult> {
    let names =
        ["ftrace_graph_call", "register_netdevice", "tun_chr_ioctl", "__se_sys_ioctl", "syscall_common"];
    let state = if got == 4 { State::Complete } else { State::Truncated };
    let fidelity = Some(Fidelity::new(4, got, ReferenceKind::Gdb));
    vec![probe("ftrace", vec![StackResult { fidelity, ..stack(&names[..=got as usize], state) }])]
}

fn run(verdict: Verdict, release: &str) -> RunSummary {
    let image_sha256 = format!("{release}-sha");
    let kernel = KernelInfo { release: release.into(), image_sha256, ..KernelInfo::sample() };
    RunSummary { verdict, kernel, ..RunSummary::sample() }
}

fn past(night: &str, verdict: Verdict, got: u64) -> PastResult {
    PastResult {
        night: night.into(),
        status: verdict.into(),
        run: Some(run(verdict, "6.1.1")),
        probes: probes(got),
        ..PastResult::sample()
    }
}

fn fault(night: &str) -> PastResult {
    PastResult { status: PairStatus::HostError, run: None, probes: vec![], ..past(night, Verdict::Match, 0) }
}

/// What became of a pair whose run of this night came to `now`.
fn became(now: Option<(Verdict, u64)>, past: &[PastResult]) -> Option<PairChange> {
    became_on(now, past, "6.1.1", from("linux-source-6.1"))
}

fn from(origin: &str) -> NightKernel {
    NightKernel { origin: origin.into(), ..NightKernel::sample() }
}

fn commit(tree: &str, commit: &str) -> Option<GitCommit> {
    Some(GitCommit { tree: tree.into(), commit: commit.into() })
}

fn became_on(
    now: Option<(Verdict, u64)>,
    past: &[PastResult],
    release: &str,
    kernel: NightKernel,
) -> Option<PairChange> {
    let attempts = vec![attempt(now.map(|(word, _)| run(word, release)))];
    let pair = Pair { attempts, ..Pair::sample() };
    let night = Night { kernels: vec![kernel], pairs: vec![pair], ..Night::sample() };
    let document = now.and_then(|(word, got)| {
        let now = PastResult { run: Some(run(word, release)), probes: probes(got), ..fault_free() };
        now.document("a/s")
    });
    classify_pair(&night, &night.pairs[0], document.as_ref(), past)
}

fn fault_free() -> PastResult {
    past("n9", Verdict::Match, 4)
}

fn kind(now: Option<(Verdict, u64)>, past: &[PastResult]) -> Option<ChangeKind> {
    became(now, past).map(|change| change.kind)
}

#[test]
fn a_match_as_before_is_nothing_to_tell() {
    assert_eq!(kind(Some((Verdict::Match, 4)), &[past("n8", Verdict::Match, 4)]), None);
    assert_eq!(kind(Some((Verdict::Match, 4)), &[]), None);
}

#[test]
fn a_drift_is_new_on_its_first_night_and_still_there_on_the_next() {
    assert_eq!(kind(Some((Verdict::Drift, 0)), &[]), Some(ChangeKind::NewDrift));
    assert_eq!(kind(Some((Verdict::Drift, 0)), &[past("n8", Verdict::Match, 4)]), Some(ChangeKind::NewDrift));
    let nights =
        [past("n8", Verdict::Drift, 0), past("n7", Verdict::Drift, 0), past("n6", Verdict::Match, 4)];
    let change = became(Some((Verdict::Drift, 0)), &nights).unwrap();
    assert_eq!((change.kind, change.since.as_deref()), (ChangeKind::StillBroken, Some("n7")));
}

#[test]
fn a_night_that_could_not_tell_breaks_no_row_and_starts_none() {
    let nights = [fault("n8"), past("n7", Verdict::Drift, 0), fault("n6"), past("n5", Verdict::Drift, 0)];
    let change = became(Some((Verdict::Drift, 0)), &nights).unwrap();
    assert_eq!((change.kind, change.since.as_deref()), (ChangeKind::StillBroken, Some("n5")));
    assert_eq!(
        kind(Some((Verdict::Drift, 0)), &[fault("n8"), past("n7", Verdict::Match, 4)]),
        Some(ChangeKind::NewDrift)
    );
}

#[test]
fn a_fault_of_the_host_is_never_a_drift_nor_a_mend() {
    for before in [Verdict::Match, Verdict::Drift] {
        assert_eq!(kind(None, &[past("n8", before, 4)]), Some(ChangeKind::CannotTell));
    }
}

#[test]
fn what_matches_again_is_mended_and_so_is_a_known_fault_that_is_gone() {
    assert_eq!(kind(Some((Verdict::Match, 4)), &[past("n8", Verdict::Drift, 0)]), Some(ChangeKind::Mended));
    // `known` still names it, so the word is drift; but no frame is missing any more.
    assert_eq!(kind(Some((Verdict::Drift, 4)), &[past("n8", Verdict::Match, 0)]), Some(ChangeKind::Mended));
    assert_eq!(
        kind(Some((Verdict::Drift, 2)), &[past("n8", Verdict::Match, 0)]),
        Some(ChangeKind::NewDrift),
        "half"
    );
}

#[test]
fn other_stacks_that_match_are_a_new_snapshot() {
    assert_eq!(kind(Some((Verdict::Match, 4)), &[past("n8", Verdict::Match, 0)]), Some(ChangeKind::Accepted));
}

#[test]
fn between_two_versions_or_commits_the_cause_can_be_searched_for() {
    let before = [past("n8", Verdict::Match, 4)];
    let command = |release: &str, git: Option<GitCommit>, before: &[PastResult]| {
        let kernel = NightKernel { git, ..from("x") };
        became_on(Some((Verdict::Drift, 0)), before, release, kernel).unwrap().bisect_command
    };
    let release = |release: &str| {
        let run = Some(run(Verdict::Match, release));
        [PastResult { run, ..past("n8", Verdict::Match, 4) }]
    };
    assert_eq!(
        command("6.1.192-kshot", None, &release("6.1.180-kshot")).unwrap(),
        "kshot bisect a/s --versions 6.1.180..6.1.192 --good 6.1.180 --bad 6.1.192 --like k --drift 'ftrace'"
    );
    let git = [PastResult { git: commit("/src/a b", "aa"), ..past("n8", Verdict::Match, 4) }];
    assert_eq!(
        command("6.1.1", commit("/src/a b", "bb"), &git).unwrap(),
        "kshot bisect a/s --git '/src/a b' --good aa --bad bb --like k --drift 'ftrace'"
    );
    assert_eq!(command("6.1.1", commit("/src/other", "bb"), &git), None);
    assert_eq!(command("6.1.1", None, &git), None, "a patched tree is no commit");
    assert_eq!(command("6.1.0-51-5kc-malta", None, &release("6.1.0-50-5kc-malta")), None);
    assert_eq!(command("6.1.1-kshot", None, &release("6.1.1-kshot")), None, "patches are no range");
    let known =
        became_on(Some((Verdict::Drift, 0)), &[past("n8", Verdict::Drift, 0)], "6.1.192-kshot", from("x"))
            .unwrap();
    assert_eq!(known.bisect_command, None, "only for what is new");
    assert_eq!(became(Some((Verdict::Drift, 0)), &before).unwrap().bisect_command, None);
}

#[test]
fn the_suspects_are_all_that_differs_and_nothing_else() {
    let before = [past("n8", Verdict::Match, 4)];
    let change = became_on(Some((Verdict::Drift, 0)), &before, "6.1.2", from("linux-source-6.1")).unwrap();
    assert_eq!(change.possible_causes, ["the kernel: 6.1.1 before, 6.1.2 now"]);
    let change =
        became_on(Some((Verdict::Drift, 0)), &before, "6.1.1", from("linux-source-6.1, with a.patch"))
            .unwrap();
    assert_eq!(
        change.possible_causes,
        ["where the kernel comes from: linux-source-6.1 before, linux-source-6.1, with a.patch now"]
    );
    let mut same = before.clone();
    let qemu = &mut same[0].run.as_mut().unwrap().qemu;
    *qemu = format!(" {qemu} ");
    let change = became(Some((Verdict::Drift, 0)), &same).unwrap();
    assert_eq!(
        change.possible_causes,
        ["nothing that kshot records: the same kernel, QEMU, kshot and scenario as before"]
    );
}
