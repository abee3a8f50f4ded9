use super::*;
use crate::arch::Arch;
use crate::document::Fidelity;
use crate::stack::{ftrace_text, perf_script, show};

const PERF: &str = "\
eoe_filter     1 [000]     0.1: probe:register_netdevice: (ffffffff803fefe0)
\tffffffff803fefe0 register_netdevice+0x0 ([kernel.kallsyms])
\tffffffff803a68b4 tun_chr_ioctl+0xeec ([kernel.kallsyms])
\tffffffff80258a10 sys_ioctl+0x100 ([kernel.kallsyms])
\tffffffff80114740 syscall_common+0x34 ([kernel.kallsyms])
\t          10d2f4 [unknown] (/bin/eoe_filter)
\t          104a0c [unknown] (/bin/eoe_filter)

";

fn ftrace(capture: &str) -> ParsedProbe {
    let bytes = std::fs::read(show::data(&format!("ftrace/{capture}.txt"))).unwrap();
    let parsed = ftrace_text::parse(&bytes[..]).unwrap();
    ParsedProbe { name: "ftrace".into(), kind: "ftrace".into(), parsed }
}

fn perf(kind: &str, text: &str) -> ParsedProbe {
    let parsed = perf_script::parse(text.as_bytes()).unwrap();
    ParsedProbe { name: kind.into(), kind: kind.into(), parsed }
}

#[test]
fn the_seed_case_reads_as_the_write_up_has_it() {
    let recorded = [ftrace("func_stack_trace-sym-addr-sym-offset"), perf("perf", &PERF.repeat(5))];
    let results = probe_results(&recorded, Arch::Mips64.row());
    show::assert_snapshot("results", "seed-case", &serde_json::to_string_pretty(&results).unwrap());
}

#[test]
fn gdb_is_the_truth_where_it_is_and_nothing_is_measured_against_itself() {
    let reference_of = |results: &[ProbeResult], probe: &str| {
        let result = results.iter().find(|result| result.name == probe).unwrap();
        result.stacks[0].fidelity.map(|fidelity| fidelity.reference)
    };
    let recorded = [ftrace("func_stack_trace"), perf("perf", PERF), perf("gdb", PERF)];
    let results = probe_results(&recorded, Arch::Mips64.row());
    assert_eq!(reference_of(&results, "ftrace"), Some(ReferenceKind::Gdb));
    assert_eq!(reference_of(&results, "perf"), Some(ReferenceKind::Gdb));
    assert_eq!(reference_of(&results, "gdb"), None);

    // gdb watched something else: perf stands in.
    let recorded = [
        ftrace("func_stack_trace"),
        perf("perf", PERF),
        perf("gdb", &PERF.replace("register_netdevice", "f")),
    ];
    let results = probe_results(&recorded, Arch::Mips64.row());
    assert_eq!(reference_of(&results, "ftrace"), Some(ReferenceKind::Perf));
    assert_eq!(reference_of(&results, "perf"), None);
}

#[test]
fn counts_that_a_guest_makes_up_stay_within_what_a_document_may_hold() {
    let mut probe = perf("perf", PERF);
    (probe.parsed.events, probe.parsed.lost, probe.parsed.stacks[0].1) = (u64::MAX, u64::MAX, u64::MAX);
    let result = &probe_results(&[probe], Arch::Mips64.row())[0];
    assert_eq!([result.events, result.lost, result.stacks[0].count], [NUMBER_MOST; 3]);
}

#[test]
fn stacks_that_read_alike_but_differ_in_fidelity_stay_apart() {
    let boot = PERF
        .replace("tun_chr_ioctl+0xeec", "register_netdev+0x30")
        .replace("ffffffff803a68b4", "ffffffff803ff7a8");
    let one = "\tffffffff803a68b4 f+0x4\n\n";
    let text = format!("{PERF}{boot}a 1 1.5: probe:g:\n{one}a 1 1.5: probe:g:\n{one}");
    let results = probe_results(&[perf("perf", &text)], Arch::Mips64.row());
    let counts: Vec<_> = results[0].stacks.iter().map(|stack| stack.count).collect();
    assert_eq!(counts, [1, 1, 2]);
}

#[test]
fn frames_that_are_not_there_are_counted_and_named() {
    let stray = PERF
        .replace("\tffffffff803a68b4", "\tffffffff80100000 f+0x0 ([kernel.kallsyms])\n\tffffffff803a68b4");
    assert_ne!(stray, PERF);
    let results = probe_results(&[perf("perf", &stray), perf("gdb", PERF)], Arch::Mips64.row());
    let stack = &results[0].stacks[0];
    assert_eq!(stack.fidelity.unwrap().to_string(), "4 of 4, 1 extra (gdb)");
    assert_eq!(stack.excess().unwrap(), "extra: f behind register_netdevice");
    let json = serde_json::to_value(stack).unwrap();
    assert_eq!(json["differences"], serde_json::json!([{ "deviation": "extra", "frame": "f", "at": 1 }]));
    assert_eq!(serde_json::from_value::<StackResult>(json).unwrap(), *stack);
}

#[test]
fn a_stack_of_the_first_version_of_the_document_is_read() {
    let json = r#"{"count": 5, "task": "t", "event": "e", "frames": [], "state": "empty", "ends_at": null,
        "fidelity": {"of": 4, "got": 0, "reference": "gdb"}}"#;
    let stack: StackResult = serde_json::from_str(json).unwrap();
    assert_eq!((stack.fidelity, stack.excess()), (Some(Fidelity::new(4, 0, ReferenceKind::Gdb)), None));
    let console = r#"{"kind": "warn", "line": "WARNING", "excerpt": []}"#;
    assert!(serde_json::from_str::<crate::document::ConsoleReport>(console).unwrap().frames.is_empty());
}
