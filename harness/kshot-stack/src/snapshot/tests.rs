use super::*;
use crate::document::{Fidelity, ReferenceKind};
use crate::samples;
use crate::stack::State;

#[test]
fn the_text_is_for_people() {
    let stack = |count, frames: &[&str], state| StackResult { count, ..samples::stack(frames, state) };
    let fidelity = Some(Fidelity::new(4, 0, ReferenceKind::Perf));
    let stacks = vec![
        StackResult { fidelity, ..stack(5, &["ftrace_graph_call", "0"], State::Truncated) },
        stack(1, &["register_netdevice", "syscall_common", "[user]"], State::Complete),
        stack(1, &[], State::Empty),
    ];
    let text = snapshot_text(&ProbeResult { lost: 3, ..samples::probe("ftrace", stacks) });
    insta::assert_snapshot!(text, @r"
    7 events, others lost

    5 x eoe_filter, register_netdevice: truncated at ftrace_graph_call, fidelity 0 of 4 (perf)
        ftrace_graph_call
        0

    1 x eoe_filter, register_netdevice: complete at syscall_common
        register_netdevice
        syscall_common
        [user]

    1 x eoe_filter, register_netdevice: empty
    ");
}
