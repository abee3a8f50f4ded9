//! A small valid value of each document's types, for the tests of this crate and of `kshot`: a test writes
//! the fields that it is about and takes the others from here.

use kshot_stack::blame::Blame;
use kshot_stack::document::{
    KernelInfo, ProbeResult, RunDocument, SCHEMA, StackResult, Start, Timings, Verdict,
};
use kshot_stack::night;
use kshot_stack::night::changes::PastResult;
use kshot_stack::night::results::{Attempt, AttemptError, Night, NightKernel, Pair, PairStatus, RunSummary};
use kshot_stack::stack::State;

pub(crate) trait Sample {
    fn sample() -> Self;
}

impl Sample for KernelInfo {
    fn sample() -> Self {
        Self {
            name: "k".into(),
            release: "6.1.1".into(),
            arch: "mips64".into(),
            image_sha256: "6a73bc3d2eaf7401f42fa361bac6a0301fa697dc6efb47c66511e0c83b0ae873".into(),
            version: None,
        }
    }
}

impl Sample for RunDocument {
    fn sample() -> Self {
        Self {
            schema: SCHEMA,
            scenario: "a/s".into(),
            kernel: KernelInfo::sample(),
            qemu: "7.2.22".into(),
            verdict: Verdict::Match,
            reasons: Vec::new(),
            start: Start::Cold,
            cold_because: None,
            timings_ms: Timings { boot: 2500, ssh: 150, steps: 600, collect: 650, total: 4100 },
            probes: Vec::new(),
            repeats: Vec::new(),
            console: Vec::new(),
            artifacts: Default::default(),
        }
    }
}

impl Sample for RunSummary {
    fn sample() -> Self {
        Self::of(&RunDocument::sample(), "runs/1".into())
    }
}

impl Sample for NightKernel {
    fn sample() -> Self {
        Self { name: "k".into(), origin: "linux-source-6.1".into(), git: None, absent: None }
    }
}

impl Sample for Pair {
    fn sample() -> Self {
        Self { scenario: "a/s".into(), kernel: "k".into(), inputs_hash: "in".into(), attempts: Vec::new() }
    }
}

impl Sample for Night {
    fn sample() -> Self {
        Self {
            schema: night::results::SCHEMA,
            name: "20261125T020000Z".into(),
            started: "2026-11-25T02:00:00Z".into(),
            wall_ms: 754_000,
            deadline_ms: None,
            engine: "local".into(),
            harness: "0.1.0 (ec7b59b0a1c2)".into(),
            kernels: vec![NightKernel::sample()],
            scenarios: Vec::new(),
            pairs: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
        }
    }
}

impl Sample for PastResult {
    fn sample() -> Self {
        Self {
            night: "20261124T020000Z".into(),
            status: PairStatus::Match,
            run: Some(RunSummary::sample()),
            harness: Night::sample().harness,
            origin: NightKernel::sample().origin,
            git: None,
            inputs_hash: Pair::sample().inputs_hash,
            probes: Vec::new(),
        }
    }
}

/// Five equal stacks.
pub(crate) fn stack(frames: &[&str], state: State) -> StackResult {
    let in_kernel = |frame: &&&str| !["0", "[user]"].contains(*frame);
    StackResult {
        count: 5,
        task: "eoe_filter".into(),
        event: "register_netdevice".into(),
        frames: frames.iter().map(|frame| (*frame).to_owned()).collect(),
        state,
        ends_at: frames.iter().rfind(in_kernel).map(|frame| (*frame).to_owned()),
        fidelity: None,
        differences: Vec::new(),
    }
}

/// A probe that recorded these stacks and nothing else.
pub(crate) fn probe(name: &str, stacks: Vec<StackResult>) -> ProbeResult {
    ProbeResult {
        name: name.into(),
        kind: name.into(),
        events: stacks.iter().map(|stack| stack.count).sum(),
        lost: 0,
        warnings: Vec::new(),
        left_out_because: None,
        stacks,
        arguments: Vec::new(),
    }
}

/// An attempt that came to this run; without one, to a full disk.
pub(crate) fn attempt(run: Option<RunSummary>) -> Attempt {
    let error_chain = "cannot write runs/x: No space left on device".into();
    Attempt {
        started: "2026-11-25T02:00:01Z".into(),
        wall_ms: 4100,
        host: "builder".into(),
        error: run.is_none().then_some(AttemptError { blame: Blame::Host, error_chain }),
        run,
    }
}
