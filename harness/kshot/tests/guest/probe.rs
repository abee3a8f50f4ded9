//! The probes against a real guest: the write-up's two investigations, and what is refused.

use std::path::Path;

use kshot_guest::probe::{
    ArmedProbe, Capture, CaptureContent, FtraceProbe, PerfEvent, PerfProbe, ProbeError, ProbeKind, ProbeSpec,
};
use kshot_guest::session::{Guest, Session};
use kshot_stack::arch::Arch;
use kshot_stack::blame::{Blame, Blamed};
use kshot_stack::stack::ParsedCapture;

use super::Tests;
use super::boot::{Fixture, LIMIT};
use super::shared::{login, shared};

const TRIGGER: &str = "for i in 1 2 3 4 5; do /isam/user/eoe_filter -n lo -t tap0 -E || exit; done";
const BOOT: &[&str] =
    &["ftrace=function", "ftrace_filter=register_netdevice", "trace_options=func_stack_trace"];

pub(crate) const TESTS: Tests = tests![
    ftrace_brings_five_traces_with_addresses,
    perf_brings_five_samples_with_addresses,
    perf_says_which_function_it_cannot_probe,
    an_event_that_does_not_exist_does_not_hang,
    an_instance_that_does_not_exist_is_named,
    two_recordings_run_side_by_side,
];

fn ftrace(instance: Option<&str>) -> ProbeSpec {
    let kind = ProbeKind::Ftrace(FtraceProbe { instance: instance.map(Into::into), only: Vec::new() });
    ProbeSpec { name: "ftrace".into(), kind }
}

fn perf(name: &str, event: PerfEvent) -> ProbeSpec {
    let kind = ProbeKind::Perf(PerfProbe { event, call_graph: "dwarf".into() });
    ProbeSpec { name: name.into(), kind }
}

fn text(captures: &[Capture], content: CaptureContent) -> String {
    let capture = captures.iter().find(|capture| capture.content == content).unwrap();
    std::fs::read_to_string(&capture.path).unwrap()
}

fn stacks(spec: &ProbeSpec, captures: &[Capture]) -> ParsedCapture {
    let capture = captures.iter().find(|capture| capture.content == CaptureContent::Stacks).unwrap();
    spec.parse(capture, Arch::Mips64.row()).unwrap().unwrap()
}

fn run(guest: &mut impl Guest, script: &str) -> String {
    let output = guest.run(script, LIMIT).unwrap();
    assert_eq!(output.status, 0, "{}", String::from_utf8_lossy(&output.text));
    String::from_utf8(output.text).unwrap()
}

fn ready(spec: &ProbeSpec, session: &mut Session, folder: &Path) -> Result<ArmedProbe, ProbeError> {
    spec.prepare(session, folder)?;
    spec.arm(session, None)
}

fn refused(spec: &ProbeSpec, Fixture { session, folder, .. }: &mut Fixture) -> ProbeError {
    ready(spec, session, folder.path()).unwrap_err()
}

fn ftrace_brings_five_traces_with_addresses() {
    let Fixture { mut session, folder, machine } = login(BOOT);
    let armed = ftrace(None).arm(&mut session, None).unwrap();
    run(&mut session, TRIGGER);
    armed.stop(&mut session).unwrap();
    let captures = armed.fetch(&mut session, folder.path()).unwrap();
    let trace = text(&captures, CaptureContent::Stacks);
    let events: Vec<_> = trace.lines().filter(|line| line.trim_start().starts_with("eoe_filter-")).collect();
    // Each is followed by its `<stack trace>`, a line of the same head.
    assert_eq!(events.len(), 10, "{trace}");
    assert!(
        events[0].contains("register_netdevice+0x") && events[0].contains(" <ffffffff8"),
        "{}",
        events[0]
    );
    let frames: Vec<_> = trace.lines().filter(|line| line.starts_with(" => ")).collect();
    assert!(frames.iter().any(|frame| frame.contains("+0x") && frame.ends_with('>')), "{frames:?}");
    assert!(text(&captures, CaptureContent::Supplement).contains("overrun: 0\n"));
    assert_eq!(run(&mut session, "cat /sys/kernel/tracing/options/sym-addr"), "0\n");
    drop(machine);
}

fn perf_brings_five_samples_with_addresses() {
    let mut fixture = shared();
    let Fixture { session, folder, .. } = fixture.get();
    let spec = perf("perf", PerfEvent::Probe("register_netdevice".into()));
    let armed = ready(&spec, session, folder.path()).unwrap();
    run(session, TRIGGER);
    armed.stop(session).unwrap();
    let captures = armed.fetch(session, folder.path()).unwrap();
    let parsed = stacks(&spec, &captures);
    assert_eq!(parsed.events, 5);
    for (stack, _) in &parsed.stacks {
        assert_eq!(stack.event, "probe:register_netdevice");
        assert_eq!(stack.frames[0].symbol.as_deref(), Some("register_netdevice"));
    }
    assert!(text(&captures, CaptureContent::Supplement).contains("Captured and wrote"));
    let data = captures.iter().find(|capture| capture.content == CaptureContent::Stacks).unwrap();
    assert!(
        std::fs::read(&data.path)
            .unwrap()
            .windows(8)
            .any(|magic| magic == b"PERFILE2" || magic == b"2ELIFREP")
    );
}

fn perf_says_which_function_it_cannot_probe() {
    let mut fixture = shared();
    let spec = perf("perf", PerfEvent::Probe("no_such_function".into()));
    let error = refused(&spec, fixture.get());
    assert_eq!(error.blame(), Blame::Guest);
    let said = error.to_string();
    assert!(
        said.starts_with("probe perf: making the kprobe of probe:no_such_function failed with status 1: "),
        "{said}"
    );
    assert!(said.contains("trace_kprobe: error: "), "{said}");
}

fn an_event_that_does_not_exist_does_not_hang() {
    let mut fixture = shared();
    let spec = perf("perf", PerfEvent::Event("no:such".into()));
    let error = refused(&spec, fixture.get());
    assert!(error.to_string().contains("event syntax error"), "{error}");
}

fn an_instance_that_does_not_exist_is_named() {
    let mut fixture = shared();
    let session = &mut fixture.get().session;
    let armed = ftrace(Some("none")).arm(session, None).unwrap();
    let error = armed.stop(session).unwrap_err();
    assert_eq!(error.blame(), Blame::Guest);
    assert!(error.to_string().contains("/sys/kernel/tracing/instances/none"), "{error}");
    armed.fetch(session, Path::new("/nonexistent")).unwrap_err();
}

fn two_recordings_run_side_by_side() {
    let mut fixture = shared();
    let Fixture { session, folder, .. } = fixture.get();
    let one = perf("one", PerfEvent::Probe("register_netdevice".into()));
    let two = perf("two", PerfEvent::Event("sched:sched_process_fork".into()));
    let armed_one = ready(&one, session, folder.path()).unwrap();
    let armed_two = ready(&two, session, folder.path()).unwrap();
    run(session, TRIGGER);
    let expected =
        [(two, armed_two, "sched:sched_process_fork"), (one, armed_one, "probe:register_netdevice")];
    for (spec, armed, event) in expected {
        armed.stop(session).unwrap();
        let parsed = stacks(&spec, &armed.fetch(session, folder.path()).unwrap());
        assert!(
            parsed.events >= 5 && parsed.stacks.iter().all(|(stack, _)| stack.event == event),
            "{parsed:?}"
        );
    }
}
