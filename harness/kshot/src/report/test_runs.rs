//! Runs as the reports' tests need them.

use kshot_stack::document::{Fidelity, KernelInfo, Reason, ReferenceKind, RunDocument, StackResult};
use kshot_stack::stack::State;

use crate::samples::{self, Sample};

pub(super) fn stack(task: &str, frames: &[&str], state: State, got: u64) -> StackResult {
    let fidelity = Some(Fidelity::new(4, got, ReferenceKind::Perf));
    StackResult { task: task.into(), fidelity, ..samples::stack(frames, state) }
}

pub(super) fn document(kernel: &str, stacks: Option<Vec<StackResult>>) -> RunDocument {
    RunDocument {
        scenario: "tunsetiff/func_stack_trace".into(),
        kernel: KernelInfo { name: kernel.into(), release: "6.1.192".into(), ..KernelInfo::sample() },
        reasons: vec![Reason::GuestFailed { error: "it did not boot".into() }],
        probes: stacks.map(|stacks| samples::probe("ftrace", stacks)).into_iter().collect(),
        ..RunDocument::sample()
    }
}

pub(super) fn broken() -> StackResult {
    stack("eoe_filter", &["ftrace_graph_call"], State::Truncated, 0)
}

pub(super) fn whole() -> StackResult {
    let frames = ["ftrace_graph_call", "register_netdevice", "tun_chr_ioctl", "syscall_common"];
    stack("eoe_filter", &frames, State::Complete, 4)
}
