//! A night for tests: one pair of each status, a night before it, and a malicious guest.

use std::collections::HashMap;

use kshot_stack::document::{
    ConsoleReport, Fidelity, ProbeResult, Reason, ReferenceKind, RunDocument, StackResult, Verdict,
};
use kshot_stack::night::changes::PastResult;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{Attempt, Night, NightKernel, NightScenario, Pair, PairStatus, RunSummary};
use kshot_stack::stack::State;

use crate::samples::{self, Sample};

/// The task names, functions and console lines of the malicious guest.
pub(super) const HOSTILE: &str = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='alert(3)' &lt; \u{202e}gnp.exe\u{1b}[31m\0#";

const WHOLE: [&str; 4] = ["register_netdevice", "tun_chr_ioctl", "__se_sys_ioctl", "syscall_common"];

/// The night, compared with the one before.
pub(super) fn night_report() -> NightReport {
    let standings = [
        ("tunsetiff/leaf", "mips64-6.1", vec![attempt(Some(Verdict::Drift))]),
        ("tunsetiff/leaf", "mips64-6.1-fixed", vec![attempt(Some(Verdict::Match))]),
        ("tunsetiff/leaf", "mips64el-6.1", vec![attempt(None), attempt(Some(Verdict::Match))]),
        ("perf/watching_nothing", "mips64-6.1", vec![attempt(Some(Verdict::Inconclusive))]),
        ("perf/watching_nothing", "mips64-6.1-fixed", vec![attempt(None), attempt(None)]),
        ("perf/watching_nothing", "mips64el-6.1", vec![]),
        ("printk/hostile", "mips64-6.1", vec![attempt(Some(Verdict::Unstable))]),
    ];
    let pair = |(scenario, kernel, attempts): (&str, &str, Vec<Attempt>)| Pair {
        scenario: scenario.into(),
        kernel: kernel.into(),
        attempts,
        ..Pair::sample()
    };
    let mut night = Night {
        deadline_ms: Some(28_800_000),
        kernels: ["mips64-6.1", "mips64-6.1-fixed", "mips64el-6.1"].map(kernel).into(),
        scenarios: ["perf/watching_nothing", "printk/hostile", "tunsetiff/leaf"].map(scenario).into(),
        pairs: standings.map(pair).into(),
        notes: vec!["host b was taken out: no answer".into()],
        ..Night::sample()
    };
    // Each run has a folder of its own, as in a real night.
    for pair in &mut night.pairs {
        let folder = format!("runs/{}", pair.anchor());
        pair.attempts
            .iter_mut()
            .filter_map(|one| one.run.as_mut())
            .for_each(|run| run.folder.clone_from(&folder));
    }
    let (mut documents, mut past) = (HashMap::new(), HashMap::new());
    for pair in night.pairs.iter().filter(|pair| pair.run().is_some()) {
        documents.insert(pair.anchor(), document(pair));
        past.insert(pair.anchor(), vec![before(Verdict::Match, 4)]);
    }
    let mut report = NightReport { night, documents, past };
    report.compare();
    report
}

fn kernel(name: &str) -> NightKernel {
    let absent = (name == "mips64el-6.1").then(|| format!("not provisioned: kshot provision {name}"));
    NightKernel { name: name.into(), absent, ..NightKernel::sample() }
}

fn scenario(id: &str) -> NightScenario {
    NightScenario { id: id.into(), summary: format!("what {id} shows") }
}

fn attempt(verdict: Option<Verdict>) -> Attempt {
    samples::attempt(verdict.map(run))
}

fn run(verdict: Verdict) -> RunSummary {
    let text = |text: &str| Reason::Text { text: text.into() };
    let reasons = match verdict {
        Verdict::Match => vec![],
        Verdict::Drift => vec![text("claim `ftrace` fails: 0 instead of 5 stacks"), text("and more\nof it")],
        Verdict::Unstable => vec![text(HOSTILE)],
        Verdict::Inconclusive => vec![text("the guest's kernel panicked: Kernel panic - not syncing")],
    };
    let mut run = RunSummary { verdict, reasons, ..RunSummary::sample() };
    (run.kernel.name, run.kernel.release) = ("mips64-6.1".into(), "6.1.192-kshot".into());
    run
}

fn before(verdict: Verdict, got: u64) -> PastResult {
    PastResult {
        status: PairStatus::from(verdict),
        run: Some(run(verdict)),
        probes: probes(got, "eoe_filter"),
        ..PastResult::sample()
    }
}

fn document(pair: &Pair) -> RunDocument {
    let run = pair.run().unwrap().clone();
    let hostile = pair.scenario == "printk/hostile";
    let event = |line: &str| ConsoleReport {
        kind: "warn".into(),
        line: line.into(),
        excerpt: vec![line.into(), "[    1.1] Call Trace:".into()],
        ..ConsoleReport::default()
    };
    let probes = match run.verdict {
        Verdict::Inconclusive => vec![],
        Verdict::Drift => probes(0, "eoe_filter"),
        _ => probes(4, if hostile { HOSTILE } else { "eoe_filter" }),
    };
    let mut document = before(run.verdict, 4).document(&pair.scenario).unwrap();
    document.kernel.name.clone_from(&pair.kernel);
    document.probes = probes;
    document.console = if hostile { vec![event(HOSTILE)] } else { vec![] };
    document.artifacts = ["console.log", "ftrace.trace.txt", "a%2fb #1.txt"]
        .into_iter()
        .map(|name| (name.to_owned(), name.to_owned()))
        .collect();
    document
}

fn probes(got: u64, task: &str) -> Vec<ProbeResult> {
    let hostile = (task == HOSTILE).then_some(HOSTILE);
    let stack = |frames: &[&str], state, fidelity| {
        let mut stack = StackResult { task: task.into(), fidelity, ..samples::stack(frames, state) };
        stack.frames.extend(hostile.map(Into::into));
        stack
    };
    let fidelity = Some(Fidelity::new(4, got, ReferenceKind::Gdb));
    let state = if got == 4 { State::Complete } else { State::Truncated };
    let frames = [&["ftrace_graph_call"], &WHOLE[..got as usize]].concat();
    vec![
        samples::probe("ftrace", vec![stack(&frames, state, fidelity)]),
        samples::probe("gdb", vec![stack(&WHOLE, State::Complete, None)]),
    ]
}
