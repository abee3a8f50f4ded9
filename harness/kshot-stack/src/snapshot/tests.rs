use super::*;
use crate::document::{Fidelity, Reference};
use crate::stack::State;

fn stack(count: u64, frames: &[&str], state: State, fidelity: Option<Fidelity>) -> StackResult {
    let frames: Vec<String> = frames.iter().map(|frame| (*frame).to_owned()).collect();
    let ends_at = frames.iter().rfind(|frame| *frame != "0" && *frame != "[user]").cloned();
    let (task, event) = ("eoe_filter".into(), "register_netdevice".into());
    StackResult { count, task, event, frames, state, ends_at, fidelity, differences: Vec::new() }
}

fn probe(events: u64, lost: u64, stacks: Vec<StackResult>) -> ProbeResult {
    let (name, kind) = ("ftrace".into(), "ftrace".into());
    ProbeResult {
        name,
        kind,
        events,
        lost,
        warnings: vec![],
        left_out_because: None,
        stacks,
        arguments: vec![],
    }
}

#[test]
fn the_text_is_for_people() {
    let fidelity = Some(Fidelity::new(4, 0, Reference::Perf));
    let text = snapshot_text(&probe(
        7,
        3,
        vec![
            stack(5, &["ftrace_graph_call", "0"], State::Truncated, fidelity),
            stack(1, &["register_netdevice", "syscall_common", "[user]"], State::Complete, None),
            stack(1, &[], State::Empty, None),
        ],
    ));
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
