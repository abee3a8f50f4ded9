//! Runs as the reports' tests need them.

use kshot_stack::document::{
    Fidelity, KernelInfo, Reason, Reference, RunDocument, StackResult, Start, Timings, Verdict,
};
use kshot_stack::stack::State;

pub(super) fn stack(task: &str, frames: &[&str], state: State, got: u64) -> StackResult {
    let frames: Vec<String> = frames.iter().map(|frame| (*frame).to_owned()).collect();
    let fidelity = Some(Fidelity::new(4, got, Reference::Perf));
    let (event, ends_at) = ("register_netdevice".into(), frames.last().cloned());
    StackResult {
        count: 5,
        task: task.into(),
        event,
        frames,
        state,
        ends_at,
        fidelity,
        differences: Vec::new(),
    }
}

pub(super) fn document(kernel: &str, stacks: Option<Vec<StackResult>>) -> RunDocument {
    let probe = |stacks| {
        serde_json::json!({
            "name": "ftrace", "kind": "ftrace", "events": 5, "lost": 0, "warnings": [], "stacks": stacks
        })
    };
    RunDocument {
        schema: 1,
        scenario: "tunsetiff/func_stack_trace".into(),
        kernel: KernelInfo {
            name: kernel.into(),
            release: "6.1.192".into(),
            arch: "mips64".into(),
            image_sha256: "00".into(),
            version: None,
        },
        qemu: "7.2".into(),
        verdict: Verdict::Match,
        reasons: vec![Reason::GuestFailed { error: "it did not boot".into() }],
        start: Start::Cold,
        cold_because: None,
        timings_ms: Timings::default(),
        probes: stacks.map(|stacks| serde_json::from_value(probe(stacks)).unwrap()).into_iter().collect(),
        repeats: Vec::new(),
        console: Vec::new(),
        artifacts: Default::default(),
    }
}

pub(super) fn broken() -> StackResult {
    stack("eoe_filter", &["ftrace_graph_call"], State::Truncated, 0)
}

pub(super) fn whole() -> StackResult {
    let frames = ["ftrace_graph_call", "register_netdevice", "tun_chr_ioctl", "syscall_common"];
    stack("eoe_filter", &frames, State::Complete, 4)
}
