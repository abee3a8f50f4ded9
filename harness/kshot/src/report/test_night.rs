//! A night for tests: one pair of each status, a night before it, and a malicious guest.

use std::collections::HashMap;

use kshot_stack::document::{
    ConsoleReport, Fidelity, KernelInfo, ProbeResult, Reason, Reference, RunDocument, StackResult, Start,
    Timings, Verdict,
};
use kshot_stack::fault::Blame;
use kshot_stack::night::changes::PastResult;
use kshot_stack::night::report::NightReport;
use kshot_stack::night::results::{
    Attempt, AttemptError, Night, NightKernel, NightScenario, Pair, PairStatus, RunSummary,
};
use kshot_stack::stack::State;

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
    let pair = |(scenario, kernel, tries): (&str, &str, Vec<Attempt>)| Pair {
        scenario: scenario.into(),
        kernel: kernel.into(),
        inputs_hash: "in".into(),
        attempts: tries,
    };
    let mut night = Night {
        schema: 1,
        name: "20261125T020000Z".into(),
        started: "2026-11-25T02:00:00Z".into(),
        wall_ms: 754_000,
        deadline_ms: Some(28_800_000),
        engine: "local".into(),
        harness: "0.1.0 (ec7b59b0a1c2)".into(),
        kernels: ["mips64-6.1", "mips64-6.1-fixed", "mips64el-6.1"].map(kernel).into(),
        scenarios: ["perf/watching_nothing", "printk/hostile", "tunsetiff/leaf"].map(scenario).into(),
        pairs: standings.map(pair).into(),
        notes: vec!["host b was taken out: no answer".into()],
        changes: vec![],
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
    let origin = "linux-source-6.1 of bookworm-security".into();
    let absent = (name == "mips64el-6.1").then(|| format!("not provisioned: kshot provision {name}"));
    NightKernel { name: name.into(), origin, git: None, absent }
}

fn scenario(id: &str) -> NightScenario {
    NightScenario { id: id.into(), summary: format!("what {id} shows") }
}

fn attempt(word: Option<Verdict>) -> Attempt {
    let fault = AttemptError {
        blame: Blame::Host,
        error_chain: "cannot write runs/x: No space left on device".into(),
    };
    Attempt {
        started: "2026-11-25T02:00:01Z".into(),
        wall_ms: 4100,
        host: "builder".into(),
        run: word.map(run),
        error: word.is_none().then_some(fault),
    }
}

fn run(verdict: Verdict) -> RunSummary {
    let text = |text: &str| Reason::Text { text: text.into() };
    let why = match verdict {
        Verdict::Match => vec![],
        Verdict::Drift => vec![text("claim `ftrace` fails: 0 instead of 5 stacks"), text("and more\nof it")],
        Verdict::Unstable => vec![text(HOSTILE)],
        Verdict::Inconclusive => vec![text("the guest's kernel panicked: Kernel panic - not syncing")],
    };
    RunSummary {
        folder: String::new(),
        verdict,
        reasons: why,
        kernel: KernelInfo {
            name: "mips64-6.1".into(),
            release: "6.1.192-kshot".into(),
            arch: "mips64".into(),
            image_sha256: "6a73bc3d2eaf7401f42fa361bac6a0301fa697dc6efb47c66511e0c83b0ae873".into(),
            version: None,
        },
        qemu: "7.2.22".into(),
        start: Start::Cold,
        timings_ms: Timings { boot: 2500, ssh: 150, steps: 600, collect: 650, total: 4100 },
    }
}

fn before(verdict: Verdict, got: u64) -> PastResult {
    PastResult {
        night: "20261124T020000Z".into(),
        status: PairStatus::from(verdict),
        run: Some(run(verdict)),
        harness: "0.1.0 (ec7b59b0a1c2)".into(),
        origin: "linux-source-6.1 of bookworm-security".into(),
        git: None,
        inputs_hash: "in".into(),
        probes: probes(got, "eoe_filter"),
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
    let stack = |frames: Vec<&str>, state, fidelity| StackResult {
        count: 5,
        task: task.into(),
        event: "register_netdevice".into(),
        ends_at: frames.last().map(|name| (*name).into()),
        frames: frames.into_iter().map(Into::into).chain((task == HOSTILE).then(|| HOSTILE.into())).collect(),
        state,
        fidelity,
        differences: Vec::new(),
    };
    let fidelity = Some(Fidelity::new(4, got, Reference::Gdb));
    let state = if got == 4 { State::Complete } else { State::Truncated };
    let frames = ["ftrace_graph_call"].into_iter().chain(WHOLE.into_iter().take(got as usize)).collect();
    let probe = |name: &str, stack| ProbeResult {
        name: name.into(),
        kind: name.into(),
        events: 5,
        lost: 0,
        warnings: vec![],
        left_out_because: None,
        stacks: vec![stack],
        arguments: vec![],
    };
    vec![
        probe("ftrace", stack(frames, state, fidelity)),
        probe("gdb", stack(WHOLE.to_vec(), State::Complete, None)),
    ]
}
