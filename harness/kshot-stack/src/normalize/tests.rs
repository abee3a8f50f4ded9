use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::format::DetectedFormat;
use crate::stack::{ftrace_text, show};

#[test]
fn each_pass_does_what_its_example_says() {
    for pass in PASSES {
        let format = DetectedFormat::guess(pass.before.as_bytes()).format;
        let (mut stack, _) = format.parse(pass.before.as_bytes()).unwrap().stacks.remove(0);
        stack.function = None;
        assert_ne!(show::stack(&stack), pass.after, "{}: the example shows nothing", pass.name);
        (pass.apply)(&mut stack);
        assert_eq!(show::stack(&stack), pass.after, "{}", pass.name);
        assert!(pass.doc.ends_with('.'), "{}", pass.name);
    }
}

#[test]
fn a_real_stack_keeps_its_names_alone() {
    let bytes = std::fs::read(show::data("ftrace/idle-stacktrace.txt")).unwrap();
    let stacks = ftrace_text::parse(&bytes[..]).unwrap().stacks;
    let interrupted = stacks.into_iter().find(|(stack, _)| stack.event == "hrtimer_expire_entry").unwrap();
    insta::assert_snapshot!(show::stack(&normalize(interrupted.0)), @r"
    kworker hrtimer_expire_entry
    __traceiter_hrtimer_expire_entry
    __hrtimer_run_queues
    hrtimer_interrupt
    c0_compare_interrupt
    __handle_irq_event_percpu
    handle_irq_event_percpu
    handle_percpu_irq
    handle_irq_desc
    do_domain_IRQ
    plat_irq_dispatch
    handle_int
    srcu_drive_gp
    process_one_work
    worker_thread
    kthread
    ret_from_kernel_thread
    ");
}

#[test]
fn a_stack_whose_frames_all_claim_to_be_inlined_keeps_one() {
    let inlined = |name: &str| Frame { symbol: Some(name.into()), inlined: true, ..Frame::default() };
    let frames = ["a", "b"].map(|name| Arc::new(inlined(name))).to_vec();
    let stack = normalize(Stack { task: "t".into(), event: "e".into(), function: None, frames });
    assert_eq!(show::stack(&stack), "t e\nb");
}

fn frames() -> impl Strategy<Value = Vec<Arc<Frame>>> {
    let symbol = prop::option::of("[a-c]{1,2}(\\.(isra|part|constprop|x)(\\.0)?){0,2}");
    let frame = (symbol, any::<[bool; 2]>(), prop::option::of(any::<u64>()), prop::option::of(any::<u64>()));
    let frame = frame.prop_map(|(symbol, [user, inlined], address, offset)| {
        let (size, module) = (offset, Some("m".into()));
        Arc::new(Frame { address, symbol, offset, size, module, user, inlined, ..Frame::default() })
    });
    prop::collection::vec(frame, 0..12)
}

proptest! {
    #[test]
    fn a_second_time_changes_nothing(frames in frames(), task in "(kworker/)?[a-z0-9:/]{0,6}") {
        let once = normalize(Stack { task, event: "f.part.0.isra.0".into(), function: None, frames });
        prop_assert_eq!(normalize(once.clone()), once);
    }

    #[test]
    fn a_stack_is_never_emptied_and_never_grows(frames in frames()) {
        let before = frames.len();
        let stack = normalize(Stack { task: "t".into(), event: "e".into(), function: None, frames });
        prop_assert_eq!(stack.frames.is_empty(), before == 0);
        prop_assert!(stack.frames.len() <= before);
    }
}

#[test]
fn fetched_symbols_are_names_and_numbers_stay() {
    let text = "r31=register_netdevice+0x24/0x798 skip=5 at=0x5 sum=1+0x2".to_owned();
    let fetched = fetched(FetchedArguments { event: "frame".into(), text });
    assert_eq!(fetched.text, "r31=register_netdevice skip=5 at=0x5 sum=1+0x2");
}
